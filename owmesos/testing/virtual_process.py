"""What carries out decisions in virtual time, whatever the cluster is: an inbox, a timer, and who looks on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from owmesos.simulator.agenda import Agenda, AgendaEntry, cancel


class Decisions(Protocol):
    """A scheduler or a factory, alone or with what stands on it."""

    def handle(self, event: Any, now: float) -> Sequence[object]: ...

    def next_wake(self) -> float | None: ...


class VirtualProcess(ABC):
    """`decisions` is what is driven. `tick` is the event that its timer brings."""

    decisions: Decisions

    def __init__(self, agenda: Agenda, tick: object) -> None:
        self.listeners: list[Callable[[Any], None]] = []
        """Told of each event before it is dealt with."""
        self.observers: list[Callable[[Any], None]] = []
        """Told of it afterwards."""
        self._agenda = agenda
        self._tick_event = tick
        self._inbox: deque[Any] = deque()
        self._busy = False
        self._timer: AgendaEntry | None = None

    @abstractmethod
    def _carry_out(self, effect: object) -> None: ...

    def handle(self, event: Any) -> None:
        """One event for the decisions, and all that comes of it at once."""
        self._inbox.append(event)
        if not self._busy:
            self._settle()

    def _settle(self) -> None:
        self._busy = True
        try:
            while self._inbox:
                event = self._inbox.popleft()
                for listen in self.listeners:
                    listen(event)
                for effect in self.decisions.handle(event, self._agenda.now):
                    self._carry_out(effect)
                for observe in self.observers:
                    observe(event)
        finally:
            self._busy = False
        self._set_timer()

    def _set_timer(self) -> None:
        wake = self.decisions.next_wake()
        if self._timer is not None and self._timer.action is not None and self._timer.when == wake:
            return
        cancel(self._timer)
        self._timer = None if wake is None else self._agenda.at(wake, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.handle(self._tick_event)

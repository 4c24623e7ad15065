"""The simulated world with a real clock: it is advanced to the present before each use, and woken when an entry is
due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from owmesos.simulator.world import World
from owmesos.system.clock import Clock

T = TypeVar("T")
_AT_ONCE = 2000
"""Entries of the agenda after which requests get their turn."""


class LiveWorld:
    """To be used within one event loop."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._clock = Clock()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._running = False

    def start(self) -> None:
        self._running = True
        self._set_timer()

    def stop(self) -> None:
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def enter(self, act: Callable[[], T]) -> T:
        """Calls a function in the world at the present time."""
        agenda = self.world.agenda
        agenda.now = max(agenda.now, self._clock.now())
        result = act()
        self.world.collect()
        self._set_timer()
        return result

    def _wake(self) -> None:
        self._timer = None
        self.world.advance(self._clock.now(), _AT_ONCE)
        self.world.collect()
        self._set_timer()

    def _set_timer(self) -> None:
        due = self.world.agenda.next()
        if due is None or not self._running or (self._timer is not None and self._timer_at <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._clock.now()), self._wake)

"""Notices a master that is connected and says nothing: its process hangs, or the network drops what it sends.

The driver ends such a subscription after five heartbeats. Until then nothing is offered, and that must not look like a
cluster that is full.
"""

from __future__ import annotations

from owmesos.mesos import messages as v1
from owmesos.mesos.scheduler.state import SchedulerState, SchedulerTimer

OVERDUE = 1.5
"""Heartbeat intervals without an event after which the master is called silent. A heartbeat of a busy machine may be
some seconds late."""
_DEFAULT = 15.0  # seconds; where a master says what cannot be
_FROM_MASTER = frozenset([*v1.EVENTS.values(), v1.UnknownEvent])


class Heartbeats:
    """Keeps `state.connection.silent_since` true. Nothing is expected before the first heartbeat."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state

    def subscribed(self, event: v1.Subscribed) -> None:
        said = event.heartbeat_interval_seconds
        self._state.connection.heartbeat = said if said > 0 else _DEFAULT
        self._state.timers.cancel(SchedulerTimer.SILENCE)

    def disconnected(self) -> None:
        self._state.timers.cancel(SchedulerTimer.SILENCE)

    def heartbeat(self, event: v1.Heartbeat, now: float) -> None:
        connection = self._state.connection
        if self._state.connected and connection.heard_at is None:
            connection.heard_at = now
            self._expect(now)

    def handle(self, event: v1.Event, now: float) -> None:
        """Note that the master was heard. To be called with every event."""
        connection = self._state.connection
        if connection.heard_at is None or type(event) not in _FROM_MASTER:
            return
        connection.heard_at = now
        if connection.silent_since is not None:
            silent, connection.silent_since = now - connection.silent_since, None
            self._expect(now)
            self._state.note("info", f"the master is heard again, after {silent:.0f} s")

    def overdue(self, now: float) -> None:
        """The timer was not moved by each event, so what was heard meanwhile is looked at here."""
        connection = self._state.connection
        if connection.heard_at is None:
            return
        if now < connection.heard_at + OVERDUE * connection.heartbeat:
            self._expect(connection.heard_at)
            return
        connection.silent_since = connection.heard_at
        silent = f"the master has been silent for {now - connection.heard_at:.0f} s"
        self._state.note("warning", f"{silent}; its heartbeats come every {connection.heartbeat:g} s")

    def _expect(self, heard_at: float) -> None:
        self._state.timers.set(SchedulerTimer.SILENCE, heard_at + OVERDUE * self._state.connection.heartbeat)

"""Whether a server that the invoker depends on can be used: combines the reports of its users into one line per
outage.

A server has several users (of Kafka: reading activations, sending answers, sending pings), each in its own thread.
It is down while any of them fails.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import NamedTuple

from owmesos.documents import ServerDocument, ServerState
from owmesos.system.clock import process_time

_log = logging.getLogger("owmesos.reachability")


class Trouble(NamedTuple):
    """Why one user cannot do its part, since when (seconds since the epoch), and what somebody must do, if it will not
    pass by itself."""

    reason: str
    since: float
    advice: str | None = None


class Reachability:
    """The state of one server. From any thread. Calls each of `changed` when any user's trouble begins, changes or
    ends; they may not report."""

    def __init__(self, name: str, address: str, now: Callable[[], float] = process_time) -> None:
        self._name = f"{name} at {address}"
        self._address = address
        self._now = now
        self._lock = threading.Lock()
        self._telling = threading.Lock()  # so that of two listeners' calls the later sees the later troubles
        self._troubles: dict[str, Trouble] = {}  # by user
        self._advised: set[str] = set()  # what was advised in this outage
        self._since: float | None = None  # when the present state began; None while nobody has tried
        self._reported_at = 0.0
        self.outages = 0
        """How often the server went down since the process began."""
        self.changed: list[Callable[[], None]] = []

    def failed(self, user: str, reason: str, *, since: float | None = None, advice: str | None = None) -> None:
        """`since`: when it last worked, if that is known. `advice`: what to do about what will not pass by itself.

        One line of the log when the server goes down, and one for each thing that somebody must do.
        """
        with self._reported() as now:
            known = self._troubles.get(user)
            if known is not None:
                since = known.since
            elif since is None:
                since = now
            if not self._troubles:
                self.outages += 1
                self._since = since
                self._advised.clear()
                if advice is None:
                    _log.warning("%s has been down since %s, retrying: %s", self._name, moment(since), reason)
            if advice is not None and advice not in self._advised:
                self._advised.add(advice)
                _log.warning("%s has been unusable since %s: %s: %s", self._name, moment(since), reason, advice)
            self._troubles[user] = Trouble(reason, since, advice)

    def works(self, user: str) -> None:
        """One line of the log when the last of the users works again."""
        with self._reported() as now:
            if self._troubles.pop(user, None) is None:
                self._since = now if self._since is None else self._since
            elif not self._troubles:
                _log.info("%s is back, after %.0f s", self._name, now - (self._since or now))
                self._since = now

    @contextmanager
    def _reported(self) -> Iterator[float]:
        """Yields the time. If the troubles changed, calls the listeners."""
        with self._lock:
            now = self._reported_at = self._now()
            before = self._troubles.copy()
            yield now
            changed = before != self._troubles
        if changed:
            with self._telling:
                for listener in self.changed:
                    listener()

    @property
    def _trouble(self) -> Trouble | None:
        """The trouble to report: first one that will not pass by itself, then the oldest."""
        return min(self._troubles.values(), key=lambda each: (each.advice is None, each.since), default=None)

    @property
    def down(self) -> bool:
        return bool(self._troubles)

    def fails(self, user: str) -> bool:
        """Whether that user has a trouble."""
        return user in self._troubles

    def lasting(self, user: str) -> bool:
        """Whether that user has a trouble that will not pass by itself."""
        trouble = self._troubles.get(user)
        return trouble is not None and trouble.advice is not None

    @property
    def since_last_report(self) -> float:
        """Seconds since anybody last reported."""
        return self._now() - self._reported_at

    @property
    def state(self) -> ServerState:
        if self.down:
            return "down"
        return "unknown" if self._since is None else "up"

    def document(self) -> ServerDocument:
        """What the admin API shows."""
        with self._lock:
            trouble = self._trouble
            return {
                "state": self.state,
                "address": self._address,
                "since": moment(self._since) if self._since is not None else None,
                "reason": trouble.reason if trouble is not None else None,
                "advice": trouble.advice if trouble is not None else None,
            }


def moment(at: float) -> str:
    """`2026-01-02T03:04:05Z`"""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Sockets to Kafka on which nothing is sent or read while this process does not lead."""

from __future__ import annotations

import selectors
import time

from owmesos.system.lease import Lease

_LOOK = 0.05  # seconds

_Ready = list[tuple[selectors.SelectorKey, int]]


class LeasedSelector(selectors.DefaultSelector):
    """For kafka-python, which writes only to a socket that its selector has named. So what was queued when the lease
    ran out, or while the process was frozen, stays where it is."""

    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self._lease = lease

    def select(self, timeout: float | None = None) -> _Ready:
        if not self._lease.holds:
            time.sleep(_LOOK if timeout is None else max(0.0, min(_LOOK, timeout)))
            return []
        ready = super().select(timeout)
        return ready if self._lease.holds else []

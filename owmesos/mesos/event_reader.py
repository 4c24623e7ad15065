"""Reads the events of one stream: what a wire hands over as bytes becomes a typed event, or a line in the log.

Apart from the streams, so that every wire is as tolerant as every other: nothing that a master sends ends a stream
but a record that cannot be told from the next. docs/scheduler-http-api.md, "Events".
"""

from __future__ import annotations

import logging

from owmesos.mesos.address import Address
from owmesos.mesos.messages import (
    Event,
    MalformedEvent,
    Subscribed,
    UnknownEvent,
    decode_event,
    unknown_in_event,
)
from owmesos.mesos.recordio import Record

_log = logging.getLogger("owmesos.mesos.stream")
DEFAULT_HEARTBEAT = 15.0
MISSED_HEARTBEATS = 5
_LONGEST_HEARTBEAT = 3600.0


class EventReader:
    """For the stream of the master `address`. `silence`: seconds without anything after which it counts as lost."""

    def __init__(self, address: Address) -> None:
        self.silence = MISSED_HEARTBEATS * DEFAULT_HEARTBEAT
        self._address = address
        self._seen_types: set[str] = set()

    def read(self, record: Record) -> Event | None:
        """The event; None if it is of no use, which is logged."""
        try:
            event = decode_event(record, self.report)
        except MalformedEvent as error:
            self.report(f"an event is skipped: {error}")
            return None
        if isinstance(event, UnknownEvent):
            if self._first(event.type):
                _log.warning("%s sends events of an unknown type, which are skipped: %.100s", self._address, event.type)
            return None
        if self._first(type(event).__name__) and (unknown := unknown_in_event(record)):
            _log.info("%s sends fields that are not read: %s", self._address, ", ".join(unknown)[:1000])
        if isinstance(event, Subscribed):
            beat = event.heartbeat_interval_seconds
            self.silence = MISSED_HEARTBEATS * (beat if 0 < beat <= _LONGEST_HEARTBEAT else DEFAULT_HEARTBEAT)
        return event

    def _first(self, kind: str) -> bool:
        seen = kind in self._seen_types
        self._seen_types.add(kind)
        return not seen

    def report(self, reason: str) -> None:
        """Logs it with the stream's address."""
        _log.warning("%s: %s", self._address, reason)

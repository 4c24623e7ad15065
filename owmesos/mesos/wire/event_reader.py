"""Reads the events of one stream: a record becomes a typed event, or a line in the log.

All wires use it, so that each is as tolerant as the others: only a record whose end cannot be found ends a stream.
docs/scheduler-http-api.md, "Events".
"""

from __future__ import annotations

import logging

from owmesos.mesos import messages
from owmesos.mesos.messages import Event
from owmesos.mesos.wire.address import ServerAddress
from owmesos.mesos.wire.recordio import Record
from owmesos.system.once_per_reason import OncePerReason

_log = logging.getLogger("owmesos.mesos.stream")
DEFAULT_HEARTBEAT = 15.0  # seconds; where SUBSCRIBED does not say
MISSED_HEARTBEATS = 5
_LONGEST_HEARTBEAT = 3600.0  # seconds


class EventReader:
    """For the stream of the master `address`. `silence`: the seconds without data after which the stream is lost."""

    def __init__(self, address: ServerAddress) -> None:
        self.silence = MISSED_HEARTBEATS * DEFAULT_HEARTBEAT
        self.report = OncePerReason(_log, address)
        self._address = address
        self._seen_types: set[str] = set()

    def read(self, record: Record) -> Event | None:
        """The event; None, and a line in the log, if it is of no use."""
        try:
            event = messages.decode_event(record, self.report)
        except messages.MalformedEvent as error:
            self.report(f"skipping an event: {error}")
            return None
        if isinstance(event, messages.UnknownEvent):
            if self._first(event.type):
                _log.warning("%s sends events of an unknown type, which are skipped: %.100s", self._address, event.type)
            return None
        if self._first(type(event).__name__) and (unknown := messages.unknown_in_event(record)):
            _log.info("%s sends fields that are not read: %s", self._address, ", ".join(unknown)[:1000])
        if isinstance(event, messages.Subscribed):
            beat = event.heartbeat_interval_seconds
            self.silence = MISSED_HEARTBEATS * (beat if 0 < beat <= _LONGEST_HEARTBEAT else DEFAULT_HEARTBEAT)
        return event

    def _first(self, kind: str) -> bool:
        seen = kind in self._seen_types
        self._seen_types.add(kind)
        return not seen

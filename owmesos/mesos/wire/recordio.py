"""RecordIO, the framing of Mesos's event streams: `<length in decimal>\\n<that many bytes>`, again and again.

Every byte is examined once, a record that arrives in pieces is collected in one buffer that is returned without a copy,
and a false length takes no more memory than was received. docs/scheduler-http-api.md, "RecordIO response format".
"""

from __future__ import annotations

from collections.abc import Iterator

from owmesos.errors import OwmesosError

RECORD_LIMIT = 256 * 1024 * 1024
"""Bytes; an OFFERS of 200,000 agents has about 160 MB."""

_MAX_DIGITS = 20

Record = bytes | bytearray


class BadRecord(OwmesosError):
    """The stream is not RecordIO, or has a record over the limit. Nothing after it can be read."""


class RecordDecoder:
    """Splits a stream into its records. Cannot be used after a BadRecord."""

    def __init__(self, limit: int = RECORD_LIMIT) -> None:
        self._limit = limit
        self._digits = b""
        self._missing: int | None = None
        self._parts = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """The records that `data` completes; iterate them all before the next call. Raises BadRecord after them."""
        position, end = 0, len(data)
        while position < end:
            if self._missing is None:
                position = self._read_length(data, position)
                if self._missing is None:
                    return
            stop = min(end, position + self._missing)
            if not self._parts and stop - position == self._missing:
                self._missing = None
                yield data[position:stop]
            else:
                self._parts += memoryview(data)[position:stop]
                self._missing -= stop - position
                if not self._missing:
                    record, self._parts, self._missing = self._parts, bytearray(), None
                    yield record
                    del record  # it may be large, and the next data may take long
            position = stop

    def _read_length(self, data: bytes, position: int) -> int:
        """Continues the line with the length; returns where it stopped."""
        stop = data.find(b"\n", position, position + _MAX_DIGITS + 1)
        complete = stop >= 0
        if not complete:
            stop = min(len(data), position + _MAX_DIGITS + 1)
        self._digits += data[position:stop]
        if len(self._digits) > _MAX_DIGITS or not (self._digits.isdigit() or not (self._digits or complete)):
            raise BadRecord(f"a record's length is not a number: {self._digits[: _MAX_DIGITS + 1]!r}")
        if not complete:
            return stop
        length = int(self._digits)
        if length > self._limit:
            raise BadRecord(f"a record of {length} bytes exceeds the limit of {self._limit}")
        self._digits = b""
        self._missing = length
        return stop + 1

"""From the bytes of a container's streams to the log of one activation: up to the sentinels, and no more than allowed.

No I/O here. A container's streams are files that only grow; where the last activation's log ended is kept in
`Positions`. Lines look as OpenWhisk's (DockerToActivationLogStore.scala); their time is when they were read, for the
streams keep none. What the cluster manager wrote among them is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from owmesos.runtimes.framing import SENTINEL

STREAMS: Final = ("stdout", "stderr")
IDLE_LIMIT = 2.0  # seconds without a new byte while the sentinels are missing
LIMIT_PER_MB = 2.0  # seconds for each MB that is allowed
LEAST_MB = 5  # where fewer are allowed, the time is that of so many
LOGS_MISSING = "There was an issue while collecting your logs. Data might be missing."
DEVELOPER_WARNING = "The action did not initialize or run as expected. Log data might be missing."
_MB = 2**20
_SENTINEL = SENTINEL.encode()

Positions = dict[str, int]
"""For each stream the byte that the next activation's log begins with."""


def time_limit(limit: int) -> float:
    """Seconds to collect a log of at most `limit` bytes in."""
    return max(limit // _MB, LEAST_MB) * LIMIT_PER_MB


def log_line(time: str, stream: str, text: str) -> str:
    return f"{time:<30} {stream}: {text.strip()}"


class LogCollection:
    """One activation's log. `positions` move as it reads; `limit` in bytes of both streams together.

    `complete` at the end says whether nothing is missing. With `sentinels` it ends when both streams have had theirs.
    `is_foreign`: see `ContainerStreams`.
    """

    def __init__(
        self, positions: Positions, limit: int, *, sentinels: bool, is_foreign: Callable[[str, bytes], bool]
    ) -> None:
        self._is_foreign = is_foreign
        self.positions = positions
        self.lines: list[str] = []
        self.complete = True
        self._limit = limit
        self._sentinels = sentinels
        self._size = 0
        self._partial = dict.fromkeys(STREAMS, b"")
        self._open = set(STREAMS)

    @property
    def missing(self) -> Sequence[str]:
        """The streams of which more is to be read."""
        return [stream for stream in STREAMS if stream in self._open]

    def offset(self, stream: str) -> int:
        """Where to read on."""
        return self.positions[stream] + len(self._partial[stream])

    def feed(self, stream: str, data: bytes, time: str) -> None:
        """The bytes at `offset`. What follows the sentinel belongs to the next activation."""
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        for line in lines:
            before, found, _ = line.partition(_SENTINEL)
            if (before or not found) and not self._is_foreign(stream, before):
                self._size += len(before) + 1
                if self._size > self._limit:
                    self._truncate(time)
                    return
                self.lines.append(log_line(time, stream, before.decode(errors="replace")))
            self.positions[stream] += len(line) + 1
            if found:
                self._partial[stream] = b""
                self._open.discard(stream)
                return
        self._partial[stream] = rest
        if self._size + len(rest) > self._limit:
            self._truncate(time)

    def end(self, time: str, *, failed: bool) -> None:
        """No more will be read: lines without an end are taken as they are, what is missing is told."""
        for stream in self.missing:
            rest = self._partial[stream]
            self.positions[stream] += len(rest)
            self._partial[stream] = b""
            text = rest.replace(_SENTINEL, b"")
            if text:
                self.lines.append(log_line(time, stream, text.decode(errors="replace")))
        if self.complete and (failed or (self._open and self._sentinels)):
            self.lines.append(log_line(time, "stderr", LOGS_MISSING))
            self.complete = False

    def _truncate(self, time: str) -> None:
        text = f"Logs were truncated because the total bytes size exceeds the limit of {self._limit} bytes."
        self.lines.append(log_line(time, "stderr", text))
        self.complete = False
        self._open.clear()

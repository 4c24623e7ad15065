"""From the bytes of a container's streams to the log of one activation: up to the sentinels, and no more than allowed.

No I/O here. A container's streams are files that only grow. Lines look as OpenWhisk's
(DockerToActivationLogStore.scala); their time is when they were read, for the streams keep none. What the cluster
manager wrote among them is left out.
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
_FRAMES = _MB  # bytes that a log may have besides, with the time and the stream of each line
_SENTINEL = SENTINEL.encode()
_TAIL = 2 * len(_SENTINEL)  # bytes of a line that is dropped, in which a sentinel may begin


def time_limit(limit: int) -> float:
    """Seconds to collect a log of at most `limit` bytes in."""
    return max(limit // _MB, LEAST_MB) * LIMIT_PER_MB


def log_line(time: str, stream: str, text: str) -> str:
    return _frame(time, stream) + text.strip()


def _frame(time: str, stream: str) -> str:
    return f"{time:<30} {stream}: "


def _begun(text: bytes) -> int:
    """How many bytes at its end may begin a sentinel."""
    return max(n for n in range(len(_SENTINEL)) if text.endswith(_SENTINEL[:n]))


class LogCollection:
    """One activation's log. `limit` in bytes of both streams together, and with the time and the stream of each line
    1 MB more: a record of ten million empty lines would have 400 MB. (OpenWhisk counts both, as Docker wrote them.)

    `complete` at the end says whether nothing is missing. With `sentinels` it ends when both streams have had theirs.
    One that exceeds its limit ends at once; what is fed to it from then on is dropped, up to the sentinels.
    `is_foreign`: see `ContainerStreams`.
    """

    def __init__(self, limit: int, *, sentinels: bool, is_foreign: Callable[[str, bytes], bool]) -> None:
        self._is_foreign = is_foreign
        self.lines: list[str] = []
        self.complete = True
        self._limit = limit
        self._sentinels = sentinels
        self._size = 0
        self._frames = 0
        self._partial = dict.fromkeys(STREAMS, b"")
        self._open = set(STREAMS)
        self._truncated = False

    @property
    def missing(self) -> Sequence[str]:
        """The streams of which more is to be read for it."""
        return () if self._truncated else [stream for stream in STREAMS if stream in self._open]

    def takes(self, stream: str) -> bool:
        """Whether the stream's next bytes are still its own."""
        return stream in self._open

    @property
    def takes_any(self) -> bool:
        return bool(self._open)

    def feed(self, stream: str, data: bytes, time: str) -> bytes:
        """The next bytes. Returns those after the sentinel, which belong to the next activation."""
        data = self._partial[stream] + data
        begin = data.find(_SENTINEL) if self._truncated else 0  # nothing before it is wanted
        if begin < 0:
            self._partial[stream] = data[-_TAIL:]
            return b""
        while (end := data.find(b"\n", begin)) >= 0:
            before, found, _ = data[begin:end].partition(_SENTINEL)
            begin = end + 1
            if before or not found:
                self._take(stream, before, time)
            if found:
                self._partial[stream] = b""
                self._open.discard(stream)
                return data[begin:]
        rest, found, _ = data[begin:].partition(_SENTINEL)  # what follows it on its line is left out
        over = self._size + len(rest) - self._limit
        if over > 0 and (found or over > _begun(rest)):
            self._truncate(time)
        rest += found
        self._partial[stream] = rest[-_TAIL:] if self._truncated else rest
        return b""

    def _take(self, stream: str, line: bytes, time: str) -> None:
        if self._truncated or self._is_foreign(stream, line):
            return
        self._size += len(line) + 1
        self._frames += len(_frame(time, stream))
        if self._size > self._limit or self._size + self._frames > self._limit + _FRAMES:
            self._truncate(time)
        else:
            self.lines.append(log_line(time, stream, line.decode(errors="replace")))

    def end(self, time: str, *, failed: bool) -> None:
        """No more will be read: lines without an end are taken as they are, what is missing is told."""
        for stream in self.missing:
            text = self._partial.pop(stream).replace(_SENTINEL, b"")
            if text:
                self.lines.append(log_line(time, stream, text.decode(errors="replace")))
        if self.complete and (failed or (self.missing and self._sentinels)):
            self.lines.append(log_line(time, "stderr", LOGS_MISSING))
            self.complete = False
        if not self._truncated:
            self._open.clear()

    def _truncate(self, time: str) -> None:
        if self._truncated:
            return
        text = f"Logs were truncated because the total bytes size exceeds the limit of {self._limit} bytes."
        self.lines.append(log_line(time, "stderr", text))
        self.complete = False
        self._truncated = True

"""A pod's log as the two streams of a container.

The API server gives stdout and stderr as one, and no part of it but `sinceTime`, to the second. So each reading asks
for the lines from a second before the last on and leaves out those that it has. All is stdout; stderr has nothing but
its sentinels, so that an activation's log ends where it does.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Protocol

from owmesos.core.container_factory import StreamAway, StreamMissing, StreamPart, StreamRefused, StreamUnreadable
from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.pod_template import ACTION
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.runtimes.framing import SENTINEL

KEPT = 2**20
"""Bytes before a reader's position that are kept for another look; for what is older the whole log is asked for."""
SECOND_SENTINEL = 1.0
"""Seconds after a sentinel until the log ends without the other stream's."""
_SLACK = timedelta(seconds=1)
_TIME = re.compile(rb"(?P<second>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8})(?:\.[0-9]+)?(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})")
_SENTINEL = SENTINEL.encode()
_END = _SENTINEL + b"\n"


class LogApi(Protocol):
    """Raises ApiRequestFailed."""

    async def logs(
        self, namespace: str, name: str, *, container: str | None, since: datetime | None, timestamps: bool
    ) -> bytes: ...


class PodStreams:
    """The `ContainerStreams` of one pod. Offsets count from the first byte that this object has read."""

    remain = False

    def __init__(self, api: LogApi, namespace: str, pod: str, clock: Callable[[], float] | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._pod = pod
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._turn = asyncio.Lock()
        self._begin_anew()
        self._pairs = True  # whether both streams have sentinels

    def __str__(self) -> str:
        return f"pod {self._namespace}/{self._pod}"

    async def read(self, stream: str, offset: int) -> StreamPart:
        async with self._turn:
            if stream == "stderr":
                return StreamPart(len(self._stderr), self._stderr[offset:] if offset >= 0 else b"")
            if 0 <= offset < self._dropped:
                self._begin_anew()
            await self._read_on()
            size = self._dropped + len(self._stdout)
            if offset < 0:
                return StreamPart(size, b"")
            found = bytes(self._stdout[max(0, offset - self._dropped) :])
            surplus = min(offset, size) - KEPT - self._dropped
            if surplus > 0:
                del self._stdout[:surplus]
                self._dropped += surplus
            return StreamPart(size, found)

    def is_foreign(self, stream: str, line: bytes) -> bool:
        return False

    def _begin_anew(self) -> None:
        self._stdout, self._stderr = bytearray(), b""
        self._dropped = 0  # bytes that are not kept
        self._since: datetime | None = None  # a second before the last line's: lines may be a little out of order
        self._known: dict[datetime, Counter[bytes]] = {}  # the lines from then on, with their times, by second
        self._held_since: float | None = None  # when the first of two sentinels was seen

    async def _read_on(self) -> None:
        """Raises StreamUnreadable."""
        try:
            data = await self._api.logs(
                self._namespace, self._pod, container=ACTION, since=self._since, timestamps=True
            )
        except ApiRequestFailed as error:
            raise self._unreadable(error.failure) from None
        lines = data.split(b"\n")
        lines.pop()  # of one that is still written comes the rest with its end
        known: Counter[bytes] = sum(self._known.values(), Counter())
        for line in lines:
            if known[line]:
                known[line] -= 1
            else:
                self._take(line)
        if self._since is not None:
            self._known = {second: lines for second, lines in self._known.items() if second >= self._since}
        held = self._held_since
        if held is not None and self._clock() - held >= SECOND_SENTINEL:
            self._pairs = False
            self._end_log()

    def _take(self, line: bytes) -> None:
        time, _, text = line.partition(b" ")
        second = _second_of(time)
        if second is not None:
            since = second - _SLACK
            self._since = since if self._since is None else max(self._since, since)
            self._known.setdefault(second, Counter())[line] += 1
        before, found, _ = text.partition(_SENTINEL)
        if before or not found:
            self._stdout += before + b"\n"
        if found and self._pairs and self._held_since is None:
            self._held_since = self._clock()
        elif found:
            self._end_log()

    def _end_log(self) -> None:
        self._held_since = None
        self._stdout += _END
        self._stderr += _END

    def _unreadable(self, failure: ApiFailure) -> StreamUnreadable:
        text = f"the log of {self} cannot be read: {failure.message}"
        if failure.status in (401, 403):
            return StreamRefused(text, self._namespace)
        if failure.status in (400, 404):  # 400: its container has not been started
            return StreamMissing(text)
        return StreamAway(text) if failure.status == 0 or failure.status >= 429 else StreamUnreadable(text)


def _second_of(time: bytes) -> datetime | None:
    """Parse `2026-01-02T03:04:05.123456789Z`, cut to the second; None if it is not one. A node may use its own zone."""
    match = _TIME.fullmatch(time)
    if match is None:
        return None
    zone = b"+00:00" if match["zone"] == b"Z" else match["zone"]
    try:
        return datetime.fromisoformat((match["second"] + zone).decode()).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None

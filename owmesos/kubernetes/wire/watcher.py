"""Lists one resource, watches it from there, and goes on wherever the watch ends. Reads and decodes, and nothing else.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes. The API server cuts a watch
that is read too slowly, or when it restarts, without a word; from the last resourceVersion nothing is lost. A bookmark
each minute tells that it is alive, and moves that version on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NoReturn

import aiohttp

from owmesos.errors import OwmesosError
from owmesos.kubernetes.events import ApiFailure, KubernetesEvent
from owmesos.kubernetes.wire.api_client import list_resource
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed, retry_after_of, unanswered
from owmesos.kubernetes.wire.api_session import CONNECT_TIMEOUT, ApiSession
from owmesos.kubernetes.wire.decoding import GONE, Bookmark, NotReadable, Report, ResourceKind, T, WatchError
from owmesos.system.retry_pause import RetryPause

_SHORT = 1.0  # seconds; a watch that ends within them is not resumed without a pause
_LINE_LIMIT = 64 * 1024 * 1024  # bytes; etcd's objects have at most 1.5 MB
Deliver = Callable[[Sequence[KubernetesEvent]], None]


@dataclass(frozen=True)
class WatchTimes:
    """All in seconds.

    silence:  without a byte, after which a watch is given up; a bookmark comes each minute
    patience: for a watch that ended to be resumed; after it the cluster is lost
    session:  that the API server is asked to keep a watch, at most; up to a tenth less, so that not all end together
    """

    silence: float = 90.0
    patience: float = 5.0
    session: float = 300.0
    pause: Callable[[], RetryPause] = field(default=lambda: RetryPause(0.1, 15.0, 30.0))


class WatchLost(OwmesosError):
    """What is known of the resource is old by now. `retry_after`: seconds, if the API server said so."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class _Expired(Exception):
    """The last resourceVersion is no longer remembered: 410, in the answer or in the watch."""


class Watcher(Generic[T]):
    """Watches one kind of resource. `deliver` gets what was read, in batches, and must not wait."""

    def __init__(
        self,
        session: ApiSession,
        kind: ResourceKind[T],
        deliver: Deliver,
        report: Report,
        *,
        times: WatchTimes | None = None,
    ) -> None:
        self._session = session
        self._kind: ResourceKind[T] = kind
        self._deliver = deliver
        self._report = report
        self._times = times or WatchTimes()
        self._version = ""
        self._opened = 0  # watches that the API server began

    async def run(self) -> NoReturn:
        """Raises WatchLost."""
        pause = self._times.pause()
        failing: float | None = None  # since when
        await self._list()
        while True:
            begun, opened, wait = time.monotonic(), self._opened, 0.0
            try:
                await self._watch()
                failing = None
            except _Expired:
                await self._list()
                failing = None
            except ApiRequestFailed as error:
                now = time.monotonic()
                if self._opened != opened:
                    failing = now
                elif failing is None:
                    failing = begun
                wait = error.failure.retry_after or 0.0
                if now + wait - failing > self._times.patience:
                    raise WatchLost(str(error), error.failure.retry_after) from None
            lived = time.monotonic() - begun
            pause.lived(lived)
            await asyncio.sleep(max(wait, pause.next()) if failing is not None or lived < _SHORT else 0.0)

    async def _list(self) -> None:
        try:
            listed = await list_resource(self._session, self._kind, self._report)
        except ApiRequestFailed as error:
            raise WatchLost(str(error), error.failure.retry_after) from None
        self._version = listed.resource_version
        self._deliver([self._kind.listed(listed.items)])

    async def _watch(self) -> None:
        """Returns when the API server ends it. Raises _Expired, and ApiRequestFailed when it breaks."""
        times = self._times
        seconds = max(1, round(times.session * (1.0 - 0.1 * random.random())))
        parameters = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", self._version),
            ("timeoutSeconds", str(seconds)),
        ]
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=times.silence)
        try:
            async with self._session.stream("GET", self._kind.path, parameters=parameters, limits=limits) as response:
                self._opened += 1
                async for lines in _lines(response.content):
                    self._read(lines)
        except ApiRequestFailed as error:
            if error.failure.status == GONE:
                raise _Expired from None
            raise
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise ApiRequestFailed(unanswered(error, self._session.access)) from None

    def _read(self, lines: Sequence[bytes]) -> None:
        """What can be read before a line that ends the watch is delivered, too."""
        events: list[KubernetesEvent] = []
        try:
            for line in lines:
                if line:
                    self._read_line(line, events)
        finally:
            if events:
                self._deliver(events)

    def _read_line(self, line: bytes, events: list[KubernetesEvent]) -> None:
        kind = self._kind
        try:
            change = kind.change(line, self._report)
        except NotReadable as error:
            self._report(str(error))
            return
        if change is None:
            return
        if isinstance(change, WatchError):
            raise _Expired if change.status.code == GONE else _ended_by(change)
        if isinstance(change, Bookmark):
            self._version = change.resource_version or self._version
            return
        found = change.object
        self._version = found.metadata.resource_version or self._version
        events.append(kind.deleted(found) if change.type == "DELETED" else kind.seen(found))


def _ended_by(change: WatchError) -> ApiRequestFailed:
    status = change.status
    pause = retry_after_of(None, status)
    return ApiRequestFailed(ApiFailure(status.code, status.reason, status.message, certain=True, retry_after=pause))


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[list[bytes]]:
    """Whole lines, as many as came at once. Raises aiohttp.ClientError for one that has no end."""
    rest = b""
    async for data in content.iter_any():
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        if len(rest) > _LINE_LIMIT:
            raise aiohttp.ClientPayloadError(f"a line of more than {_LINE_LIMIT} bytes")
        yield lines

"""The logs of activations, from their container's own streams.

The Mesos integrations before this one gave a fixed sentence in the place of logs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

from owmesos.core.container_factory import (
    ContainerStreams,
    StreamAway,
    StreamMissing,
    StreamRefused,
    StreamUnreadable,
)
from owmesos.openwhisk.container.log_lines import (
    DEVELOPER_WARNING,
    IDLE_LIMIT,
    STREAMS,
    LogCollection,
    log_line,
    time_limit,
)

_log = logging.getLogger("owmesos.logs")
PATIENCE = 8.0  # seconds; a node of Mesos that was restarted has its containers back after 6.5 (measured)
_AGAIN = 0.25  # seconds between requests meanwhile
POLLS = (0.005, 0.1)  # seconds; the first pause and the longest, while the sentinels are not there


class CollectedLogs(NamedTuple):
    """`complete` is False where something is or may be missing."""

    lines: list[str]
    complete: bool


class ContainerLogs:
    """The logs of one container. Its activations take turns; each log begins where the last one ended.

    `refusing` are the nodes whose refusal was logged, shared by the containers' logs.
    """

    def __init__(
        self,
        streams: ContainerStreams,
        *,
        idle_limit: float = IDLE_LIMIT,
        patience: float = PATIENCE,
        refusing: set[str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._streams = streams
        self._idle_limit = idle_limit
        self._patience = patience
        self._refusing = refusing if refusing is not None else set()
        self._now = now
        self._positions = dict.fromkeys(STREAMS, 0)
        self._turn = asyncio.Lock()

    async def skip_beginning(self) -> None:
        """What was written before the first run is nobody's log."""
        async with self._turn:
            try:
                sizes = await asyncio.gather(*(self._streams.read(stream, -1) for stream in STREAMS))
            except StreamUnreadable as error:
                self._say(logging.INFO, "the logs of this container include what it wrote before its first run", error)
            else:
                self._positions = {stream: found.size for stream, found in zip(STREAMS, sizes, strict=True)}

    async def is_away(self, timeout: float) -> bool:
        """Whether the container's node does not answer, or not within `timeout` seconds."""
        try:
            await asyncio.wait_for(self._streams.read(STREAMS[0], -1), timeout)
        except asyncio.TimeoutError:
            return True
        except StreamUnreadable as error:
            return isinstance(error, StreamAway) and not isinstance(error, StreamMissing)
        return False

    async def collect(self, limit: int, *, sentinels: bool, developer_error: bool = False) -> CollectedLogs:
        """One activation's log: up to the sentinels, or without them everything so far. `limit` in bytes."""
        async with self._turn:
            collection = LogCollection(self._positions, limit, sentinels=sentinels, is_foreign=self._streams.is_foreign)
            failed = False
            try:
                await asyncio.wait_for(self._collect(collection, sentinels=sentinels), time_limit(limit))
            except asyncio.TimeoutError:
                failed = True
                _log.warning("the log in %s did not end within %g s", self._streams, time_limit(limit))
            except StreamUnreadable as error:
                failed = True
                self._say(logging.WARNING, "a log cannot be read", error)
            collection.end(self._time(), failed=failed)
            if developer_error:
                collection.lines.append(log_line(self._time(), "stderr", DEVELOPER_WARNING))
            return CollectedLogs(collection.lines, collection.complete)

    async def _collect(self, collection: LogCollection, *, sentinels: bool) -> None:
        loop = asyncio.get_running_loop()
        heard, pause = loop.time(), POLLS[0]
        patient_until = heard + self._patience
        while collection.missing:
            streams = collection.missing
            try:
                found = await asyncio.gather(
                    *(self._streams.read(stream, collection.offset(stream)) for stream in streams)
                )
            except StreamAway:
                if loop.time() >= patient_until:
                    raise
                await asyncio.sleep(_AGAIN)
                heard = loop.time()
                continue
            for stream, part in zip(streams, found, strict=True):
                collection.feed(stream, part.data, self._time())
            if any(part.data for part in found):
                heard, pause = loop.time(), POLLS[0]
                continue
            if not sentinels or loop.time() - heard >= self._idle_limit:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, POLLS[1])

    def _say(self, level: int, what: str, error: StreamUnreadable) -> None:
        """A node's refusal once, for it is the same each time."""
        if not isinstance(error, StreamRefused):
            _log.log(level, "%s: %s", what, error)
        elif error.node not in self._refusing:
            self._refusing.add(error.node)
            _log.error(
                "a node refuses to give logs, so its containers stop after each run: %s, or set the actions' log limit"
                " to 0",
                error,
            )

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""The logs of activations, from their container's own streams.

The Mesos integrations before this one gave a fixed sentence in the place of logs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
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
from owmesos.system.tasks import within

_log = logging.getLogger("owmesos.logs")
PATIENCE = 8.0  # seconds; a node of Mesos that was restarted has its containers back after 6.5 (measured)
_AGAIN = 0.25  # seconds between requests meanwhile
POLLS = (0.005, 0.1)  # seconds; the first pause and the longest, while the sentinels are not there
REST = (0.1, 1.0)  # seconds from one reading to the next at leisure, at least and at most
BUSY = 4.0  # times as long as the last reading took, within these: a node that is slow is asked less often


class CollectedLogs(NamedTuple):
    """`complete` is False where something is or may be missing."""

    lines: list[str]
    complete: bool


class ContainerLogs:
    """The logs of one container. Its activations take turns; each log begins where the last one ended. What one reading
    brings beyond that is kept for the next activations.

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
        self._read_to = dict.fromkeys(STREAMS, 0)  # bytes
        self._ahead = dict.fromkeys(STREAMS, b"")  # what was read and is of later activations
        self._cut: list[LogCollection] = []  # that were too long: the rest of them is still in the streams
        self._astray = False  # a sentinel is missing, so nobody knows whose the next one is
        self._rests_until = 0.0  # on the loop's clock
        self._turn = asyncio.Lock()

    async def skip_beginning(self) -> None:
        """What was written before the first run is nobody's log."""
        async with self._turn:
            try:
                sizes = await asyncio.gather(*(self._streams.read(stream, -1) for stream in STREAMS))
            except StreamUnreadable as error:
                self._say(logging.INFO, "the logs of this container include what it wrote before its first run", error)
            else:
                self._read_to = {stream: found.size for stream, found in zip(STREAMS, sizes, strict=True)}

    async def is_away(self, timeout: float) -> bool:
        """Whether the container's node does not answer, or not within `timeout` seconds."""
        try:
            await within(self._streams.read(STREAMS[0], -1), timeout)
        except asyncio.TimeoutError:
            return True
        except StreamUnreadable as error:
            return isinstance(error, StreamAway) and not isinstance(error, StreamMissing)
        return False

    @property
    def remain(self) -> bool:
        """See `ContainerStreams`."""
        return self._streams.remain

    async def collect(
        self, limit: int, *, sentinels: bool, developer_error: bool = False, at_leisure: bool = False
    ) -> CollectedLogs:
        """One activation's log: up to the sentinels, or without them everything so far. `limit` in bytes.

        `at_leisure`: nobody waits for it but who called the action, so that one reading may bring several logs."""
        async with self._turn:
            collection = LogCollection(limit, sentinels=sentinels, is_foreign=self._streams.is_foreign)
            failed = self._astray and sentinels
            self._hand_out(collection, self._ahead)
            if at_leisure and collection.missing:
                await asyncio.sleep(self._rests_until - asyncio.get_running_loop().time())
            try:
                if collection.missing:  # else an earlier reading brought all of it
                    await within(self._collect(collection, sentinels=sentinels), time_limit(limit))
            except asyncio.TimeoutError:
                failed = True
                _log.warning("the log in %s did not end within %g s", self._streams, time_limit(limit))
            except StreamUnreadable as error:
                failed = True
                self._say(logging.WARNING, "a log cannot be read", error)
            self._astray = self._astray or (sentinels and bool(collection.missing))
            collection.end(self._time(), failed=failed)
            if collection.takes_any:
                self._cut.append(collection)
            if developer_error:
                collection.lines.append(log_line(self._time(), "stderr", DEVELOPER_WARNING))
            return CollectedLogs(collection.lines, collection.complete)

    async def _collect(self, collection: LogCollection, *, sentinels: bool) -> None:
        loop = asyncio.get_running_loop()
        heard, pause = loop.time(), POLLS[0]
        patient_until = heard + self._patience
        while collection.missing:
            try:
                found = await self._read(collection.missing)
            except StreamAway:
                if loop.time() >= patient_until:
                    raise
                await asyncio.sleep(_AGAIN)
                heard = loop.time()
                continue
            self._hand_out(collection, found)
            if any(found.values()):
                heard, pause = loop.time(), POLLS[0]
                continue
            if not sentinels or loop.time() - heard >= self._idle_limit:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, POLLS[1])

    async def _read(self, streams: Sequence[str]) -> dict[str, bytes]:
        """What follows in each. Raises StreamUnreadable."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        parts = await asyncio.gather(*(self._streams.read(stream, self._read_to[stream]) for stream in streams))
        ended = loop.time()
        self._rests_until = ended + min(max(REST[0], BUSY * (ended - begun)), REST[1])
        found = {stream: part.data for stream, part in zip(streams, parts, strict=True)}
        for stream, data in found.items():
            self._read_to[stream] += len(data)
        return found

    def _hand_out(self, collection: LogCollection, found: Mapping[str, bytes]) -> None:
        """What was read, to those whose it is, in order; the rest is of those that come after `collection`."""
        time = self._time()
        for stream, data in list(found.items()):
            rest = data
            for each in (*self._cut, collection):
                if rest and each.takes(stream):
                    rest = each.feed(stream, rest, time)
            self._ahead[stream] = rest
        self._cut = [each for each in self._cut if each.takes_any]

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

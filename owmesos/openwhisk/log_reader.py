"""Reads a container's streams from its agent: the task's own stdout and stderr, through the agent's files API.

The Mesos integrations before this one gave a fixed sentence in the place of logs. `/frameworks/…/executors/…/runs/
latest/stdout` is the same on every agent, wherever its work directory is, and stays after the task's end; a call gives
64 KiB at most (docs/operator-http-api.md, READ_FILE).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

import aiohttp
import msgspec

from owmesos.errors import OwmesosError
from owmesos.openwhisk.log_lines import DEVELOPER_WARNING, IDLE_LIMIT, STREAMS, LogCollection, log_line, time_limit

_log = logging.getLogger("owmesos.logs")
CHUNK = 64 * 1024
POLLS = (0.005, 0.1)  # seconds; the first pause and the longest, while the sentinels are not there
_ADVICE = "let agents know the framework's principal, or set the actions' log limit to 0"
_TIMEOUT = aiohttp.ClientTimeout(total=10.0)


class LogsUnreadable(OwmesosError):
    """The agent does not give the file."""


class AgentRefuses(LogsUnreadable):
    """It gives us no file at all: 401 or 403."""


class CollectedLogs(NamedTuple):
    """`complete` is False where something is or may be missing."""

    lines: list[str]
    complete: bool


class _ReadFile(msgspec.Struct):
    size: int
    data: bytes = b""  # base64 in JSON


class _Answer(msgspec.Struct):
    read_file: _ReadFile


_answer = msgspec.json.Decoder(_Answer)
_encode = msgspec.json.Encoder().encode


class AgentFiles:
    """The files API of all agents, over one session, which is closed with it. `secure`: agents speak TLS."""

    def __init__(self, session: aiohttp.ClientSession, *, secure: bool = False) -> None:
        self._session = session
        self._secure = secure
        self._refusing: set[str] = set()

    async def close(self) -> None:
        await self._session.close()

    def task_logs(self, hostname: str, address: str, framework_id: str, task_id: str) -> TaskLogs:
        """`address` is the agent's `host:port`. By TLS it is asked under `hostname`, which its certificate has."""
        port = address.rpartition(":")[2]
        agent = f"https://{hostname}:{port}" if self._secure else f"http://{address}"
        return TaskLogs(self._session, agent, framework_id, task_id, refusing=self._refusing)


class TaskLogs:
    """One task's streams. Activations of one container take turns, each begins where the last one's log ended.

    `agent` is the agent's address as a URL. `session` and what it authenticates with are the owner's. `refusing` has
    the agents that have refused; who shares it tells of each once.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        agent: str,
        framework_id: str,
        task_id: str,
        *,
        refusing: set[str] | None = None,
        idle_limit: float = IDLE_LIMIT,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._session = session
        self._url = f"{agent.rstrip('/')}/api/v1"
        self._folder = f"/frameworks/{framework_id}/executors/{task_id}/runs/latest"
        self._refusing = refusing if refusing is not None else set()
        self._idle_limit = idle_limit
        self._now = now
        self._positions = dict.fromkeys(STREAMS, 0)
        self._turn = asyncio.Lock()

    async def skip_beginning(self) -> None:
        """What the executor wrote before the first run is nobody's log."""
        async with self._turn:
            try:
                sizes = await asyncio.gather(*(self._read(stream, -1) for stream in STREAMS))
            except LogsUnreadable as error:
                self._say(logging.INFO, "logs of this container begin at its beginning", error)
            else:
                self._positions = {stream: found.size for stream, found in zip(STREAMS, sizes, strict=True)}

    async def collect(self, limit: int, *, sentinels: bool, developer_error: bool = False) -> CollectedLogs:
        """One activation's log: up to the sentinels, or without them what there is. `limit` in bytes."""
        async with self._turn:
            collection = LogCollection(self._positions, limit, sentinels=sentinels)
            failed = False
            try:
                await asyncio.wait_for(self._collect(collection, sentinels=sentinels), time_limit(limit))
            except asyncio.TimeoutError:
                failed = True
                _log.warning("%s did not end within %g s", self._folder, time_limit(limit))
            except LogsUnreadable as error:
                failed = True
                self._say(logging.WARNING, "a log is missing", error)
            collection.end(self._time(), failed=failed)
            if developer_error:
                collection.lines.append(log_line(self._time(), "stderr", DEVELOPER_WARNING))
            return CollectedLogs(collection.lines, collection.complete)

    async def _collect(self, collection: LogCollection, *, sentinels: bool) -> None:
        loop = asyncio.get_running_loop()
        heard, pause = loop.time(), POLLS[0]
        while collection.missing:
            streams = collection.missing
            found = await asyncio.gather(*(self._read(stream, collection.offset(stream)) for stream in streams))
            for stream, part in zip(streams, found, strict=True):
                collection.feed(stream, part.data, self._time())
            if any(part.data for part in found):
                heard, pause = loop.time(), POLLS[0]
                continue
            if not sentinels or loop.time() - heard >= self._idle_limit:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, POLLS[1])

    def _say(self, level: int, what: str, error: LogsUnreadable) -> None:
        """An agent's refusal once, for it is the same each time."""
        if not isinstance(error, AgentRefuses):
            _log.log(level, "%s: %s", what, error)
        elif self._url not in self._refusing:
            self._refusing.add(self._url)
            _log.error("no log can be read there, and each container is stopped after its run: %s; %s", error, _ADVICE)

    async def _read(self, stream: str, offset: int) -> _ReadFile:
        """Raises LogsUnreadable."""
        path = f"{self._folder}/{stream}"
        call = {"type": "READ_FILE", "read_file": {"path": path, "offset": offset, "length": CHUNK}}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            async with self._session.post(self._url, data=_encode(call), headers=headers, timeout=_TIMEOUT) as response:
                body = await response.read()
                if response.status != 200:
                    said = " ".join(body.decode(errors="replace").split())[:200]
                    kind = AgentRefuses if response.status in (401, 403) else LogsUnreadable
                    raise kind(f"{self._url} does not give {path} ({response.status}): {said}")
            return _answer.decode(body).read_file
        except (aiohttp.ClientError, asyncio.TimeoutError, msgspec.MsgspecError) as error:
            raise LogsUnreadable(f"{self._url} does not give {path}: {str(error) or type(error).__name__}") from None

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

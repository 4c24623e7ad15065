"""A task's stdout and stderr, through its agent's files API.

`/frameworks/…/executors/…/runs/latest/stdout` is the same on every agent, whatever its work directory, and remains
after the task's end; a call returns at most 64 KiB (docs/operator-http-api.md, READ_FILE).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

import aiohttp
import msgspec

from owmesos.core.container_factory import StreamAway, StreamMissing, StreamPart, StreamRefused, StreamUnreadable
from owmesos.mesos.wire.access import AUTHORITY
from owmesos.system.http_answers import body_of, described

CHUNK = 64 * 1024
_MOST = 4 * CHUNK  # bytes of an answer: base64 in JSON, whose slashes may be escaped
_TAIL = 4096  # bytes
_AWAY = {404: StreamMissing, 503: StreamAway}  # also while it recovers
_TIMEOUT = aiohttp.ClientTimeout(total=10.0)
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_EXECUTORS = re.compile(
    rb"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ "
    rb"(exec|executor|docker|checker|checker_process|health_checker|process)\.cpp:\d+\] "
)
_NOT_GIVEN = (
    aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError, msgspec.MsgspecError, UnicodeDecodeError,
    RecursionError,
)  # fmt: skip
_BROKE = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)


class _ReadFile(msgspec.Struct):
    size: int
    data: bytes = b""  # base64 in JSON


class _FileAnswer(msgspec.Struct):
    read_file: _ReadFile


_answer = msgspec.json.Decoder(_FileAnswer)
_encode = msgspec.json.Encoder().encode


def is_executors(line: bytes) -> bool:
    """Whether Mesos's executor wrote the line into its task's stderr (`Received ACKNOWLEDGED event`)."""
    return _EXECUTORS.match(line) is not None


class AgentFiles:
    """The files API of all agents, on one session, which is opened when needed. `secure`: agents use TLS."""

    def __init__(self, open_session: Callable[[], aiohttp.ClientSession], *, secure: bool = False) -> None:
        self._open_session = open_session
        self._session: aiohttp.ClientSession | None = None
        self._secure = secure

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def of_task(self, hostname: str, address: str, framework_id: str, executor_id: str) -> TaskFiles:
        """`address` is the agent's `host:port`; with TLS, `hostname` is used instead, which its certificate contains.
        A command's executor has its task's id."""
        port = address.rpartition(":")[2]
        agent = f"https://{hostname}:{port}" if self._secure else f"http://{address}"
        self._session = self._session or self._open_session()
        return TaskFiles(self._session, agent, framework_id, executor_id)


class TaskFiles:
    """One task's streams (`ContainerStreams`). `agent` is the agent's URL. The caller closes `session`."""

    remain = True

    def __init__(self, session: aiohttp.ClientSession, agent: str, framework_id: str, executor_id: str) -> None:
        self._session = session
        self._url = f"{agent.rstrip('/')}/api/v1"
        self._folder = f"/frameworks/{framework_id}/executors/{executor_id}/runs/latest"

    def __str__(self) -> str:
        return self._folder

    @staticmethod
    def is_foreign(stream: str, line: bytes) -> bool:
        return stream == "stderr" and is_executors(line)

    async def tail(self, stream: str) -> str:
        """The last 4 KB. Raises StreamUnreadable."""
        size = (await self.read(stream, -1)).size
        return (await self.read(stream, max(0, size - _TAIL))).data.decode(errors="replace")

    async def read(self, stream: str, offset: int) -> StreamPart:
        """At most 64 KiB. Raises StreamUnreadable."""
        path = f"{self._folder}/{stream}"
        what = f"cannot read {path} from {self._url}"
        call = {"type": "READ_FILE", "read_file": {"path": path, "offset": offset, "length": CHUNK}}
        try:
            try:
                return await self._ask(call, path)
            except _BROKE:  # the agent may have closed an idle connection; reading again does no harm
                return await self._ask(call, path)
        except _BROKE as error:
            raise StreamAway(f"{what}: {described(error, AUTHORITY)}") from None
        except _NOT_GIVEN as error:
            raise StreamUnreadable(f"{what}: {str(error) or type(error).__name__}") from None
        except RuntimeError as error:  # aiohttp's, for a session that was closed meanwhile
            if not self._session.closed:
                raise
            raise StreamUnreadable(f"reading {path} from {self._url} was cancelled: the process stops") from error

    async def _ask(self, call: Mapping[str, object], path: str) -> StreamPart:
        """Raises StreamUnreadable, or one of _NOT_GIVEN."""
        async with self._session.post(
            self._url, data=_encode(call), headers=_HEADERS, timeout=_TIMEOUT, allow_redirects=False
        ) as response:
            body = await body_of(response, _MOST + 1)
            if len(body) > _MOST:
                # Another process may listen where the agent did.
                response.close()
                raise StreamUnreadable(
                    f"the answer of {self._url} is larger than {_MOST} bytes: it is not a Mesos agent"
                )
            if response.status != 200:
                raise self._error(path, response.status, " ".join(body.decode(errors="replace").split())[:200])
        found = _answer.decode(body).read_file
        return StreamPart(found.size, found.data)

    def _error(self, path: str, status: int, said: str) -> StreamUnreadable:
        text = f"cannot read {path} from {self._url} ({status}): {said}"
        if status in (401, 403):
            return StreamRefused(f"{text}; add the framework's principal to the agents' credentials", self._url)
        return _AWAY.get(status, StreamUnreadable)(text)

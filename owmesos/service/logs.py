"""`/api/v1/logs/ID`: what a launch, a task, a container or an activation has written, read from its sandbox on demand.

Nothing is kept here: the agent has the files, also for some time after the task's end. The answer begins when its first
part is known, so that a failure is an ordinary error; if the agent fails later, the connection is cut, and a repeated
request is answered with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol, cast, get_args

from aiohttp import web

from owmesos.core.pool.pool import Pool
from owmesos.errors import InvalidInput
from owmesos.service.admin_bodies import Overloaded, cut_off_at, streamed, write
from owmesos.service.admin_requests import STOPPING, AdminUnavailable, flag, number, one, only
from owmesos.service.container_log import INTERVAL, ContainerLog, Stream
from owmesos.service.errors import LogMissing, LogUnreadable, NotKnown, RecordUnreadable
from owmesos.service.openapi import FLAG, ApiOperation, whole
from owmesos.system.tasks import is_set_within

MAX_LOGS = 64
"""Most logs that are read at a time."""
MAX_TAIL = 1_000_000  # lines
_ANYTHING = "launch, task, container or activation"
_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class StoredLogs(Protocol):
    """Has the logs of activations that have ended."""

    async def whole_id(self, name: str) -> str | None:
        """The id of an activation, by it or a unique beginning, whether it has ended or not; None if it is unknown.
        Raises Ambiguous."""
        ...

    async def stored_log(self, activation_id: str) -> list[str]:
        """Its lines, each with its time and stream. Raises NotKnown."""
        ...


class Logs(Protocol):
    """Finds the logs of what runs on a cluster."""

    async def log_of(self, name: str, stream: Stream, live: Callable[[], bool] | None = None) -> ContainerLog:
        """The log of a launch, a task or a container. `live`: whether more may come, if that is not for it to say.

        Raises NotKnown, LogMissing and LogUnreadable.
        """
        ...


class LogRoutes:
    """The logs of one process's launches and activations."""

    def __init__(self, logs: Logs, pool: Pool | None, stored: StoredLogs | None) -> None:
        """`stored` has the logs of activations that have ended."""
        self._logs = logs
        self._pool = pool
        self._stored = stored
        self._open = 0

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/logs/{id}", self.logs, allow_head=False)

    @ApiOperation(
        "What a launch, a task, a container or an activation has written",
        str,
        query={
            "stream": {"type": "string", "enum": list(get_args(Stream))},
            "tail": whole(0, MAX_TAIL),
            "follow": FLAG,
        },
        media="text/plain",
    )
    async def logs(self, request: web.Request) -> web.StreamResponse:
        """Raises NotKnown, LogMissing, LogUnreadable, Overloaded and InvalidInput."""
        only(request, "stream", "tail", "follow")
        stream = one(request, "stream", "stdout")
        if stream not in get_args(Stream):
            raise InvalidInput(f"stream must be stdout or stderr, not {stream[:100]!r}")
        tail = number(request, "tail", 0, 0, MAX_TAIL) if "tail" in request.query else None
        follow = flag(request, "follow")
        found = await self._find(request.match_info["id"], cast(Stream, stream))
        if not isinstance(found, ContainerLog):
            lines = [line for line in found if stream == "stdout" or line.split(maxsplit=2)[1:2] == [f"{stream}:"]]
            lines = lines[len(lines) - tail :] if tail is not None and tail < len(lines) else lines
            return web.Response(text="".join(f"{line}\n" for line in lines), headers=_HEADERS)
        if self._open >= MAX_LOGS:
            raise Overloaded(f"{MAX_LOGS} logs are being read already: retry in some seconds")
        self._open += 1
        try:
            return await self._send(request, found, tail, follow=follow)
        finally:
            self._open -= 1

    async def _send(
        self, request: web.Request, log: ContainerLog, tail: int | None, *, follow: bool
    ) -> web.StreamResponse:
        async def pause() -> None:
            """Raises AdminUnavailable, and ConnectionResetError if the client is gone."""
            if request.transport is None:
                raise ConnectionResetError
            if await is_set_within(request.app[STOPPING], INTERVAL):
                raise AdminUnavailable("the framework process is stopping")

        async with aclosing(log.parts(tail, pause if follow else None)) as parts:
            first = await anext(parts)
            response = await streamed(request, _HEADERS)
            with cut_off_at(request, LogMissing, LogUnreadable, AdminUnavailable):
                await write(response, first)
                async for part in parts:
                    await write(response, part)
        return response

    # -- where it is

    async def _find(self, name: str, stream: Stream) -> ContainerLog | list[str]:
        """Raises NotKnown, LogMissing and LogUnreadable."""
        try:
            return await self._logs.log_of(name, stream)
        except RecordUnreadable:
            raise
        except NotKnown:
            return await self._of_activation(name, stream)

    async def _of_activation(self, name: str, stream: Stream) -> ContainerLog | list[str]:
        """By its id or a unique beginning. Raises NotKnown, Ambiguous, LogMissing and LogUnreadable."""
        pool = self._pool.state if self._pool is not None else None
        if self._stored is not None:
            name = await self._stored.whole_id(name) or name
        if pool is not None and name in pool.buffer.by_id:
            raise LogMissing(
                f"activation {name} has no log yet: it waits for a container, see `owmesos explain {name}`"
            )
        if pool is not None and name in pool.running:
            container_id = pool.running[name][0]
            container = pool.containers.by_id.get(container_id)  # it may have ended before its last log was read
            log = await self._logs.log_of(container_id, stream, lambda: name in pool.running)
            return log._replace(last_run=container is not None and container.concurrency == 1)
        if self._stored is None:
            raise NotKnown(name, _ANYTHING)
        try:
            return await self._stored.stored_log(name)
        except NotKnown as error:
            raise NotKnown(name, _ANYTHING) if str(error).endswith(f"activation {name}") else error from None

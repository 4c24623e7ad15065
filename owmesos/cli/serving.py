"""The process of `owmesos run` from its start to its end. Loaded by that command alone."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from owmesos.errors import OwmesosError
from owmesos.system.tasks import cancel_all

if TYPE_CHECKING:
    from owmesos.cli.renewal import Renewal
    from owmesos.service.admin import AdminServer, Extension
    from owmesos.service.admin_tokens import Tokens
    from owmesos.service.served import ServedProcess
    from owmesos.service.stopped import Stopped

_log = logging.getLogger("owmesos.run")


class CannotRun(OwmesosError):
    """The process had to end."""


class Serving(NamedTuple):
    """What serves a process, whichever it is."""

    server: AdminServer
    tokens: Tokens
    extension: Extension | None
    what_ends: str  # with a signal, for the log
    renewal: Renewal
    may_begin: Callable[[], Awaitable[None]] | None = None
    """Returns when the extension may begin, where that has to be waited for."""


async def serve(
    process: ServedProcess,
    serving: Serving,
    signalled: asyncio.Event | None = None,
    ended: Callable[[Stopped], None] = lambda stopped: None,
) -> None:
    """Return on a signal, or when the cluster manager or a teardown has ended the process. Raises CannotRun.

    `signalled` may be set by one that came before. `ended` is called when the process has ended by itself, before
    anything is closed.
    """
    server, extension, what_ends, renewal = serving.server, serving.extension, serving.what_ends, serving.renewal
    signalled = asyncio.Event() if signalled is None else signalled
    handle_signals(signalled, renewal, process, extension)
    async with process:
        ends = [asyncio.ensure_future(process.finished()), asyncio.ensure_future(signalled.wait())]
        starting = asyncio.ensure_future(_start(process, serving))
        try:
            await asyncio.wait([*ends, starting], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            stopped = process.stopped
            if stopped is None:
                _log.info("stopping: %s", what_ends)
            else:
                ended(stopped)
        finally:
            await cancel_all([*ends, starting])
            await server.stop()
            if extension is not None:
                await extension.close()
    if stopped is not None:
        if stopped.exit_code:
            raise CannotRun(stopped.reason)
        _log.info("%s", stopped.reason)


def handle_signals(
    end: asyncio.Event, renewal: Renewal, process: ServedProcess | None, extension: Extension | None = None
) -> None:
    """Set `end` where the process is to end; a second signal hurries it. Read files again on SIGHUP."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if end.is_set() and extension is not None:
            _log.warning("a second signal: what runs is not waited for")
            extension.hurry()
        end.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)

    def hung_up() -> None:
        if renewal.hung_up(process):
            stop()

    loop.add_signal_handler(signal.SIGHUP, hung_up)


async def _start(process: ServedProcess, serving: Serving) -> None:
    if serving.may_begin is not None:
        await serving.may_begin()
    if serving.extension is not None:
        await serving.extension.start(process)
    await serving.server.start(process, serving.tokens, serving.extension)
    gc.freeze()  # what was imported stays: a full collection took 25 ms for it alone
    _log.info("the admin API is at %s", serving.server.url)

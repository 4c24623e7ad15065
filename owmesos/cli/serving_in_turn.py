"""The process of `owmesos run --ha` from its start to its end. Loaded by that command alone.

A leader that loses the lead ends at once, as by kill -9, which loses nothing: whatever it would do in order, another
process may be doing already. Its supervisor starts it again, as a standby.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from owmesos.cli.connection import Endpoint
from owmesos.cli.serving import CannotRun, Serving, handle_signals, serve
from owmesos.errors import InvalidInput
from owmesos.system.hosts import is_loopback
from owmesos.system.tasks import cancel_all

if TYPE_CHECKING:
    from owmesos.service.served import ServedProcess
    from owmesos.service.stopped import Stopped
    from owmesos.storage.election import CandidateListener, Leader, TakesPart
    from owmesos.system.lease import Lease

_log = logging.getLogger("owmesos.run")


class _Standing:
    """What the candidate's thread tells the event loop."""

    def __init__(self) -> None:
        self.leader: str | None = None  # the URL of its admin API
        self.changed = asyncio.Event()
        self.leads = False
        self.failed: str | None = None
        self._loop = asyncio.get_running_loop()
        self._said: object = None

    def lead(self) -> None:
        self.leads = True
        _log.info("this process leads now")
        self._loop.call_soon_threadsafe(self.changed.set)

    def follow(self, leader: Leader | None) -> None:
        self.leader = _admin_of(leader) if leader is not None else None
        if leader is not None and leader != self._said:
            self._said = leader
            if self.leader is not None:
                _log.info("standby: %s leads, its admin API is at %s", leader.holder, self.leader)
            else:
                _log.warning("standby: %s leads, and cannot be reached at %r: give it --ha-admin", *leader)

    def end(self, reason: str) -> None:
        if self.leads:
            _log.error("this process has lost the lead, and ends at once: %s", reason)
            logging.shutdown()
            os._exit(1)
        self.failed = reason
        self._loop.call_soon_threadsafe(self.changed.set)


def _admin_of(leader: Leader) -> str | None:
    """None for what is no URL of an admin API, and for another machine's loopback: here anybody may listen there, and
    would be sent a token."""
    try:
        endpoint = Endpoint.parse(leader.admin)
    except InvalidInput:
        return None
    elsewhere = not leader.holder.endswith(f" on {socket.gethostname()}")
    return None if elsewhere and is_loopback(endpoint.host) else endpoint.url


async def serve_in_turn(
    candidate: Callable[[CandidateListener], TakesPart],
    group: str,
    lease: Lease,
    build: Callable[[], ServedProcess],
    serving: Serving,
) -> None:
    """Wait until this process leads, then `serve`. `group`: whose lead is waited for, for the log. `build` makes the
    process, in another thread. Raises CannotRun and what `build` raises."""

    def ended(stopped: Stopped) -> None:
        if not lease.holds:  # the cluster manager was the first to tell
            standing.end(stopped.reason)

    signalled, standing = asyncio.Event(), _Standing()
    handle_signals(signalled, serving.renewal, None)
    taking_part = candidate(standing)
    await serving.server.start_standby(lambda: standing.leader, serving.tokens)
    try:
        taking_part.start()
        _log.info("waiting to lead %s; the admin API is at %s", group, serving.server.url)
        ends = [asyncio.ensure_future(signalled.wait()), asyncio.ensure_future(standing.changed.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all(ends)
        if standing.failed is not None:
            raise CannotRun(standing.failed)
        if not signalled.is_set():
            process = await asyncio.to_thread(build)
            await serve(process, serving, signalled, ended)
        else:
            _log.info("stopping: this process does not lead")
    finally:
        await serving.server.stop()
        await asyncio.to_thread(taking_part.close)

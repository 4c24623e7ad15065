"""`/api/v1/events`: what the dashboard shows, as server-sent events.

First everything, as events `snapshot`; then, about once a second, what changed, as events `change`; `end` when the
process is about to stop. A slow client misses nothing and costs no memory: it gets what it missed as one change, and
if it does not read an event in time, its connection is closed.

This uses aiohttp's StreamResponse directly. aiohttp-sse takes a text, which it splits and encodes for each client,
while all clients here share the same bytes; it writes its pings from a second task; and its writes have no timeout.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from owmesos.dashboard.feed import DashboardFeed
from owmesos.documents import EventsDocument, StatusDocument
from owmesos.service.admin_bodies import Overloaded, cut_off_at, streamed, write
from owmesos.service.admin_requests import STOPPING, only
from owmesos.service.openapi import ApiOperation
from owmesos.service.served import ClusterView
from owmesos.system.tasks import is_set_within

MAX_STREAMS = 32
"""Most clients at a time."""
INTERVAL = 1.0  # seconds between two updates
QUIET = 5.0  # seconds without events, after which a comment keeps the connection alive
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # proxies must not buffer
    "X-Content-Type-Options": "nosniff",
}
_END = b'event: end\ndata: {"error":"the framework process is stopping"}\n\n'


class EventStreams:
    """The event streams of one process, and the history that they show."""

    def __init__(self, view: ClusterView, status: Callable[[], StatusDocument]) -> None:
        self.feed = DashboardFeed(view, status)
        view.follow(self.feed)
        self._updating = asyncio.Lock()
        self._updated_at = float("-inf")
        self.open = 0
        """How many are open."""

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/events", self.events, allow_head=False)

    @ApiOperation("What the dashboard shows, live", EventsDocument, media="text/event-stream")
    async def events(self, request: web.Request) -> web.StreamResponse:
        """Raises Overloaded."""
        only(request)
        if self.open >= MAX_STREAMS:
            raise Overloaded(f"{MAX_STREAMS} dashboards are open already: close one, or retry in some seconds")
        self.open += 1
        try:
            response = await streamed(request, _HEADERS)
            with cut_off_at(request):
                await self._follow(response, request.app[STOPPING])
            return response
        finally:
            self.open -= 1

    async def _follow(self, response: web.StreamResponse, stopping: asyncio.Event) -> None:
        """Raises asyncio.TimeoutError when the client does not read."""
        position, wrote_at = 0, time.monotonic()
        while not stopping.is_set():
            await self._update()
            if not self.feed.reaches_back_to(position):
                position = 0
            name = b"change" if position else b"snapshot"
            changes, position = self.feed.changes(position), self.feed.position
            for text in changes:
                await write(response, b"event: %s\ndata: %s\n\n" % (name, text))
                wrote_at = time.monotonic()
            if time.monotonic() - wrote_at >= QUIET:
                await write(response, b": nothing has changed\n\n")
                wrote_at = time.monotonic()
            await is_set_within(stopping, INTERVAL)
        await write(response, _END)

    async def _update(self) -> None:
        """Update the feed at most once per INTERVAL, for all clients."""
        async with self._updating:
            if time.monotonic() - self._updated_at >= INTERVAL / 2:
                await self.feed.update()
                self._updated_at = time.monotonic()

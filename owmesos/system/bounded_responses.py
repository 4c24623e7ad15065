"""Bounds how many response heads a server may send for one request.

aiohttp's client skips interim responses (100 to 199) without end, and keeps in memory whatever arrives on an idle
connection. So a server that sends heads without a pause holds up the event loop for as long as the request may take,
or takes all memory once it has answered (measured: 60 MB in a second). Here its connection is closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

MOST_HEADS = 16
"""For one request, until the next: a `100 Continue` or some early hints, the response, and what nobody asked for."""


class BoundedResponseHandler(ResponseHandler):
    """aiohttp's protocol of one connection, which limits the heads of an answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._heads = 0

    def set_response_params(self, **params: Any) -> None:
        """Must be called before each request."""
        self._heads = 0
        super().set_response_params(**params)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """aiohttp calls it for each head."""
        self._heads += 1
        if self._heads <= MOST_HEADS:
            super().feed_data(data, size)
        elif self.transport is not None and not self.transport.is_closing():
            self.transport.abort()
            self.set_exception(aiohttp.ClientPayloadError(f"more than {MOST_HEADS} heads of responses to one request"))

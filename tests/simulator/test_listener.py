"""The socket of a simulated daemon that is killed."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from owmesos.simulator.listener import Listener
from owmesos.system.bounded_http import HTTP_LOG


async def test_a_request_that_comes_as_it_is_killed_gets_no_answer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a real process: the connection breaks off, and nobody is told of a fault."""
    listener, begun, killed = Listener("127.0.0.1", 0), asyncio.Event(), asyncio.Event()

    async def answers(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    listener.handler = answers
    handle = listener._handle

    async def late(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        await killed.wait()
        return await handle(request)

    monkeypatch.setattr(listener, "_handle", late)
    await listener.open()
    async with aiohttp.ClientSession() as session:
        asked = asyncio.ensure_future(session.get(f"http://{listener.address}/"))
        await begun.wait()
        listener._listening, listening = None, listener._listening  # as `abort`, before the connection is broken off
        killed.set()
        with caplog.at_level("INFO", HTTP_LOG.name), pytest.raises(aiohttp.ClientError):
            await asked
        listener._listening = listening
    await listener.close()
    assert caplog.messages == []

"""Stands before a CouchDB, and does to those who ask it what a sick one does."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web
from yarl import URL


class CouchGate:
    """`async with CouchGate(url) as gate`: ask `gate.url`. `status` is its answer to all. `delay` in seconds."""

    def __init__(self, behind: str) -> None:
        self.url = ""
        self.status: int | None = None
        self.delay = 0.0
        self.refused = 0
        self._behind = behind

    async def __aenter__(self) -> CouchGate:
        self._session = aiohttp.ClientSession()
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.delay)
        if self.status is not None:
            self.refused += 1
            return web.json_response({"error": "sick", "reason": "for the test"}, status=self.status)
        data = await request.read()
        headers = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        url = URL(f"{self._behind}{request.raw_path}", encoded=True)
        async with self._session.request(request.method, url, data=data, headers=headers) as response:
            return web.Response(body=await response.read(), status=response.status, content_type=response.content_type)

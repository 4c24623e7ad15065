"""An agent's files, as Mesos 1.11.0 gives them out: READ_FILE, at most 64 KiB a call, 404 for what is not there."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

FRAMEWORK_ID = "F-0000"
MOST = 64 * 1024


class FakeAgentFiles:
    """`sandboxes` maps a task id to the folder with its `stdout` and `stderr`. With `authorization` it wants this
    header."""

    def __init__(
        self, tls: ssl.SSLContext | None = None, authorization: str | None = None, *, port: int | None = None
    ) -> None:
        self._tls = tls
        self._authorization = authorization
        self.framework_id = FRAMEWORK_ID
        self.sandboxes: dict[str, Path] = {}
        self.reads: list[dict[str, object]] = []
        self.broken = False
        self.hang_ups = 0  # so many requests get no answer, but the end of their connection
        self.stranger: web.Response | None = None  # what another process in the agent's place answers
        app = web.Application()
        app.router.add_post("/api/v1", self._call)
        self._server = TestServer(app, scheme="https" if tls is not None else "http", port=port)

    @property
    def url(self) -> str:
        return str(self._server.make_url("/"))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    async def start(self) -> FakeAgentFiles:
        await self._server.start_server(ssl=self._tls)
        return self

    async def stop(self) -> None:
        await self._server.close()

    async def _call(self, request: web.Request) -> web.Response:
        call = json.loads(await request.read())["read_file"]
        self.reads.append(call)
        if self.hang_ups and request.transport is not None:
            self.hang_ups -= 1
            request.transport.close()
        if self._authorization is not None and request.headers.get("Authorization") != self._authorization:
            return web.Response(status=401, text="401 Unauthorized.")
        if self.stranger is not None:
            return self.stranger
        if self.broken:
            return web.Response(status=500, text="out of order\n")
        file = self._file(call["path"])
        if file is None or not file.exists():
            return web.Response(status=404)
        data = file.read_bytes()
        offset = call["offset"]
        part = b"" if offset < 0 else data[offset : offset + min(MOST, call.get("length", MOST))]
        answer = {"type": "READ_FILE", "read_file": {"size": len(data), "data": base64.b64encode(part).decode()}}
        return web.json_response(answer)

    def _file(self, path: str) -> Path | None:
        for task_id, folder in self.sandboxes.items():
            runs = f"/frameworks/{self.framework_id}/executors/{task_id}/runs/latest/"
            if path.startswith(runs):
                return folder / path.removeprefix(runs)
        return None

"""Another process at the ports of containers, and another one that calls them: a whole invoker, a simulated cluster."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from owmesos.openwhisk.activation import SUCCESS
from owmesos.openwhisk.manifest import Manifest, Runtime
from owmesos.runtimes.framing import PROVE
from owmesos.simulator.cluster import SimulatedCluster
from tests.invoker.invoking import invoking
from tests.openwhisk.container.fake_container import Answering, FakeContainer, http
from tests.openwhisk.runs import action, activation


class Stranger(FakeContainer):
    """At addresses of the test's choice."""

    def __init__(self, answering: Answering) -> None:
        super().__init__(answering)
        self._servers: list[asyncio.Server] = []

    async def start_at(self, host: str, port: int) -> None:
        self._servers.append(await asyncio.start_server(self._serve, host, port))

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        await super().stop()


@asynccontextmanager
async def strangers(cluster: SimulatedCluster, count: int) -> AsyncIterator[Callable[[], list[tuple[str, bytes]]]]:
    """At the lowest `count` ports of each agent, answering 501. All that they were asked."""
    found = []
    async with AsyncExitStack() as stack:
        for name, place in cluster.enter(lambda: dict(cluster.world.places)).items():
            total = place.agent.description.total.total()
            for port in list(total.ports)[:count]:
                stranger = Stranger(lambda path, body: http(501, b"not for you"))
                await stranger.start_at(place.agent.description.ip, port)
                stack.push_async_callback(stranger.stop)
                found.append(stranger)
            assert name.startswith("agent")
        yield lambda: [asked for stranger in found for asked in stranger.asked]


async def test_who_has_the_lowest_ports_of_all_agents_gets_no_code_and_stops_nobody(
    simulator: SimulatedCluster,
) -> None:
    async with strangers(simulator, 60) as heard, invoking(simulator.master, action()) as scene:
        responses = await asyncio.gather(*(scene.run(activation({"key": "k"})) for _ in range(4)))
        assert [response.status_code for response in responses] == [SUCCESS] * 4
        assert heard()
        assert {path for path, _ in heard()} == {PROVE}
        await scene.accounts_are_right()


async def test_who_has_the_port_of_a_command_that_cannot_prove_anything_gets_no_code_either(
    simulator: SimulatedCluster,
) -> None:
    """It ends, for it cannot listen, and is waited for until then."""
    server = f"exec python3 -c {shlex.quote(SERVER)}"
    manifest = Manifest({"python": (Runtime(kind="python:3", command=server),)})
    async with strangers(simulator, 20) as heard, invoking(simulator.master, action(), manifest=manifest) as scene:
        response = await scene.run(activation({"key": "k"}))
        assert response.status_code == SUCCESS
        assert heard() == []
        await scene.accounts_are_right()


async def test_a_stranger_cannot_run_code_in_a_container(simulator: SimulatedCluster) -> None:
    async with invoking(simulator.master, action()) as scene:
        await scene.run(activation())
        (container,) = scene.framework.containers()
        host, _, port = container["address"].rpartition(":")
        for path in ("/init", "/run"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"POST {path} HTTP/1.1\r\nContent-Length: 12\r\n\r\n".encode() + b'{"value":{}}')
            assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
            writer.close()
        assert (await scene.run(activation({"n": 1}))).status_code == SUCCESS
        await scene.accounts_are_right()


SERVER = (
    "import os, socket\n"
    "listening = socket.create_server((os.environ['HOST'], int(os.environ['PORT'])))\n"  # first: it fails at once
    "import http.server\n"
    "class Handler(http.server.BaseHTTPRequestHandler):\n"
    "    protocol_version = 'HTTP/1.1'\n"
    "    def do_POST(self):\n"
    "        self.rfile.read(int(self.headers['Content-Length']))\n"
    "        self.send_response(200)\n"
    "        self.send_header('Content-Length', '2')\n"
    "        self.end_headers()\n"
    "        self.wfile.write(b'{}')\n"
    "server = http.server.ThreadingHTTPServer(listening.getsockname(), Handler, bind_and_activate=False)\n"
    "server.socket.close()\n"
    "server.socket = listening\n"
    "server.serve_forever()\n"
)

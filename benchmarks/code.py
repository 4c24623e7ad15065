"""Cold starts of actions whose code is an attachment of 35 MB, 20 at once: memory, and how long the event loop stops.

The store and the containers are other processes on this machine; the one that is measured is an invoker's part between
them: it reads the actions' documents, fetches their code and initializes a container for each activation. Memory is
the most that was resident (VmHWM) less what was before. "Loop stopped" is the most that the event loop's thread used
of the processor between two runs of a timer; by the clock it is more where the machine is busy with other things. Once
with one action, which is fetched once, and once with 20 different ones, which have 930 MB together, for a budget of
256 MB.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from benchmarks.loop_stops import longest_stop
from benchmarks.memory import resident
from benchmarks.row import Row

MB = 2**20
SIZE, STARTS = 35 * MB, 20
SAME_MB, DIFFERENT_MB, STOPPED_MS = 60.0, 1024.0, 50.0


def _documents(size: int, ready: Connection) -> None:
    """CouchDB, as much of it as an invoker asks for actions."""
    from aiohttp import web

    code = bytes(range(256)) * (size // 256)
    kinds = {"timeout": 300_000, "memory": 256, "logs": 0}

    async def document(request: web.Request) -> web.Response:
        namespace, name = request.match_info["id"].split("/")
        attachment = {"attachmentName": f"couch:{name}", "attachmentType": "application/octet-stream", "length": size}
        exec_ = {"kind": "python:3", "code": attachment, "binary": True}
        return web.json_response(
            {"namespace": namespace, "name": name, "version": "0.0.1", "exec": exec_, "limits": kinds, "_rev": "1-a"}
        )

    async def attached(request: web.Request) -> web.Response:
        return web.Response(body=code, content_type="application/octet-stream")

    app = web.Application()
    app.router.add_get("/whisks/{id}", document)
    app.router.add_get("/whisks/{id}/{attachment}", attached)
    asyncio.run(_serve(app, ready))


def _containers(ready: Connection) -> None:
    """Take what they are sent, and are content."""
    from aiohttp import web

    async def take(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/init", take)
    app.router.add_post("/run", take)
    asyncio.run(_serve(app, ready))


async def _serve(app: Any, ready: Connection) -> None:
    from aiohttp import web

    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ready.send(runner.addresses[0][1])
    await asyncio.Event().wait()


def _measure(couch_port: int, container_port: int, names: list[str], results: Connection) -> None:
    results.send(asyncio.run(_cold_starts(couch_port, container_port, names)))


class _Measured(NamedTuple):
    """`stopped` and `stopped_clock` in ms, `took` and `used` (of the processor) in s."""

    memory_mb: float
    stopped: float
    stopped_clock: float
    took: float
    used: float


async def _cold_starts(couch_port: int, container_port: int, names: list[str]) -> _Measured:
    from owmesos.openwhisk.container.run_state import Order
    from owmesos.openwhisk.container.runner import ActionContainers
    from owmesos.openwhisk.manifest import parse
    from owmesos.openwhisk.messages import ActivationMessage, ControllerId, EntityName, Identity, Namespace
    from owmesos.openwhisk.store.couch_entities import CouchActions
    from owmesos.openwhisk.store.couchdb import CouchDB

    manifest = parse('{"runtimes": {"python": [{"kind": "python:3", "image": {"name": "python"}}]}}')
    couch = CouchDB(f"http://127.0.0.1:{couch_port}")
    actions = CouchActions(couch, "whisks", manifest)
    heard = _Heard(len(names))
    containers = ActionContainers(heard, time.time, codes=actions.codes)

    async def start(number: int, name: str) -> None:
        entity, container = EntityName("guest", name), f"c{number}"
        message = ActivationMessage(
            transid=[str(number), 1],
            action=entity,
            revision="1-a",
            user=Identity("guest", Namespace("guest", "uuid")),
            activation_id=f"{number:032x}",
            root_controller_index=ControllerId("0"),
            blocking=True,
        )
        executable = await actions.action(entity, "1-a")
        containers.started(container, f"127.0.0.1:{container_port}")
        containers.run(container, Order(message, executable), initialize=True)

    before = resident("VmRSS")
    stops = asyncio.create_task(longest_stop(heard.all_ended))
    begun, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(start(number, name) for number, name in enumerate(names)))
    await heard.all_ended.wait()
    took, used = time.perf_counter() - begun, time.process_time() - used
    stopped = await stops
    assert heard.failed == 0
    await containers.close()
    await actions.codes.close()
    await couch.close()
    return _Measured(resident("VmHWM") - before, *stopped, took, used)


class _Heard:
    """Counts what has ended."""

    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self.failed = 0
        self.all_ended = asyncio.Event()

    def notify_pool(self, event: Any) -> None: ...

    async def begin(self, run_id: str) -> None: ...

    def acknowledge(self, kind: Any, message: Any, activation: Any) -> None:
        self.failed += activation.response.status_code != 0
        self._left -= 1
        if not self._left:
            self.all_ended.set()

    def record(self, message: Any, activation: Any) -> None: ...


def run(quick: bool = False) -> list[Row]:
    starts, size = (3, 4 * MB) if quick else (STARTS, SIZE)
    context = multiprocessing.get_context("spawn")
    ready, tell = context.Pipe(duplex=False)
    servers = [
        context.Process(target=_documents, args=(size, tell)),
        context.Process(target=_containers, args=(tell,)),
    ]
    ports = []
    for server in servers:
        server.start()
        ports.append(ready.recv())
    rows = []
    try:
        for what, names, most in (
            ("of one action", ["same"] * starts, SAME_MB),
            ("of different actions", [f"a{number}" for number in range(starts)], DIFFERENT_MB),
        ):
            results, answer = context.Pipe(duplex=False)
            process = context.Process(target=_measure, args=(*ports, names, answer))
            process.start()
            rows += _rows(f"{starts} cold starts {what}, {size // MB} MB each", most, quick, results.recv())
            process.join()
    finally:
        for server in servers:
            server.terminate()
            server.join()
    return rows


def _rows(name: str, most: float, quick: bool, measured: _Measured) -> list[Row]:
    memory, stopped = measured.memory_mb, measured.stopped
    return [
        Row(
            name=f"{name}: memory",
            ours=memory,
            unit="MB",
            target=f"{most:g} MB",
            met=None if quick else memory <= most,
        ),
        Row(
            name=f"{name}: loop stopped",
            ours=stopped,
            unit="ms",
            target=f"{STOPPED_MS:g} ms",
            met=None if quick else stopped <= STOPPED_MS,
        ),
        Row(name=f"{name}: loop stopped, by the clock", ours=measured.stopped_clock, unit="ms"),
        Row(name=f"{name}: to the last answer", ours=measured.took, unit="s"),
        Row(name=f"{name}: of the processor", ours=measured.used, unit="s"),
    ]

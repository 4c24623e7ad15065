"""DNS that fails for a while: servers are tried again until their names are known, and nothing is lost."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import owmesos
from owmesos.openwhisk.activation import not_run, success
from owmesos.openwhisk.messages import decode_activation
from owmesos.openwhisk.store.activation_writer import ActivationWriter, WriterSettings
from owmesos.openwhisk.store.couch_entities import write_records
from owmesos.openwhisk.store.couchdb import CouchDB
from owmesos.simulator import SimulatedCluster
from tests.openwhisk import samples
from tests.waiting import eventually_async

HOST = "server.owmesos.test"


class Names:
    """The system's resolver, for which HOST is this machine while `works`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.works = False
        self.failures = 0
        self._system = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: Any, *rest: Any, **more: Any) -> Any:
        if host != HOST:
            return self._system(host, *rest, **more)
        if not self.works:
            self.failures += 1
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._system("127.0.0.1", *rest, **more)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


async def test_the_masters_name(names: Names, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with SimulatedCluster(tmp_path / "cluster", agents=1, processes=False) as cluster:
        port = cluster.master.rpartition(":")[2]
        async with owmesos.Framework(master=f"{HOST}:{port}", name="dns", state=tmp_path / "state") as framework:
            launch = await framework.launch(owmesos.Launch(command="sleep 100000"))
            await eventually_async(lambda: names.failures > 1 and "name resolution" in caplog.text)
            assert not framework.subscribed
            names.works = True
            await launch.running()
            names.works, failures = False, names.failures
            cluster.kill("master")
            cluster.start("master")
            await eventually_async(lambda: names.failures > failures or framework.subscribed)
            names.works = True
            await eventually_async(lambda: framework.subscribed)
            await launch.kill()
            assert (await launch.ended())["state"] == "KILLED"
            assert framework.stopped is None


@pytest.fixture
async def couch(names: Names) -> AsyncIterator[CouchDB]:
    """Takes every record."""

    async def write(request: web.Request) -> web.Response:
        written = [{"id": each["_id"], "rev": "1-a"} for each in (await request.json())["docs"]]
        return web.json_response(written, status=201)

    application = web.Application()
    application.router.add_post("/{path:.*}", write)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = CouchDB(f"http://{HOST}:{runner.addresses[0][1]}")
    yield client
    await client.close()
    await runner.cleanup()


async def test_couchdbs_name(names: Names, couch: CouchDB) -> None:
    writer = ActivationWriter(
        lambda records: write_records(couch, "activations", records),
        settings=WriterSettings(first_wait=0.01, longest_wait=0.01),
    )
    writer.store(not_run(decode_activation(samples.ACTIVATION_1_0), success({}), 1573724401.0))
    await eventually_async(lambda: names.failures > 1 and couch.reachability.down)
    assert (len(writer), writer.dropped) == (1, 0)
    names.works = True
    await eventually_async(lambda: writer.written == 1)
    assert not couch.reachability.down
    await writer.close()

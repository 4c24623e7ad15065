"""A framework on a cluster with an agent, or a record, that is not as it should be: everything else goes on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from owmesos.mesos.scheduler.launch import Launch
from owmesos.service.admin import AdminServer
from owmesos.service.errors import RecordUnreadable
from owmesos.service.framework import Framework
from owmesos.storage import SaveLaunch, SQLiteStore
from tests.fakes.cluster import FakeAgent, FakeCluster
from tests.fakes.master import FakeMaster
from tests.fixtures.admin import AUTHORIZED, TOKENS
from tests.waiting import eventually_async


@pytest.fixture
async def master() -> AsyncIterator[FakeMaster]:
    master = await FakeMaster().start()
    yield master
    await master.stop()


@pytest.fixture
def cluster(master: FakeMaster) -> FakeCluster:
    odd = FakeAgent("S1", "odd", cpus=4, mem=2048, ports=(32000, 70000), listens=5051)
    return FakeCluster(master, [odd, FakeAgent("S2", "good", cpus=4, mem=2048)])


async def test_an_agent_with_ports_beyond_65535_is_used_and_told_once(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    async with Framework(master=cluster.master.address) as framework:
        for _ in range(3):
            for host in ("odd", "good"):
                launch = await framework.launch(Launch(command="x", ports=1, constraints=[f"@hostname == {host}"]))
                await launch.running()
        (odd,) = [row for row in framework.nodes() if row["hostname"] == "odd"]
        assert odd["total"]["ports"] == odd["free"]["ports"] == [[32000, 65535]]
    (warning,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning == "agent S1 offers ports [32000-70000]: those beyond 1 to 65535 are not used"


async def test_an_agent_whose_numbers_make_no_sense_costs_the_others_nothing(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.agents["S1"].disk = -1.0
    async with Framework(master=cluster.master.address) as framework:
        for _ in range(3):
            launch = await framework.launch(Launch(command="x"))
            document = await launch.running()
            assert document["hostname"] == "good"
        warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    reason = "an amount must be 0 to 9007199254740"
    assert sorted(warnings) == [
        f"offers of agent S1 cannot be used, and are declined: {reason}",
        f"the totals of agent S1 cannot be used: {reason}",
    ]


async def test_a_stored_record_that_cannot_be_read_is_named_and_kept(
    cluster: FakeCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SQLiteStore(tmp_path)
    store.commit([SaveLaunch("web-1", b'{"id":"web-1","attempts":1e99}')])
    store.close()
    async with Framework(master=cluster.master.address, state=tmp_path) as framework:
        await (await framework.launch(Launch(command="x"))).running()
        (row,) = framework.unreadable()
        assert row["launch_id"] == "web-1"
        with pytest.raises(RecordUnreadable, match="the stored launch web-1 cannot be read and is set aside: "):
            framework.explain("web-1")
        server = AdminServer("127.0.0.1", 0)
        await server.start(framework, TOKENS)
        async with (
            aiohttp.ClientSession(headers=AUTHORIZED) as session,
            session.post(server.url + "/api/v1/kill", json={"ids": ["web-1"]}) as response,
        ):
            assert response.status == 404
            assert "web-1 cannot be read and is set aside" in (await response.json())["error"]
        await server.stop()
    assert len([line for line in caplog.messages if "web-1 cannot be read" in line]) == 1
    again = SQLiteStore(tmp_path)
    assert [each.launch_id for each in again.load().unreadable] == ["web-1"]
    again.close()


async def test_a_hostile_pattern_stops_nobody_not_even_after_a_restart(cluster: FakeCluster, tmp_path: Path) -> None:
    hostile = "@hostname LIKE " + ".*" * 200 + "z"
    async with Framework(master=cluster.master.address, state=tmp_path) as framework:
        await framework.launch(Launch(command="x", constraints=[hostile]))
        await (await framework.launch(Launch(command="x"))).running()
    async with Framework(master=cluster.master.address, state=tmp_path) as framework:
        await (await framework.launch(Launch(command="x"))).running()
        (waiting,) = [row for row in framework.launches() if row["state"] == "PENDING"]
        assert "constraint" in framework.explain(waiting["launch_id"])["summary"]
        await eventually_async(lambda: len(cluster.running()) == 2)

"""`/metrics` of a framework on a fake cluster: who may read it, what it says, and what it costs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import aiohttp
import click
import pytest
from prometheus_client.parser import text_string_to_metric_families

from owmesos.cli.run import run
from owmesos.core.placement import Slot
from owmesos.mesos.scheduler.launch import Launch
from owmesos.resources import Resources
from owmesos.service.admin import AdminServer
from owmesos.service.framework import Framework
from owmesos.service.metrics.cluster import NODES_SHOWN, cluster_metrics, read_nodes
from owmesos.service.metrics.exposition import Exposition
from tests.fakes.cluster import FakeCluster
from tests.fixtures.admin import AUTHORIZED, READING
from tests.mesos.test_status import seen
from tests.model.scene import agent, at_rest
from tests.waiting import eventually_async

MB = 2**20


class Scraped:
    """The samples of an answer, as their text has them."""

    def __init__(self, text: str) -> None:
        self.samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __getitem__(self, name: str) -> float:
        return self.samples[(name,)]

    def of(self, name: str, **labels: str) -> float:
        return self.samples[(name, *sorted(labels.items()))]

    def names(self) -> set[str]:
        return {name for name, *_ in self.samples}


async def scrape(framework: Framework, *, nodes_shown: int = NODES_SHOWN) -> Scraped:
    return Scraped((await Exposition(framework.view, tuple, nodes_shown=nodes_shown).text()).decode())


@pytest.fixture
def server(admin_server: AdminServer) -> AdminServer:
    return admin_server


@pytest.mark.parametrize(("headers", "status"), [(READING, 200), (AUTHORIZED, 200), ({}, 401)])
async def test_the_token_that_may_only_read_is_enough(
    server: AdminServer, headers: dict[str, str], status: int
) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics", headers=headers) as response:
        assert response.status == status
        if status == 200:
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert "owmesos_subscribed 1.0" in await response.text()


async def test_what_waits_and_what_runs_is_counted(framework: Framework) -> None:
    runs = await framework.launch(Launch("sleep 100", cpus=1, mem=512))
    await runs.running()
    await framework.launch(Launch("true", mem=1800, constraints=["@hostname == nowhere"]))
    found = await scrape(framework)
    assert found.of("owmesos_launches", state="RUNNING", owner="user") == 1
    assert found["owmesos_launches_waiting"] == 1
    assert 0 < found["owmesos_launches_oldest_wait_seconds"] < 60
    assert found.of("owmesos_launches_submitted_total", owner="user") == 2
    assert found.of("owmesos_launch_running_seconds_count", owner="user") == 1
    assert found.of("owmesos_mesos_calls_total", type="ACCEPT") == 1


async def test_a_node_and_the_sum_are_in_base_units(framework: Framework) -> None:
    await (await framework.launch(Launch("sleep 100", cpus=0.5, mem=100.5))).running()
    found = await scrape(framework)
    rows = {row["agent_id"]: row for row in framework.nodes()}
    for row in rows.values():
        labels = {"agent_id": row["agent_id"] or "", "hostname": row["hostname"]}
        assert found.of("owmesos_node_memory_free_bytes", **labels) == row["free"]["mem"] * MB
        assert found.of("owmesos_node_cpus_free", **labels) == row["free"]["cpus"]
    assert found["owmesos_cluster_memory_used_bytes"] == 100.5 * MB
    assert found["owmesos_cluster_cpus_used"] == 0.5
    free = sum(row["free"]["mem"] for row in rows.values())
    assert found["owmesos_cluster_memory_free_bytes"] == free * MB
    assert found["owmesos_cluster_memory_buffer_bytes"] == pytest.approx(0.05 * 3072 * MB)


async def test_what_is_free_on_a_node_that_is_drained_is_not_available() -> None:
    world = at_rest(agent(1), agent(2))
    state = world.scheduler.state
    state.ledger.agent("S1").unavailability = (world.now + 60, 3600.0)
    sums = {each.name: each.samples[0].value for each in cluster_metrics(await read_nodes(state), "pods")}
    rows = seen(world)["nodes"]["sums"]
    assert sums["owmesos_cluster_memory_free_bytes"] == rows["free"]["mem"] * MB == 2048 * MB
    assert sums["owmesos_cluster_memory_available_bytes"] == rows["available"]["mem"] * MB
    assert 0 < rows["available"]["mem"] <= 1024


async def test_with_more_nodes_than_the_limit_there_are_only_sums(framework: Framework) -> None:
    assert "owmesos_node_cpus_free" in (await scrape(framework, nodes_shown=2)).names()
    found = await scrape(framework, nodes_shown=1)
    assert not any(name.startswith("owmesos_node_") for name in found.names())
    assert found["owmesos_cluster_cpus_free"] == 6


async def test_a_lost_master_shows_at_once(framework: Framework, fake_cluster: FakeCluster) -> None:
    await fake_cluster.master.stop()
    await eventually_async(lambda: not framework.subscribed)
    found = await scrape(framework)
    assert found["owmesos_subscribed"] == 0
    assert found.of("owmesos_nodes", state="unknown") == 2


async def test_text_from_the_cluster_cannot_break_the_format(framework: Framework) -> None:
    state = framework.shell.scheduler.state
    state.meet(Slot('S"\\\n9', "*"), 'a"\\\nb{} 1')
    found = await scrape(framework)
    assert found.of("owmesos_node_cpus_free", agent_id='S"\\\n9', hostname='a"\\\nb{} 1') == 0


async def test_a_large_cluster_does_not_hold_up_the_event_loop(framework: Framework) -> None:
    """5,000 nodes and 10,000 launches. By the processor's time it is 3 to 9 ms."""
    state, now = framework.shell.scheduler.state, framework.shell.clock.now()
    room = Resources.of(cpus=8, mem=16_000, disk=100_000, ports=[(31000, 32000)])
    for number in range(5_000):
        slot = Slot(f"agent-{number}", "*")
        state.meet(slot, f"host-{number}")
        state.ledger.remember(slot, room, now, "offer")
        state.ledger.accounts[slot].observed_at = now
    await framework.launch_many([Launch("true", mem=16, constraints=["@hostname == nowhere"])] * 10_000)
    exposition = Exposition(framework.view, tuple, nodes_shown=10_000)
    turns = []
    for _ in range(3):  # between others' turns: the scheduler's own over so many launches are longer
        watching = asyncio.create_task(longest_turn(answered := asyncio.Event()))
        text = await exposition.text()
        answered.set()
        turns.append(await watching)
    found = Scraped(text.decode())
    assert found["owmesos_launches_waiting"] == 10_000
    assert sum(name == "owmesos_node_cpus_free" for name, *_ in found.samples) == 5_002
    assert min(turns) < 0.05


async def longest_turn(until: asyncio.Event) -> float:
    """Seconds of the processor that the event loop's other work took at once, at most."""
    longest = 0.0
    while not until.is_set():
        before = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - before)
    return longest


def test_the_option_has_the_same_default() -> None:
    options = {option.name: option for option in run.params if isinstance(option, click.Option)}
    assert options["metrics_nodes"].default == NODES_SHOWN


def test_only_a_process_that_serves_metrics_imports_prometheus_client() -> None:
    commands = ", ".join(f"owmesos.cli.{name}" for name in ("main", "listings", "launch", "openwhisk", "run"))
    code = f"import sys, owmesos, {commands}; owmesos.Framework; sys.exit('prometheus_client' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

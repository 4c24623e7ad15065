"""`owmesos run --ha` on three ZooKeepers of which some are killed: one process leads at a time, and launches go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from owmesos.mesos.wire.address import ZooKeeperPath
from tests.cli.running import Running
from tests.cli.test_high_availability import SLEEP, Group, answer_of
from tests.fakes.cluster import FakeCluster
from tests.servers.zookeeper import Ensemble
from tests.waiting import eventually_async

pytestmark = [pytest.mark.zookeeper, pytest.mark.cluster]
LOST = "is lost: who leads is not known"
PATIENCE = 120.0  # seconds; the machine may be busy


def leaders(processes: tuple[Running, ...]) -> list[Running]:
    """Those that say so."""
    alive = [each for each in processes if each.process.returncode is None]
    return [each for each in alive if answer_of(each.url, "/healthz?leader")[0] == 200]


async def launches_run(group: Group, processes: tuple[Running, ...], cluster: FakeCluster) -> None:
    """One more, by whichever process leads."""
    before = len(cluster.tasks)

    async def launched() -> bool:
        found = await asyncio.to_thread(leaders, processes)
        if len(found) != 1:
            return False
        return (await found[0].ask(*SLEEP, "--admin-token-file", str(group.token))).code == 0

    await eventually_async(launched, PATIENCE, interval=0.1, what="a leader takes a launch", retry_on=(OSError,))
    await eventually_async(lambda: len(cluster.running()) > before, PATIENCE, what="it runs")


async def test_the_leader_of_the_ensemble_dies_and_then_its_quorum_is_lost(
    fake_cluster: FakeCluster, ensemble: Ensemble, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """The fake cluster fails the test when a task id is launched twice."""
    group = Group(fake_cluster, ZooKeeperPath(ensemble.address, "/group"), tmp_path)
    async with group.leader_and_standby() as both:
        victim = await asyncio.to_thread(ensemble.leader)
        at = time.monotonic()
        victim.stop()
        await launches_run(group, both, fake_cluster)
        member = time.monotonic() - at
        await asyncio.to_thread(ensemble.start)
        since = [len(each.log) for each in both]
        for victim in ensemble.members[:2]:
            victim.stop()
        await eventually_async(
            lambda: all(LOST in each.log[length:] for each, length in zip(both, since, strict=True)), PATIENCE
        )
        await eventually_async(lambda: not leaders(both), PATIENCE)  # nobody can prove that it leads
        await asyncio.to_thread(ensemble.start)
        at = time.monotonic()
        await launches_run(group, both, fake_cluster)
        quorum = time.monotonic() - at
        alive = [each.process.returncode for each in both].count(None)
    assert len(fake_cluster.running()) == 3
    figures(
        f"a launch ran {member:.1f} s after the ensemble's leader died, and {quorum:.1f} s after its quorum was back;"
        f" {alive} of 2 processes live on"
    )

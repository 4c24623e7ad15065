"""`owmesos run` with its state in three ZooKeepers of which some are killed: nothing is lost, nothing is done twice.

Launches are asked for all the time, one after the other. The figures say how long none could be made.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.cli.running import Running, owmesos_process, running
from tests.fakes.cluster import FakeCluster
from tests.servers.zookeeper import Ensemble
from tests.waiting import eventually_async

pytestmark = [pytest.mark.zookeeper, pytest.mark.cluster]
PATIENCE = 120.0  # seconds; the machine may be busy
LOST = "is lost: nothing is sent until it is back"
SHORT = ("launch", "--command", "true", "--cpus", "0.001", "--mem", "1", "--disk", "0", "-o", "json")


@pytest.fixture
def patient_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """They ask again while the state is away."""
    monkeypatch.setattr("owmesos.cli.client.PATIENCE", PATIENCE)


class Asking:
    """Asks for a launch as soon as the one before is stored, or has failed."""

    def __init__(self, process: Running) -> None:
        self._process = process
        self.asked: list[str] = []
        self.failed: list[str] = []
        self.ending = False
        self._answered_at: list[float] = []

    async def until_ending(self) -> None:
        """A command that is cancelled would go on in its thread, and print into what a later one prints."""
        while not self.ending:
            ran = await self._process.ask(*SHORT)
            if ran.code == 0:
                self.asked += [row["launch_id"] for row in ran.json]
                self._answered_at.append(time.monotonic())
            else:
                self.failed.append(ran.err)

    async def goes_on(self, count: int = 5) -> None:
        """Until some more launches were asked for and stored from now on."""
        before = len(self._answered_at)
        await eventually_async(lambda: len(self._answered_at) >= before + count, PATIENCE, what="launches are stored")

    def longest_pause(self, since: float) -> float:
        """Seconds between two launches, or between `since` and the first after it."""
        times = [since, *(at for at in self._answered_at if at > since)]
        return max(after - before for before, after in pairwise(times))


@asynccontextmanager
async def asking(process: Running) -> AsyncIterator[Asking]:
    them = Asking(process)
    task = asyncio.create_task(them.until_ending())
    try:
        await them.goes_on()
        yield them
    finally:
        them.ending = True
        await task


def options(cluster: FakeCluster, state: str, tmp_path: Path) -> tuple[str, ...]:
    return (
        *("--master", cluster.master.address, "--state", state),
        *("--local-folder", str(tmp_path / "local"), "--connect-timeout", "60"),
    )


async def holds_all(process: Running, state: str, asked: list[str]) -> None:
    """In its listing, and in ZooKeeper."""
    rows = (await process.ask("launches", "-o", "json")).json
    assert set(asked) <= {row["launch_id"] for row in rows}
    (found,) = (await owmesos_process("state", "check", "--state", state, "-o", "json")).json
    stored = re.search(r", (\d+) launches", found["message"])
    assert stored is not None, found
    assert int(stored[1]) == len(rows)


@pytest.mark.usefixtures("patient_commands")
async def test_members_are_killed_and_come_back(
    fake_cluster: FakeCluster, ensemble: Ensemble, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """A follower; the leader; the one that owmesos is connected to; then two at once, so that nobody serves.

    The fake cluster fails the test when a task id is launched twice.
    """
    state, said = f"zk://{ensemble.address}/owmesos", []
    async with running(*options(fake_cluster, state, tmp_path)) as process:
        async with asking(process) as them:
            victims = {
                "a follower": ensemble.follower,
                "the leader": ensemble.leader,
                "the member in use": ensemble.used,
            }
            for name, find in victims.items():
                victim = await asyncio.to_thread(find)
                at, before = time.monotonic(), len(process.log)
                victim.stop()
                if name == "the member in use":
                    await eventually_async(lambda since=before: LOST in process.log[since:], PATIENCE)
                await them.goes_on()
                said.append(f"{name} killed: no launch was stored for {them.longest_pause(at):.1f} s")
                await asyncio.to_thread(ensemble.start)
                await them.goes_on()
            lost, stored, before = time.monotonic(), len(them.asked), len(process.log)
            for victim in ensemble.members[:2]:
                victim.stop()
            await eventually_async(lambda: "does not answer: waiting" in process.log[before:], PATIENCE)
            assert len((await process.ask("launches", "-o", "json")).json) >= stored  # it still answers
            await asyncio.to_thread(ensemble.members[0].start)
            await asyncio.to_thread(ensemble.wait)
            served = time.monotonic()
            await them.goes_on()
            said.append(
                f"no quorum for {served - lost:.1f} s: no launch was stored for {them.longest_pause(lost):.1f} s,"
                f" {them.longest_pause(served):.1f} s of it after the quorum was back"
            )
            await asyncio.to_thread(ensemble.start)
            await them.goes_on()
        await eventually_async(lambda: len(fake_cluster.tasks) >= len(them.asked), PATIENCE)
        await holds_all(process, state, them.asked)
        assert (await process.end(signal.SIGTERM)).code == 0
    assert them.failed == []
    launched = [task_id.rpartition(".")[0] for task_id in fake_cluster.tasks]
    assert set(them.asked) <= set(launched)
    assert len(set(launched)) == len(launched)
    figures(f"{len(them.asked)} launches; " + "; ".join(said))


async def test_owmesos_is_killed_while_there_is_no_quorum(
    fake_cluster: FakeCluster, ensemble: Ensemble, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """The next process waits for a quorum, and then for the lock of the one before, whose session has to expire."""
    state = f"zk://{ensemble.address}/owmesos"
    async with running(*options(fake_cluster, state, tmp_path)) as process, asking(process) as them:
        for victim in ensemble.members[1:]:
            victim.stop()
        await process.said(LOST)
        await process.end(signal.SIGKILL)
    await asyncio.to_thread(ensemble.start)
    served = time.monotonic()
    async with running(*options(fake_cluster, state, tmp_path)) as process:
        up = time.monotonic() - served
        await eventually_async(
            lambda: set(them.asked) <= {task_id.rpartition(".")[0] for task_id in fake_cluster.tasks}, PATIENCE
        )
        await holds_all(process, state, them.asked)
    figures(f"{len(them.asked)} launches; the next process had the state {up:.1f} s after the quorum was back")

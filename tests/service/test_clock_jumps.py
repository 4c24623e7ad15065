"""The machine's clock is set while the process runs: nothing but displayed times may depend on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import owmesos
from owmesos.openwhisk.reachability import Reachability
from owmesos.simulator import SimulatedCluster
from tests.waiting import eventually_async

DAY = 86_400.0


class SetClock:
    """`time.time`, which can be set. What measures times otherwise goes on as before."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._true = time.time
        self.ahead = 0.0  # seconds
        patch.setattr(time, "time", lambda: self._true() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    return SetClock(monkeypatch)


@pytest.fixture
async def framework(clock: SetClock, tmp_path: Path) -> AsyncIterator[owmesos.Framework]:
    with SimulatedCluster(tmp_path / "cluster", agents=2, processes=False) as cluster:
        async with owmesos.Framework(master=cluster.master, name="clock", state=tmp_path / "state") as framework:
            await eventually_async(lambda: framework.subscribed)
            yield framework


@pytest.mark.parametrize("jumps", [(DAY, -DAY), (-DAY, DAY), (400 * DAY, 0.0)])
async def test_launches_go_on(framework: owmesos.Framework, clock: SetClock, jumps: tuple[float, float]) -> None:
    """None is overdue, none is killed, no connection is given up, and later ones start and end."""
    connection = framework.shell.scheduler.state.connection
    since = connection.since
    lasting = await framework.launch(owmesos.Launch(command="sleep 100000", deadline=30.0))
    waiting = await framework.launch(owmesos.Launch(command="true", constraints=["@hostname LIKE nowhere"]))
    await lasting.running()
    for jump in jumps:
        clock.ahead += jump
        launch = await framework.launch(owmesos.Launch(command="sleep 0.1"))
        assert (await launch.ended())["state"] == "FINISHED"
    assert (lasting.document()["state"], waiting.document()["state"]) == ("RUNNING", "PENDING")
    assert not waiting.document()["overdue"]
    await lasting.kill()
    assert (await lasting.ended())["state"] == "KILLED"
    assert (framework.subscribed, connection.since) == (True, since)


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_after_a_restart_what_runs_goes_on(
    framework: owmesos.Framework, clock: SetClock, tmp_path: Path, jump: float
) -> None:
    """What waited is not lost either: it starts, or its deadline has passed, and its end says so."""
    running = await framework.launch(owmesos.Launch(command="sleep 100000"))
    await running.running()
    await framework.stop(teardown=False)
    clock.ahead += jump
    master = framework._master_text
    async with owmesos.Framework(master=master, name="clock", state=tmp_path / "state") as again:
        launch = await again.launch(owmesos.Launch(command="sleep 0.1"))
        assert (await launch.ended())["state"] == "FINISHED"
        assert {each["launch_id"]: each["state"] for each in again.launches([running.id])} == {running.id: "RUNNING"}
        await again.kill(running.id)
        await again.wait([running.id], "ended", 60.0)
        assert again.launches([running.id])[0]["state"] == "KILLED"


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_how_long_ago_a_server_was_asked(clock: SetClock, jump: float) -> None:
    """By this CouchDB is looked at: after a step back it was not for as long as the step."""
    server = Reachability("CouchDB", "http://couch:5984")
    server.works("records")
    clock.ahead += jump
    await asyncio.sleep(0)
    assert 0 <= server.since_last_report < DAY / 2

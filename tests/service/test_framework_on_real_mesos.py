"""The library beside Apache Mesos itself: a master that has just begun to start, and one that ends a framework."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import owmesos
from owmesos.local.build import Build
from owmesos.local.cluster import MesosCluster
from owmesos.mesos.messages import ID, Subscribe, Subscribed
from owmesos.mesos.scheduler.settings import framework_info
from owmesos.mesos.wire.address import parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.http_driver import HttpDriver
from tests.fixtures.real_mesos import ClusterFactory, reserved_port
from tests.waiting import eventually_async

pytestmark = pytest.mark.real_mesos
SOON = 10.0  # seconds; the deadline of a launch is far beyond


async def test_a_master_that_is_just_starting_is_subscribed_to(
    mesos_build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It listens 53 to 426 ms before it has its routes, and answers 404 meanwhile; a start may be seen too late."""
    for number in range(6):
        with reserved_port() as port:
            cluster = MesosCluster(tmp_path / f"mesos{number}", master_port=port, agents=1)
            starting = asyncio.create_task(asyncio.to_thread(cluster.up))
            try:
                await _listening(port)
                async with owmesos.Framework(master=cluster.master) as framework:
                    launch = await framework.launch(owmesos.Launch(command="true", deadline=60))
                    assert (await asyncio.wait_for(launch.ended(), 60))["state"] == "FINISHED"
            finally:
                await starting
                await asyncio.to_thread(cluster.down)
        if "answers SUBSCRIBE with 404" in caplog.text:
            return
    pytest.fail("no start of six was seen early enough to see its 404")


async def test_another_process_takes_the_framework_over(mesos_cluster: ClusterFactory) -> None:
    cluster = await asyncio.to_thread(mesos_cluster, agents=1)
    async with owmesos.Framework(master=cluster.master) as framework:
        launch = await framework.launch(owmesos.Launch(command="sleep 600"))
        await launch.running()
        assert framework.framework_id is not None
        info = framework_info(name="owmesos", user="root", framework_id=framework.framework_id)
        other = HttpDriver(detector_for(parse_master(cluster.master, credentials_allowed=False)), Subscribe(info))
        events = other.events()
        ended = asyncio.ensure_future(launch.ended())
        subscribed = await events.__anext__()
        assert isinstance(subscribed, Subscribed)
        assert subscribed.framework_id == ID(framework.framework_id)
        with pytest.raises(owmesos.FrameworkStopped, match="another process has subscribed with our framework id"):
            await asyncio.wait_for(ended, SOON)
        with pytest.raises(owmesos.FrameworkStopped):
            await asyncio.wait_for(framework.launch(owmesos.Launch(command="true")), SOON)
    closing = asyncio.ensure_future(other.close())
    async for _ in events:
        pass
    await closing


async def test_a_role_that_the_master_refuses(mesos_cluster: ClusterFactory) -> None:
    cluster = await asyncio.to_thread(mesos_cluster, agents=1)
    async with owmesos.Framework(master=cluster.master, role="not a role") as framework:
        launch = await framework.launch(owmesos.Launch(command="true"))
        with pytest.raises(owmesos.FrameworkStopped, match="not a role"):
            await asyncio.wait_for(launch.running(), SOON)
        with pytest.raises(owmesos.FrameworkStopped, match="not a role"):
            await asyncio.wait_for(framework.wait([launch.id], "ended"), SOON)


async def _listening(port: int) -> None:
    await eventually_async(lambda: _listens(port), 60, interval=0.001)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True

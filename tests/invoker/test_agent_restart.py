"""An agent that is started anew while a container of an invoker's runs: tasks live on, and so do their logs."""

from __future__ import annotations

import asyncio

import pytest

from owmesos.openwhisk.activation import SUCCESS
from tests.fixtures.real_mesos import ClusterFactory
from tests.invoker.invoking import invoking
from tests.openwhisk.runs import action, activation
from tests.waiting import eventually_async

PATIENT = {"agent_ping_timeout": "15secs", "max_agent_ping_timeouts": "5"}  # Mesos's own
SLOW = "import time\ndef main(args):\n    time.sleep(args['for'])\n    print('run', args['n'])\n    return {}"


@pytest.mark.real_mesos
async def test_a_run_that_ends_meanwhile_has_its_log_and_its_container_stays(mesos_cluster: ClusterFactory) -> None:
    cluster = mesos_cluster(agents=1, master_flags=PATIENT)
    async with invoking(cluster.master, action("slow", SLOW, memory=128, logs=1)) as scene:
        assert (await scene.run(activation({"n": 0, "for": 0}))).status_code == SUCCESS
        (before,) = scene.framework.containers()
        message = activation({"n": 1, "for": 1})
        scene.activate(message)
        await eventually_async(lambda: scene.framework.containers()[0]["active"] == 1)
        await asyncio.to_thread(cluster.kill, "agent1")
        ended = asyncio.create_task(scene.end_of(message.activation_id))
        assert not (await asyncio.wait([ended], timeout=2.0))[0]  # its log cannot be read
        await asyncio.to_thread(cluster.start, "agent1")
        assert (await ended).status_code == SUCCESS
        assert [line[31:] for line in scene.records.kept[message.activation_id].logs] == ["stdout: run 1"]
        assert (await scene.run(activation({"n": 2, "for": 0}))).status_code == SUCCESS
        (after,) = scene.framework.containers()
        assert after["container_id"] == before["container_id"]
        await scene.accounts_are_right()

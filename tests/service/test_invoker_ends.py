"""The end of an invoker's process: whoever waits is answered, and no container is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from owmesos.openwhisk.activation import WHISK_ERROR
from owmesos.openwhisk.messages import Combined, Completion, Result
from owmesos.simulator.cluster import SimulatedCluster
from tests.fixtures.task_ports import TaskPorts
from tests.openwhisk.runs import action, activation
from tests.service.invoking import invoking
from tests.waiting import eventually_async

WAITS = "import time\ndef main(args):\n    time.sleep(60)\n    return {}"
WITHOUT_SENTINEL = "import os\ndef main(args):\n    os.close(1)\n    return {'done': True}"


@pytest.fixture
def simulator(task_ports: TaskPorts) -> Iterator[SimulatedCluster]:
    with SimulatedCluster(agents=1, resources=task_ports.resources(1)) as cluster:
        yield cluster


async def test_what_runs_and_what_waits_is_answered_once(simulator: SimulatedCluster) -> None:
    async with invoking(simulator.master, action(code=WAITS, memory=512)) as scene:
        asked = [scene.activate(activation(blocking=blocking)) for blocking in (True, False, True)]
        await eventually_async(lambda: sum(row["active"] for row in scene.framework.containers()) >= 1)
        await scene.invoker.close()
        scene.invoker.end_rest("stopped")
        for each, kind in zip(asked, (Combined, Completion, Combined), strict=True):
            (told,) = scene.controller.of(each)
            assert type(told) is kind
            assert told.is_system_error  # type: ignore[union-attr]
            assert scene.records.kept[each].response.status_code == WHISK_ERROR
            assert scene.done[each] == 1
        assert scene.invoker.held == 0


async def test_one_whose_log_alone_is_missing_keeps_its_result(simulator: SimulatedCluster) -> None:
    async with invoking(simulator.master, action(code=WITHOUT_SENTINEL, logs=1)) as scene:
        each = scene.activate(activation())
        await eventually_async(lambda: scene.controller.of(each))
        await scene.invoker.close()
        scene.invoker.end_rest("stopped")
        assert [type(told) for told in scene.controller.of(each)] == [Result, Completion]
        assert scene.records.kept[each].response.status_code == 0
        assert scene.done[each] == 1


async def test_no_container_is_left(simulator: SimulatedCluster) -> None:
    async with invoking(simulator.master, action()) as scene:
        await scene.run(activation())
        await scene.invoker.close()
        assert await scene.framework.stop_containers(20)
        rows = scene.framework.launches()
        assert [row["state"] for row in rows] == ["KILLED"]

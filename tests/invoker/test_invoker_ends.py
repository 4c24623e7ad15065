"""The end of an invoker's process: whoever waits is answered, and no container is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from owmesos.core.pool.events import ContainerStopped, StopCause
from owmesos.openwhisk.activation import WHISK_ERROR
from owmesos.openwhisk.container.protocol import was_lost
from owmesos.openwhisk.messages import Combined, Completion, Result
from owmesos.simulator.cluster import SimulatedCluster
from tests.invoker.invoking import InvokerCluster, invoking
from tests.openwhisk.runs import action, activation
from tests.waiting import eventually_async

WAITS = "import time\ndef main(args):\n    time.sleep(60)\n    return {}"
WITHOUT_SENTINEL = "import os\ndef main(args):\n    os.close(1)\n    return {'done': True}"

pytestmark = pytest.mark.simulator(agents=1)


async def test_what_runs_and_what_waits_is_answered_once(invoker_cluster: InvokerCluster) -> None:
    async with invoking(invoker_cluster, action(code=WAITS, memory=512)) as scene:
        asked = [scene.activate(activation(blocking=blocking)) for blocking in (True, False, True)]
        await eventually_async(lambda: sum(row["active"] for row in scene.containers()) >= 1)
        await scene.invoker.close()
        scene.invoker.end_rest("stopped")
        for each, kind in zip(asked, (Combined, Completion, Combined), strict=True):
            (told,) = scene.controller.of(each)
            assert type(told) is kind
            assert told.is_system_error is False  # type: ignore[union-attr]
            assert scene.records.kept[each].response.status_code == WHISK_ERROR
            assert scene.done[each] == 1
        assert len(scene.invoker.in_flight) == 0


async def test_a_run_whose_container_the_cluster_lost_counts_against_nobody(
    invoker_cluster: InvokerCluster, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    code = f"import time\ndef main(args):\n    open({str(begun)!r}, 'w').close()\n    time.sleep(60)\n    return {{}}"
    async with invoking(invoker_cluster, action(code=code)) as scene:
        each = scene.activate(activation())
        await eventually_async(begun.exists)
        (row,) = scene.containers()
        lost = ContainerStopped(row["container_id"], "agent S1 is unreachable", StopCause.LOST)
        scene.host.observe(lost)
        await eventually_async(lambda: scene.controller.ended(each))
        (told,) = scene.controller.of(each)
        assert told.is_system_error is False  # type: ignore[union-attr]
        assert was_lost(scene.records.kept[each].response)


async def test_one_whose_log_alone_is_missing_keeps_its_result(invoker_cluster: InvokerCluster) -> None:
    async with invoking(invoker_cluster, action(code=WITHOUT_SENTINEL, logs=1)) as scene:
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

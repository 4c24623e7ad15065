"""What `owmesos containers -o json` shows is true at every moment of a burst that does not fit: by the pool's own
accounts, by the launches, and, when all is quiet, by the master."""

from __future__ import annotations

import asyncio
from collections import Counter

from owmesos.invoker.action_rules import WantedAction, WantedCode, WantedLimits
from owmesos.invoker.standalone import Standalone
from owmesos.mesos.wire.address import parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.operator_client import OperatorClient
from owmesos.service.framework import Framework
from owmesos.simulator.cluster import SimulatedCluster
from tests.fixtures.task_ports import TaskPorts
from tests.waiting import eventually_async

ECHO = "import time\ndef main(args):\n    time.sleep(0.05)\n    return args"
SIZES = {"small": 128, "medium": 256, "large": 512}
HOLD_A_TASK = ("prewarmed", "warming", "warm", "busy")
AT_REST = ("warm", "prewarmed")  # prewarmed: a start that was left over, since another container took its run first
EACH = 20


async def tasks_of(master: str) -> set[str]:
    """The names by which the master knows what runs."""
    async with OperatorClient(detector_for(parse_master(master, credentials_allowed=False))) as operator:
        return {task.task_id.value for task in (await operator.tasks()).tasks if task.state == "TASK_RUNNING"}


def check(framework: Framework, standalone: Standalone) -> None:
    """Every row, against whatever else knows of it."""
    rows = framework.containers()
    launches = {row["launch_id"]: row for row in framework.launches()}
    assert len({row["container_id"] for row in rows}) == len(rows)
    for row in rows:
        launch = launches[row["container_id"]]
        assert row["memory"] == launch["resources"]["mem"]
        if row["state"] in HOLD_A_TASK:
            assert launch["state"] == "RUNNING", (row, launch)
            assert row["agent_id"] == launch["agent_id"]
            assert row["address"] == f"{launch['hostname']}:{launch['ports'][0][0]}"
        if row["state"] in ("starting", "prewarmed"):
            assert (row["action"], row["active"]) == (None, 0)
        if row["state"] == "warm":
            assert row["active"] == 0
        if row["state"] == "busy":
            assert row["active"] == 1
    assert sum(row["active"] for row in rows) == standalone.counts().running


async def test_the_listing_is_true_at_every_moment(task_ports: TaskPorts) -> None:
    standalone = Standalone()
    with SimulatedCluster(agents=2, resources=task_ports.resources(2, "cpus:2;mem:1024;disk:1024")) as cluster:
        async with Framework(master=cluster.master, pool=standalone.pool) as framework:
            await standalone.start(framework)
            for name, memory in SIZES.items():
                wanted = WantedAction(WantedCode("python:default", ECHO), WantedLimits(memory=memory, logs=0))
                await standalone.put_action(name, wanted)
            burst = asyncio.ensure_future(
                asyncio.gather(*(standalone.invoke(name, {"n": n}, wait=None) for n in range(EACH) for name in SIZES))
            )
            seen: Counter[str] = Counter()
            while not burst.done():
                check(framework, standalone)
                seen.update(row["state"] for row in framework.containers())
                await asyncio.wait([burst], timeout=0.005)
            assert {"starting", "busy"} <= set(seen)
            assert [each.result for each in await burst] == [{"n": n} for n in range(EACH) for _ in SIZES]

            async def quiet() -> bool:
                rows = framework.containers()
                check(framework, standalone)
                tasks = {row["task_id"] for row in framework.launches([row["container_id"] for row in rows])}
                at_rest = all(row["state"] in AT_REST for row in rows)
                return bool(rows) and at_rest and tasks == await tasks_of(cluster.master)

            await eventually_async(quiet)
            await standalone.close()

"""Standalone mode on Apache Mesos: functions run there as tasks, and the loss of an agent costs only what ran on it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from owmesos.core.pool.events import Dispatch
from owmesos.invoker.action_rules import WantedAction, WantedCode, WantedLimits
from owmesos.invoker.standalone import Invoked, Standalone
from owmesos.mesos.container_factory import PooledEffect
from owmesos.service.framework import Framework
from tests.cli.running import running
from tests.core.pool.invariants import check_pooled
from tests.fixtures.real_mesos import ClusterFactory
from tests.fixtures.task_ports import TaskPorts
from tests.waiting import eventually_async

pytestmark = pytest.mark.real_mesos
PING = {"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "2"}
PYTHON = (
    "import sys\ndef main(args):\n    print('out')\n    print('err', file=sys.stderr)\n    return {'n': args['n']}\n"
)

NODE = "function main({ n }) { console.log('out'); console.error('err'); return { n } }\n"
FILES = {"hello.py": PYTHON, "hello.js": NODE}
SLEEPS = "import time\ndef main(args):\n    time.sleep(0.3)\n    return {'n': args['n']}"


@pytest.mark.parametrize("file", list(FILES))
async def test_a_function_is_deployed_and_run(
    mesos_cluster: ClusterFactory, task_ports: TaskPorts, tmp_path: Path, file: str
) -> None:
    if file.endswith(".js") and shutil.which("node") is None:
        pytest.skip("node is not installed")
    cluster = mesos_cluster(agents=1, resources=task_ports.resources(1))
    (tmp_path / file).write_text(FILES[file])
    options = ("--standalone", "--master", cluster.master, "--state", str(tmp_path / "state"))
    async with running(*options) as process:
        await process.ask("action", "create", "hello", str(tmp_path / file), "--memory", "128")
        for n in range(3):
            assert (await process.ask("invoke", "hello", "--param", "n", str(n), "--result")).json == {"n": n}
            log = (await process.ask("activation", "logs", "--last")).out
            assert [line[31:] for line in log.splitlines()] == ["stdout: out", "stderr: err"]
        (container,) = (await process.ask("containers", "-o", "json")).json
        assert (container["action"], container["state"]) == ("guest/hello", "warm")
        assert (await process.ask("reservations", "-o", "json")).json == []
        assert (await process.end()).code == 0
    async with running(*options) as process:

        async def none_of_the_earlier_life() -> bool:
            rows = (await process.ask("launches", "-o", "json")).json
            return [row["state"] for row in rows if row["launch_id"] == container["container_id"]] == ["KILLED"]

        await eventually_async(none_of_the_earlier_life)
        assert (await process.ask("invoke", "hello", "--param", "n", "9", "--result")).json == {"n": 9}


async def test_the_loss_of_an_agent_in_a_burst_costs_only_what_ran_there(
    mesos_cluster: ClusterFactory, task_ports: TaskPorts
) -> None:
    resources = task_ports.resources(3, "cpus:4;mem:1024;disk:1024")
    cluster = mesos_cluster(agents=3, resources=resources, master_flags=PING)
    standalone = Standalone()
    places: dict[str, set[str]] = {}
    async with Framework(master=cluster.master, name="burst", pool=standalone.pool) as framework:
        await standalone.start(framework)

        def note(effect: PooledEffect) -> None:
            if isinstance(effect, Dispatch):
                hosts = {each["container_id"]: each["address"] for each in framework.containers()}
                places.setdefault(effect.run_id, set()).add(hosts[effect.container_id].partition(":")[0])

        framework.shell.pool_listeners.append(note)
        action = WantedAction(WantedCode("python:3", SLEEPS), WantedLimits(memory=256, logs=0))
        await standalone.put_action("sleeps", action)
        burst = [asyncio.ensure_future(standalone.invoke("sleeps", {"n": n}, wait=None)) for n in range(250)]
        await eventually_async(lambda: sum(each.done() for each in burst) > 40)
        victim = next(daemon for daemon in cluster.status() if daemon.name == "agent2")
        host = victim.address.partition(":")[0]
        assert any(host in each for each in places.values())
        await asyncio.to_thread(cluster.kill, "agent2")
        ends: list[Invoked] = await asyncio.wait_for(asyncio.gather(*burst), 120)
        for n, end in enumerate(ends):
            assert end.activation is not None
            assert end.result == {"n": n} or host in places[end.activation_id], (n, end, places[end.activation_id])
        await eventually_async(lambda: all(host not in (each["address"] or "") for each in framework.containers()))
        await eventually_async(lambda: not framework.reservations() and not standalone.counts().running)
        assert framework.shell.pooled is not None
        check_pooled(framework.shell.pooled)
        assert (await standalone.invoke("sleeps", {"n": 7})).result == {"n": 7}
        await standalone.close()

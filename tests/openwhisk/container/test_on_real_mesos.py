"""An embedded action container as a task of Apache Mesos: launched, run, its log read from its agent, ended."""

from __future__ import annotations

import json
import time
from typing import Any

import aiohttp
import msgspec
import pytest

from owmesos.core.placement import Slot
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.events import PoolEvent, StartContainer
from owmesos.mesos.container_factory import launch_of
from owmesos.mesos.wire.agent_files import TaskFiles
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.container.log_reader import ContainerLogs
from owmesos.openwhisk.container.run_state import AckKind
from owmesos.openwhisk.container.runner import ActionContainers
from owmesos.openwhisk.container_specs import Launching, LaunchSettings
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.messages import ActivationMessage
from owmesos.resources import Ask
from owmesos.service.framework import Framework
from tests.fixtures.real_mesos import ClusterFactory
from tests.openwhisk.runs import action, order
from tests.runtimes.container import COMMANDS
from tests.waiting import eventually_async

pytestmark = pytest.mark.real_mesos
PRINT = {
    "python:3": "import os, sys\n"
    "def main(args):\n    print('out', args['n'])\n    print('err', file=sys.stderr)\n"
    "    return {'host': os.environ['__OW_API_HOST'], 'n': args['n']}",
    "nodejs:20": "function main({ n }) { console.log('out', n); console.error('err')\n"
    "  return { host: process.env.__OW_API_HOST, n } }",
}


class Heard:
    """What became of the runs."""

    def __init__(self) -> None:
        self.records: dict[str, Activation] = {}

    def notify_pool(self, event: PoolEvent) -> None: ...

    async def begin(self, run_id: str) -> None: ...

    def acknowledge(self, kind: AckKind, message: ActivationMessage, activation: Activation) -> None: ...

    def record(self, message: ActivationMessage, activation: Activation) -> None:
        self.records[activation.activation_id] = activation


@pytest.mark.parametrize("kind", list(COMMANDS))
async def test_actions_run_on_apache_mesos_with_their_own_logs(mesos_cluster: ClusterFactory, kind: str) -> None:
    cluster = mesos_cluster(agents=1)
    launching = Launching(LaunchSettings(api_host="ow.example"), embedded_manifest())
    ask = Ask.of(cpus=0.1, mem=128, ports=1)
    start = StartContainer("c1", ContainerShape(kind, 128), Slot("", "*"), ask, (), False)
    heard = Heard()
    containers = ActionContainers(heard, time.time)
    async with Framework(master=cluster.master) as framework, aiohttp.ClientSession() as session:
        launch = await framework.launch(launch_of(launching(start)))
        placed: dict[str, Any] = await launch.running()
        agent = f"http://{cluster.status()[1].address}"
        assert framework.framework_id is not None
        logs = ContainerLogs(TaskFiles(session, agent, framework.framework_id, placed["task_id"]))
        containers.started("c1", f"{placed['hostname']}:{placed['ports'][0][0]}", logs)
        for number in range(3):
            run = order({"n": number}, of=action(code=PRINT[kind], kind=kind, logs=1))
            containers.run("c1", run, initialize=number == 0)
            await eventually_async(lambda run_id=run.run_id: heard.records.get(run_id))  # type: ignore[misc]
            record = heard.records[run.run_id]
            answer = json.loads(msgspec.json.encode(record.response.result))
            assert answer == {"host": "ow.example", "n": number}
            assert [line[31:] for line in record.logs] == [f"stdout: out {number}", "stderr: err"]
        await containers.close()

"""The demo of an invoker: a burst of invocations of three actions, on a cluster that loses an agent and gets it back.

What it checks is what it claims: every result is compared with the right one, runs that were on the lost agent are
counted apart, and a start that the cluster could not place would be counted as over-provisioned.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from owmesos.cli.demo.framework import DemoFailed, subscribed
from owmesos.cli.demo.pool_view import Lines, PoolScene, picture
from owmesos.cli.demo.screen import View, view_for
from owmesos.core.lifecycle import State
from owmesos.core.pool_events import Dispatch
from owmesos.mesos.address import parse_master
from owmesos.mesos.container_factory import Effect
from owmesos.mesos.detector import detector_for
from owmesos.mesos.messages import ID
from owmesos.mesos.operator import OperatorClient
from owmesos.mesos.statuses import START_REFUSED
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.embedded import NODE_KIND, PYTHON_KIND, embedded_manifest
from owmesos.openwhisk.manifest import StemCell
from owmesos.service.framework import Framework
from owmesos.service.standalone import Standalone
from owmesos.service.standalone_actions import WantedAction, WantedCode, WantedLimits

if TYPE_CHECKING:
    from owmesos.local.cluster import MesosCluster
    from owmesos.simulator.cluster import SimulatedCluster

_INVOCATIONS = 300
_LOST = "agent3"
_SHRINK_AT, _GROW_AT = 0.5, 0.75  # of all invocations
_FRAME = 0.1
_TIMEOUT = 120.0
_PREWARM_WITHIN = 10.0
_PYTHON_WORDS = """
import time
def main(args):
    time.sleep(0.2)
    return {"words": len(args["text"].split())}
"""
_PYTHON_SQUARE = """
import time
def main(args):
    time.sleep(0.3)
    return {"square": args["n"] ** 2}
"""
_NODE_SQUARE = """
function main(args) {
    return new Promise(resolve => setTimeout(() => resolve({square: args.n ** 2}), 300));
}
"""
_PYTHON_SUM = """
import time
def main(args):
    time.sleep(0.5)
    return {"sum": sum(range(args["n"]))}
"""


class Deployed(NamedTuple):
    """An action, how often it is invoked of ten times, and what it should answer."""

    name: str
    kind: str
    memory: int
    code: str
    share: int
    parameters: Callable[[int], dict[str, Any]]
    answer: Callable[[int], dict[str, Any]]


class Ended(NamedTuple):
    """`right`: its answer is. `on_lost`: its last container was on the agent that was lost."""

    right: bool
    on_lost: bool
    seconds: float
    activation: Activation


async def show(cluster: MesosCluster | SimulatedCluster) -> str:
    """All of it; the closing lines. Raises DemoFailed."""
    manifest = embedded_manifest(stem_cells=(StemCell("128 MB", 1),))
    standalone = Standalone(manifest=manifest)
    view = view_for(sys.stdout.isatty(), picture, Lines().say)
    async with Framework(master=cluster.master, name="owmesos-demo", pool=standalone.pool) as framework:
        await subscribed(framework)
        await standalone.start(framework)
        try:
            burst = Burst(cluster, framework, standalone)
            with view:
                await burst.run(view)
            return burst.summary()
        finally:
            await standalone.close()


def _actions(node: bool) -> tuple[Deployed, ...]:
    square = (NODE_KIND, _NODE_SQUARE) if node else (PYTHON_KIND, _PYTHON_SQUARE)
    return (
        Deployed("words", PYTHON_KIND, 128, _PYTHON_WORDS, 5, lambda n: {"text": "word " * n}, lambda n: {"words": n}),
        Deployed("square", square[0], 256, square[1], 3, lambda n: {"n": n}, lambda n: {"square": n**2}),
        Deployed("sum", PYTHON_KIND, 384, _PYTHON_SUM, 2, lambda n: {"n": n}, lambda n: {"sum": n * (n - 1) // 2}),
    )


class Burst:
    """One run of the demo."""

    def __init__(self, cluster: MesosCluster | SimulatedCluster, framework: Framework, standalone: Standalone) -> None:
        self._cluster = cluster
        self._framework = framework
        self._standalone = standalone
        self._actions = _actions(NODE_KIND in standalone.manifest.kinds)
        self._ended: list[Ended] = []
        self._marks = {round(share * _INVOCATIONS): asyncio.Event() for share in (_SHRINK_AT, _GROW_AT)}
        self._containers: dict[str, str] = {}  # of each run, the last
        self._agents: dict[str, str] = {}  # of each container
        self._lost_agent = ""
        self._what = "getting to know the cluster, and prewarming"
        self._began = time.monotonic()
        self._seconds = 0.0
        framework.shell.of_pool.append(self._note)

    async def run(self, view: View[PoolScene]) -> None:
        """Returns when everything has ended. Raises DemoFailed."""
        for action in self._actions:
            wanted = WantedAction(WantedCode(action.kind, action.code), WantedLimits(memory=action.memory, logs=0))
            await self._standalone.put_action(action.name, wanted)
        await self._prewarmed(view)
        burst_at = time.monotonic()
        invocations = [asyncio.create_task(self._invoke(*each)) for each in self._drawn()]
        changes = asyncio.create_task(self._change())
        finished = asyncio.create_task(self._framework.finished())
        try:
            while not all(task.done() for task in (*invocations, changes)):
                view.update(self._scene())
                await asyncio.wait([finished], timeout=_FRAME)
                if finished.done():
                    raise DemoFailed(finished.result().reason)
                if time.monotonic() - burst_at > _TIMEOUT:
                    raise DemoFailed(self._overdue())
            await asyncio.gather(*invocations, changes)
            self._seconds = time.monotonic() - burst_at
            view.update(self._scene())
        finally:
            for task in (*invocations, changes, finished):
                task.cancel()
            await asyncio.gather(*invocations, changes, finished, return_exceptions=True)

    async def _prewarmed(self, view: View[PoolScene]) -> None:
        """Until what the manifest wants prewarmed is there, or for a moment."""
        wanted = sum(setting.initial_count for setting in self._standalone.manifest.prewarm())
        view.update(self._scene())
        for _ in range(int(_PREWARM_WITHIN / _FRAME)):
            if sum(row["state"] == "prewarmed" for row in self._framework.containers()) >= wanted:
                break
            await asyncio.sleep(_FRAME)
        self._what = "all agents are there"

    def _drawn(self) -> list[tuple[Deployed, int]]:
        """In an order that is mixed, and always the same."""
        drawn = [action for action in self._actions for _ in range(_INVOCATIONS * action.share // 10)]
        random.Random(1).shuffle(drawn)
        return [(action, number) for number, action in enumerate(drawn, 1)]

    async def _invoke(self, action: Deployed, number: int) -> None:
        begun = time.monotonic()
        invoked = await self._standalone.invoke(action.name, action.parameters(number), wait=None)
        assert invoked.activation is not None
        right = invoked.result == action.answer(number)
        agent = self._agents.get(self._containers.get(invoked.activation_id, ""), "")
        on_lost = agent != "" and agent == self._lost_agent
        self._ended.append(Ended(right, on_lost, time.monotonic() - begun, invoked.activation))
        if len(self._ended) in self._marks:
            self._marks[len(self._ended)].set()

    def _note(self, effect: Effect) -> None:
        if isinstance(effect, Dispatch):
            self._containers[effect.run_id] = effect.container_id
            self._agents[effect.container_id] = self._framework.record(effect.container_id).agent_id or ""

    # -- the cluster

    async def _change(self) -> None:
        """Takes an agent with all that runs there, and gives it back as a new one."""
        shrink, grow = self._marks.values()
        await shrink.wait()
        host = next(status.address.partition(":")[0] for status in self._cluster.status() if status.name == _LOST)
        found = [node["agent_id"] for node in self._framework.nodes() if node["hostname"] == host]
        if not found:
            raise DemoFailed(f"{_LOST} ({host}) never offered anything")
        self._lost_agent = found[0]
        self._what = f"{_LOST} is gone"
        masters = parse_master(self._cluster.master, credentials_allowed=False)
        async with OperatorClient(detector_for(masters)) as operator:
            await operator.mark_agent_gone(ID(self._lost_agent))
        await grow.wait()
        await asyncio.to_thread(self._cluster.kill, _LOST)
        await asyncio.to_thread(lambda: self._cluster.start(_LOST, fresh=True))
        self._what = f"{_LOST} is back"

    # -- what is said of it

    def _scene(self) -> PoolScene:
        counts, pooled = self._standalone.counts(), self._framework.shell.pooled
        assert pooled is not None
        head = next(iter(pooled.pool.books.buffer), None)
        found = pooled.pool.explain(head.run.run_id) if head is not None else None
        return PoolScene(
            seconds=time.monotonic() - self._began,
            total=_INVOCATIONS,
            ended=len(self._ended),
            counts=counts,
            nodes=self._framework.nodes(),
            containers=self._framework.containers(),
            cluster=self._what,
            why=found.summary if found is not None else None,
        )

    def _overdue(self) -> str:
        why = self._scene().why
        return f"{_INVOCATIONS - len(self._ended)} invocations have not ended after {_TIMEOUT:g} s: {why}"

    def summary(self) -> str:
        """The closing lines. Raises DemoFailed when something is not as it should be."""
        right = sum(each.right for each in self._ended)
        lost = sum(each.on_lost and not each.right for each in self._ended)
        over, refused = self._starts()
        wrong = [each for each in self._ended if not each.right and not each.on_lost]
        if wrong or over:
            first = f"; the first: {wrong[0].activation.response}" if wrong else ""
            raise DemoFailed(f"{len(wrong)} invocations went wrong, {over} starts over-provisioned{first}")
        times = sorted(each.seconds for each in self._ended)
        counts = self._standalone.counts()
        return (
            f"{right} of {_INVOCATIONS} results are right, and {lost} were running on the agent that was lost;"
            f" {self._seconds:.1f} s\n"
            f"starts: {counts.warm} warm, {counts.prewarmed} prewarmed, {counts.cold} cold;"
            f" {counts.evicted} containers were stopped to make room\n"
            f"latency: median {statistics.median(times):.2f} s, 95 % within {times[int(len(times) * 0.95)]:.2f} s,"
            f" all within {times[-1]:.2f} s\n"
            f"over-provisioned: {over}; refused and placed again: {refused}\n"
            f"framework {self._framework.framework_id} is torn down"
        )

    def _starts(self) -> tuple[int, int]:
        """How many waited at the cluster for room longer than an offer takes to come, and how many were taken back."""
        shell = self._framework.shell
        bound, now = shell.scheduler.books.settings.offer_wait, shell.clock.now()
        over = refused = 0
        for record in shell.scheduler.books.launches.values():
            if record.reason == START_REFUSED:
                refused += 1
                continue
            placed = next((line.at for line in record.story if line.state is State.SUBMITTED), None)
            if placed is None and record.state.ended:
                continue
            over += (now if placed is None else placed) - record.submitted_at > bound + 0.5
        return over, refused

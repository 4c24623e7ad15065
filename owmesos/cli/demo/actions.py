"""The demo of an invoker: a burst of invocations of three actions, on a cluster that loses an agent and gets it back.

It checks what it claims: every result is compared with the expected one, runs on the lost agent are counted apart, and
a start that the cluster could not place would be counted as over-provisioned.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from owmesos.cli.columns import Document, node_state, number, short_ids
from owmesos.cli.demo.framework import DemoFailed, framed, subscribed, until, view
from owmesos.core.container_factory import InvokerEvent
from owmesos.core.pool.events import Dispatch
from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.action_rules import WantedAction, WantedCode, WantedLimits
from owmesos.invoker.standalone import Counts, Standalone
from owmesos.mesos.messages import ID
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.task_updates import START_REFUSED
from owmesos.mesos.wire.address import parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.operator_client import OperatorClient
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.embedded_manifest import NODE_KIND, PYTHON_KIND, embedded_manifest
from owmesos.openwhisk.manifest import StemCell
from owmesos.service.framework import Framework
from owmesos.system.tasks import cancel_all

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from owmesos.local.cluster import MesosCluster
    from owmesos.simulator.cluster import SimulatedCluster

_INVOCATIONS = 300
CLAIM = f"""\
Three actions are invoked {_INVOCATIONS} times at once, on a cluster that has room for a dozen containers and
loses an agent half-way. Each result is checked, and that no container was launched without room for it."""
_WIDTH = 120  # characters of a line
_INDENT = " " * 8
_LOST = "agent3"
_SHRINK_AT, _GROW_AT = 0.5, 0.75  # of all invocations
_TIMEOUT = 120.0  # seconds
_PREWARM_WITHIN = 10.0  # seconds
_LINE_EVERY = 1.0  # seconds
_STATES = ("starting", "prewarmed", "warming", "warm", "busy", "stopping")
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
    """An action, its share of ten invocations, and the result that it should give."""

    name: str
    kind: str
    memory: int
    code: str
    share: int
    parameters: Callable[[int], dict[str, Any]]
    answer: Callable[[int], dict[str, Any]]


class Ended(NamedTuple):
    """`right`: the result is the expected one. `on_lost`: its last container was on the lost agent."""

    right: bool
    on_lost: bool
    seconds: float
    activation: Activation


async def show(cluster: MesosCluster | SimulatedCluster) -> str:
    """Run the demo and return the closing lines. Raises DemoFailed."""
    manifest = embedded_manifest(stem_cells=(StemCell("128 MB", 1),))
    standalone = Standalone(manifest=manifest)
    async with Framework(master=cluster.master, name="owmesos-demo", pool=standalone.pool) as framework:
        await subscribed(framework)
        await standalone.start(framework)
        try:
            burst = Burst(cluster, framework, standalone)
            with view(picture, PoolLines().say) as show_scene:
                await burst.run(show_scene)
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
        self._agents: dict[str, str] = {}  # of each run, the last one's id
        self._lost_agent = ""
        self._what = "getting to know the cluster, and prewarming"
        self._began = time.monotonic()
        self._seconds = 0.0
        framework.shell.pool_listeners.append(self._note)

    async def run(self, show_scene: Callable[[PoolScene], None]) -> None:
        """Returns when everything has ended. Raises DemoFailed."""
        for action in self._actions:
            wanted = WantedAction(WantedCode(action.kind, action.code), WantedLimits(memory=action.memory, logs=0))
            await self._standalone.put_action(action.name, wanted)
        show_scene(self._scene())
        await until(self._framework, self._prewarmed, _PREWARM_WITHIN)
        self._what = "all agents are there"
        burst_at = time.monotonic()
        tasks = [asyncio.create_task(self._invoke(*each)) for each in self._drawn()]
        tasks.append(asyncio.create_task(self._change()))

        def over() -> bool:
            show_scene(self._scene())
            return all(task.done() for task in tasks)

        try:
            if not await until(self._framework, over, _TIMEOUT):
                left, why = _INVOCATIONS - len(self._ended), self._scene().why
                raise DemoFailed(f"{left} invocations have not ended after {_TIMEOUT:g} s: {why}")
            await asyncio.gather(*tasks)
            self._seconds = time.monotonic() - burst_at
        finally:
            await cancel_all(tasks)

    def _prewarmed(self) -> bool:
        """Whether the manifest's prewarmed containers are there."""
        wanted = sum(setting.initial_count for setting in self._standalone.manifest.prewarm())
        return sum(row["state"] == "prewarmed" for row in self._framework.containers()) >= wanted

    def _drawn(self) -> list[tuple[Deployed, int]]:
        """In a mixed order that is always the same."""
        drawn = [action for action in self._actions for _ in range(_INVOCATIONS * action.share // 10)]
        random.Random(1).shuffle(drawn)
        return [(action, number) for number, action in enumerate(drawn, 1)]

    async def _invoke(self, action: Deployed, number: int) -> None:
        begun = time.monotonic()
        invoked = await self._standalone.invoke(action.name, action.parameters(number), wait=None)
        assert invoked.activation is not None
        right = invoked.result == action.answer(number)
        on_lost = self._agents.get(invoked.activation_id, "nowhere") == self._lost_agent
        self._ended.append(Ended(right, on_lost, time.monotonic() - begun, invoked.activation))

    def _note(self, effect: InvokerEvent) -> None:
        if isinstance(effect, Dispatch):
            self._agents[effect.run_id] = self._framework.record(effect.container_id).agent_id or "nowhere"

    # -- the cluster

    async def _change(self) -> None:
        """Remove an agent with all its tasks, and add it again as a new one."""
        await self._have_ended(_SHRINK_AT)
        host = next(status.address.partition(":")[0] for status in self._cluster.status() if status.name == _LOST)
        found = [node["agent_id"] for node in self._framework.nodes() if node["hostname"] == host]
        if not found or found[0] is None:
            raise DemoFailed(f"{_LOST} ({host}) never offered anything")
        self._lost_agent = found[0]
        self._what = f"{_LOST} is gone"
        masters = parse_master(self._cluster.master, credentials_allowed=False)
        async with OperatorClient(detector_for(masters), self._framework.access) as operator:
            await operator.mark_agent_gone(ID(self._lost_agent))
        await self._have_ended(_GROW_AT)
        await asyncio.to_thread(self._cluster.kill, _LOST)
        await asyncio.to_thread(lambda: self._cluster.start(_LOST, fresh=True))
        self._what = f"{_LOST} is back"

    async def _have_ended(self, share: float) -> None:
        await until(self._framework, lambda: len(self._ended) >= share * _INVOCATIONS)

    # -- what is said of it

    def _scene(self) -> PoolScene:
        counts, pooled = self._standalone.counts(), self._framework.shell.pooled
        assert pooled is not None
        head = next(iter(pooled.pool.state.buffer), None)
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

    def summary(self) -> str:
        """The closing lines. Raises DemoFailed if a result is wrong or a start was over-provisioned."""
        right = sum(each.right for each in self._ended)
        lost = sum(each.on_lost and not each.right for each in self._ended)
        over, refused = self._starts()
        wrong = [each for each in self._ended if not each.right and not each.on_lost]
        if wrong or over:
            first = f"; the first: {wrong[0].activation.response}" if wrong else ""
            raise DemoFailed(f"{len(wrong)} invocations failed, {over} starts over-provisioned{first}")
        times = sorted(each.seconds for each in self._ended)
        counts = self._standalone.counts()
        return (
            f"{right} of {_INVOCATIONS} results are right, and"
            f" {lost} {'was' if lost == 1 else 'were'} running on the agent that was lost;"
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
        bound, now = shell.scheduler.state.settings.offer_wait, shell.clock.now()
        over = refused = 0
        for record in shell.scheduler.state.launches.values():
            if record.reason == START_REFUSED:
                refused += 1
                continue
            placed = next((line.at for line in record.story if line.state is State.SUBMITTED), None)
            if placed is None and record.state.ended:
                continue
            over += (now if placed is None else placed) - record.submitted_at > bound + 0.5
        return over, refused


# -- what is shown: which containers are where, or a line each second


class PoolScene(NamedTuple):
    """What to show at one moment."""

    seconds: float  # since the demo began
    total: int  # invocations
    ended: int
    counts: Counts
    nodes: Sequence[Document]
    containers: Sequence[Document]
    cluster: str  # its last change
    why: str | None  # why the first activation waits

    @property
    def idle(self) -> str | None:
        """Why containers are idle although activations wait; None if they are not."""
        idle = sum(row["state"] == "warm" for row in self.containers)
        if not idle or not self.counts.waiting:
            return None
        warm = "1 warm container of another action is" if idle == 1 else f"{idle} warm containers of other actions are"
        return (
            f"{warm} idle: each is kept for {PoolSettings().idle_grace:g} s, since a start costs more than most waits,"
            " unless the first activation waits for long"
        )


def picture(scene: PoolScene, console: Console) -> Group:
    """The picture for a terminal."""
    from rich.text import Text

    return framed(
        f"{scene.seconds:4.1f} s  {_runs(scene)}; {scene.cluster}",
        scene.total,
        scene.ended,
        Text(f"\n{_pool(scene)}\n"),
        _agents(scene),
        Text("\n" + "\n".join(text for text in (_first(scene), scene.idle) if text)),
    )


class PoolLines:
    """A line each second, and one for each change of the cluster."""

    def __init__(self) -> None:
        self._next = 0.0
        self._cluster = ""
        self._why: str | None = None
        self._idle_said = False

    def say(self, scene: PoolScene) -> None:
        if scene.cluster != self._cluster:
            self._cluster = scene.cluster
            click.echo(f"{scene.seconds:4.1f} s  {scene.cluster}")
        elif scene.seconds < self._next:
            return
        self._next = scene.seconds + _LINE_EVERY
        _say(f"{scene.seconds:4.1f} s  {_runs(scene)}; {_pool(scene)}")
        if scene.why != self._why:
            self._why = scene.why
            if scene.why is not None:
                _say(f"{_INDENT}{_first(scene)}")
        if scene.idle is not None and not self._idle_said:
            self._idle_said = True
            _say(f"{_INDENT}{scene.idle}")


def _say(text: str) -> None:
    click.echo(textwrap.fill(text, _WIDTH, subsequent_indent=_INDENT))


def _first(scene: PoolScene) -> str:
    return f"the first waits: {short_ids(scene.why)}" if scene.why is not None else ""


def _runs(scene: PoolScene) -> str:
    counts = scene.counts
    return f"{scene.ended} of {scene.total} ended, {counts.running} run, {counts.waiting} wait"


def _pool(scene: PoolScene) -> str:
    counts, states = scene.counts, Counter(row["state"] for row in scene.containers)
    kinds = ", ".join(f"{states[state]} {state}" for state in _STATES if states[state]) or "no containers"
    return (
        f"{kinds}; starts: {counts.warm} warm, {counts.prewarmed} prewarmed, {counts.cold} cold;"
        f" {counts.evicted} evicted"
    )


def _agents(scene: PoolScene) -> Table:
    """A row for each agent with its containers: how many of each action, and how many of these are busy."""
    from rich.table import Table

    table = Table("AGENT", "STATE", "FREE MB", "CONTAINERS", box=None, header_style="bold cyan", padding=(0, 2, 0, 0))
    for node in scene.nodes:
        here = [row for row in scene.containers if row["agent_id"] == node["agent_id"]]
        groups: dict[str, list[Document]] = {}
        for row in here:
            groups.setdefault(row["action"] or f"{row['kind']} ({row['state']})", []).append(row)
        texts = []
        for name, rows in sorted(groups.items()):
            busy = sum(row["active"] > 0 for row in rows)
            texts.append(f"{name} x{len(rows)}" + (f" ({busy} busy)" if busy else ""))
        table.add_row(node["hostname"], node_state(node), number(node["available"]["mem"]), ", ".join(texts) or "-")
    return table

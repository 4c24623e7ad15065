"""Random histories of one pool and one cluster: whatever happens, what must hold is held after every event.

Runs of many shapes, agents that join, leave and shrink, neighbours, refusals, failures, containers that die and late
NodeStats come in any order. Then the neighbours leave and there is room: every run must end, and then nothing is left
under way.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from owmesos.core.ledger import Buffer
from owmesos.core.placement import Slot
from owmesos.core.pool.containers import ContainerShape, ContainerState
from owmesos.core.pool.events import (
    ContainerStarted,
    ContainerStopped,
    ContainerUnfit,
    Initialized,
    PoolTick,
    Reschedule,
    RunDone,
    StartContainer,
    StartFailed,
    StartRefused,
)
from owmesos.core.pool.prewarm import PrewarmSetting, Reactive
from owmesos.core.pool.settings import PoolSettings
from owmesos.resources import Ask
from tests.core.pool.agents import agent
from tests.core.pool.cluster import FakeCluster
from tests.core.pool.invariants import check_pool
from tests.core.pool.queueing_cluster import QueueingCluster
from tests.examples import examples

PYTHON, NODE = ContainerShape("python:3", 256), ContainerShape("nodejs:20", 128)
PREWARMS = st.sampled_from(
    [
        (),
        (),
        (PrewarmSetting(PYTHON, 1),),
        (PrewarmSetting(PYTHON, 2), PrewarmSetting(NODE, 1, Reactive(1, 3, 90.0, 1, 1))),
    ]
)
SETTINGS = st.sampled_from(
    [
        PoolSettings(),
        PoolSettings(pressure_after=3.0),
        PoolSettings(max_starts=2, max_starts_on_agent=1, idle_timeout=60.0),
        PoolSettings(idle_grace=1.0, drain_after=1.0, start_timeout=5.0),
    ]
)

TIMES = st.sampled_from([0.0, 0.05, 0.3, 1.0, 2.5, 5.0, 11.0])
LASTS = st.sampled_from([0.1, 0.5, 3.0, 30.0])
FEW = st.sampled_from([0, 1, 3, 5, 5])
ANY = st.integers(0, 11)  # one of whatever there is
LEFT = 400.0  # seconds in which all must have ended: twice the longest wait


class PoolMachine(RuleBasedStateMachine):
    """The rules only act; what must hold is checked by the cluster after each event (tests/core/pool/checks.py)."""

    cluster: type[FakeCluster] = FakeCluster

    def __init__(self) -> None:
        super().__init__()
        self.world: FakeCluster | None = None

    @initialize(
        sizes=st.lists(st.sampled_from([256, 512, 768, 1024]), min_size=1, max_size=4),
        prewarm=PREWARMS,
        chosen=SETTINGS,
        buffer=st.sampled_from([Buffer(share=0.0), Buffer(share=0.0), Buffer(share=0.1)]),
        settled=st.sampled_from([True, True, True, False]),
    )
    def begin(
        self,
        sizes: list[int],
        prewarm: tuple[PrewarmSetting, ...],
        chosen: PoolSettings,
        buffer: Buffer,
        settled: bool,
    ) -> None:
        agents = {f"S{number}": size for number, size in enumerate(sizes)}
        self.joined = len(sizes)
        self.world = self.cluster(
            agents,
            settings=chosen,
            prewarm=prewarm,
            buffer=buffer,
            settled=settled,
        )

    def _agent(self, any_: int) -> str | None:
        agents = list(self.world.agents)
        return agents[any_ % len(agents)] if agents else None

    # -- runs

    @rule(
        name=st.sampled_from(["a", "b", "c"]),
        memory=st.sampled_from([128, 256, 256, 512]),
        kind=st.sampled_from(["python:3", "python:3", "nodejs:20"]),
        concurrency=st.sampled_from([1, 1, 2, 3]),
        count=st.sampled_from([1, 1, 2, 5]),
        lasts=LASTS,
    )
    def runs(self, name: str, memory: int, kind: str, concurrency: int, count: int, lasts: float) -> None:
        for _ in range(count):
            named = f"{name}{memory}{kind}{concurrency}"
            self.world.run(named, memory, kind=kind, concurrency=concurrency, lasts=lasts)

    @rule(count=st.sampled_from([1, 3, 6]), memory=st.sampled_from([128, 256]), lasts=LASTS)
    def runs_of_an_image(self, count: int, memory: int, lasts: float) -> None:
        for _ in range(count):
            self.world.run(f"own{memory}", memory, kind="blackbox", image="own:1", lasts=lasts)

    @rule(missing=st.booleans())
    def image(self, missing: bool) -> None:
        self.world.missing = {"own:1"} if missing else set()

    @rule(any_=ANY, broken=st.booleans())
    def agent_breaks(self, any_: int, broken: bool) -> None:
        """Nothing starts there; or it is whole again."""
        agent_id = self._agent(any_)
        if broken and agent_id is not None:
            self.world.broken_agents.add(agent_id)
        else:
            self.world.broken_agents.clear()

    @rule(memory=st.sampled_from([512, 768, 1024]), lasts=LASTS)
    def large_run(self, memory: int, lasts: float) -> None:
        self.world.run(f"large{memory}", memory, lasts=lasts)

    @rule(lasts=LASTS)
    def health_test(self, lasts: float) -> None:
        self.world.run("health", 128, kind="nodejs:20", namespace="whisk.system", health=True, lasts=lasts)

    @rule(any_=ANY)
    def reschedule(self, any_: int) -> None:
        running = list(self.world.pool.state.running)
        if running:
            self.world.reschedule(running[any_ % len(running)])

    @rule(any_=ANY)
    def cancel(self, any_: int) -> None:
        """Also one that has a container, which goes on."""
        runs = [*self.world.pool.state.buffer.by_id, *self.world.pool.state.running]
        if runs:
            self.world.cancel(runs[any_ % len(runs)])

    @rule(any_=ANY)
    def run_ends_badly(self, any_: int) -> None:
        running = list(self.world.pool.state.running)
        if running:
            self.world.done(running[any_ % len(running)], reuse=False)

    @rule(any_=ANY)
    def container_is_unfit(self, any_: int) -> None:
        """Whatever it does: idle, with runs, or stopping."""
        of_actions = [each.id for each in self.world.pool.containers if each.key is not None]
        if of_actions:
            self.world.send(ContainerUnfit(of_actions[any_ % len(of_actions)]))

    @rule(reschedule=st.booleans())
    def one_of_several_runs_ends_badly(self, reschedule: bool) -> None:
        """Its container has another, and a third run of the same action comes."""
        runs = [self.world.run("shared", 128, concurrency=3, lasts=30.0) for _ in range(2)]
        self.world.wait(2.5)
        if runs[0] in self.world.pool.state.running:
            if reschedule:
                self.world.reschedule(runs[0])
            else:
                self.world.done(runs[0], reuse=False)
            self.world.run("shared", 128, concurrency=3, lasts=1.0)

    @rule()
    def one_comes_back_while_a_container_is_ready(self) -> None:
        """Of two runs of an action one has ended."""
        runs = [self.world.run("twice", 128, lasts=30.0) for _ in range(2)]
        self.world.wait(2.5)
        if all(run_id in self.world.pool.state.running for run_id in runs):
            self.world.done(runs[1])
            self.world.reschedule(runs[0])

    # -- time

    @rule(seconds=TIMES)
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=TIMES)
    def wait_again(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([20.0, 65.0, 200.0]))
    def wait_long(self, seconds: float) -> None:
        self.world.wait(seconds)

    # -- containers

    @rule(fates=st.lists(st.sampled_from(["refused", "fails", "starts"]), min_size=1, max_size=3))
    def next_starts(self, fates: list[str]) -> None:
        self.world.fates = list(fates)

    @rule(takes=st.sampled_from([0.2, 1.0, 8.0]), stop=st.sampled_from([0.1, 0.5, 6.0]))
    def speed(self, takes: float, stop: float) -> None:
        self.world.start_takes, self.world.stop_takes = takes, stop

    @rule(any_=ANY)
    def container_dies(self, any_: int) -> None:
        living = self.world.containers(
            ContainerState.PREWARMED, ContainerState.WARMING, ContainerState.WARM, ContainerState.BUSY
        )
        if living:
            self.world.crash(living[any_ % len(living)].id)

    @rule(any_=ANY, of=ANY)
    def late_word(self, any_: int, of: int) -> None:
        """Of a container that is gone, or that has started long ago: it changes nothing."""
        world = self.world
        ids = [effect.container_id for _, effect in world.log if isinstance(effect, StartContainer)]
        unstarted = {each.id for each in world.pool.containers if each.address is None}  # starting, or withdrawn
        over = [each for each in ids if each not in unstarted]
        if not over:
            return
        container_id = over[-1 - any_ % len(over)]
        words: list[object] = [
            ContainerStarted(container_id, Slot("S0", "*"), "late"),
            StartRefused(container_id, "late"),
            StartFailed(container_id, "late"),
            RunDone(container_id, "a run that it never had"),
            Reschedule(container_id, "a run that it never had"),
        ]
        if container_id not in world.pool.containers.by_id:
            words += [ContainerStopped(container_id, "late"), Initialized(container_id), ContainerUnfit(container_id)]
        world.send(PoolTick())  # whatever is due by now is not the late word's doing
        assert world.pool.handle(words[of % len(words)], world.now) == []
        check_pool(world.pool)

    # -- the cluster

    @rule(any_=ANY, mem=st.sampled_from([0, 128, 256, 512, 1024]))
    def neighbours(self, any_: int, mem: int) -> None:
        agent_id = self._agent(any_)
        if agent_id is not None:
            free = self.world.agents[agent_id].free().plus(self.world.agents[agent_id].neighbours)
            self.world.neighbours(agent_id, min(mem, free.milli_mem // 1000))

    @rule()
    def neighbours_take_all(self) -> None:
        for each in self.world.agents.values():
            self.world.neighbours(each.agent_id, each.free().plus(each.neighbours).milli_mem // 1000)

    @rule(idle=FEW, memory=st.sampled_from([128, 256]), seconds=st.sampled_from([5.0, 40.0]))
    def neighbours_are_greedy(self, idle: int, memory: int, seconds: float) -> None:
        """They have all that is free, and take at once what ends, while a run waits for room."""
        for number in range(idle):
            self.world.run(f"idle{number}", 128, lasts=0.1)
        self.world.wait(3.0)
        self.neighbours_take_all()
        self.world.greedy = True
        self.world.observe()
        self.world.run(f"waits{memory}", memory, kind="java:8", lasts=0.5)
        self.world.wait(seconds)
        self.world.greedy = False

    @precondition(lambda self: len(self.world.agents) < 5)
    @rule(size=st.sampled_from([256, 512, 1024]))
    def agent_joins(self, size: int) -> None:
        self.world.join(agent(f"S{self.joined}", size))
        self.joined += 1

    @rule(any_=ANY, mem=st.sampled_from([128, 256, 512]))
    def agent_shrinks(self, any_: int, mem: int) -> None:
        """It has less from now on than it had, but what its tasks hold."""
        agent_id = self._agent(any_)
        if agent_id is not None:
            each = self.world.agents[agent_id]
            less = min(mem * 1000, max(0, each.free().milli_mem))
            each.total = each.total.minus(Ask(milli_mem=less))

    @precondition(lambda self: len(self.world.agents) > 1)
    @rule(any_=ANY)
    def agent_leaves(self, any_: int) -> None:
        agent_id = self._agent(any_)
        assert agent_id is not None
        self.world.leave(agent_id)

    @rule(any_=ANY, closed=st.booleans())
    def agent_backs_off(self, any_: int, closed: bool) -> None:
        agent_id = self._agent(any_)
        if agent_id is not None:
            self.world.close(agent_id, closed=closed)

    @rule()
    def offers_come(self) -> None:
        if self.world.settled:
            self.world.observe()

    @rule(back=st.booleans(), offers=st.booleans())
    def master_is_lost(self, back: bool, offers: bool) -> None:
        self.world.disconnect()
        if offers:
            self.world.observe()
        if back:
            self.world.settle()

    # -- what must hold after each step

    @invariant()
    def what_waits_is_explained(self) -> None:
        if self.world is not None:
            self.world.checks.explained()

    # -- the end

    def teardown(self) -> None:
        if self.world is None or self.world.broken:
            return
        world = self.world
        heal(world)
        world.wait(LEFT)
        assert world.buffered() == [], "runs wait for ever"
        assert world.pool.state.running == {}
        assert world.pool.state.aside is None
        assert not world.waiting
        # There is room again, so whatever comes now is given a container.
        late = [world.run(f"late{memory}", memory, lasts=1.0) for memory in (128, 512, 1024, 256)]
        world.wait(60.0)
        for run_id in late:
            assert world.ended.get(run_id, "not yet") is None, f"{run_id}: {world.ended.get(run_id)}"
        assert all(each.prewarm for each in world.containers(ContainerState.STARTING))


def heal(world: FakeCluster) -> None:
    """No neighbours, no faults, and one agent that could hold anything."""
    world.fates = []
    world.broken_agents, world.missing = set(), set()
    world.start_takes, world.stop_takes = 1.0, 0.5
    for agent_id in world.agents:
        world.close(agent_id, closed=False)
        world.neighbours(agent_id, 0)
    world.join(agent("healer", 1300))
    world.settle()


class QueueingPoolMachine(PoolMachine):
    """Starts are handed over while their victims still stop."""

    cluster = QueueingCluster


TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=examples(500), stateful_step_count=50, derandomize=True, database=None, deadline=None
)
TestPool.pytestmark = [pytest.mark.timeout(1800)]
TestQueueingPool = QueueingPoolMachine.TestCase
TestQueueingPool.settings = TestPool.settings
TestQueueingPool.pytestmark = TestPool.pytestmark

"""Random histories of one scheduler and one master: whatever happens, the design's invariants hold after every event.

Launches, offers, rescinds that race an ACCEPT, updates late and twice, neighbours, lost agents, lost streams, lost
answers, masters that fail over and processes that die in the middle of a step come in any order. Then all is healed:
everything must end or run, and the scheduler must fall silent.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from owmesos.core.ledger import Buffer
from owmesos.core.placement import Strategy
from owmesos.mesos.scheduler import matching
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.settings import Settings
from owmesos.resources import Resources
from owmesos.simulator.protocol import AgentDescription
from tests.examples import examples
from tests.model.quiet import heal, quiet
from tests.model.scene import described, reservation
from tests.model.world import World

ROLES = st.sampled_from([("web",), ("web", "db")])
BUFFERS = st.sampled_from([Buffer(share=0.0), Buffer(), Buffer(milli_mem=64_000, milli_cpus=200, share=0.1)])
KINDS = st.sampled_from(["runs", "runs", "runs", "quick", "quick", "slow", "fails", "dropped", "silent", "bad"])
CONSTRAINTS = st.sampled_from([(), (), (), ("rack == r1",), ("rack LIKE r.*",), ("@hostname == h0",)])
TIMES = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 7.0, 20.0, 70.0])
ANY = st.integers(0, 11)  # one of whatever there is
PORTS = [(31000, 31004)]


def agent(number: int, size: int, *, reserved: bool) -> AgentDescription:
    room = Resources.of(cpus=2 * size, mem=512 * size, disk=1000, ports=PORTS)
    apart = {
        reservation("web", "a"): Resources.of(cpus=0.5, mem=128),
        reservation("web", "b"): Resources.of(cpus=0.25, mem=64),
    }
    return described(number, room, f"r{number % 3}" if number % 3 else None, apart if reserved else {})


class SchedulerMachine(RuleBasedStateMachine):
    """The rules only act; what must hold is checked by the world after each event (tests/model/checks.py)."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.size = 1

    @initialize(
        sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
        roles=ROLES,
        buffer=BUFFERS,
        strategy=st.sampled_from(Strategy),
        reserved=st.booleans(),
        narrow=st.booleans(),
        operator_api=st.booleans(),
        keep_ended=st.sampled_from([2, 1000]),
    )
    def begin(
        self,
        sizes: list[int],
        roles: tuple[str, ...],
        buffer: Buffer,
        strategy: Strategy,
        reserved: bool,
        narrow: bool,
        operator_api: bool,
        keep_ended: int,
    ) -> None:
        self.reserved = reserved
        chosen = Settings(
            buffer=buffer,
            strategy=strategy,
            narrow_above=1 if narrow else 200,
            narrow_least=1,
            keep_ended=keep_ended,
        )
        agents = [agent(number, size, reserved=reserved) for number, size in enumerate(sizes)]
        self.world = World(agents, roles=roles, settings=chosen, operator_api=operator_api)
        self.ids = len(agents)

    def _name(self, any_: int) -> str:
        names = self.world.cluster.names
        return names[any_ % len(names)]

    # -- what is asked

    @rule(
        kind=KINDS,
        cpus=st.sampled_from([0.1, 0.5, 1.0]),
        mem=st.sampled_from([32, 100, 256, 486, 512, 900]),
        ports=st.integers(0, 3),
        constraints=CONSTRAINTS,
        role=st.sampled_from([None, None, "web", "db"]),
        deadline=st.sampled_from([10.0, 60.0, 300.0]),
        retry=st.sampled_from(["safe", "safe", "lost"]),
        count=st.sampled_from([1, 1, 2, 4]),
    )
    def submit(
        self,
        kind: str,
        cpus: float,
        mem: int,
        ports: int,
        constraints: tuple[str, ...],
        role: str | None,
        deadline: float,
        retry: str,
        count: int,
    ) -> None:
        for _ in range(count):
            self.world.submit(
                name=kind,
                cpus=cpus,
                mem=mem,
                ports=ports,
                constraints=constraints,
                role=role if role in self.world.roles else None,
                deadline=deadline,
                retry=retry,
            )

    @rule(count=st.integers(1, 3), mem=st.sampled_from([32, 200, 400]), kind=KINDS)
    def submit_small(self, count: int, mem: int, kind: str) -> None:
        for _ in range(count):
            self.world.submit(name=kind, mem=mem)

    @rule(mem=st.sampled_from([460, 500, 512]), quickly=st.booleans())
    def submit_large(self, mem: int, quickly: bool) -> None:
        """What only an agent that is nearly free can hold."""
        self.world.submit(name="quick" if quickly else "runs", mem=mem, cpus=0.5)

    @rule(any_=ANY)
    def kill(self, any_: int) -> None:
        records = list(self.world.scheduler.state.launches.values())
        wanted = [record for record in records if not record.state.ended] or records
        if wanted:
            self.world.kill(wanted[any_ % len(wanted)].id)

    # -- time

    @rule(seconds=TIMES)
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([0.05, 5.0, 30.0, 650.0]))
    def wait_long(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=TIMES)
    def wait_healed(self, seconds: float) -> None:
        heal(self.world)
        self.world.wait(seconds)

    @rule(most=st.integers(1, 3))
    def read_some(self, most: int) -> None:
        self.world.deliver(most)

    # -- what others do

    @rule(any_=ANY, share=st.sampled_from([0.0, 0.5, 1.0]))
    def neighbours(self, any_: int, share: float) -> None:
        self.world.cluster.neighbours(self._name(any_), share)

    @rule(mem=st.sampled_from([32, 400]), seconds=st.sampled_from([0.1, 3.0]))
    def neighbours_come_first(self, mem: int, seconds: float) -> None:
        """They take what was declined, and then it is asked for."""
        for name in self.world.cluster.names:
            self.world.cluster.neighbours(name, 1.0)
        self.world.submit(mem=mem)
        self.world.wait(seconds)

    @precondition(lambda self: self.world.cluster.offers)
    @rule(any_=ANY, filtered=st.booleans())
    def rescind(self, any_: int, filtered: bool) -> None:
        offers = list(self.world.cluster.offers.values())
        self.world.cluster.rescind(offers[any_ % len(offers)], filtered=filtered)

    @rule(any_=ANY, planned=st.booleans())
    def maintenance(self, any_: int, planned: bool) -> None:
        self.world.cluster.maintenance(self._name(any_), planned=planned)

    @rule(any_=ANY, state=st.sampled_from(["TASK_FINISHED", "TASK_FAILED", "TASK_STARTING"]))
    def task_says(self, any_: int, state: str) -> None:
        living = self.world.cluster.runner.living()
        if living:
            living[any_ % len(living)].says(state)

    @rule(any_=ANY)
    def executor_freezes(self, any_: int) -> None:
        living = self.world.cluster.runner.living()
        if living:
            living[any_ % len(living)].hang()

    @rule(any_=ANY)
    def update_again(self, any_: int) -> None:
        reported = self.world.reported
        if reported:
            self.world.repeat(reported[-1 - any_ % len(reported)])

    # -- agents

    @rule(any_=ANY)
    def agent_freezes(self, any_: int) -> None:
        self.world.cluster.freeze(self._name(any_))

    @rule(any_=ANY, end=st.sampled_from(["TASK_FAILED", "TASK_DROPPED", None]))
    def agent_breaks(self, any_: int, end: str | None) -> None:
        """Every start on it ends so; or it is whole again."""
        self.world.cluster.broken.pop(self._name(any_), None)
        if end is not None:
            self.world.cluster.broken[self._name(any_)] = end

    @rule(any_=ANY)
    def frozen_agent_is_killed(self, any_: int) -> None:
        """With what it has not read."""
        self.world.cluster.kill_frozen(self._name(any_))

    @rule(any_=ANY)
    def agent_is_cut_off(self, any_: int) -> None:
        self.world.cluster.cut_off(self._name(any_))

    @rule(any_=ANY)
    def agent_is_back(self, any_: int) -> None:
        self.world.cluster.back(self._name(any_))

    @rule(any_=ANY, noticed=st.booleans())
    def machine_reboots(self, any_: int, noticed: bool) -> None:
        self.world.cluster.reboot(self._name(any_), noticed=noticed)

    @rule(any_=ANY)
    def agent_restarts(self, any_: int) -> None:
        self.world.cluster.restart(self._name(any_))

    @rule(any_=ANY, operator=st.booleans())
    def agent_is_replaced(self, any_: int, operator: bool) -> None:
        """By another id at the same address; an operator may have said before that the old one is gone."""
        total = agent(0, 2, reserved=self.reserved).total
        self.world.cluster.replace(self._name(any_), f"S{self.ids}", gone=operator, total=total)
        self.ids += 1

    # -- the connection and the process

    @rule(unread_too=st.booleans())
    def stream_ends(self, unread_too: bool) -> None:
        if self.world.subscribed:
            self.world.lose_stream(unread_too=unread_too)

    @rule(first=st.floats(0.6, 3.3), stays_away=ANY)
    def master_fails_over(self, first: float, stays_away: int) -> None:
        if not self.world.subscribed:
            return
        names = self.world.cluster.names
        back = {name: first + 0.5 * number for number, name in enumerate(names) if number != stays_away}
        self.world.restart_master(back)

    @rule(taken=st.booleans())
    def next_answer_is_lost(self, taken: bool) -> None:
        self.world.lose_answer = taken

    @rule(effects=st.integers(0, 6), marked=st.booleans())
    def process_dies(self, effects: int, marked: bool) -> None:
        self.world.crash_after, self.world.mark_first = effects, marked

    # -- what must hold

    @invariant()
    def what_waits_is_explained(self) -> None:
        if self.world is None:
            return
        for record in self.world.scheduler.state.queue:
            found = self.world.scheduler.explain(record.id)
            assert found is not None
            assert found.summary, f"nobody knows why {record.id} waits"

    def teardown(self) -> None:
        if self.world is not None and not self.world.broken:
            quiet(self.world)


class SmallSchedulerMachine(RuleBasedStateMachine):
    """An agent or two that a launch or two fill, and the faults around the start and the end of a task.

    A history of it takes a fraction of the time, and nearly each one has a task that is lost, or comes back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.reserved = False

    @initialize(count=st.integers(1, 2))
    def begin(self, count: int) -> None:
        agents = [agent(number, 1, reserved=False) for number in range(count)]
        self.world = World(agents, settings=Settings(buffer=Buffer(share=0.0)))
        self.world.wait(6.0)
        self.ids = count
        exactly = self.world.submit(name="quick", mem=512)
        self.world.wait(1.0)
        assert self.world.record(exactly).state is State.RUNNING

    _name = SchedulerMachine._name

    @rule(
        kind=st.sampled_from(["slow", "slow", "runs", "quick", "silent"]),
        mem=st.sampled_from([100, 512, 512]),
        retry=st.sampled_from(["safe", "safe", "lost"]),
        deadline=st.sampled_from([10.0, 300.0, 300.0]),
        seconds=st.sampled_from([0.01, 0.05, 1.0, 1.0]),
        fault=st.sampled_from(
            [
                "nothing",
                "the agent is away",
                "the agent is replaced",
                "the machine reboots",
                "the machine reboots while the process is away",
                "the machine reboots while the process is away",
                "the process dies",
            ]
        ),
        any_=ANY,
    )
    def launch(self, kind: str, mem: int, retry: str, deadline: float, seconds: float, fault: str, any_: int) -> None:
        """And then something happens to the agent."""
        world, cluster = self.world, self.world.cluster
        launch_id = world.submit(name=kind, mem=mem, retry=retry, deadline=deadline)
        world.wait(seconds)
        record = world.scheduler.state.launches.get(launch_id)  # its process may have died before it was stored
        name = self._name(any_)
        if record is not None and record.agent_id is not None:
            name = cluster.name_of(record.agent_id) or name
        if fault == "the agent is away":
            if cluster.is_up(name):
                cluster.cut_off(name)
            world.wait(12.0 if any_ % 2 else 650.0)
            cluster.back(name)
            world.wait(20.0)
            self._nothing_lives_on(name)
        elif fault == "the agent is replaced":
            self.agent_is_replaced(any_, operator=any_ % 3 == 0)
        elif fault.startswith("the machine reboots"):
            away = fault.endswith("away")
            cluster.reboot(name, noticed=not away and any_ % 2 == 0)
            if away:
                world.be_away(15.0)
        elif fault == "the process dies":
            self.process_dies(any_ % 4, marked=any_ % 3 == 0)
        world.wait(seconds)

    def _nothing_lives_on(self, name: str) -> None:
        """Soon after the agent is back it runs nothing that nobody waits for any more."""
        cluster = self.world.cluster
        for task in [each for each in cluster.runner.living() if each.agent.description.name == name]:
            record = self.world.scheduler.state.launches.get(task.launch_id)
            ended = record is None or record.state.ended
            assert not ended or task.hangs or not cluster.is_up(name), f"{task.task_id} lives on"

    another_launch = launch  # twice as often as the others

    @rule(seconds=st.sampled_from([0.05, 12.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    kill = SchedulerMachine.kill
    executor_freezes = SchedulerMachine.executor_freezes
    agent_freezes = SchedulerMachine.agent_freezes
    agent_is_back = SchedulerMachine.agent_is_back
    agent_is_replaced = SchedulerMachine.agent_is_replaced
    next_answer_is_lost = SchedulerMachine.next_answer_is_lost
    process_dies = SchedulerMachine.process_dies
    master_fails_over = SchedulerMachine.master_fails_over
    teardown = SchedulerMachine.teardown


class SmallOffersMachine(RuleBasedStateMachine):
    """An agent or two, and what happens to offers: neighbours come first, offers are rescinded, REVIVEs are many."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(count=st.integers(1, 2), buffer=st.sampled_from([0, 64_000]))
    def begin(self, count: int, buffer: int) -> None:
        agents = [agent(number, 1, reserved=False) for number in range(count)]
        self.world = World(agents, settings=Settings(buffer=Buffer(milli_mem=buffer, share=0.0)))

    _name = SchedulerMachine._name

    @rule(mem=st.sampled_from([64, 200, 448, 500]), quickly=st.booleans(), most=st.integers(0, 3))
    def submit(self, mem: int, quickly: bool, most: int) -> None:
        """And so many events are read after it."""
        self.world.submit(name="quick" if quickly else "runs", mem=mem)
        self.world.deliver(most)

    @rule(any_=ANY, filtered=st.booleans(), mem=st.sampled_from([64, 200]))
    def rescinded_while_it_is_accepted(self, any_: int, filtered: bool, mem: int) -> None:
        """The offer is on its way, or in an ACCEPT that the master has not seen."""
        self.world.submit(mem=mem)
        offers = list(self.world.cluster.offers.values())
        if offers:
            self.world.cluster.rescind(offers[any_ % len(offers)], filtered=filtered)
        self.world.deliver(1 + any_ % 2)

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    kill = SchedulerMachine.kill
    read_some = SchedulerMachine.read_some
    neighbours = SchedulerMachine.neighbours
    neighbours_come_first = SchedulerMachine.neighbours_come_first
    next_answer_is_lost = SchedulerMachine.next_answer_is_lost
    stream_ends = SchedulerMachine.stream_ends
    teardown = SchedulerMachine.teardown


TestSmallScheduler = SmallSchedulerMachine.TestCase
TestSmallScheduler.settings = settings(
    max_examples=examples(100), stateful_step_count=20, derandomize=True, database=None
)
TestSmallScheduler.pytestmark = [pytest.mark.timeout(1800)]

TestSmallOffers = SmallOffersMachine.TestCase
TestSmallOffers.settings = settings(max_examples=examples(60), stateful_step_count=20, derandomize=True, database=None)
TestSmallOffers.pytestmark = [pytest.mark.timeout(1800)]

TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=examples(700), stateful_step_count=50, derandomize=True, database=None)
TestScheduler.pytestmark = [pytest.mark.timeout(1800)]


@pytest.fixture(params=[1, 2])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pass takes many steps, and anything happens between them."""
    monkeypatch.setattr(matching, "SLICE", request.param)


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize("machine", [SchedulerMachine, SmallSchedulerMachine, SmallOffersMachine])
def test_in_slices(machine: type[SchedulerMachine]) -> None:
    chosen = settings(max_examples=examples(60), stateful_step_count=30, derandomize=True, database=None)
    run_state_machine_as_test(machine, settings=chosen)  # type: ignore[no-untyped-call]

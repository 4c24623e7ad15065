"""Random histories of one scheduler and one master: whatever happens, the design's invariants hold after every event.

Launches, offers, rescinds that race an ACCEPT, updates late and twice, neighbours, lost agents, lost streams, lost
answers, masters that fail over and processes that die in the middle of a step come in any order. Then all is healed:
everything must end or run, and the scheduler must fall silent.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from owmesos.core.buffer import Buffer
from owmesos.core.placement import Strategy
from owmesos.mesos.settings import Settings
from owmesos.resources import Resources
from tests.examples import examples
from tests.model.agents import Label, Link, ModelAgent, Room
from tests.model.quiet import heal, quiet
from tests.model.world import World

ROLES = st.sampled_from([("web",), ("web", "db")])
BUFFERS = st.sampled_from([Buffer(share=0.0), Buffer(), Buffer(milli_mem=64_000, milli_cpus=200, share=0.1)])
KINDS = st.sampled_from(["runs", "runs", "runs", "quick", "quick", "fails", "silent", "bad"])
CONSTRAINTS = st.sampled_from([(), (), (), ("rack == r1",), ("rack LIKE r.*",), ("@hostname == h0",)])
TIMES = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 7.0, 20.0, 70.0])
ANY = st.integers(0, 11)  # one of whatever there is
PORTS = [(31000, 31004)]


def agent(number: int, agent_id: str, size: int, *, reserved: bool) -> ModelAgent:
    room: Room = {None: Resources.of(cpus=2 * size, mem=512 * size, disk=1000, ports=PORTS)}
    if reserved:
        room[Label("web", "a")] = Resources.of(cpus=0.5, mem=128)
        room[Label("web", "b")] = Resources.of(cpus=0.25, mem=64)
    return ModelAgent(number, agent_id, room, f"r{number % 3}" if number % 3 else None)


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
        agents = [agent(number, f"S{number}", size, reserved=reserved) for number, size in enumerate(sizes)]
        self.world = World(agents, roles=roles, settings=chosen, operator_api=operator_api)
        self.ids = len(agents)

    def _agent(self, any_: int) -> ModelAgent:
        agents = [each for each in self.world.master.agents.values() if not each.replaced]
        return agents[any_ % len(agents)]

    # -- what is asked

    @rule(
        kind=KINDS,
        cpus=st.sampled_from([0.1, 0.5, 1.0]),
        mem=st.sampled_from([32, 100, 256, 486, 512, 900]),
        ports=st.integers(0, 3),
        constraints=CONSTRAINTS,
        role=st.sampled_from([None, None, "web", "db"]),
        deadline=st.sampled_from([10.0, 60.0, 300.0]),
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
        records = list(self.world.scheduler.books.launches.values())
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
        self.world.master.neighbours(self._agent(any_), share)

    @rule(mem=st.sampled_from([32, 400]), seconds=st.sampled_from([0.1, 3.0]))
    def neighbours_come_first(self, mem: int, seconds: float) -> None:
        """They take what was declined, and then it is asked for."""
        for each in self.world.master.agents.values():
            self.world.master.neighbours(each, 1.0)
        self.world.submit(mem=mem)
        self.world.wait(seconds)

    @precondition(lambda self: self.world.master.offers)
    @rule(any_=ANY, filtered=st.booleans())
    def rescind(self, any_: int, filtered: bool) -> None:
        offers = list(self.world.master.offers.values())
        self.world.master.rescind(offers[any_ % len(offers)], filtered=filtered)

    @rule(any_=ANY, planned=st.booleans())
    def maintenance(self, any_: int, planned: bool) -> None:
        self.world.master.maintenance(self._agent(any_), planned=planned)

    @rule(any_=ANY, state=st.sampled_from(["TASK_FINISHED", "TASK_FAILED", "TASK_STARTING"]))
    def task_says(self, any_: int, state: str) -> None:
        living = [task for task in self.world.master.tasks.all.values() if task.lives]
        if living:
            self.world.master.tasks.push(living[any_ % len(living)], state)

    @rule(any_=ANY)
    def update_again(self, any_: int) -> None:
        reported = self.world.master.tasks.reported
        if reported:
            self.world.master.tasks.repeat(reported[-1 - any_ % len(reported)])

    # -- agents

    @rule(any_=ANY)
    def agent_freezes(self, any_: int) -> None:
        one = self._agent(any_)
        if one.link is Link.UP:
            one.link = Link.FROZEN

    @rule(any_=ANY)
    def agent_is_cut_off(self, any_: int) -> None:
        one = self._agent(any_)
        if one.link is not Link.UNREACHABLE:
            self.world.master.tasks.lose(one, Link.UNREACHABLE, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED")

    @rule(any_=ANY)
    def agent_is_back(self, any_: int) -> None:
        self.world.master.tasks.register(self._agent(any_))

    @rule(any_=ANY)
    def agent_restarts(self, any_: int) -> None:
        one = self._agent(any_)
        if one.link is Link.UP:
            self.world.master.tasks.blip(one)

    @rule(any_=ANY, operator=st.booleans())
    def agent_is_replaced(self, any_: int, operator: bool) -> None:
        """By another id at the same address; an operator may have said before that the old one is gone."""
        one = self._agent(any_)
        tasks = self.world.master.tasks
        if operator and one.link is not Link.UNREACHABLE:
            tasks.lose(one, Link.GONE, "TASK_GONE_BY_OPERATOR", "REASON_AGENT_REMOVED_BY_OPERATOR")
        tasks.replace(one, agent(one.number, f"S{self.ids}", 2, reserved=self.reserved))
        self.ids += 1

    # -- the connection and the process

    @rule(unread_too=st.booleans())
    def stream_ends(self, unread_too: bool) -> None:
        if self.world.master.subscribed:
            self.world.lose_stream(unread_too=unread_too)

    @rule(first=st.floats(0.6, 3.3), stays_away=ANY)
    def master_fails_over(self, first: float, stays_away: int) -> None:
        if not self.world.master.subscribed:
            return
        names = list(self.world.master.agents)
        back = {name: first + 0.5 * number for number, name in enumerate(names) if number != stays_away}
        self.world.restart_master(back)

    @rule(taken=st.booleans())
    def next_answer_is_lost(self, taken: bool) -> None:
        self.world.lose_answer = taken

    @rule(effects=st.integers(0, 6))
    def process_dies(self, effects: int) -> None:
        self.world.crash_after = effects

    # -- what must hold

    @invariant()
    def what_waits_is_explained(self) -> None:
        if self.world is None:
            return
        for record in self.world.scheduler.books.queue:
            found = self.world.scheduler.explain(record.id)
            assert found is not None
            assert found.summary, f"nobody knows why {record.id} waits"

    def teardown(self) -> None:
        if self.world is not None and not self.world.broken:
            quiet(self.world)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=examples(700), stateful_step_count=50, derandomize=True, database=None)
TestScheduler.pytestmark = [pytest.mark.timeout(900)]

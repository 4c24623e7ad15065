"""Random mixes of broken agents and launches that cannot start: the innocent do not pay for them.

There is always one innocent agent with room, so an innocent launch waits for nothing but its own bad attempts, one for
each broken agent that it meets. Each of the rules has mutations that break it, and must be caught here.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from owmesos.core import start_faults
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.settings import Settings
from tests.examples import examples
from tests.mesos.scheduler.test_blame_mutations import (
    an_outage_is_blamed_on_its_launches,
    every_task_of_an_outage_counts,
)
from tests.model.scene import NO_BUFFER, agent, cut_off, says
from tests.model.world import World
from tests.mutations import Mutations

ANY = st.integers(0, 11)  # one of whatever there is
MOST_ATTEMPTS = 12  # while nothing else runs, nobody can know; the waits double
ATTEMPT = 4.0  # seconds that an attempt may take, with the REVIVE before it
# Fewer than the six that never ran anywhere and would speak against an agent where all of them failed in a row.
BAD = [{"name": "dropped", "user": user} for user in ("nosuch", "joe", "ann")]
BAD += [{"name": "fails", "image": image} for image in ("nosuch:1", "typo")]


class BlameMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(broken=st.lists(st.booleans(), max_size=3))
    def begin(self, broken: list[bool]) -> None:
        """S0 is innocent; broken agents have less room than it, so they are chosen first."""
        agents = [agent(0, cpus=100, mem=20_000)]
        agents += [agent(number, cpus=100, mem=10_000 + number) for number in range(1, len(broken) + 1)]
        self.world = World(agents, settings=Settings(buffer=NO_BUFFER))
        self.world.wait(10)
        self.number = 0
        self.innocent: dict[str, tuple[float, int]] = {}  # launch → when it came, and the broken agents since
        self.bad: list[str] = []
        names = [each.name for each, is_broken in zip(agents[1:], broken, strict=True) if is_broken]
        self.world.cluster.broken.update(dict.fromkeys(names, "TASK_DROPPED"))

    def _broken(self) -> list[str]:
        return sorted(self.world.cluster.broken)

    def _innocent(self, **asked: Any) -> str:
        self.number += 1
        launch_id = self.world.submit(command=f"work {self.number}", mem=10, cpus=0.01, **asked)
        self.innocent[launch_id] = self.world.now, len(self._broken())
        return launch_id

    # -- what is asked

    @rule(count=st.integers(1, 4))
    def innocent_launches(self, count: int) -> None:
        for _ in range(count):
            self._innocent()
        self.world.wait(1.5)

    @rule(which=st.integers(0, len(BAD) - 1), count=st.integers(1, 4), seconds=st.sampled_from([0.0, 1.0]))
    def bad_launches(self, which: int, count: int, seconds: float) -> None:
        self.bad += [self.world.submit(mem=10, cpus=0.01, **BAD[which]) for _ in range(count)]
        self.world.wait(seconds)

    @rule()
    def innocent_launches_one_after_the_other(self) -> None:
        """A broken agent does not take them all; and once S0 is known to work, none fails on two."""
        proof = self._innocent(constraints=("@hostname == h0",))
        self.world.wait(ATTEMPT)
        assert self.world.record(proof).ran
        taken: Counter[str] = Counter()
        for _ in range(10):
            record = self.world.record(self._innocent())
            self.world.wait(2.0)
            accepted = [line.text.split()[3] for line in record.story if line.text.startswith("ACCEPT on agent ")]
            taken.update(each for each in accepted if each in self._broken())
            assert len(accepted) <= 2, f"{record.id} failed on several agents: {record.story}"
        most = self.world.settings.failed_starts
        assert all(count <= most for count in taken.values()), f"broken agents take one after the other: {taken}"

    # -- what happens

    @rule(seconds=st.sampled_from([0.5, 3.0, 20.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(count=st.integers(1, 12))
    def outage(self, count: int) -> None:
        """The innocent agent drops all that has just come. It is back at once."""
        launch_ids = [self._innocent(constraints=("@hostname == h0",)) for _ in range(count)]
        self.world.wait(0.001)
        for each in [each for each in launch_ids if self.world.record(each).state is State.SUBMITTED]:
            self.world.cluster.tasks[f"{each}.1"].forget()
            says(self.world, each, "TASK_DROPPED", "REASON_AGENT_DISCONNECTED")
        self.world.wait(3.0)

    @precondition(lambda self: self._broken())
    @rule(any_=ANY)
    def agent_is_mended(self, any_: int) -> None:
        """It registers anew, and is used at once."""
        broken = self._broken()
        name = broken[any_ % len(broken)]
        cut_off(self.world, name)
        del self.world.cluster.broken[name]
        self.world.cluster.back(name)
        self.world.wait(1.0)
        assert self.world.scheduler.state.backoff.agent_pause(name) is None
        launch_id = self._innocent(constraints=(f"@hostname == h{name[1:]}",))
        self.world.wait(ATTEMPT)
        assert self.world.record(launch_id).state is State.RUNNING

    # -- what must hold

    @invariant()
    def no_innocent_agent_is_closed(self) -> None:
        if self.world is None:
            return
        for name in self.world.cluster.names:
            pause = self.world.scheduler.state.backoff.agent_pause(name)
            assert name in self.world.cluster.broken or pause is None, pause

    @invariant()
    def innocent_launches_run(self) -> None:
        for launch_id, (since, broken) in list(self.innocent.items()) if self.world is not None else ():
            record = self.world.record(launch_id)
            assert not record.state.ended, f"{launch_id} ended: {record.message}"
            dropped = sum("REASON_AGENT_DISCONNECTED" in line.text for line in record.story)
            assert record.attempts <= 1 + broken + dropped, f"{launch_id} failed again and again: {record.story}"
            if record.state is State.RUNNING:
                del self.innocent[launch_id]
                self.world.kill(launch_id)
                continue
            attempts = 1 + broken + dropped
            assert self.world.now - since <= ATTEMPT * attempts, self.world.scheduler.explain(launch_id)

    def teardown(self) -> None:
        if self.world is None or self.world.broken:
            return
        self._innocent()  # while something runs
        self.world.wait(60)
        self._innocent()
        self.world.wait(60)
        for launch_id in self.bad:
            record = self.world.record(launch_id)
            assert record.state is State.FAILED, f"{launch_id} is {record.state.value}"
            assert record.message or record.reason
            assert record.attempts <= MOST_ATTEMPTS, f"{launch_id} is tried again and again"


TestBlame = BlameMachine.TestCase
TestBlame.settings = settings(max_examples=examples(40), stateful_step_count=15, derandomize=True, database=None)
TestBlame.pytestmark = [pytest.mark.timeout(1800)]

mutation = Mutations()


# -- a launch that cannot start is at fault, and not the agents


@mutation
def every_failure_is_the_agents(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(start_faults.LaunchFaults, "ran_elsewhere", lambda self, agent_id: True)


# -- one outage is one failure, and what begins anew begins at zero


mutation(every_task_of_an_outage_counts)
mutation(an_outage_is_blamed_on_its_launches)


@pytest.mark.timeout(600)
@pytest.mark.mutations
@pytest.mark.parametrize("name", mutation)
def test_the_random_mixes_catch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.is_caught(name, {BlameMachine: 100}, monkeypatch)

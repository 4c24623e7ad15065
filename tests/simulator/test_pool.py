"""Mesos as the pool's container factory, in virtual time: pool, scheduler, master and agents together."""

from __future__ import annotations

import random

import pytest

from owmesos.core.ledger import Buffer
from owmesos.core.pool.events import Dispatch, SetAside, StartContainer, StopContainer
from owmesos.core.pool.settings import PoolSettings
from owmesos.core.reservations import ReservationState
from owmesos.mesos.messages import ID, TaskStatus, Update
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.settings import Settings
from owmesos.simulator.faults import EVERYTHING, Faults
from owmesos.testing.virtual_scheduler import VirtualScheduler
from tests.simulator.invoking import STARTS_AFTER, STOP_TAKES, Invoker, cluster

SEEDS = 8
AT_A_TIME = 2
TROUBLED = 90  # seconds
GRACE = 10.0


def neighbour_of(invoker: Invoker) -> VirtualScheduler:
    """A second framework, which takes all that it is offered when it needs it."""
    return VirtualScheduler(invoker.cluster, settings=Settings(buffer=Buffer(share=0.0)), roles=("others",))


class TestACluster:
    def test_that_is_idle_is_asked_nothing(self) -> None:
        invoker = Invoker(cluster())
        invoker.wait(10.0)
        run_id = invoker.run()
        invoker.wait(5.0)
        assert invoker.ended == {run_id: None}
        assert invoker.states() == ["warm"]
        calls = dict(invoker.driven.calls)
        invoker.wait(300.0)
        assert invoker.driven.calls == calls
        assert not invoker.cluster.world.master.books.offers  # type: ignore[union-attr]

    def test_starts_a_container_at_once(self) -> None:
        invoker = Invoker(cluster())
        invoker.wait(10.0)
        asked = invoker.cluster.now
        invoker.run()
        invoker.wait(5.0)
        (started,) = invoker.times(Dispatch)
        assert started - asked == pytest.approx(STARTS_AFTER, abs=0.1)

    def test_has_its_room_back_when_the_containers_are_gone(self) -> None:
        invoker = Invoker(cluster(), pool=PoolSettings(idle_timeout=30.0))
        for name in "abc":
            invoker.run(name)
        invoker.wait(60.0)
        invoker.nothing_is_left()

    def test_that_is_not_known_yet_is_not_full(self) -> None:
        """Nothing is stopped for a run that comes while the master is away, though nothing is free that we know of."""
        invoker = Invoker(cluster(1, 512))
        invoker.wait(10.0)
        invoker.run("a"), invoker.run("b")
        invoker.wait(GRACE + 5.0)
        invoker.cluster.world.kill("master")
        invoker.wait(1.0)
        run_id = invoker.run("c")
        invoker.wait(20.0)
        assert "not known" in invoker.why(run_id)
        assert invoker.wanted(StopContainer) == []
        invoker.cluster.world.start("master")
        invoker.wait(20.0)
        assert invoker.ended[run_id] is None
        assert len(invoker.wanted(StopContainer)) == 1

    def test_that_loses_a_machine_runs_elsewhere_what_had_a_container_there(self) -> None:
        invoker = Invoker(cluster(2))
        invoker.wait(10.0)
        first = invoker.run("a")
        invoker.wait(5.0)
        lost = invoker.given[first]
        invoker.cluster.world.kill(invoker.agent_of(lost))
        second = invoker.run("a")  # nobody knows yet that its container does not answer
        assert invoker.given[second] == lost
        invoker.wait(20.0)
        assert invoker.ended[second] is None
        assert invoker.given[second] != lost

    def test_whose_machine_was_cut_off_and_comes_back_loses_what_was_given_up_there(self) -> None:
        """The pool counted on those containers no more; left alive, they would hold their room for ever."""
        invoker = Invoker(cluster(1), pool=PoolSettings(max_wait=300.0))
        invoker.wait(10.0)
        first = invoker.run("a")
        invoker.wait(5.0)
        machine = invoker.agent_of(invoker.given[first])
        invoker.cluster.world.freeze(machine)
        invoker.wait(100.0)
        assert invoker.states() == []
        second = invoker.run("b", 1024)
        invoker.wait(10.0)
        assert second not in invoker.ended
        invoker.cluster.world.thaw(machine)
        invoker.wait(20.0)
        assert invoker.ended[second] is None
        assert invoker.states() == ["warm"]
        assert invoker.driven.scheduler.state.launches[invoker.given[first]].state is State.KILLED


class TestMakingRoom:
    def full(self, memory: int = 512, **settings: object) -> Invoker:
        """One machine, full of idle containers past their grace."""
        invoker = Invoker(cluster(1, memory), **settings)  # type: ignore[arg-type]
        invoker.wait(10.0)
        for name in range(memory // 256):
            invoker.run(f"old{name}")
        invoker.wait(GRACE + 5.0)
        assert set(invoker.states()) == {"warm"}
        return invoker

    def test_a_start_follows_the_offer_that_shows_the_room(self) -> None:
        invoker = self.full()
        run_id = invoker.run("new")
        (stop,) = invoker.times(StopContainer)
        assert stop == invoker.cluster.now
        invoker.wait(10.0)
        assert invoker.ended[run_id] is None
        start = invoker.times(StartContainer)[-1]
        assert stop + STOP_TAKES <= start <= stop + STOP_TAKES + 0.5

    def test_a_stop_is_listed_and_never_credited(self) -> None:
        invoker = self.full()
        invoker.run("new")
        reservations = invoker.driven.scheduler.state.ledger.reservations.by_launch
        assert [each.state for each in reservations.values()] == [ReservationState.STOPPING]
        assert len(invoker.wanted(StartContainer)) == 2
        invoker.wait(10.0)
        assert not reservations

    def test_a_neighbour_that_takes_the_room_is_seen_and_the_run_keeps_its_place(self) -> None:
        invoker = self.full()
        neighbour = neighbour_of(invoker)
        invoker.wait(5.0)
        (taken,) = neighbour.submit(Launch(command="sleep 60", cpus=0.1, mem=256, deadline=120.0))
        first, second = invoker.run("new"), invoker.run("newer", 512)
        invoker.wait(40.0)
        assert neighbour.scheduler.state.launches[taken].state is State.RUNNING
        assert second not in invoker.ended
        assert "short" in invoker.why(second)
        invoker.wait(60.0)
        assert invoker.ended == {**invoker.ended, first: None, second: None}

    def test_offers_of_the_agent_set_aside_are_held_until_all_of_its_room_is_there(self) -> None:
        """One container stops late. What the other leaves is not lost to a neighbour meanwhile."""
        invoker = Invoker(cluster(1, 768), stop_takes={512: 4.0})
        neighbour = neighbour_of(invoker)
        invoker.wait(10.0)
        invoker.run("small", 256), invoker.run("large", 512)
        invoker.wait(GRACE + 5.0)
        run_id = invoker.run("largest", 768)
        assert len(invoker.wanted(StopContainer)) == 2
        (aside,) = invoker.wanted(SetAside)
        invoker.wait(2.5)
        assert invoker.driven.scheduler.state.pool_holds == aside.agent_id
        assert invoker.driven.scheduler.state.offers.outstanding
        (wanting,) = neighbour.submit(Launch(command="sleep 5", cpus=0.1, mem=256, deadline=120.0))
        invoker.wait(1.0)
        assert neighbour.scheduler.state.launches[wanting].state.waiting
        neighbour.kill(wanting)
        invoker.wait(8.0)
        assert invoker.ended[run_id] is None
        assert invoker.driven.scheduler.state.pool_holds is None
        assert not invoker.driven.scheduler.state.offers.outstanding

    def test_a_machine_that_does_not_answer_is_given_up_for_another(self) -> None:
        invoker = Invoker(cluster(2, 256))
        invoker.wait(10.0)
        invoker.run("a"), invoker.run("b")
        invoker.wait(GRACE + 5.0)
        oldest = invoker.given["r1"]
        invoker.cluster.world.freeze(invoker.agent_of(oldest))
        run_id = invoker.run("new")
        assert [stop.container_id for stop in invoker.wanted(StopContainer)] == [oldest]
        invoker.wait(15.0)
        assert invoker.ended[run_id] is None


class TestRefused:
    def test_the_run_stands_where_it_stood_and_says_why(self) -> None:
        """A neighbour has taken what was remembered of the machine."""
        invoker = Invoker(cluster(1, 512))
        neighbour = neighbour_of(invoker)
        invoker.wait(10.0)
        neighbour.submit(Launch(command="sleep 30", cpus=0.1, mem=512, deadline=120.0))
        invoker.wait(1.0)
        first, second = invoker.run("a", 512), invoker.run("b", 256)
        invoker.wait(5.0)
        assert len(invoker.wanted(StartContainer)) >= 1
        assert invoker.given == {}
        assert [waiting.run.run_id for waiting in invoker.pool.state.buffer] == [first, second]
        assert "512 MB short" in invoker.why(first)
        invoker.wait(60.0)
        assert invoker.ended == {first: None, second: None}
        assert invoker.times(Dispatch) == sorted(invoker.times(Dispatch))

    def test_a_task_that_was_said_to_be_dropped_and_runs_all_the_same_is_killed(self) -> None:
        invoker = Invoker(cluster())
        invoker.wait(10.0)
        run_id = invoker.run(lasts=5.0)
        (record,) = invoker.driven.records()
        assert record.task_id is not None
        assert record.agent_id is not None
        dropped = TaskStatus(ID(record.task_id), "TASK_DROPPED", agent_id=ID(record.agent_id))
        invoker.driven.handle(Update(dropped))
        invoker.wait(4.0)
        assert invoker.given[run_id] != record.id
        assert [run.task_id for run in invoker.tasks()] == [f"{invoker.given[run_id]}.1"]


class Chaos:
    """An invoker where everything goes wrong, by seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        settings = Settings(buffer=Buffer(share=0.0), refuse_oversized=False, unreachable_timeout=60.0)
        pool = PoolSettings(idle_timeout=60.0, idle_grace=3.0, max_wait=80.0)
        self.invoker = Invoker(cluster(3, 1024, seed=seed, masters=2), pool=pool, settings=settings)
        self.faults = Faults(self.invoker.cluster.world, EVERYTHING, seed)

    def run(self) -> dict[str, str | None]:
        """How the runs ended. After the trouble everything that came has an end, and nothing is left."""
        invoker, chance = self.invoker, self.chance
        invoker.wait(3.0)
        self.faults.start()
        for _ in range(TROUBLED):
            for _ in range(chance.choice((0, 0, 1, 1, 4))):
                name, memory = chance.choice("abcdef"), chance.choice((128, 256, 256, 512, 1024))
                invoker.run(f"{name}{memory}", memory, lasts=chance.choice((0.05, 0.5, 5.0, 20.0)))
            invoker.wait(1.0)
            assert invoker.driven.stopped is None, invoker.driven.stopped
        self.faults.stop()
        invoker.wait(80.0 + 60.0)
        late = [invoker.run(f"late{memory}", memory) for memory in (1024, 128, 512)]
        invoker.wait(30.0)
        assert [invoker.ended.get(run_id, "not yet") for run_id in late] == [None] * 3
        invoker.wait(300.0)
        invoker.nothing_is_left()
        return invoker.ended


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(each, marks=pytest.mark.one_python) for each in range(AT_A_TIME, SEEDS, AT_A_TIME))]
)
def test_whatever_goes_wrong_every_run_ends_and_nothing_is_left(first: int) -> None:
    served = failed = 0
    for seed in range(first, first + AT_A_TIME):
        chaos = Chaos(seed)
        try:
            ends = chaos.run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        served += sum(end is None for end in ends.values())
        failed += sum(end is not None for end in ends.values())
    assert served > 5 * failed, f"{failed} of {served + failed} runs failed"

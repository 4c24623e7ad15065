"""Cold starts: whom they are for, how many there may be, and what becomes of those that do not come up."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.core.capacity import Capacity
from owmesos.core.constraints import Constraint, shared_attributes
from owmesos.core.pool.containers import ContainerState
from owmesos.core.pool.events import (
    Backpressure,
    Dispatch,
    FeedMore,
    Run,
    RunFailed,
    StartContainer,
    StartFailed,
    StartKind,
    StartRefused,
    WaitingForRoom,
)
from owmesos.core.pool.settings import PoolSettings
from owmesos.errors import InvalidInput
from tests.core.pool.agents import agent
from tests.core.pool.cluster import OFFER_WAIT, FakeCluster
from tests.core.pool.invariants import check_pool
from tests.mutations import wrap


def starts(world: FakeCluster) -> list[StartContainer]:
    return [effect for effect in world.take() if isinstance(effect, StartContainer)]


def failed(world: FakeCluster) -> RunFailed:
    """The one that did."""
    (found,) = [effect for _, effect in world.log if isinstance(effect, RunFailed)]
    return found


class TestLateBinding:
    def test_the_oldest_run_takes_whichever_container_is_ready_first(self) -> None:
        world = FakeCluster({"S1": 512})
        world.start_takes = 5.0
        first = world.run("a")
        world.wait(1.0)
        world.start_takes = 1.0
        second = world.run("b")
        fast = starts(world)[-1].container_id
        world.wait(2.0)
        assert world.given == {first: fast}
        world.wait(4.0)
        assert second in world.given

    def test_a_warm_container_that_is_free_before_serves_the_run_and_its_start_serves_another(self) -> None:
        world = FakeCluster({"S1": 512})
        running = world.run("a")
        world.wait(2.0)
        world.start_takes = 9.0
        first = world.run("a")
        (start,) = starts(world)[1:]
        second = world.run("b")
        assert world.buffered() == [first, second]
        world.done(running)
        assert world.given[first] == world.given[running]
        assert world.pool.state.buffer.by_id[second].covered_by == start.container_id
        world.wait(10.0)
        assert world.given[second] == start.container_id

    def test_a_start_that_nobody_needs_any_more_is_kept_for_the_next_run_of_its_shape(self) -> None:
        world = FakeCluster({"S1": 512})
        running = world.run("a")
        world.wait(2.0)
        world.take()
        world.run("a")
        world.done(running)
        (start,) = starts(world)
        world.wait(2.0)
        assert world.containers(ContainerState.PREWARMED)[0].id == start.container_id
        later = world.run("b")
        assert world.given[later] == start.container_id
        assert starts(world) == []

    def test_one_that_is_under_way_for_nobody_covers_the_run_that_comes_next(self) -> None:
        world = FakeCluster({"S1": 1024})
        running = world.run("a")
        world.wait(2.0)
        world.run("a")
        world.done(running)
        world.take()
        later = world.run("b")
        assert starts(world) == []
        assert "is starting for it" in world.why(later)
        world.wait(2.0)
        assert later in world.given


class TestHowMany:
    def test_max_starts_throttles_and_says_so(self) -> None:
        world = FakeCluster({f"S{n}": 2048 for n in range(8)})
        runs = [world.run(f"a{n}") for n in range(25)]
        assert len(starts(world)) == 20
        assert "there is room, but the limit of starts under way is reached (20, 5 on one node)" in world.why(runs[-1])
        assert not world.waiting
        world.wait(1.2)
        assert len(starts(world)) == 5

    def test_five_on_one_agent(self) -> None:
        world = FakeCluster({"S1": 4096})
        runs = [world.run(f"a{n}") for n in range(7)]
        assert len(starts(world)) == 5
        assert world.aside is None
        assert "limit of starts under way is reached" in world.why(runs[-1])

    def test_five_on_one_agent_then_another_agent(self) -> None:
        world = FakeCluster({"S1": 2000, "S2": 4096})
        for n in range(7):
            world.run(f"a{n}")
        assert [start.slot.agent_id for start in starts(world)] == ["S1"] * 5 + ["S2"] * 2

    def test_a_start_over_its_time_no_longer_counts(self) -> None:
        settings = PoolSettings(max_starts=1, start_timeout=60.0, start_timeout_image=300.0)
        world = FakeCluster({"S1": 4096}, settings=settings)
        world.fates = ["hangs"]
        world.run("a")
        world.run("b")
        world.wait(59.0)
        assert len(starts(world)) == 1
        world.wait(1.5)
        assert len(starts(world)) == 1

    def test_with_an_image_it_has_more_time(self) -> None:
        world = FakeCluster({"S1": 4096}, settings=PoolSettings(max_starts=1, start_timeout_image=130.0))
        world.fates = ["hangs"]
        world.run("a", image="example/image")
        world.run("b")
        world.wait(125.0)
        assert len(starts(world)) == 1
        world.wait(6.0)
        assert len(starts(world)) == 1

    def test_one_start_covers_as_many_runs_as_its_container_takes(self) -> None:
        world = FakeCluster({"S1": 4096})
        runs = [world.run("a", concurrency=4) for _ in range(6)]
        assert len(starts(world)) == 2
        world.wait(1.1)
        assert [effect.kind for effect in world.take() if isinstance(effect, Dispatch)] == [
            StartKind.COLD,
            StartKind.WARMING,
            StartKind.WARMING,
            StartKind.WARMING,
            StartKind.COLD,
            StartKind.WARMING,
        ]
        assert len({world.given[run_id] for run_id in runs[:4]}) == 1

    def test_a_warming_container_takes_more_runs_of_its_action(self) -> None:
        world = FakeCluster({"S1": 4096})
        world.init_takes = 5.0
        first = world.run("a", concurrency=2)
        world.wait(2.0)
        assert world.states() == ["warming"]
        second, third = world.run("a", concurrency=2), world.run("a", concurrency=2)
        assert world.given[second] == world.given[first]
        assert third not in world.given

    def test_coverage_is_filled_up_when_a_covered_run_finds_another_container(self) -> None:
        world = FakeCluster({"S1": 512})
        running = world.run("a", concurrency=1)
        world.wait(2.0)
        world.start_takes = 9.0
        waiting = [world.run("b", concurrency=2) for _ in range(3)]
        covered = [world.pool.state.buffer.by_id[run_id].covered_by is not None for run_id in waiting]
        assert covered == [True, True, False]
        world.wait(30.0)
        world.done(running)
        assert [world.given[run_id] for run_id in waiting[:2]] == [world.given[waiting[0]]] * 2


class TestRefused:
    def test_the_run_returns_to_its_old_place_without_a_word_to_anybody(self) -> None:
        world = FakeCluster({"S1": 256})
        world.fates = ["refused"]
        first, second, third = (world.run(name) for name in "abc")
        world.take()
        world.wait(OFFER_WAIT + 0.1)
        assert world.buffered() == [first, second, third]
        (again,) = (effect for effect in world.take() if not isinstance(effect, WaitingForRoom))
        assert isinstance(again, StartContainer)
        assert world.pool.state.buffer.by_id[first].covered_by == again.container_id
        assert "last: no fitting offer came" in world.why(first)
        assert world.pool.state.buffer.by_id[first].attempts == 0

    def test_a_neighbour_that_came_first_refuses_it(self) -> None:
        world = FakeCluster({"S1": 256})
        world.neighbours("S1", 256)
        run_id = world.run("a")
        assert len(starts(world)) == 1
        world.wait(OFFER_WAIT + 0.1)
        assert world.buffered() == [run_id]
        assert starts(world) == []
        assert "256 MB short" in world.why(run_id)

    def test_a_late_refusal_changes_nothing(self) -> None:
        world = FakeCluster({"S1": 256})
        container_id = world.warm("a")
        world.take()
        effects = world.pool.handle(StartRefused(container_id, "late"), world.now)
        effects += world.pool.handle(StartFailed(container_id, "late"), world.now)
        assert effects == []
        assert world.states() == ["warm"]


class TestFailed:
    def test_three_times_end_the_run_with_the_reason(self) -> None:
        world = FakeCluster({"S1": 1024})
        world.fates = ["fails"] * 3
        run_id = world.run("a")
        world.wait(10.0)
        assert world.ended[run_id] == "its container did not start 3 times, last error: it crashed"
        assert world.pool.containers.by_id == {}

    def test_that_the_cluster_may_be_at_fault_is_said(self) -> None:
        world = FakeCluster({"S1": 1024})
        world.fates = ["fails"] * 3
        world.run("a")
        world.wait(10.0)
        (failed,) = world.take(RunFailed)
        assert isinstance(failed, RunFailed)
        assert (failed.start_failed, failed.at_fault) == ("it crashed", False)

    def test_a_start_that_ends_before_it_is_up_counts_as_one_that_failed(self) -> None:
        world = FakeCluster({"S1": 1024})
        world.start_takes = 5.0
        run_id = world.run("a")
        for _ in range(3):
            world.wait(1.0)
            world.crash(world.containers(ContainerState.STARTING)[0].id)
        assert world.ended[run_id] == "its container did not start 3 times, last error: it ended"

    def test_an_agent_in_back_off_gets_none_and_is_shown(self) -> None:
        world = FakeCluster({"S1": 1024})
        world.close("S1")
        run_id = world.run("a")
        assert starts(world) == []
        assert "1 is in back-off" in world.why(run_id)
        world.close("S1", closed=False)
        assert len(starts(world)) == 1

    def test_agents_that_are_not_in_back_off_get_them(self) -> None:
        world = FakeCluster({"S1": 256, "S2": 1024})
        world.close("S1")
        world.run("a")
        assert [start.slot.agent_id for start in starts(world)] == ["S2"]


class TestMaxWait:
    def test_ends_with_the_explanation(self) -> None:
        world = FakeCluster({"S1": 128}, settings=PoolSettings(max_wait=30.0))
        run_id = world.run("a")
        world.wait(29.9)
        assert run_id not in world.ended
        world.wait(0.2)
        message = world.ended[run_id]
        assert message is not None
        assert message.startswith("no container within 30 s: of 1 node, 1 lacks memory; nearest: node S1 is 128")
        assert world.buffered() == []

    def test_is_no_longer_than_what_the_run_has_left(self) -> None:
        for longest, left in ((30.0, 12.0), (12.0, 30.0), (None, 12.0)):
            world = FakeCluster({"S1": 128}, settings=PoolSettings(max_wait=longest))
            run_id = world.run("a", start_within=left)
            world.wait(11.9)
            assert run_id not in world.ended
            world.wait(0.2)
            assert run_id in world.ended
            assert failed(world).no_room

    def test_one_that_comes_too_late_does_not_start_though_there_is_a_container(self) -> None:
        world = FakeCluster({"S1": 256})
        world.warm("a")
        run_id = world.run("a", start_within=0.0)
        assert world.ended[run_id] == "no container: too late to end before the Controller's forced completion"
        assert failed(world).no_room
        assert FeedMore() in [effect for _, effect in world.log]

    def test_one_that_comes_back_too_late_does_not_start_again(self) -> None:
        world = FakeCluster({"S1": 512})
        run_id = world.run("a", start_within=20.0)
        world.wait(21.0)
        world.reschedule(run_id)
        assert run_id in world.ended

    def test_says_that_the_cluster_is_not_known_rather_than_full(self) -> None:
        world = FakeCluster({"S1": 256}, settled=False)
        run_id = world.run("a", memory=1024, start_within=5.0)
        world.wait(6.0)
        assert run_id in world.ended
        assert not failed(world).no_room

    @pytest.mark.parametrize(("timeout", "waits"), [(60.0, 170.0), (1.0, 170.0), (300.0, 650.0)])
    def test_is_without_a_bound_as_long_as_a_controller_would_wait(self, timeout: float, waits: float) -> None:
        world = FakeCluster({"S1": 128})
        run_id = world.run("a", timeout=timeout)
        world.wait(waits - 0.1)
        assert run_id not in world.ended
        world.wait(0.2)
        assert run_id in world.ended

    def test_counts_from_the_arrival_for_a_run_that_came_back(self) -> None:
        world = FakeCluster({"S1": 256}, settings=PoolSettings(max_wait=30.0))
        run_id = world.run("a")
        world.wait(20.0)
        world.fates = ["hangs"]
        world.reschedule(run_id)
        world.wait(11.0)
        assert run_id in world.ended

    def test_one_that_a_hanging_start_covers_ends_too(self) -> None:
        world = FakeCluster({"S1": 256}, settings=PoolSettings(max_wait=30.0))
        world.fates = ["hangs"]
        run_id = world.run("a")
        world.wait(31.0)
        assert world.ended[run_id] == "no container within 30 s: its container is still starting"


class TestExplain:
    def test_every_run_that_waits_has_one(self) -> None:
        world = FakeCluster({"S1": 512, "S2": 256})
        world.close("S2")
        world.warm("a")
        waiting = [world.run("large", 1024), world.run("b", 512), world.run("c", 384), world.run("d")]
        assert "even without our own containers" in world.why(waiting[0])
        assert "1 lacks memory" in world.why(waiting[0]) or "2 lack memory" in world.why(waiting[0])
        assert all(world.why(run_id) for run_id in waiting)
        assert "is starting for it" in world.why(waiting[3])

    def test_there_is_none_for_a_run_that_does_not_wait(self) -> None:
        world = FakeCluster({"S1": 512})
        run_id = world.run("a")
        world.wait(2.0)
        assert world.pool.explain(run_id) is None
        assert world.pool.explain("nobody") is None

    def test_unknown_is_said(self) -> None:
        world = FakeCluster({"S1": 512}, settled=False)
        assert world.why(world.run("a")).startswith("the cluster is not known yet")

    def test_constraints_are_judged(self) -> None:
        rack = Constraint.parse("rack == r1")
        settings = PoolSettings(blackbox_constraints=(rack,))
        world = FakeCluster([agent("S1", 1024), agent("S2", 2048)], settings=settings)
        known = world.ledger.agent("S2")
        known.attributes = shared_attributes([("rack", "r1")])
        world.cluster.describe(known)
        world.run("managed")
        world.run("blackbox", image="example/image")
        assert [start.slot.agent_id for start in starts(world)] == ["S1", "S2"]
        late = world.run("large", 2048, image="example/image")
        assert "1 lacks memory" in world.why(late) or "2 lack memory" in world.why(late)


class TestBackpressure:
    def test_is_told_when_the_oldest_is_late_and_there_is_no_room(self) -> None:
        world = FakeCluster({"S1": 256}, settings=PoolSettings(pressure_after=5.0))
        running = world.run("a")
        world.wait(2.0)
        world.run("a")
        world.wait(4.9)
        assert world.take(Backpressure) == []
        world.wait(0.2)
        assert world.take(Backpressure) == [Backpressure(True)]
        world.done(running)
        assert world.take(Backpressure) == [Backpressure(False)]

    def test_is_not_told_while_there_is_room(self) -> None:
        world = FakeCluster({"S1": 1024}, settings=PoolSettings(pressure_after=5.0))
        world.fates = ["hangs"]
        world.run("a")
        world.wait(10.0)
        assert world.take(Backpressure) == []


class TestInput:
    def test_a_run_that_is_here_already_is_refused_and_changes_nothing(self) -> None:
        world = FakeCluster({"S1": 1024})
        run_id = world.run("a")
        waiting = world.pool.state.buffer.by_id[run_id]
        with pytest.raises(InvalidInput, match="is here already"):
            world.pool.handle(Run(run_id, waiting.run.action, "guest"), world.now)
        check_pool(world.pool)

    def test_cpus_follow_memory_and_are_never_next_to_nothing(self) -> None:
        """OpenWhisk's own formula gives 2/1024 of a cpu when user-memory is infinite."""
        world = FakeCluster({"S1": 4096})
        world.run("a", 2048)
        world.run("b", 8)
        assert [start.ask.milli_cpus for start in starts(world)] == [500, 10]


def test_a_failed_run_is_told_once() -> None:
    world = FakeCluster({"S1": 128}, settings=PoolSettings(max_wait=5.0))
    world.run("a")
    world.wait(60.0)
    assert len(world.take(RunFailed)) == 1


class TestImageThatCannotStart:
    """A user's image does not exist: nobody else waits for it, and no agent is closed."""

    def missing(self, invocations: int = 12) -> FakeCluster:
        world = FakeCluster({"S1": 2048, "S2": 2048, "S3": 2048})
        world.missing = {"nosuch:1"}
        for _ in range(invocations):
            world.run("bad", kind="blackbox", image="nosuch:1")
        return world

    def test_other_actions_are_not_delayed(self) -> None:
        world = self.missing()
        world.wait(1.5)
        for name in ("a", "b", "c"):
            run_id = world.run(name, lasts=60.0)
            world.wait(world.start_takes + 0.3)
            assert run_id in world.given, world.why(run_id)

    def test_all_its_runs_end_with_the_reason(self) -> None:
        world = self.missing()
        world.wait(10.0)
        failed = [effect for effect in world.take(RunFailed) if isinstance(effect, RunFailed)]
        assert len(failed) == 12
        assert all(effect.at_fault and effect.start_failed == "it crashed" for effect in failed)
        assert any("image nosuch:1 failed to start on" in effect.message for effect in failed)

    def test_after_the_first_it_is_tried_once_at_a_time(self) -> None:
        world = self.missing()
        assert len(starts(world)) == 12
        world.wait(10.0)
        assert len(starts(world)) == 2

    def test_a_run_that_comes_then_is_answered_at_once(self) -> None:
        world = self.missing()
        world.wait(8.0)  # the last attempt has failed, and the image rests for a while
        world.take()
        run_id = world.run("bad", kind="blackbox", image="nosuch:1")
        assert "image nosuch:1 failed to start on" in str(world.ended[run_id])
        assert starts(world) == []

    def test_once_the_image_is_there_it_runs(self) -> None:
        world = self.missing()
        world.wait(10.0)
        world.missing = set()
        world.wait(70.0)
        run_id = world.run("bad", kind="blackbox", image="nosuch:1", lasts=0.1)
        world.wait(3.0)
        assert world.ended[run_id] is None
        assert world.pool.state.backoff.at_fault("image nosuch:1") is None

    def test_room_is_made_for_a_kind_that_is_to_be_tried_again(self) -> None:
        """It was mended, and the cluster is full of idle containers, which would stay for ten minutes."""
        world = FakeCluster({"S1": 512, "S2": 512})
        for name in "abcd":
            world.warm(name, 256)
        for agent_id in ("S1", "S2"):
            world.pool.state.backoff.failed(agent_id, "kind java:8", world.now, world.now, "it crashed")
        run_id = world.run("java", 256, kind="java:8", lasts=0.1)
        world.wait(0.5)
        assert len(world.containers()) == 4
        world.wait(60.0)
        assert world.ended[run_id] is None

    def test_no_room_is_made_for_it(self) -> None:
        world = FakeCluster({"S1": 512, "S2": 512})
        kept = [world.warm(name, 256) for name in "abcd"]
        world.missing = {"nosuch:1"}
        world.wait(20.0)
        world.pool.state.backoff.failed("S1", "image nosuch:1", world.now, world.now, "")
        world.pool.state.backoff.failed("S2", "image nosuch:1", world.now, world.now, "")
        world.wait(1.5)
        world.run("bad", 512, kind="blackbox", image="nosuch:1")
        world.wait(30.0)
        assert [each.id for each in world.containers()] == kept
        assert world.aside is None

    def test_the_explanation_names_it(self) -> None:
        world = self.missing()
        world.wait(1.3)
        run_id = world.run("bad", kind="blackbox", image="nosuch:1")
        assert "image nosuch:1 failed to start on" in world.why(run_id)

    def test_a_kind_waits_instead_of_ending_at_once(self) -> None:
        """What the operators deploy is mended; whisk errors would close the invoker."""
        world = FakeCluster({"S1": 2048, "S2": 2048})
        world.broken_agents = {"S1", "S2"}
        for _ in range(6):
            world.run("a")
        world.wait(12.0)
        world.broken_agents = set()
        run_id = world.run("late", lasts=0.1)
        assert run_id not in world.ended
        world.wait(70.0)
        assert world.ended[run_id] is None


class TestBrokenAgent:
    """Nothing starts on S1, which has least room and would be chosen first."""

    def test_the_next_attempt_is_made_elsewhere(self) -> None:
        world = FakeCluster({"S1": 512, "S2": 4096})
        world.broken_agents = {"S1"}
        run_id = world.run("a", lasts=1.0)
        world.wait(2 * world.start_takes + 1.0)
        assert world.given[run_id]
        assert [start.slot.agent_id for start in starts(world)] == ["S1", "S2"]

    def test_runs_of_that_kind_do_not_go_there_again(self) -> None:
        world = FakeCluster({"S1": 512, "S2": 4096})
        world.broken_agents = {"S1"}
        world.run("a", lasts=60.0)
        world.wait(5.0)
        world.take()
        for name in "bcd":
            world.run(name, lasts=60.0)
        assert {start.slot.agent_id for start in starts(world)} == {"S2"}


class TestRoomThatIsNotThere:
    def test_where_a_start_has_failed_runs_that_come_do_not_look_for_it_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def find(original: Any, self: Capacity, *args: Any) -> Any:
            looked.append(args)
            return original(self, *args)

        looked: list[Any] = []
        world = FakeCluster({"S1": 512, "S2": 512})
        world.broken_agents = {"S1"}
        world.run("a", 512)
        world.wait(5.0)
        world.broken_agents = set()
        world.run("b", 512, kind="nodejs:20")
        world.wait(5.0)
        assert [start.slot.agent_id for start in starts(world)] == ["S1", "S2", "S1"]
        for name in "cd":  # a node is set aside for the first one: then the others look again
            world.run(name, 512)
        wrap(monkeypatch, Capacity, "find", find)
        world.run("e", 512)
        assert len(world.pool.state.buffer) == 3
        assert not looked

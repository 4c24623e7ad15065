"""Starts that fail: who waits because of it, and what is said of it."""

from __future__ import annotations

import pytest

from owmesos.mesos.listings import nodes
from owmesos.mesos.messages import ID, Failure
from owmesos.mesos.scheduler.effects import Note
from owmesos.mesos.scheduler.lifecycle import State
from tests.model.scene import agent, at_rest, cut_off, running, says
from tests.model.world import World


def state_of(world: World, agent_id: str = "S1") -> str:
    return str(row_of(world, agent_id)["state"])


def row_of(world: World, agent_id: str = "S1") -> dict[str, object]:
    (row,) = [row for row in nodes(world.scheduler.state, world.now) if row["agent_id"] == agent_id]
    return row


def explained(world: World, launch_id: str) -> str:
    found = world.scheduler.explain(launch_id)
    assert found is not None
    return found.summary


def breaks(world: World, agent_id: str = "S1", end: str = "TASK_DROPPED") -> None:
    """From now on every start on it ends so."""
    world.cluster.broken[agent_id] = end


def two_agents(**settings: object) -> World:
    """S1 is chosen first: it has less room."""
    return at_rest(agent(1, mem=512), agent(2), **settings)


def run_one_after_the_other(world: World, count: int, *, seconds: float = 2.0) -> list[str]:
    """Launches that differ."""
    launch_ids = []
    for number in range(count):
        launch_ids.append(world.submit(command=f"work {number}"))
        world.wait(seconds)
    return launch_ids


class TestBrokenAgent:
    """Every start on S1 ends before it runs."""

    def test_each_launch_is_tried_elsewhere_at_once(self) -> None:
        world = two_agents()
        breaks(world)
        launch_id = world.submit()
        world.wait(1)
        record = world.record(launch_id)
        assert (record.state, record.agent_id, record.attempts) == (State.RUNNING, "S2", 2)

    def test_after_three_different_ones_it_gets_none(self) -> None:
        world = two_agents()
        breaks(world)
        launch_ids = run_one_after_the_other(world, 4)
        assert [world.record(each).attempts for each in launch_ids] == [2, 2, 2, 1]
        assert state_of(world) == "backoff"
        reason = str(row_of(world)["reason"])
        assert reason.startswith("agent S1 failed 3 starts in a row of different launches that run elsewhere")
        assert "(command 'work 0', command 'work 1', command 'work 2')" in reason

    def test_a_launch_fails_on_one_of_several_while_another_is_known_to_work(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2, mem=600), agent(3, mem=700), agent(4, mem=20_000, cpus=20))
        running(world, command="earlier", constraints=("@hostname == h4",))
        for agent_id in ("S1", "S2", "S3"):
            breaks(world, agent_id)
        launch_ids = run_one_after_the_other(world, 10)
        assert [world.record(each).attempts for each in launch_ids] == [2] * 9 + [1]

    def test_a_launch_that_failed_where_others_run_is_tried_on_another_agent_where_others_run(self) -> None:
        world = two_agents()
        for host in ("h1", "h2"):
            running(world, command="earlier", constraints=(f"@hostname == {host}",), mem=128)
        breaks(world)
        launch_id = world.submit(mem=128)
        world.wait(20)
        record = world.record(launch_id)
        assert (record.state, record.agent_id, record.attempts) == (State.RUNNING, "S2", 2)

    def test_a_launch_waits_for_an_agent_that_is_tried_by_others(self) -> None:
        """S1 is broken, and S2 doubted: it gets three starts at a time. The launch is not tried on S1 again."""
        world = at_rest(agent(1, mem=1000), agent(2, mem=1200))
        breaks(world, "S1")
        breaks(world, "S2")
        run_one_after_the_other(world, 2, seconds=0.3)
        del world.cluster.broken["S2"]
        assert "3 starts at a time" in str(row_of(world, "S2")["reason"])
        launch_ids = [world.submit(command=f"later {number}") for number in range(5)]
        world.wait(5)
        assert [world.record(each).state for each in launch_ids] == [State.RUNNING] * 5
        assert max(world.record(each).attempts for each in launch_ids) == 2

    def test_it_is_said_in_the_log_and_in_the_explanation(self) -> None:
        world = two_agents()
        breaks(world)
        run_one_after_the_other(world, 2)
        world.submit(command="work 2")
        notes = []
        while state_of(world) != "backoff":
            world.wait(0.01)
            notes += [effect for effect in world.effects if isinstance(effect, Note)]
        (note,) = [each for each in notes if each.level == "warning"]
        assert note.text.endswith("it gets no starts for 30 s")
        waits = world.submit(mem=400, constraints=["@hostname == h1"])
        assert "agent S1 failed 3 starts in a row" in explained(world, waits)
        found = world.scheduler.explain(waits)
        assert found is not None
        assert found.failed["backoff"] == 1

    def test_it_is_used_again_when_it_is_whole(self) -> None:
        world = two_agents()
        breaks(world)
        run_one_after_the_other(world, 4)
        del world.cluster.broken["S1"]
        launch_id = world.submit(constraints=["@hostname == h1"], deadline=200)
        world.wait(15)
        assert world.record(launch_id).state is State.PENDING
        world.wait(20)
        assert world.record(launch_id).state is State.RUNNING
        assert row_of(world)["reason"] is None

    def test_the_next_pause_is_twice_as_long(self) -> None:
        world = two_agents()
        breaks(world)
        run_one_after_the_other(world, 4)
        world.wait(30)
        launch_id = world.submit(command="work 9")
        world.wait(2)
        assert world.record(launch_id).attempts == 2
        assert state_of(world) == "backoff"
        world.wait(50)
        assert state_of(world) == "backoff"
        world.wait(15)
        assert state_of(world) != "backoff"

    def test_it_does_not_eat_launches_that_end_when_they_fail(self) -> None:
        """A FAILED task ends its launch, so none of these ever runs elsewhere; but others do."""
        world = two_agents()
        running(world, constraints=["@hostname == h2"])
        breaks(world, end="TASK_FAILED")
        launch_ids = [world.submit(command=f"work {number}", mem=32, deadline=600) for number in range(40)]
        world.wait(60)
        failed = [each for each in launch_ids if world.record(each).state is State.FAILED]
        first = 15  # as many as its first offer held
        assert len(failed) <= first + 2 * world.settings.failed_starts
        world.wait(120)
        assert {world.record(each).state for each in launch_ids if each not in failed} == {State.RUNNING}

    def test_a_start_that_is_still_staging_at_its_deadline_has_failed(self) -> None:
        world = two_agents()
        launch_id = world.submit(name="silent", deadline=10)
        world.wait(1)
        says(world, launch_id, "TASK_STAGING", "REASON_RECONCILIATION")
        world.wait(20)
        assert world.record(launch_id).reason == "DEADLINE"
        assert world.scheduler.state.backoff.suspected(world.record(launch_id).launch.start_key)


class TestOutage:
    """One outage is one failure, however many tasks it took."""

    def starting(self, world: World, count: int) -> list[str]:
        launch_ids = [world.submit(name="silent", command=f"work {n}", mem=10, cpus=0.05) for n in range(count)]
        world.wait(0.01)
        assert {world.record(each).agent_id for each in launch_ids} == {"S1"}
        return launch_ids

    @pytest.mark.parametrize("reason", ["REASON_AGENT_DISCONNECTED", "REASON_AGENT_RESTARTED"])
    def test_forty_tasks_that_an_agent_drops(self, reason: str) -> None:
        world = two_agents()
        launch_ids = self.starting(world, 40)
        for launch_id in launch_ids:
            world.cluster.tasks[f"{launch_id}.1"].forget()
            says(world, launch_id, "TASK_DROPPED", reason)
        assert state_of(world) != "backoff"
        innocent = world.submit()
        world.wait(1)
        assert world.record(innocent).state is State.RUNNING

    def test_an_agent_that_was_lost_and_is_back_begins_at_zero(self) -> None:
        world = two_agents()
        breaks(world)
        run_one_after_the_other(world, 4)
        assert state_of(world) == "backoff"
        cut_off(world)
        del world.cluster.broken["S1"]
        world.cluster.back("S1")
        world.deliver()
        launch_id = world.submit(constraints=["@hostname == h1"])
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING

    def test_so_does_another_id_at_its_address(self) -> None:
        world = two_agents()
        breaks(world)
        run_one_after_the_other(world, 4)
        del world.cluster.broken["S1"]
        world.cluster.replace("S1", "S9")
        world.inbox.remove(Failure(ID("S1")))
        world.deliver()
        launch_id = world.submit(constraints=["@hostname == h1"])
        world.wait(1)
        assert (world.record(launch_id).state, world.record(launch_id).agent_id) == (State.RUNNING, "S9")

    def test_an_accept_that_never_came_is_nobodys_fault(self) -> None:
        """After a kill -9 between the stored intents and their ACCEPT, reconciliation says GONE of all of them."""
        world = two_agents()
        for launch_id in self.starting(world, 4):
            says(world, launch_id, "TASK_GONE", "REASON_RECONCILIATION")
        assert world.scheduler.state.backoff.calm

    def test_a_start_that_was_killed_is_no_failure(self) -> None:
        world = two_agents()
        for _ in range(4):
            launch_id = world.submit(name="silent")
            world.wait(0.1)
            world.kill(launch_id)
            world.wait(1)
        assert world.scheduler.state.backoff.calm


class TestLaunchThatCannotStart:
    """Its user does not exist: it is dropped wherever it goes."""

    def test_no_agent_is_closed_and_others_do_not_wait(self) -> None:
        world = at_rest(agent(1), agent(2), agent(3))
        for _ in range(3):
            world.submit(name="dropped", user="nosuch")
        for _ in range(30):
            innocent = world.submit()
            world.wait(1.2)
            assert world.record(innocent).state is State.RUNNING
            assert world.record(innocent).attempts == 1
            world.kill(innocent)
            world.wait(2)  # REVIVEs have their rate
        assert {state_of(world, each) for each in ("S1", "S2", "S3")} <= {"fresh", "stale"}

    def test_it_is_tried_on_other_agents_then_waits_then_ends_with_its_reason(self) -> None:
        world = at_rest(agent(1), agent(2), agent(3))
        launch_id = world.submit(name="dropped", user="nosuch")
        world.wait(0.3)
        record = world.record(launch_id)
        assert record.state is State.PENDING
        assert "command 'dropped' as user nosuch failed to start on 2 agents" in explained(world, launch_id)
        world.wait(20)
        assert (record.state, record.reason) == (State.FAILED, "REASON_EXECUTOR_TERMINATED")
        assert record.attempts == world.settings.launch_attempts
        assert record.message is not None
        assert "failed to start on 3 agents (" in record.message
        assert any("failed to start on 2 agents" in line.text for line in record.story)

    def test_each_attempt_is_made_when_the_pause_is_over(self) -> None:
        """Also where the agents may be used again before the launch itself may be tried."""
        world = at_rest(agent(1), agent(2), agent(3))
        running(world)  # so the first failure shows whose fault it is
        launch_id = world.submit(name="dropped", deadline=60)
        record = world.record(launch_id)
        for pause in (1, 2, 4):
            attempts = record.attempts
            world.wait(pause + 0.5)
            assert record.attempts > attempts, explained(world, launch_id)
        assert record.state is State.FAILED

    def test_those_that_wait_end_with_it(self) -> None:
        world = at_rest(agent(1), agent(2), agent(3))
        launch_ids = [world.submit(name="dropped") for _ in range(20)]
        world.wait(20)
        assert {world.record(each).state for each in launch_ids} == {State.FAILED}
        assert max(world.record(each).attempts for each in launch_ids) <= world.settings.launch_attempts
        assert sum(world.record(each).attempts for each in launch_ids) <= 20 + world.settings.launch_attempts

    def test_on_the_only_agent_it_waits_longer_each_time(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="dropped", deadline=60)
        world.wait(59)
        assert world.record(launch_id).state is State.PENDING
        assert 5 <= world.record(launch_id).attempts <= 7
        world.wait(2)
        assert world.record(launch_id).reason == "DEADLINE"

    def test_no_agent_is_set_aside_for_it(self) -> None:
        world = at_rest(agent(1), agent(2), launch_attempts=1000)
        world.submit(name="dropped", deadline=3000)
        world.wait(100)
        assert world.scheduler.state.set_aside is None
        assert state_of(world) != "backoff"

    def test_a_missing_image_fails_launches_and_closes_nothing(self) -> None:
        """TASK_FAILED ends each of them; that is as it was."""
        world = at_rest(agent(1), agent(2))
        running(world)
        launch_ids = [world.submit(name="fails", image="nosuch:1") for _ in range(6)]
        world.wait(1)
        assert world.record(launch_ids[0]).state is State.FAILED
        innocent = world.submit()
        world.wait(1)
        assert world.record(innocent).state is State.RUNNING
        assert state_of(world) != "backoff"

    def test_when_it_can_start_again_it_does(self) -> None:
        world = at_rest(agent(1), agent(2))
        for name in world.cluster.names:
            breaks(world, name)
        launch_id = world.submit(deadline=300)
        world.wait(2)
        world.cluster.broken.clear()
        world.wait(10)
        assert world.record(launch_id).state is State.RUNNING
        assert world.scheduler.state.backoff.at_fault(world.record(launch_id).launch.start_key) is None

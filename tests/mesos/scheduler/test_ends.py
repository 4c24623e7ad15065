"""How launches end: killed on request, past their deadline; and when the room of what was stopped counts again."""

from __future__ import annotations

import pytest

from owmesos.errors import InvalidInput
from owmesos.mesos import listings
from owmesos.mesos.messages import ID, CommandInfo, ExecutorInfo, Kill, Shutdown, TaskInfo
from owmesos.mesos.scheduler.lifecycle import State
from tests.model.scene import agent, at_rest, cut_off, running, says, task_of
from tests.model.world import World


class TestKills:
    def test_a_launch_that_waits_ends_at_once(self) -> None:
        world = at_rest()
        launch_id = world.submit(mem=9999)
        world.kill(launch_id)
        assert (world.record(launch_id).state, world.record(launch_id).reason) == (State.KILLED, "KILLED")
        assert not world.calls(Kill)

    def test_a_task_is_killed_and_its_reservation_is_a_stop(self) -> None:
        world = at_rest()
        launch_id = running(world, kill_grace=2.0)
        world.kill(launch_id)
        (kill,) = world.calls(Kill)
        assert (kill.task_id.value, kill.agent_id.value) == (f"{launch_id}.1", "S1")
        assert kill.kill_policy.grace_period.nanoseconds == 2_000_000_000
        assert world.scheduler.state.ledger.reservations.by_launch[launch_id].kind == "stop"
        says(world, launch_id, "TASK_KILLED")
        assert (world.record(launch_id).state, world.record(launch_id).message) == (State.KILLED, "killed on request")
        world.wait(1)
        assert not world.scheduler.state.ledger.reservations.by_launch

    def test_it_is_repeated_until_it_is_answered(self) -> None:
        world = at_rest()
        launch_id = running(world)
        world.cluster.freeze("S1")
        world.kill(launch_id)
        world.wait(16)
        assert len(world.calls(Kill)) == 4
        world.cluster.back("S1")
        world.wait(6)
        assert world.record(launch_id).state is State.KILLED
        kills = len(world.calls(Kill))
        world.wait(60)
        assert len(world.calls(Kill)) == kills

    def test_it_is_sent_again_when_the_agent_is_back_that_was_cut_off(self) -> None:
        world = at_rest()
        launch_id = running(world)
        cut_off(world)
        world.kill(launch_id)
        world.wait(1)
        assert world.record(launch_id).state is State.UNREACHABLE
        world.cluster.back("S1")
        world.wait(1)
        assert world.record(launch_id).state is State.KILLED

    def test_it_is_sent_again_after_a_subscription(self) -> None:
        world = at_rest()
        launch_id = running(world)
        world.lose_stream()
        world.deliver()
        world.kill(launch_id)
        assert not world.calls(Kill)
        world.wait(1.5)
        assert world.record(launch_id).state is State.KILLED

    def test_killing_twice_or_what_has_ended_does_no_harm(self) -> None:
        world = at_rest()
        launch_id = running(world)
        world.kill(launch_id)
        world.kill(launch_id)
        world.wait(1)
        world.kill(launch_id)
        assert len(world.calls(Kill)) == 1

    def test_a_launch_that_is_not_known_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="L99"):
            at_rest().kill("L99")

    @pytest.mark.parametrize(("said", "state"), [("TASK_DROPPED", State.KILLED), ("TASK_GONE", State.LOST)])
    def test_a_killed_launch_is_not_tried_again(self, said: str, state: State) -> None:
        """It is KILLED where it certainly never ran. GONE may be said while the launch is on its way to the agent."""
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.wait(0.1)
        world.cluster.freeze("S1")
        world.kill(launch_id)
        says(world, launch_id, said)
        world.wait(5)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (state, 1)


class TestEscalation:
    """An executor that hangs hears no KILL; an agent that hangs hears nothing."""

    def hung(self, **asked: object) -> tuple[World, str]:
        world = at_rest()
        launch_id = running(world, **asked)
        task_of(world, launch_id).hang()
        world.sent.clear()
        world.kill(launch_id)
        return world, launch_id

    def test_an_executor_that_hangs_is_shut_down_and_its_end_is_the_end(self) -> None:
        world, launch_id = self.hung()
        world.wait(17)
        assert not world.calls(Shutdown)
        world.wait(10)
        assert world.calls(Shutdown)[0] == Shutdown(ID(f"{launch_id}.1"), ID("S1"))
        assert world.record(launch_id).state is State.FAILED
        assert not world.scheduler.state.ledger.reservations.by_launch

    def test_its_grace_period_comes_first(self) -> None:
        world, _ = self.hung(kill_grace=60.0)
        world.wait(74)
        assert not world.calls(Shutdown)
        world.wait(7)
        assert world.calls(Shutdown)

    def test_an_executor_that_others_use_too_is_not_shut_down(self) -> None:
        def shared(info: TaskInfo) -> None:
            info.command = None
            info.executor = ExecutorInfo(ID("shared"), CommandInfo(value="run"))

        world = at_rest()
        other, launch_id = running(world, task_info=shared), running(world, task_info=shared)
        task_of(world, launch_id).hang()
        world.kill(launch_id)
        world.wait(30)
        assert not world.calls(Shutdown)
        world.kill(other)
        world.wait(30)
        assert Shutdown(ID("shared"), ID("S1")) in world.calls(Shutdown)

    def test_an_agent_that_answers_nothing_ends_the_launch_and_no_stop_stays(self) -> None:
        world = at_rest()
        launch_id = running(world)
        world.cluster.freeze("S1")
        world.kill(launch_id)
        world.wait(92)
        assert world.record(launch_id).state is State.RUNNING
        world.wait(7)
        record = world.record(launch_id)
        assert (record.state, record.reason) == (State.LOST, "NO_ANSWER")
        assert record.message is not None
        assert record.message.startswith("killed on request; agent S1 has answered neither KILL nor SHUTDOWN for 9")
        assert not world.scheduler.state.ledger.reservations.by_launch

    def test_one_that_is_overdue_says_that_too(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=20)
        world.wait(1)
        world.cluster.freeze("S1")
        world.wait(130)
        record = world.record(launch_id)
        assert (record.state, record.reason, record.overdue) == (State.LOST, "NO_ANSWER", True)
        assert record.message is not None
        assert record.message.startswith("not seen running within 20 s: its task on agent S1 is STAGING; agent S1 has")

    def test_its_task_is_killed_when_the_agent_is_back_and_ever_more_rarely_until_then(self) -> None:
        world = at_rest()
        launch_id = running(world)
        task = task_of(world, launch_id)
        world.cluster.freeze("S1")
        world.kill(launch_id)
        world.wait(100)
        world.sent.clear()
        world.wait(3600)
        assert 5 < len(world.calls(Kill)) < 15
        world.cluster.kill_frozen("S1")
        world.cluster.back("S1")
        world.wait(901)
        assert not task.lives

    def test_while_there_is_no_master_nobody_is_silent(self) -> None:
        world, launch_id = self.hung()
        world.lose_stream(connect_after=300)
        world.wait(299)
        assert world.record(launch_id).state is State.RUNNING
        world.wait(30)
        assert world.calls(Shutdown)
        assert world.record(launch_id).state is State.FAILED


class TestStops:
    def full(self) -> tuple[World, str, str]:
        """A task that has all the agent's memory, and a launch that waits for it."""
        world = at_rest(agent(mem=512), set_aside_after=1e6)
        has = running(world, mem=500)
        return world, has, world.submit(mem=500)

    def test_a_stop_is_not_credited_before_its_agent_offers(self) -> None:
        world, has, waits = self.full()
        world.wait(5)
        world.kill(has)
        world.wait(0.004)
        assert world.record(waits).state is not State.RESERVED

    def test_it_closes_at_its_agents_offers(self) -> None:
        world, has, waits = self.full()
        world.wait(5)
        world.kill(has)
        world.wait(0.2)
        assert has not in world.scheduler.state.ledger.reservations.by_launch
        assert world.record(waits).state is State.RUNNING

    def test_else_after_the_wait_for_offers(self) -> None:
        world, has, waits = self.full()
        world.wait(5)
        world.kill(has)
        task_of(world, has).says("TASK_KILLED")
        world.deliver(1)
        world.cluster.neighbours("S1", 1.0)
        world.deliver()
        stop = world.scheduler.state.ledger.reservations.by_launch[has]
        assert stop.ended_at is not None
        world.wait(2.5)
        assert has not in world.scheduler.state.ledger.reservations.by_launch
        assert world.record(waits).state is State.PENDING

    def test_and_with_the_agents_loss(self) -> None:
        world, has, _ = self.full()
        world.cluster.freeze("S1")
        world.kill(has)
        cut_off(world)
        assert has not in world.scheduler.state.ledger.reservations.by_launch


class TestDeadlines:
    @pytest.mark.parametrize(
        ("asked", "explained"),
        [({"mem": 9999}, "lacks memory"), ({"constraints": ["rack == r9"]}, "fails the constraint 'rack == r9'")],
    )
    def test_a_launch_that_waited_ends_with_the_explanation(self, asked: dict[str, object], explained: str) -> None:
        world = at_rest()
        launch_id = world.submit(deadline=20, **asked)
        world.wait(21)
        record = world.record(launch_id)
        assert (record.state, record.reason) == (State.FAILED, "DEADLINE")
        assert record.message is not None
        assert record.message.startswith("not seen running within 20 s: ")
        assert explained in record.message

    def test_one_whose_task_does_not_run_is_killed_and_that_is_its_end(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=20)
        world.wait(21)
        record = world.record(launch_id)
        assert (record.state, record.reason, record.overdue) == (State.KILLED, "DEADLINE", True)
        assert record.message == (
            "not seen running within 20 s: its task on agent S1 is STAGING; it was never seen running, and killed"
        )
        assert not task_of(world, launch_id).lives

    @pytest.mark.parametrize(
        ("told", "end"),
        [
            ("TASK_FINISHED", State.FINISHED),
            ("TASK_FAILED", State.FAILED),
            ("TASK_ERROR", State.ERROR),
            ("TASK_GONE", State.LOST),
        ],
    )
    def test_the_end_that_the_master_tells_is_the_end_however_late(self, told: str, end: State) -> None:
        world, launch_id = self.overdue()
        world.wait(2.5)
        says(world, launch_id, told, "REASON_OF_ITS_OWN")
        record = world.record(launch_id)
        assert (record.state, record.reason, record.overdue) == (end, "REASON_OF_ITS_OWN", True)
        document = listings.launch(world.scheduler.state, record)
        assert (document["state"], document["overdue"], document["late_s"]) == (end.value, True, 2.5)

    def test_one_that_is_first_seen_running_after_its_deadline_says_so(self) -> None:
        world, launch_id = self.overdue()
        world.wait(2)
        says(world, launch_id, "TASK_RUNNING")
        says(world, launch_id, "TASK_KILLED")
        record = world.record(launch_id)
        assert (record.state, record.reason, record.late) == (State.KILLED, "DEADLINE", 2.0)
        assert record.message is not None
        assert record.message.endswith("; it was first seen running 2 s after its deadline, and killed")

    def test_one_that_is_told_healthy_when_it_is_overdue_still_says_why(self) -> None:
        world, launch_id = self.overdue()
        says(world, launch_id, "TASK_RUNNING", healthy=True)
        says(world, launch_id, "TASK_KILLED")
        message = world.record(launch_id).message
        assert message is not None
        assert message.startswith("not seen running within")

    def test_one_that_was_in_time_is_not_late(self) -> None:
        world = at_rest()
        launch_id = running(world, name="quick", deadline=2)
        world.wait(10)
        document = listings.launch(world.scheduler.state, world.record(launch_id))
        assert (document["state"], document["overdue"], document["late_s"]) == ("FINISHED", False, None)

    @pytest.mark.parametrize("told", ["TASK_RUNNING", "TASK_FINISHED"])
    def test_what_the_master_could_not_tell_before_the_deadline_is_waited_for(self, told: str) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=20)
        world.wait(19)
        world.lose_stream(connect_after=5)
        world.deliver()
        world.wait(4)
        assert not world.record(launch_id).overdue
        task_of(world, launch_id).says(told)
        world.wait(4)
        record = world.record(launch_id)
        assert record.state is (State.RUNNING if told == "TASK_RUNNING" else State.FINISHED)
        assert record.late is not None
        assert 3.9 < record.late < 4.1
        assert not world.calls(Kill)

    def test_what_ran_while_the_process_was_away_is_not_killed_for_its_deadline(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=20)
        world.wait(1)
        task_of(world, launch_id).says("TASK_RUNNING")
        world.inbox.clear()
        world.be_away(100)
        world.wait(15)
        assert world.record(launch_id).state is State.RUNNING
        assert not world.calls(Kill)

    def test_without_an_answer_it_ends_ten_seconds_later(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=20)
        world.wait(19)
        world.lose_stream(connect_after=100)
        world.deliver()
        world.wait(10)
        assert not world.record(launch_id).overdue
        world.wait(2)
        assert world.record(launch_id).overdue

    @staticmethod
    def overdue() -> tuple[World, str]:
        """A launch whose deadline has just passed, on an agent that is silent."""
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=20)
        world.wait(1)
        world.cluster.freeze("S1")
        world.wait(19)
        assert world.record(launch_id).overdue
        return world, launch_id

    def test_a_reserved_one_ends_without_a_trace(self) -> None:
        world = at_rest(offer_wait=100.0)
        world.cluster.neighbours("S1", 1.0)
        launch_id = world.submit(deadline=20)
        assert world.record(launch_id).state is State.RESERVED
        world.wait(21)
        assert world.record(launch_id).state is State.FAILED
        assert not world.scheduler.state.ledger.reservations.by_launch

    def test_without_a_master_that_is_what_it_says(self) -> None:
        world = at_rest()
        world.lose_stream(connect_after=100)
        world.deliver()
        launch_id = world.submit(deadline=20)
        world.wait(21)
        assert world.record(launch_id).state is State.FAILED

    def test_what_runs_has_met_it(self) -> None:
        world = at_rest()
        launch_id = running(world, deadline=20)
        world.wait(100)
        assert world.record(launch_id).state is State.RUNNING


class TestMemory:
    def test_only_the_last_ended_launches_are_kept(self) -> None:
        world = at_rest(keep_ended=3)
        launch_ids = [running(world, name="quick") for _ in range(5)]
        world.wait(20)
        assert list(world.scheduler.state.launches) == launch_ids[2:]
        assert set(world.store) == set(launch_ids[2:])

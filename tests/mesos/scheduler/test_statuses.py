"""What becomes of tasks: updates, losses, questions, kills and deadlines."""

from __future__ import annotations

import pytest

from owmesos.core.reservations import ReservationState
from owmesos.mesos.messages import ID, Acknowledge, Kill, Reconcile, ReconcileTask, TaskStatus, Update
from owmesos.mesos.scheduler.lifecycle import State
from tests.model.scene import agent, at_rest, cut_off, never_arrived, running, says, task_of

UNCERTAIN = ["TASK_GONE", "TASK_LOST", "TASK_UNKNOWN", "TASK_GONE_BY_OPERATOR"]
RECONCILIATION = "REASON_RECONCILIATION"


class TestUpdates:
    def test_starting_counts_as_staging(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.wait(0.1)
        assert world.record(launch_id).state is State.SUBMITTED
        task_of(world, launch_id).says("TASK_STARTING")
        world.deliver()
        assert world.record(launch_id).state is State.STAGING

    def test_a_launch_may_end_at_once(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.wait(0.1)
        says(world, launch_id, "TASK_ERROR", "REASON_TASK_INVALID")
        assert (world.record(launch_id).state, world.record(launch_id).reason) == (State.ERROR, "REASON_TASK_INVALID")

    @pytest.mark.parametrize(
        ("state", "end"),
        [("TASK_FINISHED", State.FINISHED), ("TASK_FAILED", State.FAILED), ("TASK_KILLED", State.KILLED)],
    )
    def test_its_end_ends_the_launch(self, state: str, end: State) -> None:
        world = at_rest()
        launch_id = running(world)
        task_of(world, launch_id).says(state)
        world.wait(1)
        assert world.record(launch_id).state is end
        assert world.record(launch_id).ended_at is not None

    @pytest.mark.parametrize("late", ["TASK_STARTING", "TASK_RUNNING", "TASK_UNREACHABLE", "TASK_GONE", "TASK_FAILED"])
    def test_what_comes_after_the_end_is_told_acknowledged_and_changes_nothing(self, late: str) -> None:
        world = at_rest()
        launch_id = running(world, name="quick")
        world.wait(5)
        before = world.record(launch_id)
        ended = (before.state, before.ended_at, before.message)
        says(world, launch_id, late, uuid="u-late")
        record = world.record(launch_id)
        assert (record.state, record.ended_at, record.message) == ended
        assert record.story[-1].text.startswith("ignored: ")
        assert world.sent[-1][1] == Acknowledge(ID("S1"), ID(record.task_id), "u-late")

    def test_a_step_backward_changes_nothing(self) -> None:
        world = at_rest()
        launch_id = running(world)
        says(world, launch_id, "TASK_STARTING", uuid="u-late")
        assert world.record(launch_id).state is State.RUNNING

    def test_an_update_twice_is_acknowledged_twice_and_counts_once(self) -> None:
        world = at_rest()
        launch_id = running(world)
        started = world.record(launch_id).started_at
        for _ in range(2):
            world.wait(1)
            says(world, launch_id, "TASK_RUNNING", uuid="u-same")
        assert world.record(launch_id).started_at == started
        assert len([call for call in world.calls(Acknowledge) if call.uuid == "u-same"]) == 2

    def test_a_state_of_a_later_mesos_changes_nothing(self) -> None:
        world = at_rest()
        launch_id = running(world)
        says(world, launch_id, "TASK_MIGRATING")
        assert world.record(launch_id).state is State.RUNNING


class TestLosses:
    @pytest.mark.parametrize(
        ("state", "retry"),
        [("TASK_DROPPED", "safe"), ("TASK_DROPPED", "lost"), *((state, "lost") for state in UNCERTAIN)],
    )
    def test_before_running_another_attempt_is_made_at_the_old_place(self, state: str, retry: str) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", retry=retry)
        world.wait(0.1)
        never_arrived(world, launch_id)
        says(world, launch_id, state)
        record = world.record(launch_id)
        assert (record.state.waiting, record.attempts) == (True, 1)
        world.wait(0.1)
        assert (record.task_id, record.attempts) == (f"{launch_id}.2", 2)

    @pytest.mark.parametrize("state", UNCERTAIN)
    def test_what_may_have_run_is_not_started_again_unless_its_asker_allows_it(self, state: str) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.wait(0.1)
        says(world, launch_id, state)
        world.wait(5)
        record = world.record(launch_id)
        assert (record.state, record.reason, record.attempts) == (State.LOST, state, 1)
        assert record.message == (
            f"{state}: nobody knows whether an executor had its task, so it is not started again"
            " (retry is safe, not lost)"
        )

    @pytest.mark.parametrize("sign", ["TASK_STARTING", "TASK_KILLING"])
    @pytest.mark.parametrize("crash", [False, True])
    @pytest.mark.parametrize("state", ["TASK_DROPPED", "TASK_GONE"])
    def test_nor_is_what_an_executor_had(self, sign: str, crash: bool, state: str) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.wait(0.1)
        says(world, launch_id, "TASK_STAGING", "REASON_RECONCILIATION")
        says(world, launch_id, sign)
        if crash:
            world.crash()
            world.deliver()
        says(world, launch_id, state, "REASON_EXECUTOR_REREGISTRATION_TIMEOUT")
        world.wait(5)
        record = world.record(launch_id)
        assert (record.state, record.attempts) == (State.LOST, 1)
        assert record.message is not None
        assert "an executor had its task" in record.message

    def test_a_new_attempt_begins_without_the_signs_of_the_one_before(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", retry="lost")
        world.wait(0.1)
        never_arrived(world, launch_id)
        says(world, launch_id, "TASK_STARTING")
        says(world, launch_id, "TASK_GONE")
        world.wait(0.1)
        record = world.record(launch_id)
        assert (record.attempts, record.delivered) == (2, False)

    @pytest.mark.parametrize("heard", [None, "TASK_STAGING", "TASK_UNREACHABLE"])
    def test_gone_as_an_answer_proves_nothing(self, heard: str | None) -> None:
        """Its agent may have been lost, in silence, and the launch be on its way there."""
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.wait(0.1)
        if heard is not None:
            says(world, launch_id, heard, RECONCILIATION)
        says(world, launch_id, "TASK_GONE", RECONCILIATION)
        world.wait(1)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.LOST, 1)

    @pytest.mark.parametrize("state", ["TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_LOST"])
    def test_after_running_it_is_the_end(self, state: str) -> None:
        world = at_rest()
        launch_id = running(world)
        says(world, launch_id, state)
        world.wait(5)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.LOST, 1)

    def test_a_failed_start_is_the_end_too(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="fails")
        world.wait(5)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.FAILED, 1)

    def test_an_attempt_that_was_lost_and_returns_is_killed(self) -> None:
        world = at_rest(agent(1), agent(2))
        launch_id = world.submit(name="silent", mem=100, retry="lost")
        world.wait(0.1)
        first = task_of(world, launch_id)
        says(world, launch_id, "TASK_LOST")
        assert world.record(launch_id).state.waiting
        agent_id = first.run.info.agent_id
        world.handle(Update(TaskStatus(ID(first.task_id), "TASK_RUNNING", source="SOURCE_MASTER", agent_id=agent_id)))
        assert Kill(ID(first.task_id), agent_id) in world.calls(Kill)

    def test_a_task_that_no_launch_owns_is_killed_until_its_end_is_seen(self) -> None:
        world = at_rest()
        world.handle(Update(TaskStatus(ID("stranger"), "TASK_RUNNING", agent_id=ID("S9"), uuid="u-x")))
        world.wait(0)
        assert world.calls(Acknowledge) == [Acknowledge(ID("S9"), ID("stranger"), "u-x")]
        world.handle(Update(TaskStatus(ID("stranger"), "TASK_KILLED", agent_id=ID("S9"))))
        kills = len(world.calls(Kill))
        assert kills == 1
        world.wait(60)
        assert len(world.calls(Kill)) == kills


class TestUnreachable:
    def test_a_running_task_is_waited_for_and_may_return(self) -> None:
        world = at_rest()
        launch_id = running(world)
        started = world.record(launch_id).started_at
        cut_off(world)
        assert world.record(launch_id).state is State.UNREACHABLE
        world.wait(300)
        world.cluster.back("S1")
        world.deliver()
        assert (world.record(launch_id).state, world.record(launch_id).started_at) == (State.RUNNING, started)

    def test_it_is_asked_for_every_minute_with_its_agent(self) -> None:
        world = at_rest()
        launch_id = running(world)
        cut_off(world)
        world.sent.clear()
        world.wait(185)
        question = ReconcileTask(ID(f"{launch_id}.1"), ID("S1"))
        assert world.calls(Reconcile) == [Reconcile([question])] * 3

    def test_after_ten_minutes_the_launch_ends(self) -> None:
        world = at_rest()
        launch_id = running(world)
        cut_off(world)
        world.wait(599)
        assert world.record(launch_id).state is State.UNREACHABLE
        world.wait(2)
        record = world.record(launch_id)
        assert (record.state, record.reason) == (State.LOST, "UNREACHABLE")
        assert record.message == "agent S1 was unreachable for 600 s"

    def test_and_its_task_is_killed_if_it_comes_back(self) -> None:
        world = at_rest()
        launch_id = running(world)
        task = task_of(world, launch_id)
        cut_off(world)
        world.wait(601)
        world.cluster.back("S1")
        world.wait(1)
        assert not task.lives
        assert world.record(launch_id).state is State.LOST

    def test_before_running_it_is_waited_for_till_the_deadline_at_most(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=30)
        world.wait(5)
        cut_off(world)
        world.wait(24)
        assert world.record(launch_id).state is State.UNREACHABLE
        world.wait(2)
        assert (world.record(launch_id).state, world.record(launch_id).reason) == (State.FAILED, "UNREACHABLE")
        world.cluster.back("S1")
        world.wait(1)
        assert not task_of(world, launch_id).lives

    def test_a_launch_whose_deadline_is_over_is_not_waited_for(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=30)
        world.wait(5)
        world.cluster.freeze("S1")
        world.wait(30)
        assert world.record(launch_id).state is State.STAGING
        cut_off(world)
        assert world.record(launch_id).state is State.FAILED

    @pytest.mark.parametrize(("retry", "end"), [("safe", (State.LOST, 1)), ("lost", (State.RUNNING, 2))])
    def test_a_launch_whose_message_was_lost_is_found_out_when_its_agent_offers_again(
        self, retry: str, end: tuple[State, int]
    ) -> None:
        world = at_rest(set_aside_after=1e6)
        world.submit(mem=9999)
        world.cluster.freeze("S1")
        launch_id = world.submit(retry=retry)
        world.wait(1)
        cut_off(world)
        world.cluster.kill_frozen("S1")  # it was killed, and started again
        world.cluster.back("S1")
        world.wait(1)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == end

    def test_an_agent_that_was_frozen_reads_its_launches_later_and_they_run_once(self) -> None:
        world = at_rest()
        world.cluster.freeze("S1")
        launch_id = world.submit()
        world.wait(1)
        cut_off(world)
        world.wait(60)
        world.cluster.back("S1")
        world.wait(1)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.RUNNING, 1)

    def test_its_agents_room_is_not_counted(self) -> None:
        world = at_rest()
        running(world)
        cut_off(world)
        state = world.scheduler.state
        assert not any(state.ledger.free(slot) for slot in state.ledger.accounts)

    def test_a_kill_is_repeated_slowly_while_it_lasts(self) -> None:
        world = at_rest()
        launch_id = running(world)
        cut_off(world)
        world.kill(launch_id)
        world.wait(125)
        assert len(world.calls(Kill)) == 3
        world.cluster.back("S1")
        world.wait(61)
        assert world.record(launch_id).state is State.KILLED


class TestQuestions:
    def test_a_launch_without_an_update_is_asked_for_with_growing_pauses(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=300)
        world.wait(0.1)
        world.half_open = True
        begin = world.record(launch_id).accepted_at
        world.wait(200)
        asked = [round(at - begin) for at, call in world.sent if call == _ask(launch_id)]
        assert asked == [10, 30, 70, 130, 190]
        reservation = world.scheduler.state.ledger.reservations.by_launch[launch_id]
        assert reservation.state is ReservationState.OVERDUE

    def test_after_each_subscription_every_live_task_is_asked_for_until_it_answers(self) -> None:
        world = at_rest(agent(1), agent(2))
        first, second = running(world, constraints=["@hostname == h1"]), running(world, constraints=["@hostname == h2"])
        ended = running(world, name="quick")
        world.wait(5)
        world.sent.clear()
        world.restart_master({"S1": 2.0})
        world.wait(1.5)
        questions = [call for _, call in world.sent if isinstance(call, Reconcile)]
        both = [ReconcileTask(ID(f"{first}.1"), ID("S1")), ReconcileTask(ID(f"{second}.1"), ID("S2"))]
        assert questions == [Reconcile(both), Reconcile()]
        world.sent.clear()
        begin = world.now
        world.wait(120)
        when_it_offers = [round(at - begin + 0.5) for at, call in world.sent if call == Reconcile(both[:1])]
        assert when_it_offers == [1]
        later = [round(at - begin + 0.5) for at, call in world.sent if call == Reconcile(both[1:])]
        assert later == [8, 24, 54, 84, 114]
        assert world.record(ended).state is State.FINISHED

    def test_the_answer_about_a_task_that_ended_meanwhile_ends_its_launch(self) -> None:
        world = at_rest()
        launch_id = running(world)
        world.lose_stream()
        task_of(world, launch_id).says("TASK_FINISHED")
        world.wait(2)
        assert world.record(launch_id).state is State.FINISHED


def _ask(launch_id: str) -> Reconcile:
    return Reconcile([ReconcileTask(ID(f"{launch_id}.1"), ID("S1"))])

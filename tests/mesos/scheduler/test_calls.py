"""Calls that are not taken, errors of the master, lost connections and a process that begins again."""

from __future__ import annotations

import math

import msgspec
import pytest

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import ID, Accept, Error, Event, Kill, Reconcile, ReconcileTask, Revive, Subscribed
from owmesos.mesos.scheduler.effects import Effect, Note, Resubscribe, SendCall, Stop, StoreFramework
from owmesos.mesos.scheduler.events import CallNotTaken, KillLaunches, Tick
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings, framework_info
from owmesos.mesos.wire.driver import Disconnected, SubscribeRefused, SubscribeUnanswered
from tests.model.cluster import START
from tests.model.scene import agent, at_rest
from tests.model.shadow import tasks_of
from tests.model.world import World


def effects_of(world: World, kind: type[Effect]) -> list[Effect]:
    return [effect for effect in world.effects if isinstance(effect, kind)]


class Unsubscribed:
    """A scheduler that no master has ever subscribed; `at` is seconds after its start."""

    def __init__(self, connect_timeout: float) -> None:
        settings = Settings(connect_timeout=connect_timeout)
        self.scheduler = Scheduler(settings, framework_info(name="test", user="nobody"))
        self.stop: Stop | None = None

    def handle(self, event: Event, *, at: float) -> None:
        for effect in self.scheduler.handle(event, START + at):
            if isinstance(effect, Stop):
                self.stop = effect
        self.scheduler.state.validate()

    def unanswered(self, reason: str, *, at: float, unexpected: bool = True) -> None:
        self.handle(SubscribeUnanswered(reason, unexpected), at=at)

    def tick(self, *, at: float) -> None:
        self.handle(Tick(), at=at)


class TestAcceptRefused:
    """400 to an ACCEPT spends no offers and launches nothing: one TaskInfo of it is not valid."""

    def test_its_launches_are_tried_alone_next_and_only_the_bad_one_ends(self) -> None:
        world = at_rest()
        good, bad, other = world.submit(mem=64), world.submit(mem=64, name="bad"), world.submit(mem=64)
        world.wait(1)
        assert [world.record(each).state for each in (good, bad, other)] == [State.RUNNING, State.ERROR, State.RUNNING]
        assert len(tasks_of(world.calls(Accept)[0])) == 3
        assert all(len(tasks_of(call)) == 1 for call in world.calls(Accept)[1:])
        assert world.record(bad).reason == "REFUSED"
        assert "Missing required fields" in (world.record(bad).message or "")

    def test_its_offers_are_in_hand_again_and_used(self) -> None:
        world = at_rest()
        bad = world.submit(name="bad")
        world.deliver()
        assert world.record(bad).state is State.ERROR
        assert not world.cluster.offers
        (slot,) = world.scheduler.state.ledger.accounts
        assert world.scheduler.state.ledger.free(slot).mem == 1024

    def test_a_launch_that_was_killed_meanwhile_ends_and_is_not_tried_again(self) -> None:
        world = at_rest()
        launch_id, other = world.submit(), world.submit()
        world.refused = frozenset()
        world.deliver()
        (accept,) = world.calls(Accept)
        world.kill(launch_id)
        world.cluster.void_offers()
        scheduler = world.scheduler
        scheduler.handle(CallNotTaken(accept, 400, "Missing required fields"), world.now)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.KILLED, 1)
        refusal = "the master refused its ACCEPT: Missing required fields"
        assert world.record(launch_id).message == f"killed on request; {refusal}"
        assert world.record(other).alone
        assert world.record(other).attempts == 2


class TestAnswersThatAreLost:
    """A POST of ACCEPT that fails is unknown, not refused: the stream is given up, and the task asked for."""

    @pytest.mark.parametrize(("taken", "end"), [(True, State.RUNNING), (False, State.LOST)])
    def test_the_launch_is_started_once_whether_it_was_taken_or_not(self, taken: bool, end: State) -> None:
        world = at_rest()
        world.lose_answer = taken
        launch_id = world.submit()
        world.deliver(1)
        assert effects_of(world, Resubscribe)
        assert world.record(launch_id).state is State.SUBMITTED
        world.wait(10)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (end, 1)

    @pytest.mark.parametrize("answer", [None, 403, 503])
    def test_one_that_was_certainly_not_taken_is_tried_again_without_a_question(self, answer: int | None) -> None:
        world = at_rest()
        launch_id, killed = world.submit(), world.submit()
        scheduler = world.scheduler
        accepts = [
            effect.call
            for effect in scheduler.handle(world.inbox.popleft(), world.now)
            if isinstance(effect, SendCall) and isinstance(effect.call, Accept)
        ]
        scheduler.handle(KillLaunches((killed,)), world.now)
        for accept in accepts:
            scheduler.handle(CallNotTaken(accept, answer, "no", sent=answer is not None), world.now)
        record = world.record(launch_id)
        assert (record.state, record.attempts, record.message) == (State.PENDING, 1, "its ACCEPT was not taken: no")
        assert world.record(killed).state is State.KILLED
        scheduler.state.validate()

    def test_all_offers_are_void_at_once(self) -> None:
        world = at_rest(agent(1), agent(2))
        world.lose_answer = True
        world.submit()
        world.deliver(1)
        state = world.scheduler.state
        assert not state.connected
        assert not any(state.ledger.free(slot) for slot in state.ledger.accounts)

    def test_several_failures_of_one_stream_give_it_up_once(self) -> None:
        world = at_rest()
        for _ in range(2):
            effects = world.scheduler.handle(CallNotTaken(Revive(), None, "connection reset"), world.now)
            asked = [effect for effect in effects if isinstance(effect, Resubscribe)]
            if _ == 0:
                assert asked == [Resubscribe("REVIVE failed: connection reset")]
        assert not asked

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (403, "Framework is not subscribed"),
            (503, "Master has not finished recovery"),
            (400, "The stream ID 'x' included in this request didn't match the stream ID currently associated"),
            (400, "Framework cannot be found"),
        ],
    )
    def test_so_is_a_stream_that_is_not_what_we_think(self, status: int, reason: str) -> None:
        world = at_rest()
        effects = world.scheduler.handle(CallNotTaken(Revive(), status, reason), world.now)
        assert [type(effect) for effect in effects if isinstance(effect, Resubscribe)] == [Resubscribe]

    def test_another_call_that_is_refused_is_noted(self) -> None:
        world = at_rest()
        effects = world.scheduler.handle(CallNotTaken(Kill(ID("x")), 400, "Not a valid id"), world.now)
        assert effects == [Note("error", "the master refused KILL: Not a valid id")]


class TestErrors:
    def ends(self, world: World) -> Stop:
        assert world.stopped is not None
        assert world.stopped.exit_code == 1
        assert "\n" not in world.stopped.reason
        return world.stopped

    def test_another_process_with_our_id_stops_this_one_for_good(self) -> None:
        world = at_rest()
        world.handle(Error("Framework failed over"))
        assert "another process" in self.ends(world).reason
        assert not effects_of(world, Resubscribe)

    def test_a_removed_framework_is_told_how_to_begin_anew(self) -> None:
        world = at_rest()
        world.handle(Error("Framework has been removed"))
        assert "--new-framework" in self.ends(world).reason
        assert world.cluster.framework.id in self.ends(world).reason

    def test_what_is_refused_at_the_start_ends_with_the_masters_text(self) -> None:
        scheduler = Scheduler(Settings(), framework_info(name="test", user="nobody", roles=("a b",)))
        (stop,) = scheduler.handle(Error("'FrameworkInfo.roles' contains invalid role"), START)
        assert isinstance(stop, Stop)
        assert "contains invalid role" in stop.reason

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_so_does_a_subscribe_that_is_refused(self, status: int) -> None:
        scheduler = Scheduler(Settings(), framework_info(name="test", user="nobody"))
        (stop,) = scheduler.handle(SubscribeRefused(status, "the master's text"), START)
        assert isinstance(stop, Stop)
        assert "the master's text" in stop.reason

    def test_what_is_not_a_started_master_is_retried_for_the_connect_timeout(self) -> None:
        world = Unsubscribed(connect_timeout=60)
        world.unanswered("404: an HTML page", at=0)
        world.unanswered("404", at=59.9)
        world.tick(at=59.99)
        assert world.stop is None
        world.tick(at=60)
        assert world.stop is not None
        assert world.stop.exit_code == 1
        assert world.stop.reason == "no Mesos master has answered for 60 s: 404"

    def test_a_master_that_is_away_is_waited_for(self) -> None:
        world = Unsubscribed(connect_timeout=60)
        world.unanswered("no connection", at=0, unexpected=False)
        world.tick(at=100_000)
        assert world.stop is None

    def test_one_that_goes_away_meanwhile_and_starts_has_its_time_again(self) -> None:
        world = Unsubscribed(connect_timeout=60)
        world.unanswered("404", at=0)
        world.unanswered("no connection", at=50, unexpected=False)
        world.unanswered("404", at=55)
        world.tick(at=114)
        assert world.stop is None
        world.tick(at=115)
        assert world.stop is not None

    def test_once_subscribed_no_answer_ends_it(self) -> None:
        world = Unsubscribed(connect_timeout=60)
        world.unanswered("404", at=0)
        world.handle(Subscribed(ID("F")), at=1)
        world.handle(Disconnected("the master restarts"), at=2)
        world.unanswered("404", at=3)
        world.tick(at=1000)
        assert world.stop is None

    @pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf, 1e9])
    def test_a_connect_timeout_that_is_none(self, seconds: float) -> None:
        with pytest.raises(InvalidInput, match="connect timeout must be from 0 to 86400 seconds"):
            Settings(connect_timeout=seconds)

    def test_later_the_same_is_tried_again(self) -> None:
        world = at_rest()
        world.handle(SubscribeRefused(401, "expired"))
        assert world.stopped is None
        assert [type(effect) for effect in effects_of(world, Note)] == [Note]

    def test_any_other_error_resubscribes(self) -> None:
        world = at_rest()
        world.handle(Error("something else"))
        assert effects_of(world, Resubscribe) == [Resubscribe("something else")]
        assert world.stopped is None
        world.wait(2)
        assert world.scheduler.state.connected


class TestConnection:
    def test_the_framework_id_is_stored_before_anything_is_sent(self) -> None:
        world = World([agent()])
        world.deliver(1)
        kinds = [type(effect) for effect in world.effects if isinstance(effect, (StoreFramework, SendCall))]
        assert kinds[0] is StoreFramework
        assert kinds.count(StoreFramework) == 1
        assert world.framework_id == world.cluster.framework.id

    def test_an_id_that_is_known_is_not_stored_again(self) -> None:
        world = at_rest()
        world.lose_stream()
        world.wait(2)
        assert world.scheduler.state.connected
        assert not effects_of(world, StoreFramework)

    def test_without_it_nothing_is_sent(self) -> None:
        world = at_rest()
        running = world.submit()
        world.wait(1)
        world.lose_stream(connect_after=100)
        world.deliver()
        world.sent.clear()
        world.submit(deadline=50)
        world.kill(running)
        world.wait(99)
        assert world.sent == []

    def test_reserved_launches_wait_again(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        assert world.record(launch_id).state is State.RESERVED
        world.handle(Disconnected("end of stream"))
        assert world.record(launch_id).state is State.PENDING
        explained = world.scheduler.explain(launch_id)
        assert explained is not None
        assert explained.summary

    def test_submitted_ones_keep_their_place_with_the_agent(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.deliver()
        world.handle(Disconnected("end of stream"))
        assert world.record(launch_id).state is State.SUBMITTED

    def test_until_settled_it_is_not_suppressed(self) -> None:
        world = at_rest()
        world.lose_stream()
        world.wait(1 + world.settings.settle - 0.1)
        assert not world.cluster.suppressed
        world.wait(0.2)
        assert world.cluster.suppressed

    def test_a_masters_failover_loses_no_task_and_starts_none_twice(self) -> None:
        world = at_rest(agent(1), agent(2))
        launch_ids = [world.submit(mem=300) for _ in range(4)]
        world.wait(1)
        world.restart_master({"S1": 0.6, "S2": 3.3})
        world.wait(60)
        assert {(world.record(each).state, world.record(each).attempts) for each in launch_ids} == {(State.RUNNING, 1)}


class TestRestart:
    def test_what_runs_is_adopted(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.wait(1)
        world.crash()
        world.wait(20)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.RUNNING, 1)
        world.kill(launch_id)
        world.wait(1)
        assert world.record(launch_id).state is State.KILLED

    def test_it_subscribes_with_the_stored_id(self) -> None:
        world = at_rest()
        world.crash()
        assert world.scheduler.state.info.id == ID(world.cluster.framework.id)

    def test_what_never_started_is_launched(self) -> None:
        world = at_rest(agent(mem=512), set_aside_after=1e6)
        first, second = world.submit(mem=400), world.submit(mem=400)
        world.wait(1)
        world.crash()
        world.wait(5)
        assert world.record(second).state is State.PENDING
        world.kill(first)
        world.wait(5)
        assert world.record(second).state is State.RUNNING

    def test_an_accept_that_was_stored_and_never_sent_is_made_again_without_a_question(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.crash_after = 1  # the intent is stored, and that was all
        world.deliver(1)
        assert world.record(launch_id).state is State.PENDING
        assert not world.calls(Accept)
        world.wait(10)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.RUNNING, 2)
        assert not [call for call in world.calls(Reconcile) if call.tasks]

    def test_its_restart_is_found_out_again_if_the_process_dies_before_that_is_stored(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.crash_after = 1
        world.deliver(1)
        world.crash_after = 0
        world.deliver(1)
        assert world.record(launch_id).state is State.PENDING

    def test_one_whose_end_was_asked_for_is_killed(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.crash_after = 1
        world.deliver(1)
        stored = msgspec.json.decode(world.store[launch_id], type=LaunchRecord)
        stored.kill_requested_at = world.now
        world.store[launch_id] = stored.stored_form()
        world.crash()
        world.wait(1)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.KILLED, 1)

    def test_one_that_may_have_been_sent_is_not_made_again(self) -> None:
        """The master says GONE. It may have taken it, lost its agent, and have sent the launch there all the same."""
        world = at_rest()
        launch_id = world.submit()
        world.crash_after, world.mark_first = 1, True  # the mark is set, and that was all
        world.deliver(1)
        assert world.record(launch_id).state is State.SUBMITTED
        world.wait(5)
        record = world.record(launch_id)
        assert (record.state, record.attempts) == (State.LOST, 1)
        assert record.message is not None
        assert "its ACCEPT may have arrived, so it is not started again" in record.message

    @pytest.mark.parametrize("effects", range(5))
    def test_wherever_the_process_dies_each_launch_runs_once(self, effects: int) -> None:
        world = at_rest()
        launch_ids = [world.submit() for _ in range(2)]
        world.crash_after = effects
        world.wait(60)
        assert [world.record(each).state for each in launch_ids] == [State.RUNNING] * 2
        assert len([task for task in world.cluster.tasks.values() if task.lives]) == 2

    def test_the_order_of_the_queue_is_kept(self) -> None:
        world = at_rest(agent(mem=64), set_aside_after=1e6)
        launch_ids = [world.submit(mem=500 + number) for number in range(12)]
        world.crash()
        assert [record.id for record in world.scheduler.state.queue] == launch_ids

    def test_a_deadline_that_passed_meanwhile_counts(self) -> None:
        world = at_rest()
        launch_id = world.submit(mem=9999, deadline=20)
        world.be_away(100)
        world.wait(1)
        assert (world.record(launch_id).state, world.record(launch_id).reason) == (State.FAILED, "DEADLINE")

    def test_a_kill_that_was_asked_for_is_carried_on(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.wait(1)
        world.cluster.freeze("S1")
        world.kill(launch_id)
        world.crash()
        world.cluster.back("S1")
        world.wait(10)
        assert world.record(launch_id).state is State.KILLED

    def test_an_unreachable_task_is_asked_for_and_its_time_goes_on(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.wait(1)
        world.cluster.cut_off("S1")
        world.wait(400)
        world.crash()
        world.wait(1)
        question = ReconcileTask(ID(f"{launch_id}.1"), ID("S1"))
        assert Reconcile([question]) in world.calls(Reconcile)
        assert world.record(launch_id).state is State.UNREACHABLE
        world.wait(200)
        assert (world.record(launch_id).state, world.record(launch_id).reason) == (State.LOST, "UNREACHABLE")

    def test_ended_launches_are_still_known(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="quick")
        world.wait(10)
        world.crash()
        assert world.record(launch_id).state is State.FINISHED

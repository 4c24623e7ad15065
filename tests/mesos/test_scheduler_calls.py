"""Calls that are not taken, errors of the master, lost connections and a process that begins again."""

from __future__ import annotations

import pytest

from owmesos.core.lifecycle import State
from owmesos.mesos.driver import Disconnected, SubscribeRefused
from owmesos.mesos.effects import Effect, Note, Resubscribe, Send, Stop, StoreFramework
from owmesos.mesos.events import CallNotTaken
from owmesos.mesos.messages import ID, Accept, Error, Kill, Reconcile, ReconcileTask, Revive
from owmesos.mesos.scheduler import Scheduler
from owmesos.mesos.settings import Settings, framework_info
from tests.model.agents import Link
from tests.model.scene import agent, at_rest
from tests.model.shadow import tasks_of
from tests.model.world import START, World


def effects_of(world: World, kind: type[Effect]) -> list[Effect]:
    return [effect for effect in world.effects if isinstance(effect, kind)]


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
        assert not world.master.offers
        (slot,) = world.scheduler.books.ledger.accounts
        assert world.scheduler.books.ledger.free(slot).mem == 1024

    def test_a_launch_that_was_killed_meanwhile_ends_and_is_not_tried_again(self) -> None:
        world = at_rest()
        launch_id, other = world.submit(), world.submit()
        world.master.refused = frozenset()
        world.deliver()
        (accept,) = world.calls(Accept)
        world.kill(launch_id)
        world.master.offers.clear()
        scheduler = world.scheduler
        scheduler.handle(CallNotTaken(accept, 400, "Missing required fields"), world.now)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.KILLED, 1)
        assert world.record(other).alone
        assert world.record(other).attempts == 2


class TestAnswersThatAreLost:
    """A POST of ACCEPT that fails is unknown, not refused: the stream is given up, and the task asked for."""

    @pytest.mark.parametrize("taken", [True, False])
    def test_the_launch_runs_once_either_way(self, taken: bool) -> None:
        world = at_rest()
        world.lose_answer = taken
        launch_id = world.submit()
        world.deliver(1)
        assert effects_of(world, Resubscribe)
        assert world.record(launch_id).state is State.SUBMITTED
        world.wait(10)
        assert world.record(launch_id).state is State.RUNNING
        assert world.record(launch_id).attempts == (1 if taken else 2)

    def test_all_offers_are_void_at_once(self) -> None:
        world = at_rest(agent(1), agent(2))
        world.lose_answer = True
        world.submit()
        world.deliver(1)
        books = world.scheduler.books
        assert not books.connected
        assert not any(books.ledger.free(slot) for slot in books.ledger.accounts)

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
        assert "framework-1" in self.ends(world).reason

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
        assert world.scheduler.books.connected


class TestConnection:
    def test_the_framework_id_is_stored_before_anything_is_sent(self) -> None:
        world = World([agent()])
        world.deliver(1)
        kinds = [type(effect) for effect in world.effects if isinstance(effect, (StoreFramework, Send))]
        assert kinds[0] is StoreFramework
        assert kinds.count(StoreFramework) == 1
        assert world.framework_id == "framework-1"

    def test_an_id_that_is_known_is_not_stored_again(self) -> None:
        world = at_rest()
        world.lose_stream()
        world.wait(2)
        assert world.scheduler.books.connected
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

    def test_promised_launches_wait_again(self) -> None:
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
        assert not world.master.suppressed
        world.wait(0.2)
        assert world.master.suppressed

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
        assert world.scheduler.books.info.id == ID("framework-1")

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

    def test_an_accept_that_was_stored_and_never_sent_is_found_out_and_made_again(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.crash_after = 1  # the intent is stored, and that was all
        world.deliver(1)
        assert world.record(launch_id).state is State.SUBMITTED
        assert not world.calls(Accept)
        world.wait(10)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.RUNNING, 2)

    @pytest.mark.parametrize("effects", range(7))
    def test_wherever_the_process_dies_each_launch_runs_once(self, effects: int) -> None:
        world = at_rest()
        launch_ids = [world.submit() for _ in range(2)]
        world.crash_after = effects
        world.wait(60)
        assert [world.record(each).state for each in launch_ids] == [State.RUNNING] * 2
        assert len([task for task in world.master.tasks.all.values() if task.lives]) == 2

    def test_the_order_of_the_queue_is_kept(self) -> None:
        world = at_rest(agent(mem=64), set_aside_after=1e6)
        launch_ids = [world.submit(mem=500 + number) for number in range(12)]
        world.crash()
        assert [record.id for record in world.scheduler.books.queue] == launch_ids

    def test_a_deadline_that_passed_meanwhile_counts(self) -> None:
        world = at_rest()
        launch_id = world.submit(mem=9999, deadline=20)
        world.now += 100
        world.crash()
        world.wait(1)
        assert (world.record(launch_id).state, world.record(launch_id).reason) == (State.FAILED, "DEADLINE")

    def test_a_kill_that_was_asked_for_is_carried_on(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.wait(1)
        world.master.agents["S1"].link = Link.FROZEN
        world.kill(launch_id)
        world.crash()
        world.master.tasks.register(world.master.agents["S1"])
        world.wait(10)
        assert world.record(launch_id).state is State.KILLED

    def test_an_unreachable_task_is_asked_for_and_its_time_goes_on(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.wait(1)
        world.master.tasks.lose(world.master.agents["S1"], Link.UNREACHABLE, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED")
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

"""How launches end: killed on request, past their deadline; and when the room of what was stopped counts again."""

from __future__ import annotations

import pytest

from owmesos.core.lifecycle import State
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Kill
from tests.model.agents import Link
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
        assert world.scheduler.books.ledger.reservations.by_launch[launch_id].kind == "stop"
        world.wait(1)
        assert (world.record(launch_id).state, world.record(launch_id).message) == (State.KILLED, "killed on request")
        assert not world.scheduler.books.ledger.reservations.by_launch

    def test_it_is_repeated_until_it_is_answered(self) -> None:
        world = at_rest()
        launch_id = running(world)
        world.master.agents["S1"].link = Link.FROZEN
        world.kill(launch_id)
        world.wait(16)
        assert len(world.calls(Kill)) == 4
        world.master.tasks.register(world.master.agents["S1"])
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
        world.master.tasks.register(world.master.agents["S1"])
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

    def test_a_killed_launch_is_not_tried_again(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.wait(0.1)
        world.master.agents["S1"].link = Link.FROZEN
        world.kill(launch_id)
        says(world, launch_id, "TASK_GONE")
        world.wait(5)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.KILLED, 1)


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
        world.master.advance(world.now + 0.0)
        assert world.record(waits).state is not State.RESERVED

    def test_it_closes_at_its_agents_offers(self) -> None:
        world, has, waits = self.full()
        world.wait(5)
        world.kill(has)
        world.wait(0.2)
        assert has not in world.scheduler.books.ledger.reservations.by_launch
        assert world.record(waits).state is State.RUNNING

    def test_else_after_the_wait_for_offers(self) -> None:
        world, has, waits = self.full()
        world.wait(5)
        world.kill(has)
        world.master.tasks.push(task_of(world, has), "TASK_KILLED")
        world.deliver(1)
        world.master.neighbours(world.master.agents["S1"], 1.0)
        world.deliver()
        stop = world.scheduler.books.ledger.reservations.by_launch[has]
        assert stop.ended_at is not None
        world.wait(2.5)
        assert has not in world.scheduler.books.ledger.reservations.by_launch
        assert world.record(waits).state is State.PENDING

    def test_and_with_the_agents_loss(self) -> None:
        world, has, _ = self.full()
        world.master.agents["S1"].link = Link.FROZEN
        world.kill(has)
        cut_off(world)
        assert has not in world.scheduler.books.ledger.reservations.by_launch


class TestDeadlines:
    @pytest.mark.parametrize(
        ("asked", "explained"),
        [({"mem": 9999}, "lacks memory"), ({"constraints": ["rack == r9"]}, "fails a constraint")],
    )
    def test_a_launch_that_waited_ends_with_the_explanation(self, asked: dict[str, object], explained: str) -> None:
        world = at_rest()
        launch_id = world.submit(deadline=20, **asked)
        world.wait(21)
        record = world.record(launch_id)
        assert (record.state, record.reason) == (State.FAILED, "DEADLINE")
        assert record.message is not None
        assert record.message.startswith("not running after 20 s: ")
        assert explained in record.message

    def test_one_whose_task_does_not_run_is_killed_and_ends_so_too(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent", deadline=20)
        world.wait(21)
        record = world.record(launch_id)
        assert (record.state, record.reason) == (State.FAILED, "DEADLINE")
        assert record.message == "not running after 20 s: its task on agent S1 is STAGING"
        assert not task_of(world, launch_id).lives

    def test_a_promised_one_ends_without_a_trace(self) -> None:
        world = at_rest(offer_wait=100.0)
        world.master.neighbours(world.master.agents["S1"], 1.0)
        launch_id = world.submit(deadline=20)
        assert world.record(launch_id).state is State.RESERVED
        world.wait(21)
        assert world.record(launch_id).state is State.FAILED
        assert not world.scheduler.books.ledger.reservations.by_launch

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
        world.wait(10)
        assert list(world.scheduler.books.launches) == launch_ids[2:]
        assert set(world.store) == set(launch_ids[2:])

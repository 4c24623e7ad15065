"""What it does about agents: back-off, maintenance, losses, sizes."""

from __future__ import annotations

import pytest

from owmesos.core.buffer import Buffer
from owmesos.core.lifecycle import State
from owmesos.core.node_stats import NodeState, NodeStatsUpdate
from owmesos.mesos.effects import AskAgents, StatsChanged
from owmesos.mesos.events import AgentSeen, AgentsSeen
from owmesos.mesos.listings import nodes
from owmesos.mesos.messages import (
    ID,
    Accept,
    AcceptInverseOffers,
    DeclineInverseOffers,
    InverseOffer,
    InverseOffers,
    TimeInfo,
    Unavailability,
)
from owmesos.resources import Resources
from tests.model.agents import Link
from tests.model.scene import agent, at_rest, says
from tests.model.world import World


def state_of(world: World, agent_id: str = "S1") -> str:
    (row,) = [row for row in nodes(world.scheduler.books, world.now) if row["agent_id"] == agent_id]
    return row["state"]


class TestBackoff:
    def failing(self, starts: int = 3, **settings: object) -> World:
        world = at_rest(**settings)
        for _ in range(starts):
            world.submit(name="fails")
            world.wait(1)
        return world

    def test_three_failed_starts_in_a_row_bring_a_pause(self) -> None:
        world = self.failing()
        launch_id = world.submit(deadline=120)
        world.wait(25)
        assert world.record(launch_id).state is State.PENDING
        assert state_of(world) == "backoff"
        world.wait(10)
        assert world.record(launch_id).state is State.RUNNING
        assert state_of(world) != "backoff"

    def test_the_explanation_names_it(self) -> None:
        world = self.failing()
        explained = world.scheduler.explain(world.submit())
        assert explained is not None
        assert explained.failed == {"backoff": 1}

    def test_two_do_not(self) -> None:
        world = self.failing(2)
        launch_id = world.submit()
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING

    def test_an_accept_that_never_came_is_no_fault_of_the_agent(self) -> None:
        """After a kill -9 between the stored intents and their ACCEPT, reconciliation says GONE of all of them."""
        world = at_rest()
        launch_ids = [world.submit(name="silent") for _ in range(4)]
        world.wait(1)
        for launch_id in launch_ids:
            says(world, launch_id, "TASK_GONE", "REASON_RECONCILIATION")
        assert state_of(world) != "backoff"

    def test_the_next_pause_is_twice_as_long(self) -> None:
        world = self.failing()
        world.wait(30)
        for _ in range(3):
            world.submit(name="fails")
            world.wait(1)
        launch_id = world.submit()
        world.wait(50)
        assert world.record(launch_id).state is State.PENDING
        world.wait(15)
        assert world.record(launch_id).state is State.RUNNING

    def test_a_start_that_was_killed_is_no_failure(self) -> None:
        world = at_rest()
        for _ in range(4):
            launch_id = world.submit(name="silent")
            world.wait(0.1)
            world.kill(launch_id)
            world.wait(1)
        assert state_of(world) != "backoff"

    def test_others_are_used_meanwhile(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2))
        for _ in range(3):
            world.submit(name="fails")
            world.wait(1)
        launch_id = world.submit()
        world.wait(1)
        assert (world.record(launch_id).state, world.record(launch_id).agent_id) == (State.RUNNING, "S2")


class TestMaintenance:
    def test_a_machine_that_will_be_unavailable_gets_nothing_new(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2))
        world.master.maintenance(world.master.agents["S1"], planned=True)
        first = world.submit()
        world.wait(0.01)
        second = world.submit()
        world.wait(1)
        assert world.record(second).agent_id == "S2"
        assert state_of(world) == "draining"
        assert world.record(first).state is State.RUNNING

    def test_it_is_used_again_when_that_is_called_off(self) -> None:
        world = at_rest()
        launch_id = world.submit(deadline=60)
        world.master.maintenance(world.master.agents["S1"], planned=True)
        world.wait(2)
        assert world.record(launch_id).state is State.PENDING
        explained = world.scheduler.explain(launch_id)
        assert explained is not None
        assert explained.failed == {"draining": 1}
        world.master.maintenance(world.master.agents["S1"], planned=False)
        world.wait(world.settings.revive_interval)
        assert world.record(launch_id).state is State.RUNNING

    def inverse(self, agent_id: str | None) -> InverseOffers:
        window = Unavailability(TimeInfo(10**18))
        one = InverseOffer(ID("I1"), ID("F"), window, agent_id=ID(agent_id) if agent_id is not None else None)
        return InverseOffers([one])

    @pytest.mark.parametrize("agent_id", ["S1", None])
    def test_an_inverse_offer_is_declined_where_something_runs(self, agent_id: str | None) -> None:
        world = at_rest()
        world.submit()
        world.wait(1)
        world.handle(self.inverse(agent_id))
        (call,) = world.calls(DeclineInverseOffers)
        assert call.inverse_offer_ids == [ID("I1")]

    @pytest.mark.parametrize("agent_id", ["S1", None])
    def test_and_accepted_where_nothing_does(self, agent_id: str | None) -> None:
        world = at_rest()
        world.handle(self.inverse(agent_id))
        (call,) = world.calls(AcceptInverseOffers)
        assert call.inverse_offer_ids == [ID("I1")]


class TestLosses:
    def test_a_lost_agent_is_gone_and_its_room_too(self) -> None:
        world = at_rest(agent(1), agent(2))
        world.master.tasks.lose(world.master.agents["S1"], Link.UNREACHABLE, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED")
        world.deliver()
        assert state_of(world) == "gone"
        (update,) = [effect.update for effect in world.effects if isinstance(effect, StatsChanged)]
        assert update == NodeStatsUpdate((), ("S1",))

    def test_a_promise_on_it_is_taken_back(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2))
        launch_id = world.submit()
        assert world.scheduler.books.ledger.reservations.by_launch[launch_id].slot.agent_id == "S1"
        world.inbox.clear()
        world.master.offers.clear()
        world.master.tasks.lose(world.master.agents["S1"], Link.UNREACHABLE, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED")
        world.deliver()
        world.wait(3)
        assert world.record(launch_id).agent_id == "S2"

    def test_one_that_returns_is_used_again(self) -> None:
        world = at_rest()
        world.master.tasks.lose(world.master.agents["S1"], Link.UNREACHABLE, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED")
        launch_id = world.submit(deadline=60)
        world.wait(5)
        assert world.record(launch_id).state is State.PENDING
        world.master.tasks.register(world.master.agents["S1"])
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING
        assert state_of(world) != "gone"

    def test_another_id_at_its_address_takes_its_place(self) -> None:
        world = at_rest(set_aside_after=1e6)
        world.submit(mem=9999)
        world.deliver()
        fresh = agent(1)
        fresh.agent_id = "S1-new"
        world.master.agents["S1"].link = Link.GONE
        world.master.agents["S1"].replaced = True
        world.master.add_agent(fresh)
        world.deliver()
        assert state_of(world) == "gone"
        assert state_of(world, "S1-new") in ("fresh", "stale")

    def test_one_that_is_gone_for_long_is_forgotten(self) -> None:
        world = at_rest(agent(1), agent(2))
        world.master.tasks.lose(world.master.agents["S1"], Link.UNREACHABLE, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED")
        world.wait(601)
        assert list(world.scheduler.books.ledger.agents) == ["S2"]


class TestOversized:
    def test_a_launch_that_no_agent_could_ever_hold_is_refused_at_once(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2, mem=1024), operator_api=True)
        launch_id = world.submit(mem=1025)
        record = world.record(launch_id)
        assert (record.state, record.reason) == (State.ERROR, "OVERSIZED")
        assert record.message is not None
        assert "larger than any agent" in record.message
        assert "1024 MB" in record.message

    def test_the_largest_that_fits_is_not(self) -> None:
        world = at_rest(operator_api=True)
        launch_id = world.submit(mem=1024, cpus=4, ports=10)
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING

    def test_the_agents_are_asked_anew_before_it_is_refused(self) -> None:
        world = at_rest(operator_api=True)
        world.master.add_agent(agent(2, mem=4096))
        launch_id = world.submit(mem=2000)
        assert any(isinstance(effect, AskAgents) for effect in world.effects)
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING

    def test_what_fits_asks_nobody(self) -> None:
        world = at_rest(operator_api=True)
        world.submit(mem=64)
        assert not any(isinstance(effect, AskAgents) for effect in world.effects)

    def test_without_the_operator_api_it_waits_and_is_explained(self) -> None:
        world = at_rest()
        launch_id = world.submit(mem=9999)
        world.wait(1)
        explained = world.scheduler.explain(launch_id)
        assert world.record(launch_id).state is State.PENDING
        assert explained is not None
        assert explained.nearest == "agent S1 (h1) is 8975 MB short"

    def test_with_no_agent_registered_it_waits(self) -> None:
        world = at_rest(operator_api=True)
        launch_id = world.submit(mem=9999)
        assert world.record(launch_id).state is State.ERROR
        world.operator_api = False
        waiting = world.submit(mem=9998)
        world.handle(AgentsSeen(()))
        assert world.record(waiting).state is State.PENDING

    def test_it_can_be_turned_off(self) -> None:
        world = at_rest(operator_api=True, refuse_oversized=False)
        launch_id = world.submit(mem=9999)
        assert world.record(launch_id).state is State.PENDING

    def test_the_buffer_counts(self) -> None:
        world = at_rest(operator_api=True, buffer=Buffer(share=0.05))
        launch_id = world.submit(mem=1000)
        assert world.record(launch_id).state is State.ERROR


class TestTotals:
    def test_they_are_shown(self) -> None:
        world = at_rest(operator_api=True)
        (row,) = nodes(world.scheduler.books, world.now)
        assert row["total"]["mem"] == 1024

    def test_an_agent_that_only_the_operator_api_has_seen_is_unknown(self) -> None:
        world = at_rest()
        world.handle(AgentsSeen((AgentSeen("S7", "h7", Resources.of(cpus=1, mem=64)),)))
        assert state_of(world, "S7") == NodeState.UNKNOWN.value

    def test_such_an_agent_meets_constraints_on_its_host_once_it_offers(self) -> None:
        world = at_rest()
        world.handle(AgentsSeen((AgentSeen("S7", "h7", Resources.of(cpus=1, mem=64)),)))
        world.master.add_agent(agent(7))
        launch_id = world.submit(constraints=["@hostname == h7"])
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING
        assert len(world.calls(Accept)) == 1

"""What it does about agents: maintenance, losses, sizes."""

from __future__ import annotations

from itertools import pairwise

import pytest

from owmesos.core.ledger import Buffer
from owmesos.core.node_stats import NodeState, NodeStatsUpdate
from owmesos.mesos import listings
from owmesos.mesos.listings import nodes
from owmesos.mesos.messages import (
    ID,
    Accept,
    AcceptInverseOffers,
    AllocationInfo,
    Decline,
    DeclineInverseOffers,
    Failure,
    Filters,
    InverseOffer,
    InverseOffers,
    Offer,
    Offers,
    Resource,
    Scalar,
    Subscribed,
    TimeInfo,
    Unavailability,
)
from owmesos.mesos.scheduler.agents import ASK_EVERY, JOINED
from owmesos.mesos.scheduler.effects import AskAgents, Effect, Note, SendCall, StatsChanged
from owmesos.mesos.scheduler.events import AgentSeen, AgentsSeen, Tick
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.offer_book import OfferBook
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings, framework_info
from owmesos.mesos.scheduler.state import SchedulerTimer
from owmesos.resources import Resources
from tests.model.scene import NO_BUFFER, agent, at_rest, running, task_of
from tests.model.world import World


def state_of(world: World, agent_id: str = "S1") -> str:
    (row,) = [row for row in nodes(world.scheduler.state, world.now) if row["agent_id"] == agent_id]
    return row["state"]


class TestMaintenance:
    def test_a_machine_that_will_be_unavailable_gets_nothing_new(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2))
        world.cluster.maintenance("S1", planned=True)
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
        world.cluster.maintenance("S1", planned=True)
        world.wait(2)
        assert world.record(launch_id).state is State.PENDING
        explained = world.scheduler.explain(launch_id)
        assert explained is not None
        assert explained.failed == {"draining": 1}
        world.cluster.maintenance("S1", planned=False)
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


def offer(number: int, *, cpus: float, mem: float, role: str = "web") -> Offer:
    room = [Resource(name, "SCALAR", Scalar(amount)) for name, amount in (("cpus", cpus), ("mem", mem))]
    return Offer(ID(f"O{number}"), ID("F"), ID("S1"), "h1", resources=room, allocation_info=AllocationInfo(role))


class TestOffersThatNobodyWants:
    OFFERS = (
        offer(1, cpus=4, mem=1000),
        offer(2, cpus=1, mem=200),
        offer(3, cpus=2, mem=500, role="other"),
        offer(4, cpus=0, mem=0),
    )

    def idle(self) -> Scheduler:
        scheduler = Scheduler(Settings(buffer=NO_BUFFER), framework_info(name="n", user="u", roles=("web", "other")))
        scheduler.handle(Subscribed(ID("F")), 0.0)
        scheduler.handle(Offers([offer(0, cpus=1, mem=500)]), 1.0)
        scheduler.handle(Tick(), 10.0)  # nothing of the subscription is due any more
        return scheduler

    def handled(self, *given: Offer, due: bool) -> tuple[Scheduler, list[Effect]]:
        """If something is `due` in the step, they are put in hand first."""
        scheduler = self.idle()
        if due:
            scheduler.state.timers.set(SchedulerTimer.TRIALS, 11.0)
        return scheduler, scheduler.handle(Offers(list(given)), 11.0)

    @pytest.mark.parametrize("count", range(1, 5))
    def test_they_leave_what_they_leave_when_they_were_in_hand(self, count: int) -> None:
        (passed, effects), (held, after) = (self.handled(*self.OFFERS[:count], due=due) for due in (False, True))
        assert listings.offers(passed.state, 12.0) == listings.offers(held.state, 12.0)
        assert listings.nodes(passed.state, 12.0) == listings.nodes(held.state, 12.0)
        for one, other in zip(passed.state.ledger.accounts.values(), held.state.ledger.accounts.values(), strict=True):
            assert (one.slot, one.held, one.remembered) == (other.slot, other.held, other.remembered)
        assert passed.state.ledger.agents["S1"].most_mem == held.state.ledger.agents["S1"].most_mem
        assert [each.call for each in effects if isinstance(each, SendCall)] == [
            each.call for each in after if isinstance(each, SendCall)
        ]
        (stats,), (others,) = ([each for each in some if isinstance(each, StatsChanged)] for some in (effects, after))
        assert set(stats.update.changed) == set(others.update.changed)

    def test_they_are_never_in_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        scheduler = self.idle()
        monkeypatch.delattr(OfferBook, "add")
        effects = scheduler.handle(Offers(list(self.OFFERS)), 11.0)
        (decline,) = [each.call for each in effects if isinstance(each, SendCall)]
        assert isinstance(decline, Decline)
        assert [each.value for each in decline.offer_ids] == ["O1", "O2", "O3", "O4"]
        assert decline.filters == Filters(scheduler.state.settings.refuse_seconds)


class TestLosses:
    def test_a_lost_agent_is_gone_and_its_room_too(self) -> None:
        world = at_rest(agent(1), agent(2))
        world.cluster.cut_off("S1")
        world.deliver()
        assert state_of(world) == "gone"
        (update,) = [effect.update for effect in world.effects if isinstance(effect, StatsChanged)]
        assert update == NodeStatsUpdate((), ("S1",))

    def test_a_promise_on_it_is_taken_back(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2))
        launch_id = world.submit()
        assert world.scheduler.state.ledger.reservations.by_launch[launch_id].slot.agent_id == "S1"
        world.inbox.clear()
        world.cluster.void_offers()
        world.cluster.cut_off("S1")
        world.deliver()
        world.wait(3)
        assert world.record(launch_id).agent_id == "S2"

    def test_one_that_returns_is_used_again(self) -> None:
        world = at_rest()
        world.cluster.cut_off("S1")
        launch_id = world.submit(deadline=60)
        world.wait(5)
        assert world.record(launch_id).state is State.PENDING
        world.cluster.back("S1")
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING
        assert state_of(world) != "gone"

    def test_another_id_at_its_address_takes_its_place(self) -> None:
        world = at_rest(set_aside_after=1e6)
        world.submit(mem=9999)
        world.deliver()
        world.cluster.replace("S1", "S1-new")
        world.inbox.remove(Failure(ID("S1")))
        world.deliver()
        assert state_of(world) == "gone"
        assert state_of(world, "S1-new") in ("fresh", "stale")

    def test_one_that_is_gone_for_long_is_forgotten(self) -> None:
        world = at_rest(agent(1), agent(2))
        world.cluster.cut_off("S1")
        world.wait(601)
        assert list(world.scheduler.state.ledger.agents) == ["S2"]

    def test_an_end_that_a_reboot_loses_on_its_way_is_told_as_a_drop(self) -> None:
        world = at_rest()
        launch_id = running(world)
        task = task_of(world, launch_id)
        task.says("TASK_STARTING")  # not acknowledged, so the end waits behind it
        world.cluster.freeze("S1")
        task.says("TASK_FINISHED")
        world.cluster.back("S1")
        (known,) = world.cluster.books.agents["S1"].tasks.values()
        assert (known.state, known.told_state) == ("TASK_FINISHED", "TASK_STARTING")
        world.cluster.reboot("S1", noticed=False)
        world.wait(15.0)
        assert world.record(launch_id).state is State.LOST
        assert not world.cluster.books.agents["S1"].tasks


class TestOversized:
    def test_a_launch_that_no_agent_could_ever_hold_is_refused_at_once(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2, mem=1024), operator_api=True)
        launch_id = world.submit(mem=1025)
        record = world.record(launch_id)
        assert (record.state, record.reason) == (State.ERROR, "OVERSIZED")
        assert record.message is not None
        assert "larger than any agent" in record.message
        assert "1024 MB" in record.message

    def test_gpus_are_named_where_they_are_what_is_short(self) -> None:
        world = at_rest(operator_api=True)
        message = world.record(world.submit(gpus=1)).message
        assert message is not None
        asked, _, largest = message.partition("; the largest of ")
        assert asked.endswith("0 ports, 1 gpus")
        assert largest.endswith(" ports, 0 gpus")

    def test_the_largest_that_fits_is_not(self) -> None:
        world = at_rest(operator_api=True)
        launch_id = world.submit(mem=1024, cpus=4, ports=10)
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING

    def test_the_agents_are_asked_anew_before_it_is_refused(self) -> None:
        world = at_rest(operator_api=True)
        world.cluster.add(agent(2, mem=4096))
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
        (row,) = nodes(world.scheduler.state, world.now)
        assert row["total"]["mem"] == 1024

    def test_an_agent_that_only_the_operator_api_has_seen_is_unknown(self) -> None:
        world = at_rest()
        world.handle(AgentsSeen((AgentSeen("S7", "h7", Resources.of(cpus=1, mem=64)),)))
        assert state_of(world, "S7") == NodeState.UNKNOWN.value

    def test_such_an_agent_meets_constraints_on_its_host_once_it_offers(self) -> None:
        world = at_rest()
        world.handle(AgentsSeen((AgentSeen("S7", "h7", Resources.of(cpus=1, mem=64)),)))
        world.cluster.add(agent(7))
        launch_id = world.submit(constraints=["@hostname == h7"])
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING
        assert len(world.calls(Accept)) == 1


class TestUnlisted:
    """Agents that a restart knows by a task alone, and that the master does not list."""

    def test_one_is_gone_once_its_task_is_lost(self) -> None:
        world = at_rest(agent(1), agent(2), operator_api=True, refuse_oversized=False)
        launch_id = running(world, constraints=["@hostname == h1"])
        world.cluster.forget("S1")
        world.be_away(2.0)
        world.wait(1)
        assert world.record(launch_id).state.ended
        assert state_of(world) == "gone"
        waiting = world.submit(mem=2000)
        world.wait(1)
        explained = world.scheduler.explain(waiting)
        assert explained is not None
        assert explained.agents == 1

    def test_one_whose_task_may_live_stays(self) -> None:
        world = at_rest(agent(1), agent(2), operator_api=True)
        launch_id = running(world, constraints=["@hostname == h1"])
        world.crash()
        world.handle(AgentsSeen((AgentSeen("S2", "h2", Resources.of(cpus=1, mem=64)),)))
        assert world.record(launch_id).state is State.RUNNING
        assert state_of(world) == "unknown"
        world.wait(5)
        assert state_of(world) != "gone"


class TestWhatTheLogSays:
    def notes(self, world: World) -> list[tuple[str, str]]:
        return [(note.level, note.text) for note in world.effects if isinstance(note, Note)]

    def test_a_lost_agent_once_and_its_return(self) -> None:
        world = at_rest()
        running(world)
        world.handle(Failure(agent_id=ID("S1")))
        assert self.notes(world) == [("warning", "agent S1 (h1) is lost, with tasks of ours")]
        world.handle(Failure(agent_id=ID("S1")))
        assert self.notes(world) == []
        world.submit()
        world.deliver(1)  # its offer
        assert ("info", "agent S1 (h1) is back") in self.notes(world)

    def test_one_that_drains(self) -> None:
        world = at_rest()
        window = Unavailability(TimeInfo(10**18))
        world.handle(InverseOffers([InverseOffer(ID("I"), ID("F"), window, agent_id=ID("S1"))]))
        assert self.notes(world) == [("warning", "agent S1 (h1) is draining: it gets no starts")]


class TestTotalsOfAgentsThatJoin:
    """Of agents that join while the framework is subscribed."""

    @pytest.fixture
    def world(self) -> World:
        return at_rest(agent(1), operator_api=True)

    @pytest.fixture
    def asked(self, world: World, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """When the totals were asked for."""
        times: list[float] = []
        answer = world._agents_seen

        def seen() -> AgentsSeen:
            times.append(world.now)
            return answer()

        monkeypatch.setattr(world, "_agents_seen", seen)
        return times

    def test_they_are_asked_for_once_for_all_that_join_together(self, world: World, asked: list[float]) -> None:
        world.cluster.add(agent(2))
        world.cluster.add(agent(3))
        world.submit(mem=64)
        world.wait(JOINED + 1.0)
        agents = world.scheduler.state.ledger.agents.values()
        assert [each.total is not None for each in agents] == [True] * 3
        assert len(asked) == 1

    def test_they_are_asked_for_at_most_so_often(self, world: World, asked: list[float]) -> None:
        for number in range(2, 12):
            world.cluster.add(agent(number))
            world.submit(mem=64)
            world.wait(10.0)
        world.wait(ASK_EVERY)
        agents = world.scheduler.state.ledger.agents.values()
        assert all(each.total is not None for each in agents)
        assert len(agents) == 11
        assert 3 <= len(asked) <= 6
        assert min(later - earlier for earlier, later in pairwise(asked)) >= ASK_EVERY

    def test_an_agent_that_no_answer_has_is_not_asked_for_again(
        self, world: World, asked: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        without = AgentsSeen(())
        monkeypatch.setattr(world, "_agents_seen", lambda: asked.append(world.now) or without)
        world.cluster.add(agent(2))
        world.submit(mem=64)
        world.wait(10 * ASK_EVERY)
        assert len(asked) == 1

    def test_without_the_operator_api_nobody_is_asked(self) -> None:
        world = at_rest(agent(1))
        world.cluster.add(agent(2))
        world.submit(mem=64)
        assert world.scheduler.state.timers.get(SchedulerTimer.TOTALS) is None

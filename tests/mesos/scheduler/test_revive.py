"""When it REVIVEs, when it is suppressed, and whom it asks."""

from __future__ import annotations

from itertools import pairwise

import pytest

from owmesos.mesos.messages import (
    Accept,
    AttributeConstraint,
    Call,
    Decline,
    Group,
    OfferConstraints,
    Predicate,
    Reconcile,
    Revive,
    RoleConstraints,
    Selector,
    Suppress,
    TextMatches,
    UpdateFramework,
)
from owmesos.mesos.scheduler.effects import SendCall
from owmesos.mesos.scheduler.lifecycle import State
from tests.model.cluster import START
from tests.model.scene import agent, at_rest
from tests.model.shadow import tasks_of
from tests.model.world import World


def times(world: World, kind: type[Call]) -> list[float]:
    """Seconds since the first call of the kind."""
    found = [at for at, call in world.sent if isinstance(call, kind)]
    return [round(at - found[0], 3) for at in found]


def crowded(world: World) -> str:
    """Neighbours have it all, and a launch waits."""
    for name in world.cluster.names:
        world.cluster.neighbours(name, 1.0)
    return world.submit(mem=64)


class TestIdle:
    def test_at_the_start_all_agents_are_asked_once_and_declined(self) -> None:
        world = World([agent(1), agent(2)])
        world.wait(60)
        assert [type(call) for _, call in world.sent] == [Reconcile, Revive, Decline, Suppress]
        (decline,) = world.calls(Decline)
        assert len(decline.offer_ids) == 2
        assert decline.filters.refuse_seconds == 3600
        assert world.scheduler.state.ledger.free(next(iter(world.scheduler.state.ledger.accounts))).mem == 1024

    def test_it_is_suppressed_once_it_has_settled(self) -> None:
        world = World([agent()])
        world.wait(60)
        (at,) = [at for at, call in world.sent if isinstance(call, Suppress)]
        assert at - START == world.settings.settle

    def test_then_nothing_is_sent_for_minutes(self) -> None:
        world = at_rest()
        world.wait(890)
        assert world.sent == []
        world.wait(100)
        assert world.sent == []

    def test_while_tasks_run_the_master_is_asked_for_all_every_quarter_of_an_hour(self) -> None:
        world = at_rest()
        world.submit()
        world.wait(60)
        world.sent.clear()
        world.wait(1800)
        assert [call for _, call in world.sent] == [Reconcile(), Reconcile()]

    def test_it_suppresses_again_when_the_last_launch_is_placed(self) -> None:
        world = at_rest()
        world.submit()
        world.wait(1)
        assert [type(call) for _, call in world.sent if isinstance(call, (Revive, Suppress))] == [Revive, Suppress]
        assert world.cluster.suppressed


class TestPolicy:
    def test_the_first_need_is_answered_at_once(self) -> None:
        world = at_rest()
        world.submit()
        assert any(isinstance(effect, SendCall) and isinstance(effect.call, Revive) for effect in world.effects)

    def test_a_burst_of_needs_is_one_revive_while_it_is_not_answered(self) -> None:
        world = at_rest()
        for _ in range(20):
            world.submit()
        assert len(world.calls(Revive)) == 1

    def test_five_go_at_once_and_then_one_a_second_and_none_is_dropped(self) -> None:
        world = at_rest()
        crowded(world)
        for _ in range(12):
            world.wait(0.1)
            world.submit()
        world.wait(5)
        gaps = times(world, Revive)
        assert len([at for at in gaps if at < 0.9]) == 5
        assert all(later - earlier >= 0.999 for earlier, later in pairwise(gaps[5:]))
        last_need = 1.2
        assert any(at >= last_need for at in gaps)

    def test_a_revive_goes_out_as_a_terminal_update_comes_in(self) -> None:
        world = at_rest(agent(mem=512), set_aside_after=1e6)
        running = world.submit(mem=500)
        world.wait(1)
        waiting = world.submit(mem=500)
        world.wait(5)
        world.sent.clear()
        world.cluster.tasks[f"{running}.1"].says("TASK_FINISHED")
        world.deliver(1)
        assert Revive() in [call for _, call in world.sent]
        world.deliver()
        assert world.record(waiting).state is State.SUBMITTED

    def test_a_task_that_ends_while_nothing_waits_brings_none(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.wait(1)
        world.sent.clear()
        world.cluster.tasks[f"{launch_id}.1"].says("TASK_FINISHED")
        world.wait(5)
        assert not world.calls(Revive)

    def test_while_something_waits_neighbours_are_looked_for_every_15_seconds(self) -> None:
        world = at_rest()
        launch_id = crowded(world)
        world.wait(10)
        world.sent.clear()
        world.wait(100)
        gaps = times(world, Revive)
        assert gaps == [15.0 * number for number in range(len(gaps))]
        world.cluster.neighbours("S1", 0.0)
        world.wait(16)
        assert world.record(launch_id).state is State.RUNNING

    def test_a_requeued_launch_is_a_need_also_after_suppress(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.cluster.rescind_all()
        world.deliver(1)
        assert world.cluster.suppressed
        world.sent.clear()
        world.wait(0.1)
        assert world.calls(Revive)
        assert world.record(launch_id).state is State.RUNNING

    def test_every_accept_and_decline_names_its_filter(self) -> None:
        world = at_rest(agent(1), agent(2))
        world.submit()
        world.wait(1)
        for call in world.calls(Accept) + world.calls(Decline):
            assert call.filters.refuse_seconds == world.settings.refuse_seconds


class TestManyAgents:
    """Above the number of agents at which a REVIVE of all costs too much, only the best are asked."""

    def large(self, agents: int = 30, **settings: object) -> World:
        many = [agent(number, mem=64 + 16 * number) for number in range(agents)]
        return at_rest(*many, narrow_above=10, narrow_least=5, **settings)

    def asked(self, call: Call) -> list[str]:
        assert isinstance(call, UpdateFramework)
        assert call.offer_constraints is not None
        (role,) = call.offer_constraints.role_constraints.values()
        return [group.attribute_constraints[0].predicate.text_equals.value for group in role.groups]

    def test_the_best_candidates_are_named_before_the_revive(self) -> None:
        world = self.large()
        launch_id = world.submit(mem=200)
        assert [type(call) for _, call in world.sent] == [UpdateFramework, Revive]
        (update,) = world.calls(UpdateFramework)
        assert self.asked(update) == ["h9", "h10", "h11", "h12", "h13", "h14"]
        assert update.framework_info == world.scheduler.state.info
        assert update.suppressed_roles == []
        world.wait(1)
        assert world.record(launch_id).agent_id == "S9"

    def test_few_agents_are_all_asked(self) -> None:
        world = self.large(agents=10)
        world.submit(mem=100)
        assert [type(call) for _, call in world.sent] == [Revive]

    def test_so_are_all_when_the_candidates_are_more_than_half(self) -> None:
        world = self.large(agents=12)
        for mem in (70, 110, 150):
            world.submit(mem=mem)
        assert world.calls(Revive)
        world.wait(1)
        for update in world.calls(UpdateFramework):
            assert update.offer_constraints is None or len(self.asked(update)) <= 6

    def test_without_a_fit_among_them_all_are_asked_after_offer_wait(self) -> None:
        world = self.large(set_aside_after=1e6)
        for number in range(20):
            world.cluster.neighbours(f"S{number}", 1.0)
        launch_id = world.submit(mem=200)
        world.wait(1.9)
        assert world.record(launch_id).state is not State.RUNNING
        world.wait(0.3)
        widened = [call for _, call in world.sent if isinstance(call, (UpdateFramework, Revive))]
        assert [call.offer_constraints for call in widened if isinstance(call, UpdateFramework)][-1] is None
        world.wait(0.2)
        assert world.record(launch_id).state is State.RUNNING

    def test_the_regular_revive_is_always_wide(self) -> None:
        world = self.large(set_aside_after=1e6)
        for name in world.cluster.names:
            world.cluster.neighbours(name, 1.0)
        world.submit(mem=200)
        world.wait(10)
        world.sent.clear()
        world.wait(20)
        assert world.calls(Revive)
        assert all(call.offer_constraints is None for call in world.calls(UpdateFramework))

    def test_a_master_that_takes_no_constraints_is_asked_for_all_from_then_on(self) -> None:
        world = self.large()
        world.constraints_work = False
        first = world.submit(mem=200)
        world.wait(1)
        assert world.record(first).state is State.RUNNING
        world.sent.clear()
        world.submit(mem=200)
        world.wait(1)
        assert not world.calls(UpdateFramework)

    def test_the_silence_of_agents_that_were_not_asked_says_nothing(self) -> None:
        world = self.large()
        world.submit(mem=200)
        world.wait(30)
        state = world.scheduler.state
        known = [slot for slot in state.ledger.accounts if state.ledger.free(slot).mem]
        assert len(known) == 30


class TestLaunchesConstraints:
    """Above that number, constraints of what waits keep agents from being offered that are of no use for it."""

    def large(self, **settings: object) -> World:
        racks = [f"r{number % 4}" if number else None for number in range(20)]
        many = [agent(number, mem=512, rack=rack) for number, rack in enumerate(racks)]
        return at_rest(*many, narrow_above=10, narrow_least=2, set_aside_after=1e6, **settings)

    def wide(self, world: World, *wanted: str) -> list[OfferConstraints | None]:
        """What the master is told when all that is known fits none of the launches, one for each constraint."""
        for constraint in wanted:
            world.submit(mem=9999, constraints=[constraint] if constraint else [], deadline=3600)
        world.wait(40)
        assert world.calls(Revive)
        return [call.offer_constraints for call in world.calls(UpdateFramework)]

    def test_an_exact_one_goes_as_it_is(self) -> None:
        world = self.large()
        (sent,) = self.wide(world, "@hostname LIKE h[12]")
        assert sent == OfferConstraints(
            {
                "web": RoleConstraints(
                    [
                        Group(
                            [
                                AttributeConstraint(
                                    Selector(pseudoattribute_type="HOSTNAME"),
                                    Predicate(text_matches=TextMatches("h[12]")),
                                )
                            ]
                        )
                    ]
                )
            }
        )

    def test_one_launch_without_any_lets_all_agents_in(self) -> None:
        world = self.large()
        self.wide(world, "@hostname == h1", "")
        assert not world.cluster.framework.constraints

    def test_those_that_keep_out_few_are_not_sent(self) -> None:
        assert self.wide(self.large(), "rack == r1") == []  # it would only say that there is a rack

    def test_an_agent_that_was_not_asked_keeps_what_is_known_of_it(self) -> None:
        world = self.large()
        self.wide(world, "@hostname == h1")
        state = world.scheduler.state
        assert len([slot for slot in state.ledger.accounts if state.ledger.free(slot).mem]) == 20

    def test_a_master_that_refuses_them_still_hears_of_the_best_candidates(self) -> None:
        world = self.large()
        world.constraints_work = False
        (first,) = self.wide(world, "@hostname == h1")
        assert first is not None
        world.constraints_work = True
        world.sent.clear()
        launch_id = world.submit(mem=200)
        world.wait(1)
        assert world.record(launch_id).state is State.RUNNING
        for launch in list(world.scheduler.state.queue):
            world.kill(launch.id)
        world.sent.clear()
        world.submit(mem=200)
        world.wait(1)
        assert [call.offer_constraints is not None for call in world.calls(UpdateFramework)] == [True]


class TestSilence:
    @pytest.mark.parametrize("after", [1.9, 2.1])
    def test_an_agent_that_offers_nothing_within_offer_wait_has_nothing(self, after: float) -> None:
        world = at_rest()
        crowded(world)
        world.wait(after)
        state = world.scheduler.state
        (slot,) = state.ledger.accounts
        assert bool(state.ledger.free(slot)) is (after < 2)

    def test_a_new_agent_is_used_without_a_revive(self) -> None:
        world = at_rest()
        launch_id = crowded(world)
        world.wait(6)
        world.sent.clear()
        world.cluster.add(agent(2))
        world.wait(0.2)
        assert world.record(launch_id).state is State.RUNNING
        assert world.record(launch_id).agent_id == "S2"
        assert [len(tasks_of(call)) for call in world.calls(Accept)] == [1]

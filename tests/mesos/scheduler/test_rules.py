"""The rules that a Mesos scheduler must obey, each by its number, where the scheduler's decisions keep it.

 1 stream id                  test_http_driver.py: test_rule_1_…
 2 no call before SUBSCRIBED  here and test_http_driver.py: test_rule_2_… (307 is followed there)
 3 heartbeats, back-off       test_http_driver.py: test_rule_3_…; the back-off's steps in test_retry.py
 4 ERROR                      here, and in full in test_calls.py
 5 the framework's id         here
 6 the id is kept             here
 7 write-ahead                here
 8 time-outs, then reconcile  here
 9 checkpoint                 here
10 SUPPRESS                   here
11 no hoarding                here
12 long filters               here
13 few REVIVEs                here
14 offer filters              here
15 offer constraints          here
16 the filter of an ACCEPT    here
17 which offers go together   here
18 invalid offers             here
19 offers that time out       here
20 offers die with the master here
21 no order among events      here
22 UPDATE_FRAMEWORK           here; suppressed roles in SUBSCRIBE in test_http_driver.py: TestSubscription
23 what constraints mean      here
24 roles                      here
25 GPUs                       here
26 rate limits by principal   here; that it is checked in test_authentication.py
27 acknowledgements           here
28 PARTITION_AWARE            here
29 reconciliation             here
30 KILL is repeated           here
31 agents that fall silent    here
32 the master is no history   here
33 unavailability             here
34 inverse offers             here
"""

from __future__ import annotations

from itertools import pairwise, permutations

import msgspec
import pytest

from owmesos.mesos.messages import (
    ID,
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    Attribute,
    Decline,
    DeclineInverseOffers,
    Error,
    Event,
    Failure,
    Kill,
    Offers,
    Reconcile,
    Rescind,
    Revive,
    Scalar,
    Suppress,
    UpdateFramework,
)
from owmesos.mesos.scheduler.effects import Resubscribe, SendCall, StoreFramework
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import WEEK, Settings, framework_info
from owmesos.mesos.wire.driver import Disconnected
from owmesos.resources import Resources
from tests.model.cluster import START
from tests.model.scene import agent, at_rest, never_arrived, running, says, status_of
from tests.model.shadow import tasks_of
from tests.model.world import World


class TestSubscription:
    def test_rule_2_no_call_before_subscribed_and_taken_is_not_done(self) -> None:
        scheduler = Scheduler(Settings(), framework_info(name="test", user="nobody"))
        assert scheduler.handle(Offers([]), START) == []
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.wait(1)
        assert world.calls(Accept)
        assert world.record(launch_id).state is State.SUBMITTED

    def test_rule_4_an_error_ends_the_subscription_or_the_process(self) -> None:
        world = at_rest()
        world.handle(Error("internal"))
        assert Resubscribe("internal") in world.effects
        other = at_rest()
        other.handle(Error("Framework failed over"))
        assert other.stopped is not None

    def test_rule_5_the_first_subscription_names_no_id_of_ours(self) -> None:
        assert framework_info(name="test", user="nobody").id is None


class TestFailover:
    def test_rule_6_the_id_is_stored_and_the_framework_may_be_gone_for_a_week(self) -> None:
        world = World([agent()])
        world.deliver(1)
        assert StoreFramework(world.cluster.framework.id) in world.effects
        world.crash()
        assert world.scheduler.state.info.id == ID(world.cluster.framework.id)
        assert world.scheduler.state.info.failover_timeout >= WEEK

    def test_rule_7_the_intent_is_durable_before_the_accept(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.crash_after = 1
        world.deliver(1)
        assert world.calls(Accept) == []
        assert b'"SUBMITTED"' in world.store[launch_id]

    def test_rule_8_a_launch_without_an_answer_is_asked_for_before_it_is_launched_again(self) -> None:
        world = at_rest()
        world.cluster.freeze("S1")
        launch_id = world.submit()
        world.wait(9)
        assert not world.calls(Reconcile)
        world.wait(50)
        assert world.calls(Reconcile)
        assert world.record(launch_id).attempts == 1

    def test_rule_9_the_framework_checkpoints(self) -> None:
        assert framework_info(name="test", user="nobody").checkpoint


class TestOffers:
    def test_rule_10_it_is_suppressed_whenever_there_is_nothing_to_launch(self) -> None:
        world = at_rest()
        assert world.cluster.suppressed
        world.submit()
        assert not world.cluster.suppressed
        world.wait(1)
        assert world.cluster.suppressed

    def test_rule_11_offers_that_nobody_needs_are_not_held(self) -> None:
        world = at_rest(agent(1), agent(2))
        world.submit(mem=9999)
        world.wait(20)
        assert not world.cluster.offers

    def test_rule_12_they_are_declined_for_an_hour(self) -> None:
        world = World([agent()])
        world.wait(10)
        assert [call.filters.refuse_seconds for call in world.calls(Decline)] == [3600.0]

    def test_rule_13_revives_are_few(self) -> None:
        world = at_rest(set_aside_after=1e6)
        for _ in range(50):
            world.submit(mem=9999)
            world.wait(0.1)
        assert len(world.calls(Revive)) <= world.settings.revive_burst + 5 * world.settings.revive_rate

    def test_rule_14_agents_with_too_little_can_be_filtered_by_the_master(self) -> None:
        assert framework_info(name="test", user="nobody").offer_filters == {}
        least = Resources.of(cpus=0.5, mem=128)
        info = framework_info(name="test", user="nobody", roles=("web", "db"), least_offer=least)
        assert set(info.offer_filters) == {"web", "db"}
        (quantities,) = info.offer_filters["web"].min_allocatable_resources.quantities
        assert quantities.quantities == {"cpus": Scalar(0.5), "mem": Scalar(128.0)}

    def test_rule_15_of_many_agents_only_the_best_are_asked(self) -> None:
        world = at_rest(*(agent(number) for number in range(30)), narrow_above=10, narrow_least=2)
        world.submit()
        (update,) = world.calls(UpdateFramework)
        assert len(update.offer_constraints.role_constraints["web"].groups) <= 3

    def test_rule_16_an_accept_names_its_filter_and_the_rest_is_had_by_revive(self) -> None:
        world = at_rest()
        running(world)
        assert [call.filters.refuse_seconds for call in world.calls(Accept)] == [3600.0]
        asked = world.now
        second = running(world)
        assert world.record(second).started_at - asked < 0.2

    def test_rule_17_each_offer_is_in_one_call_and_an_accept_is_of_one_agent_and_role(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2, mem=512), roles=("web", "db"))
        launch_ids = [world.submit(mem=200) for _ in range(4)]
        world.wait(5)
        assert {world.record(each).state for each in launch_ids} == {State.RUNNING}
        assert len(world.calls(Accept)) >= 2
        named = [offer.value for call in world.calls(Accept) + world.calls(Decline) for offer in call.offer_ids]
        assert len(named) == len(set(named))

    @pytest.mark.parametrize("state", ["TASK_DROPPED", "TASK_LOST"])
    def test_rule_18_invalid_offers_requeue_and_are_no_failure(self, state: str) -> None:
        world = at_rest()
        for attempt in range(1, 6):
            launch_id = "L1" if attempt > 1 else world.submit(name="silent")
            world.wait(2)
            assert world.record(launch_id).attempts == attempt
            never_arrived(world, launch_id)
            says(world, launch_id, state, "REASON_INVALID_OFFERS")
            assert world.record(launch_id).state.waiting
        assert world.scheduler.state.backoff.calm

    def test_rule_19_an_offer_that_times_out_while_it_is_held_is_given_up(self) -> None:
        world = at_rest(agent(mem=1000))
        small = [world.submit(mem=250) for _ in range(4)]
        world.wait(1)
        head = world.submit(mem=500)
        world.wait(31)
        world.kill(small[0])
        world.wait(2)
        held = list(world.cluster.offers.values())
        assert held
        for offer in held:
            world.cluster.rescind(offer)
        world.deliver()
        assert not world.scheduler.state.offers.outstanding
        world.kill(small[1])
        world.wait(5)
        assert world.record(head).state is State.RUNNING

    def test_rule_20_offers_die_with_the_connection(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.handle(Disconnected("end of stream"))
        state = world.scheduler.state
        assert not any(state.ledger.free(slot) for slot in state.ledger.accounts)
        world.inbox.clear()
        world.lose_stream()
        world.wait(2)
        assert world.record(launch_id).state is State.RUNNING

    def test_rule_21_offers_that_come_after_suppress_are_given_back(self) -> None:
        world = at_rest()
        launch_id = world.submit()
        world.kill(launch_id)
        assert world.calls(Suppress)
        assert world.cluster.offers
        world.deliver()
        assert not world.cluster.offers

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    def test_rule_21_an_agents_end_is_told_in_any_order(self, order: tuple[int, ...]) -> None:
        world = at_rest(agent(mem=1000))
        small = [world.submit(mem=250) for _ in range(4)]
        world.wait(1)
        head = world.submit(mem=500)
        world.wait(31)
        world.kill(small[0])
        world.wait(2)
        offer_id = next(iter(world.cluster.offers))
        world.cluster.void_offers()
        events: list[Event] = [
            status_of(world, small[1], "TASK_UNREACHABLE"),
            Rescind(ID(offer_id)),
            Failure(ID("S1")),
        ]
        for index in order:
            world.handle(events[index])
        assert world.record(small[1]).state is State.UNREACHABLE
        assert not world.scheduler.state.offers.outstanding
        assert world.record(head).state is State.PENDING

    def test_rule_22_an_update_of_the_framework_carries_it_whole_and_unchanged(self) -> None:
        world = at_rest(*(agent(number) for number in range(30)), narrow_above=10, narrow_least=2)
        world.submit()
        (update,) = world.calls(UpdateFramework)
        assert update.framework_info == world.scheduler.state.info
        assert update.framework_info.id == ID(world.cluster.framework.id)

    def test_rule_23_what_is_no_text_passes_at_the_master_so_all_is_judged_here(self) -> None:
        odd = (Attribute("rack", "SCALAR", scalar=Scalar(2.0)),)
        world = at_rest(msgspec.structs.replace(agent(1), attributes=odd))
        other, right = world.submit(constraints=["rack == r1"]), world.submit(constraints=["rack == 2"])
        world.wait(3)
        assert (world.record(other).state, world.record(right).state) == (State.PENDING, State.RUNNING)

    def test_rule_24_roles_are_several_and_resources_name_no_allocation_of_their_own(self) -> None:
        info = framework_info(name="test", user="nobody", roles=("web", "db"))
        assert info.roles == ["web", "db"]
        assert info.role is None
        assert "MULTI_ROLE" in [capability.type for capability in info.capabilities]
        world = at_rest(agent(1), agent(2), roles=("web", "db"))
        launch_id = world.submit(role="db")
        world.wait(3)
        assert world.record(launch_id).role == "db"
        (info_sent,) = tasks_of(world.calls(Accept)[0])
        assert {each.allocation_info for each in info_sent.resources} == {None}

    def test_rule_25_gpus_only_when_asked_for(self) -> None:
        for asked in (False, True):
            info = framework_info(name="test", user="nobody", gpus=asked)
            assert ("GPU_RESOURCES" in [capability.type for capability in info.capabilities]) is asked

    def test_rule_26_the_principal_is_named(self) -> None:
        assert framework_info(name="test", user="nobody", principal="batch").principal == "batch"


class TestTasks:
    def test_rule_27_acknowledges_only_what_has_a_uuid_and_after_it_is_stored(self) -> None:
        world = at_rest()
        launch_id = world.submit(name="silent")
        world.wait(1)
        says(world, launch_id, "TASK_RUNNING")
        assert not world.calls(Acknowledge)
        says(world, launch_id, "TASK_FINISHED", uuid="u1")
        kinds = [type(e.call).__name__ if isinstance(e, SendCall) else type(e).__name__ for e in world.effects]
        assert kinds.index("StoreLaunch") < kinds.index("Acknowledge")
        says(world, launch_id, "TASK_FINISHED", uuid="u1")
        assert len(world.calls(Acknowledge)) == 2

    @pytest.mark.parametrize("state", ["TASK_UNREACHABLE", "TASK_GONE_BY_OPERATOR", "TASK_LOST"])
    def test_rule_28_what_may_return_is_taken_back_or_killed(self, state: str) -> None:
        world = at_rest()
        launch_id = running(world)
        says(world, launch_id, state)
        says(world, launch_id, "TASK_RUNNING", "REASON_AGENT_REREGISTERED")
        if state == "TASK_UNREACHABLE":
            assert world.record(launch_id).state is State.RUNNING
        else:
            assert world.record(launch_id).state is State.LOST
            assert world.calls(Kill) == [Kill(ID(f"{launch_id}.1"), ID("S1"))]

    def test_rule_28_partitions_are_told_as_what_they_are(self) -> None:
        capabilities = framework_info(name="test", user="nobody").capabilities
        assert "PARTITION_AWARE" in [capability.type for capability in capabilities]

    def test_rule_29_after_each_subscription_all_tasks_are_asked_for_with_back_off(self) -> None:
        world = at_rest()
        launch_id = running(world)
        world.sent.clear()
        world.restart_master({})
        world.wait(100)
        explicit = [(at, call) for at, call in world.sent if isinstance(call, Reconcile) and call.tasks]
        assert {call.tasks[0].agent_id for _, call in explicit} == {ID("S1")}
        pauses = [round(later - earlier) for (earlier, _), (later, _) in pairwise(explicit)]
        assert pauses[:3] == [8, 16, 30]
        assert Reconcile() in world.calls(Reconcile)
        world.cluster.back("S1")
        world.wait(60)
        assert world.record(launch_id).state is State.RUNNING
        world.sent.clear()
        world.wait(600)
        assert not [call for call in world.calls(Reconcile) if call.tasks]

    def test_rule_29_tasks_that_are_not_known_are_killed(self) -> None:
        world = at_rest()
        launch_id = running(world)
        del world.store[launch_id]
        world.crash()
        world.wait(1)
        assert not world.cluster.tasks[f"{launch_id}.1"].lives

    def test_rule_30_a_kill_is_repeated_until_the_end_is_seen(self) -> None:
        world = at_rest()
        launch_id = running(world)
        world.restart_master({"S1": 3.3}, connect_after=0.1)
        world.wait(0.2)
        world.kill(launch_id)
        world.wait(10)
        assert world.record(launch_id).state is State.KILLED
        assert len(world.calls(Kill)) > 1

    def test_rule_31_a_silent_agent_is_waited_for_and_silence_ends_nothing(self) -> None:
        world = at_rest()
        launch_id = running(world)
        world.restart_master({})
        world.wait(590)
        assert world.record(launch_id).state is State.RUNNING
        world.cluster.back("S1")
        world.wait(31)
        assert (world.record(launch_id).state, world.record(launch_id).attempts) == (State.RUNNING, 1)

    def test_rule_32_what_has_ended_is_kept_here_and_not_asked_of_the_master(self) -> None:
        world = at_rest()
        launch_id = running(world, name="quick")
        world.wait(5)
        world.crash()
        world.sent.clear()
        world.wait(60)
        assert world.record(launch_id).state is State.FINISHED
        assert not [call for call in world.calls(Reconcile) if call.tasks]


class TestMaintenance:
    def test_rule_33_nothing_new_goes_where_maintenance_is_planned(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2), set_aside_after=1e6)
        world.submit(mem=9999)
        world.wait(1)
        world.cluster.maintenance("S1", planned=True)
        world.deliver()
        launch_id = running(world)
        assert world.record(launch_id).agent_id == "S2"

    def test_rule_34_inverse_offers_are_answered_always(self) -> None:
        world = at_rest(agent(1))
        running(world)
        world.cluster.maintenance("S1", planned=True)
        world.deliver()
        assert not world.cluster.inverse_offers
        assert len(world.calls(DeclineInverseOffers) + world.calls(AcceptInverseOffers)) == 1

"""Which launch is placed where, and in what order."""

from __future__ import annotations

import pytest

from owmesos.core.ledger import Buffer
from owmesos.core.placement import Strategy
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Accept, Decline, Revive, Suppress
from owmesos.mesos.scheduler.effects import LaunchRefused, SendCall, StoreLaunch
from owmesos.mesos.scheduler.events import Submit
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.task_info import template
from owmesos.resources import Resources
from owmesos.simulator.pieces import stack_of
from tests.model.scene import agent, at_rest, reservation
from tests.model.shadow import tasks_of
from tests.model.world import World

CROWDED = {"set_aside_after": 1e6}


def states(world: World, *launch_ids: str) -> list[State]:
    return [world.record(launch_id).state for launch_id in launch_ids]


class TestPlacing:
    def test_a_launch_is_stored_before_anything_is_asked(self) -> None:
        world = at_rest()
        launch_id = world.submit(mem=64)
        kinds = [type(e) if not isinstance(e, SendCall) else type(e.call) for e in world.effects]
        assert kinds.index(StoreLaunch) < kinds.index(Revive)
        assert launch_id in world.store

    def test_it_runs_a_moment_after_it_was_asked_for(self) -> None:
        world = at_rest()
        launch_id = world.submit(mem=64)
        world.wait(0.1)
        record = world.record(launch_id)
        assert record.state is State.RUNNING
        assert record.started_at is not None
        assert record.accepted_at == record.submitted_at

    def test_what_fits_one_agent_together_goes_in_one_accept(self) -> None:
        world = at_rest()
        for _ in range(3):
            world.submit(mem=100)
        world.deliver()
        (accept,) = world.calls(Accept)
        assert len(tasks_of(accept)) == 3

    def test_pack_fills_the_fullest_agent_and_spread_the_emptiest(self) -> None:
        for strategy, chosen in ((Strategy.PACK, "S1"), (Strategy.SPREAD, "S2")):
            world = at_rest(agent(1, mem=512), agent(2, mem=2048), strategy=strategy)
            launch_id = world.submit(mem=64)
            world.wait(1)
            assert world.record(launch_id).agent_id == chosen

    def test_an_exact_fit_fits(self) -> None:
        world = at_rest(agent(cpus=1, mem=512))
        launch_id = world.submit(cpus=1, mem=512, disk=1000, ports=10)
        world.wait(1)
        assert states(world, launch_id) == [State.RUNNING]

    def test_of_two_launches_each_gets_ports_of_its_own(self) -> None:
        world = at_rest()
        first, second = world.submit(ports=2), world.submit(ports=2)
        world.wait(1)
        ports = [list(world.record(each).resources.ports) for each in (first, second)]
        assert ports == [[31000, 31001], [31002, 31003]]

    def test_a_port_is_not_given_again_while_there_are_others(self) -> None:
        """Another process may have it: then each attempt would meet that."""
        world = at_rest()
        ports = []
        for _ in range(11):
            launch_id = world.submit(name="quick", ports=1)
            world.wait(1)
            ports += list(world.record(launch_id).resources.ports)
            world.kill(launch_id)
            world.wait(2)
        assert ports == [*range(31000, 31010), 31000]

    def test_the_buffer_stays_free(self) -> None:
        world = at_rest(agent(mem=1000), buffer=Buffer.of(mem=100, share=0.1))
        fits, too_large = world.submit(mem=800), world.submit(mem=1)
        world.wait(5)
        assert states(world, fits, too_large) == [State.RUNNING, State.PENDING]

    def test_constraints_are_judged_here(self) -> None:
        world = at_rest(agent(1, rack="r1"), agent(2, rack="r2"))
        wanted = world.submit(constraints=["rack == r2"])
        nowhere = world.submit(constraints=["rack == r3"])
        world.wait(1)
        assert world.record(wanted).agent_id == "S2"
        assert states(world, nowhere) == [State.PENDING]
        explained = world.scheduler.explain(nowhere)
        assert explained is not None
        assert explained.failed == {"constraint": 2}

    def test_only_the_role_that_was_asked_for_is_used(self) -> None:
        world = at_rest(agent(1), agent(2), roles=("web", "db"))
        launch_id = world.submit(role="db")
        world.wait(5)
        assert (world.record(launch_id).state, world.record(launch_id).role) == (State.RUNNING, "db")

    def test_a_role_that_is_not_ours_is_refused(self) -> None:
        world = at_rest()
        with pytest.raises(InvalidInput, match="role db"):
            world.submit(role="db")


class TestReservedResources:
    def test_they_are_copied_with_their_reservation_cut_from_several_pieces(self) -> None:
        label_a, label_b = reservation("web", "a"), reservation("web", "b")
        reserved = {label_a: Resources.of(cpus=0.5, mem=100), label_b: Resources.of(cpus=0.25, mem=50)}
        world = at_rest(agent(cpus=1, mem=200, reserved=reserved))
        launch_id = world.submit(cpus=1, mem=300, ports=1)
        world.wait(1)
        assert states(world, launch_id) == [State.RUNNING]
        (info,) = tasks_of(world.calls(Accept)[0])
        parts = {
            (each.name, each.reservations[0]["labels"]["labels"][0]["value"] if each.reservations else None): each
            for each in info.resources
        }
        assert {key: each.scalar.value for key, each in parts.items() if each.scalar is not None} == {
            ("cpus", "a"): 0.5,
            ("mem", "a"): 100.0,
            ("cpus", "b"): 0.25,
            ("mem", "b"): 50.0,
            ("cpus", None): 0.25,
            ("mem", None): 150.0,
        }
        assert stack_of(parts["cpus", "a"]) == (label_a,)
        assert ("ports", None) in parts

    def test_what_is_reserved_for_another_role_is_not_counted(self) -> None:
        reserved = {reservation("db", "a"): Resources.of(cpus=1, mem=2000)}
        world = at_rest(agent(mem=200, reserved=reserved))
        launch_id = world.submit(mem=300)
        world.wait(5)
        assert states(world, launch_id) == [State.PENDING]


class TestOrder:
    def test_later_ones_pass_a_head_that_does_not_fit(self) -> None:
        world = at_rest(agent(mem=512), **CROWDED)
        head = world.submit(mem=600)
        later = world.submit(mem=64)
        world.wait(3)
        assert states(world, head, later) == [State.PENDING, State.RUNNING]
        state = world.scheduler.state
        assert state.queue.position(world.record(head)) == 0

    def test_the_first_that_was_asked_for_gets_the_room(self) -> None:
        world = at_rest(agent(mem=512), **CROWDED)
        running = world.submit(mem=500)
        world.wait(1)
        first, second = world.submit(mem=400), world.submit(mem=400)
        world.wait(3)
        world.kill(running)
        world.wait(3)
        assert states(world, first, second) == [State.RUNNING, State.PENDING]

    def test_a_requeued_launch_stands_where_it_stood(self) -> None:
        world = at_rest(agent(mem=512), **CROWDED)
        first, second = world.submit(mem=400), world.submit(mem=400)
        world.cluster.rescind_all()
        world.deliver(1)
        assert states(world, first, second) == [State.SUBMITTED, State.PENDING]
        world.wait(3)
        assert states(world, first, second) == [State.RUNNING, State.PENDING]
        assert world.record(first).attempts == 2


class TestPromises:
    def test_a_burst_does_not_see_the_same_room_twice(self) -> None:
        world = at_rest(agent(mem=512), agent(2, mem=512))
        launch_ids = [world.submit(mem=300) for _ in range(3)]
        assert states(world, *launch_ids) == [State.RESERVED, State.RESERVED, State.PENDING]
        reservations = world.scheduler.state.ledger.reservations.by_launch
        assert {reservations[each].slot.agent_id for each in launch_ids[:2]} == {"S1", "S2"}

    def test_one_that_no_offer_keeps_is_refused_and_waits_on(self) -> None:
        world = at_rest()
        world.cluster.neighbours("S1", 1.0)
        launch_id = world.submit(mem=600)
        assert states(world, launch_id) == [State.RESERVED]
        refused: list[LaunchRefused] = []
        for _ in range(30):
            world.wait(0.1)
            refused += [effect for effect in world.effects if isinstance(effect, LaunchRefused)]
        assert refused[0].launch_id == launch_id
        assert states(world, launch_id) == [State.PENDING]
        assert world.scheduler.state.queue.position(world.record(launch_id)) == 0

    def test_another_agent_that_offers_may_take_it_over(self) -> None:
        world = at_rest(agent(1, mem=512), agent(2, mem=1024))
        world.cluster.neighbours("S1", 1.0)
        launch_id = world.submit(mem=500)
        assert world.scheduler.state.ledger.reservations.by_launch[launch_id].slot.agent_id == "S1"
        world.wait(0.2)
        assert (world.record(launch_id).state, world.record(launch_id).agent_id) == (State.RUNNING, "S2")


class TestStartsOfThePool:
    """They come with the slot that the pool has reserved."""

    def start(self, world: World, mem: float) -> str:
        self.started = getattr(self, "started", 0) + 1
        launch, launch_id = Launch(command="true", mem=mem), f"c{self.started}"
        ledger = world.scheduler.state.ledger
        (slot,) = ledger.accounts
        ledger.reserve(launch_id, slot, launch.ask(), world.now)
        world.handle(Submit(launch_id, launch, template(launch), slot))
        return launch_id

    def test_one_that_no_offer_keeps_is_left_to_the_pool(self) -> None:
        world = at_rest()
        world.cluster.neighbours("S1", 1.0)
        launch_id = self.start(world, 600)
        world.wait(1.9)
        assert states(world, launch_id) == [State.RESERVED]
        world.wait(0.2)
        assert states(world, launch_id) == [State.KILLED]

    def test_it_waits_no_longer_when_its_revive_had_to_wait_for_a_token(self) -> None:
        """Nothing is reserved again at once on what the REVIVE did not bring."""
        world = at_rest()
        world.cluster.neighbours("S1", 1.0)
        for _ in range(6):
            first = self.start(world, 100)
            world.wait(0.1)
        world.sent.clear()
        last = self.start(world, 100)
        assert world.calls(Revive) == []
        world.wait(1.0)
        assert world.calls(Revive)
        world.wait(1.05)
        assert states(world, first, last) == [State.KILLED, State.KILLED]
        (slot,) = world.scheduler.state.ledger.accounts
        assert not world.scheduler.state.ledger.free(slot).mem

    def test_nor_when_an_agent_joins_meanwhile(self) -> None:
        """Its time depends on how many agents there are to be asked."""
        world = at_rest()
        world.cluster.neighbours("S1", 1.0)
        launch_id = self.start(world, 600)
        world.wait(0.5)
        world.cluster.add(agent(2, mem=64))
        world.wait(1.51)
        assert states(world, launch_id) == [State.KILLED]


class TestSetAside:
    def crowded(self) -> tuple[World, str, list[str]]:
        """One agent full of small launches, and a head that needs half of it."""
        world = at_rest(agent(cpus=4, mem=1000))
        small = [world.submit(mem=250, cpus=0.5) for _ in range(4)]
        world.wait(1)
        head = world.submit(mem=500, cpus=0.5, deadline=200)
        return world, head, small

    def test_after_half_a_minute_one_agent_is_kept_for_the_head(self) -> None:
        world, head, small = self.crowded()
        later = world.submit(mem=250, cpus=0.5)
        world.wait(31)
        aside = world.scheduler.state.set_aside
        assert aside is not None
        assert (aside.launch_id, aside.agent_id) == (head, "S1")
        world.kill(small[0])
        world.wait(5)
        assert states(world, head, later) == [State.PENDING, State.PENDING]
        assert {offer.slot.agent_id for offer in world.scheduler.state.offers.outstanding.values()} == {"S1"}
        world.kill(small[1])
        world.wait(5)
        assert states(world, head, later) == [State.RUNNING, State.PENDING]
        assert world.scheduler.state.set_aside is None

    def test_what_is_held_is_taken_in_one_accept(self) -> None:
        world, _, small = self.crowded()
        world.wait(31)
        for launch_id in small[:2]:
            world.kill(launch_id)
            world.wait(2)
        assert len(world.calls(Accept)[-1].offer_ids) > 1

    def test_without_it_a_stream_of_small_ones_would_pass_the_head_for_ever(self) -> None:
        world, head, small = self.crowded()
        later = world.submit(mem=250, cpus=0.5)
        world.kill(small[0])
        world.wait(5)
        assert states(world, head, later) == [State.PENDING, State.RUNNING]

    def test_its_offers_are_held_a_minute_at_most(self) -> None:
        world, head, small = self.crowded()
        world.wait(31)
        world.kill(small[0])
        world.wait(2)
        assert world.scheduler.state.offers.outstanding
        declined = len(world.calls(Decline))
        world.wait(60)
        assert world.scheduler.state.set_aside is None
        assert not world.scheduler.state.offers.outstanding
        assert len(world.calls(Decline)) > declined
        assert states(world, head) == [State.PENDING]

    def test_no_agent_is_set_aside_that_could_never_hold_it(self) -> None:
        world, _, _ = self.crowded()
        world.kill("L5")
        head = world.submit(mem=1001)
        world.wait(40)
        assert world.scheduler.state.set_aside is None
        assert "no agent is set aside" in world.record(head).story[-1].text

    def test_an_explanation_names_it(self) -> None:
        world, _, small = self.crowded()
        later = world.submit(mem=200, cpus=0.5)
        world.wait(31)
        world.kill(small[0])
        world.wait(5)
        explained = world.scheduler.explain(later)
        assert explained is not None
        assert explained.failed == {"set_aside": 1}

    def test_it_ends_with_the_head(self) -> None:
        world, head, small = self.crowded()
        world.wait(31)
        world.kill(small[0])
        world.wait(2)
        world.kill(head)
        assert world.scheduler.state.set_aside is None
        assert not world.scheduler.state.offers.outstanding
        assert world.calls(Suppress)

    def test_it_ends_with_the_agent(self) -> None:
        world, _, _ = self.crowded()
        world.wait(31)
        world.cluster.maintenance("S1", planned=True)
        world.wait(1)
        assert world.scheduler.state.set_aside is None

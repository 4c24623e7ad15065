"""The index against an oracle that scans: whatever happened before, both name the same slots."""

from __future__ import annotations

import random
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from owmesos.core import placement as placement_module
from owmesos.core import room_index
from owmesos.core.constraints import NO_ATTRIBUTES, Attributes, Constraint, shared_attributes
from owmesos.core.placement import Placement, Slot, Strategy
from owmesos.core.room_index import RoomIndex
from owmesos.errors import InvariantBroken
from owmesos.resources import Ask, Ports, Resources
from tests.core.invariants import check_placement, check_room_index, entries_of
from tests.examples import examples

RACKS = [shared_attributes([("rack", f"r{number}")]) for number in range(3)]
CONSTRAINTS = [
    (),
    (Constraint.parse("rack LIKE r[01]"),),
    (Constraint.parse("rack == r2"),),
    (Constraint.parse("rack UNLIKE r[12]"), Constraint.parse("@hostname LIKE h[0-4]")),
    (Constraint.parse("@hostname == h1"),),
    (Constraint.parse("@hostname == h2"), Constraint.parse("rack != r1")),
    (Constraint.parse("zone == z1"),),
]


@dataclass
class Oracle:
    """What Placement promises, by scanning everything."""

    strategy: Strategy
    described: dict[str, tuple[str, Attributes]] = field(default_factory=dict)
    rooms: dict[Slot, Resources] = field(default_factory=dict)

    def fitting(
        self,
        ask: Ask,
        constraints: tuple[Constraint, ...] = (),
        avoid: Container[str] = (),
        roles: Container[str] | None = None,
    ) -> list[Slot]:
        found = [
            slot
            for slot, room in self.rooms.items()
            if ask.fits(room)
            and slot.agent_id not in avoid
            and (roles is None or slot.role in roles)
            and self.meets(slot.agent_id, constraints)
        ]
        sign = -1 if self.strategy is Strategy.SPREAD else 1

        def place(slot: Slot) -> tuple[int, int, Slot]:
            return sign * self.rooms[slot].milli_mem, sign * self.rooms[slot].milli_cpus, slot

        return sorted(found, key=place)

    def meets(self, agent_id: str, constraints: tuple[Constraint, ...]) -> bool:
        if not constraints:
            return True
        return agent_id in self.described and all(each.matches(*self.described[agent_id]) for each in constraints)

    def find(
        self,
        ask: Ask,
        constraints: tuple[Constraint, ...],
        avoid: Container[str],
        roles: Container[str] | None,
    ) -> Slot | None:
        fitting = self.fitting(ask, constraints, avoid, roles)
        return fitting[0] if fitting else None


@contextmanager
def small_limits() -> Iterator[None]:
    """Chunks split and merge, views are dropped and rebuilt, with a handful of slots already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room_index, "_CHUNK", 4)
        patch.setattr(placement_module, "_FEW_CHANGES", 3)
        patch.setattr(placement_module, "_VIEWS", 3)
        yield


agent_ids = st.sampled_from([f"S{number}" for number in range(12)])
slots = st.builds(Slot, agent_ids, st.sampled_from(["*", "batch"]))
rooms = st.builds(
    Resources,
    st.integers(-1, 4),
    st.integers(-2, 8),
    st.integers(-1, 2),
    st.integers(0, 1),
    st.sampled_from([Ports.of([]), Ports.of([(1, 1)]), Ports.of([(1, 2), (5, 5)])]),
)
asks = st.builds(Ask, st.integers(0, 3), st.integers(0, 6), st.integers(0, 1), st.integers(0, 1), st.integers(0, 2))
constraint_sets = st.sampled_from(CONSTRAINTS)
avoided = st.frozensets(agent_ids, max_size=4)
role_sets = st.sampled_from([None, ("*",), ("batch",), ("*", "batch"), ("other",), ()])


class PlacementMachine(RuleBasedStateMachine):
    strategy = Strategy.PACK

    def __init__(self) -> None:
        super().__init__()
        self.limits = small_limits()
        self.limits.__enter__()
        self.placement = Placement(self.strategy)
        self.oracle = Oracle(self.strategy)

    def teardown(self) -> None:
        self.limits.__exit__(None, None, None)

    @rule(
        agent_id=agent_ids,
        host=st.sampled_from(["h0", "h1", "h2", "h7"]),
        attributes=st.sampled_from([*RACKS, NO_ATTRIBUTES]),
    )
    def describe(self, agent_id: str, host: str, attributes: Attributes) -> None:
        self.placement.describe(agent_id, host, attributes)
        self.oracle.described[agent_id] = (host, attributes)

    @rule(agent_id=agent_ids)
    def forget(self, agent_id: str) -> None:
        self.placement.forget(agent_id)
        self.oracle.described.pop(agent_id, None)
        for slot in [slot for slot in self.oracle.rooms if slot.agent_id == agent_id]:
            del self.oracle.rooms[slot]

    @rule(changes=st.lists(st.tuples(slots, rooms), min_size=1, max_size=10))
    def set(self, changes: list[tuple[Slot, Resources]]) -> None:
        for slot, room in changes:
            self.placement.set(slot, room)
            self.oracle.rooms[slot] = room

    @rule(slot=slots)
    def remove(self, slot: Slot) -> None:
        self.placement.remove(slot)
        self.oracle.rooms.pop(slot, None)

    @precondition(lambda self: self.oracle.rooms)
    @rule(ask=asks, constraints=constraint_sets, avoid=avoided, roles=role_sets)
    def find(
        self,
        ask: Ask,
        constraints: tuple[Constraint, ...],
        avoid: frozenset[str],
        roles: tuple[str, ...] | None,
    ) -> None:
        found = self.placement.find(ask, constraints, avoid=avoid, roles=roles)
        assert found == self.oracle.find(ask, constraints, avoid, roles)

    @rule(ask=asks, constraints=constraint_sets, avoid=avoided, roles=role_sets, limit=st.integers(0, 30))
    def candidates(
        self,
        ask: Ask,
        constraints: tuple[Constraint, ...],
        avoid: frozenset[str],
        roles: tuple[str, ...] | None,
        limit: int,
    ) -> None:
        found = list(islice(self.placement.candidates(ask, constraints, avoid=avoid, roles=roles), limit))
        assert found == self.oracle.fitting(ask, constraints, avoid, roles)[:limit]

    @invariant()
    def every_summary_is_true(self) -> None:
        check_placement(self.placement)


class SpreadMachine(PlacementMachine):
    strategy = Strategy.SPREAD


TestPackAgainstAScan = PlacementMachine.TestCase
TestSpreadAgainstAScan = SpreadMachine.TestCase
TestPackAgainstAScan.settings = TestSpreadAgainstAScan.settings = settings(
    max_examples=examples(150), stateful_step_count=40, deadline=None
)


class TestChoice:
    def placement(self, strategy: Strategy = Strategy.PACK, **mem: float) -> Placement:
        placement = Placement(strategy)
        for agent_id, megabytes in mem.items():
            placement.set(Slot(agent_id, "*"), Resources.of(mem=megabytes, cpus=1))
        return placement

    def test_pack_takes_the_best_fit(self) -> None:
        assert self.placement(a=4096, b=512, c=64).find(Ask.of(mem=128)) == Slot("b", "*")

    def test_spread_takes_the_most_room(self) -> None:
        placement = self.placement(Strategy.SPREAD, a=512, b=4096, c=64)
        assert placement.find(Ask.of(mem=128)) == Slot("b", "*")

    def test_an_exact_fit_fits_and_a_thousandth_less_does_not(self) -> None:
        placement = self.placement(a=128)
        assert placement.find(Ask.of(mem=128, cpus=1)) == Slot("a", "*")
        assert placement.find(Ask.of(mem=128.001)) is None
        assert placement.find(Ask.of(mem=128, cpus=1.001)) is None

    def test_equal_memory_goes_by_cpus_and_then_by_agent_id(self) -> None:
        placement = self.placement(b=512, a=512, c=512)
        placement.set(Slot("c", "*"), Resources.of(mem=512, cpus=0.5))
        assert list(islice(placement.candidates(Ask.of(mem=1)), 3)) == [
            Slot("c", "*"),
            Slot("a", "*"),
            Slot("b", "*"),
        ]

    def test_ports_count_and_are_not_named(self) -> None:
        placement = Placement()
        placement.set(Slot("a", "*"), Resources.of(mem=64, ports=[(31000, 31000), (31005, 31005)]))
        assert placement.find(Ask.of(ports=2)) == Slot("a", "*")
        assert placement.find(Ask.of(ports=3)) is None

    def test_a_debt_hinders_only_who_asks_for_that_kind(self) -> None:
        placement = Placement()
        placement.set(Slot("a", "*"), Resources.of(cpus=1).minus(Resources.of(mem=64)))
        assert placement.find(Ask.of(cpus=1)) == Slot("a", "*")
        assert placement.find(Ask.of(cpus=1, mem=0.001)) is None

    def test_an_agent_that_is_not_described_gets_nothing_with_constraints(self) -> None:
        placement = self.placement(a=512)
        unlike = (Constraint.parse("rack UNLIKE r1"),)
        assert placement.find(Ask.of(mem=128), unlike) is None
        placement.describe("a", "node1", NO_ATTRIBUTES)
        assert placement.find(Ask.of(mem=128), unlike) == Slot("a", "*")

    def test_an_agent_without_attributes_is_not_taken_for_one_without_description(self) -> None:
        placement = self.placement(a=512, b=1024)
        placement.describe("b", "node1", NO_ATTRIBUTES)
        assert placement.find(Ask.of(mem=128), (Constraint.parse("rack != r1"),)) == Slot("b", "*")

    def test_changed_attributes_count_at_once(self) -> None:
        placement = self.placement(a=512)
        only_r1 = (Constraint.parse("rack == r1"),)
        for rack, expected in (("r1", Slot("a", "*")), ("r2", None), ("r1", Slot("a", "*"))):
            placement.describe("a", "node1", shared_attributes([("rack", rack)]))
            assert placement.find(Ask.of(mem=128), only_r1) == expected
            check_placement(placement)

    def test_nothing_is_found_where_there_is_nothing(self) -> None:
        placement = Placement()
        assert placement.find(Ask.of(mem=1)) is None
        assert list(placement.candidates(Ask.of(mem=1))) == []
        placement.forget("a")
        placement.remove(Slot("a", "*"))
        check_placement(placement)


class TestManyAgents:
    """With the true limits: several chunks, bursts, and more constraint sets than there are views."""

    @pytest.mark.parametrize("strategy", Strategy)
    @pytest.mark.parametrize("share_with_cpus", [1.0, 0.01])
    def test_a_cluster_fills_as_a_scan_would_fill_it(self, strategy: Strategy, share_with_cpus: float) -> None:
        chance = random.Random(7)
        placement, oracle = Placement(strategy), Oracle(strategy)
        for number in range(2000):
            slot = Slot(f"S{number}", "*")
            cpus = chance.uniform(0.1, 8) if chance.random() < share_with_cpus else 0.01
            room = Resources.of(cpus=cpus, mem=chance.uniform(64, 8192), ports=[(31000, 31003)])
            oracle.described[slot.agent_id] = (f"h{number}", RACKS[number % 3])
            placement.describe(slot.agent_id, *oracle.described[slot.agent_id])
            placement.set(slot, room)
            oracle.rooms[slot] = room
        for _ in range(150):
            ask = Ask.of(cpus=chance.choice([0.1, 0.5, 1]), mem=chance.choice([128, 512, 2048]), ports=1)
            constraints = chance.choice(CONSTRAINTS[:3])
            slot = oracle.find(ask, constraints, (), None)
            assert placement.find(ask, constraints) == slot
            if slot is not None:
                oracle.rooms[slot] = oracle.rooms[slot].minus(ask.cut(oracle.rooms[slot]))
                placement.set(slot, oracle.rooms[slot])
        check_placement(placement)

    def test_more_constraint_sets_than_views_are_judged_right(self) -> None:
        placement, oracle = Placement(), Oracle(Strategy.PACK)
        for number in range(50):
            slot = Slot(f"S{number}", "*")
            oracle.described[slot.agent_id] = (f"h{number}", shared_attributes([("rack", f"r{number}")]))
            oracle.rooms[slot] = Resources.of(mem=64 + number)
            placement.describe(slot.agent_id, *oracle.described[slot.agent_id])
            placement.set(slot, oracle.rooms[slot])
        for number in [*range(50), *range(50)]:
            constraints = (Constraint.parse(f"rack == r{number}"),)
            assert placement.find(Ask.of(mem=64), constraints) == Slot(f"S{number}", "*")
        check_placement(placement)


class TestValidation:
    def test_a_bound_that_is_too_low_is_found(self) -> None:
        index = RoomIndex(largest_first=False, entries=[(1, 1, Slot("a", "*"), 1, 0, 0, 0, 0)])
        index._bounds[0][0] = 0
        with pytest.raises(AssertionError, match="bounds"):
            check_room_index(index)

    def test_an_entry_that_is_not_there_is_not_removed(self) -> None:
        index = RoomIndex(largest_first=False, entries=[(1, 1, Slot("a", "*"), 1, 0, 0, 0, 0)])
        with pytest.raises(InvariantBroken, match="not in the placement index"):
            index.remove((2, 1, Slot("a", "*"), 1, 0, 0, 0, 0))

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30), st.integers(0, 3))
    def test_an_index_is_the_same_however_it_came_to_be(self, ranks: list[tuple[int, int]], cpus: int) -> None:
        entries = [(mem, c, Slot(f"S{n}", "*"), c, 0, 0, 0, 0) for n, (mem, c) in enumerate(ranks)]
        with small_limits():
            sorted_at_once = RoomIndex(largest_first=False, entries=entries)
            one_by_one = RoomIndex(largest_first=False)
            for entry in entries:
                one_by_one.add(entry)
            check_room_index(one_by_one)
            assert entries_of(one_by_one) == entries_of(sorted_at_once) == sorted(entries)
            ask = Ask(milli_cpus=cpus)
            assert list(one_by_one.fitting(ask)) == [entry for entry in sorted(entries) if entry[3] >= cpus]
            for entry in entries:
                one_by_one.remove(entry)
                check_room_index(one_by_one)
            assert not entries_of(one_by_one)

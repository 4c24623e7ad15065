from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.core.constraints import Constraint
from owmesos.core.explanation import REASONS, Exclusion, Reason, SlotFacts, explain
from owmesos.resources import NOTHING, Ask, Ports, Resources

ASK = Ask.of(cpus=1, mem=128, ports=1)
NO_ASK = Ask()
ENOUGH = Resources.of(cpus=4, mem=1024, disk=100, gpus=1, ports=[(31000, 31009)])
RACK, ZONE = Constraint("rack", "==", "r9"), Constraint("zone", "LIKE", "z[12]")


def facts(
    agent_id: str = "S1",
    *,
    role: str = "*",
    free: Resources = ENOUGH,
    reserved: Ask = NO_ASK,
    buffer: Ask = NO_ASK,
    unmet: tuple[Constraint, ...] = (),
    excluded: Exclusion | None = None,
) -> SlotFacts:
    return SlotFacts(agent_id, "", role, free, reserved, buffer, unmet, excluded)


def left_over(slot: SlotFacts, ask: Ask) -> bool:
    """Whether the ask fits beside what is reserved and the buffer."""
    free = slot.free
    left = free.as_ask().minus(slot.reserved).minus(slot.buffer)
    pairs = zip(msgspec.structs.astuple(ask), msgspec.structs.astuple(left), strict=True)
    return all(not wanted or wanted <= there for wanted, there in pairs)


class TestFunnel:
    @pytest.mark.parametrize(
        ("slot", "ask", "reason"),
        [
            (facts(free=Resources.of(cpus=4, mem=64)), ASK, "memory"),
            (facts(free=Resources.of(cpus=0.5, mem=512)), ASK, "cpus"),
            (facts(free=Resources.of(cpus=4, mem=512)), ASK, "ports"),
            (facts(), Ask.of(disk=101), "disk"),
            (facts(), Ask.of(gpus=2), "gpus"),
            (facts(free=Resources.of(cpus=4, mem=512, pods=0)), Ask.of(mem=128, pods=1), "pods"),
            (facts(unmet=(RACK,)), ASK, "constraint"),
            (facts(buffer=Ask.of(mem=1000)), ASK, "buffer"),
            (facts(reserved=Ask.of(mem=1000)), ASK, "reservation"),
            (facts(excluded="backoff"), ASK, "backoff"),
            *((facts(excluded=each), ASK, each) for each in get_args(Exclusion) if each != "unknown"),
            (facts(free=NOTHING, excluded="unknown"), ASK, "unknown"),
        ],
    )
    def test_each_reason(self, slot: SlotFacts, ask: Ask, reason: Reason) -> None:
        explanation = explain(ask, [slot])
        assert explanation.agents == 1
        assert explanation.failed == {reason: 1}
        assert explanation.summary.startswith("of 1 node, 1 ")

    def test_the_first_reason_in_the_order_is_the_one_that_counts(self) -> None:
        small = Ask.of(mem=64)
        everything = facts(free=Resources.of(mem=64), reserved=small, buffer=small, unmet=(RACK,), excluded="draining")
        assert explain(ASK, [everything]).failed == {"memory": 1}
        assert explain(ASK, [everything._replace(excluded="unknown")]).failed == {"unknown": 1}
        assert explain(ASK, [everything._replace(free=ENOUGH)]).failed == {"constraint": 1}
        with_room = everything._replace(free=ENOUGH, unmet=(), buffer=Ask.of(mem=900))
        assert explain(ASK, [with_room]).failed == {"buffer": 1}
        assert explain(ASK, [with_room._replace(buffer=NO_ASK)]).failed == {"draining": 1}

    def test_what_needs_both_gone_counts_as_reserved_since_reservations_pass(self) -> None:
        big = Ask.of(mem=1000)
        assert explain(ASK, [facts(reserved=big, buffer=big)]).failed == {"reservation": 1}

    def test_buffer_and_reservation_that_each_would_fit_alone_count_as_buffer(self) -> None:
        half = Ask.of(mem=512)
        assert explain(ASK, [facts(reserved=half, buffer=half)]).failed == {"buffer": 1}

    def test_reserved_ports_count(self) -> None:
        slot = facts(reserved=Ask.of(ports=10))
        assert explain(ASK, [slot]).failed == {"reservation": 1}

    def test_an_agent_counts_once_by_the_slot_that_gets_furthest(self) -> None:
        slots = [
            facts("S1", role="*", free=Resources.of(mem=1)),
            facts("S1", role="batch", excluded="backoff"),
            facts("S2", role="batch", free=Resources.of(mem=1)),
        ]
        for order in (slots, slots[::-1]):
            explanation = explain(ASK, order)
            assert explanation.agents == 2
            assert explanation.failed == {"memory": 1, "backoff": 1}

    def test_an_exact_fit_is_no_failure(self) -> None:
        exact = facts(free=Resources.of(cpus=2, mem=256, ports=[(1, 2)]), buffer=Ask.of(cpus=1, mem=128))
        explanation = explain(ASK, [exact, facts("S2", free=NOTHING)])
        assert explanation.failed == {"memory": 1}
        assert explanation.nearest is None
        assert explanation.summary == "of 2 nodes, 1 would fit now, 1 lacks memory"

    @given(
        st.lists(
            st.builds(
                facts,
                st.sampled_from(["S1", "S2", "S3", "S4"]),
                role=st.sampled_from(["*", "batch"]),
                free=st.builds(
                    Resources,
                    *[st.integers(-1, 4)] * 4,
                    st.builds(lambda n: Ports.of([(1, n)] if n else []), st.integers(0, 3)),
                ),
                reserved=st.builds(Ask, *[st.integers(0, 2)] * 4, st.just(1)),
                buffer=st.builds(Ask, *[st.integers(0, 2)] * 4),
                unmet=st.sampled_from([(), (RACK,), (RACK, ZONE)]),
                excluded=st.sampled_from([None, "backoff", "draining", "set_aside", "unknown"]),
            ),
            max_size=8,
            unique_by=lambda slot: (slot.agent_id, slot.role),
        ),
        st.builds(Ask, *[st.integers(0, 3)] * 5),
    )
    def test_every_agent_is_counted_once_or_fits(self, slots: list[SlotFacts], ask: Ask) -> None:
        explanation = explain(ask, slots)
        fits = {slot.agent_id for slot in slots if not slot.unmet and slot.excluded is None and left_over(slot, ask)}
        assert explanation.agents == len({slot.agent_id for slot in slots})
        assert sum(explanation.failed.values()) == explanation.agents - len(fits)
        assert list(explanation.failed) == [reason for reason in REASONS if reason in explanation.failed]
        only_unknown = all(slot.excluded == "unknown" for slot in slots)
        assert (explanation.nearest is None) == bool(fits or only_unknown)
        assert "\n" not in explanation.summary


class TestNearestMiss:
    @pytest.mark.parametrize(
        ("slot", "ask", "text"),
        [
            (facts(free=Resources.of(mem=96)), Ask.of(mem=128), "node S1 is 32 MB short"),
            (
                facts(free=Resources.of(mem=96), buffer=Ask.of(mem=64)),
                Ask.of(mem=128),
                "node S1 is 96 MB short, of which 64 MB is buffer",
            ),
            (
                facts(free=Resources.of(mem=160), buffer=Ask.of(mem=64)),
                Ask.of(mem=128),
                "node S1 is 32 MB short, of which 32 MB is buffer",
            ),
            (
                facts(free=Resources.of(mem=512), buffer=Ask.of(mem=64), reserved=Ask.of(mem=448)),
                Ask.of(mem=128),
                "node S1 is 128 MB short, of which 64 MB is buffer and 64 MB is reserved",
            ),
            (facts(free=Resources.of(cpus=0.25)), Ask.of(cpus=1.25), "node S1 is 1 cpu short"),
            (facts(free=Resources.of(cpus=0.25)), Ask.of(cpus=1), "node S1 is 0.75 cpus short"),
            (facts(), Ask.of(disk=150.5), "node S1 is 50.5 MB of disk short"),
            (facts(), Ask.of(gpus=2), "node S1 is 1 gpu short"),
            (facts(reserved=Ask.of(pods=2)), Ask.of(pods=1), "node S1 is 3 pods short, of which 2 pods are reserved"),
            (facts(), Ask.of(pods=1), "node S1 is 1 pod short"),
            (
                facts(reserved=Ask.of(ports=9)),
                Ask.of(ports=3),
                "node S1 is 2 ports short, of which 2 ports are reserved",
            ),
            (
                facts(free=Resources.of(mem=64, cpus=0.5)),
                Ask.of(mem=512, cpus=1),
                "node S1 is 448 MB short and 0.5 cpus short",
            ),
            (
                facts(free=Resources.of(mem=64, cpus=0.5), buffer=Ask.of(mem=64)),
                Ask.of(mem=512, cpus=1),
                "node S1 is 512 MB short, of which 64 MB is buffer, and 0.5 cpus short",
            ),
            (facts(unmet=(RACK,)), ASK, "node S1 fails the constraint 'rack == r9'"),
            (facts(unmet=(ZONE, RACK)), ASK, "node S1 fails the constraint 'zone LIKE z[12]' and 1 more"),
            (facts(excluded="backoff"), ASK, "node S1 is in back-off"),
            (
                facts(free=Resources.of(mem=96), unmet=(RACK,), excluded="set_aside"),
                Ask.of(mem=128),
                "node S1 is 32 MB short, and fails the constraint 'rack == r9', and is set aside for another launch",
            ),
        ],
    )
    def test_in_words(self, slot: SlotFacts, ask: Ask, text: str) -> None:
        assert explain(ask, [slot]).nearest == text

    def test_the_host_is_named_where_it_is_known(self) -> None:
        slot = facts(free=Resources.of(mem=96))._replace(hostname="node3")
        assert explain(Ask.of(mem=128), [slot]).nearest == "node S1 (node3) is 32 MB short"

    def test_a_host_that_has_its_node_s_name_is_named_once(self) -> None:
        slot = facts("node3", free=Resources.of(mem=96))._replace(hostname="node3")
        assert explain(Ask.of(mem=128), [slot]).nearest == "node node3 is 32 MB short"

    def test_the_smallest_share_of_the_ask_is_nearest(self) -> None:
        slots = [
            facts("S1", free=Resources.of(mem=1000, cpus=0.1)),  # 90 % of the cpus
            facts("S2", free=Resources.of(mem=700, cpus=4)),  # 30 % of the memory
            facts("S3", free=Resources.of(mem=800, cpus=0.8)),  # 20 % of each
        ]
        for order in (slots, slots[::-1]):
            nearest = explain(Ask.of(mem=1000, cpus=1), order).nearest
            assert nearest == "node S2 is 300 MB short"

    def test_a_failed_constraint_is_further_than_a_part_of_the_memory(self) -> None:
        slots = [facts("S1", unmet=(RACK,)), facts("S2", free=Resources.of(mem=64, cpus=1, ports=[(1, 1)]))]
        assert explain(ASK, slots).nearest == "node S2 is 64 MB short"

    def test_what_is_unknown_is_never_the_nearest(self) -> None:
        unknown = facts("S1", free=NOTHING, excluded="unknown")
        assert explain(ASK, [unknown]).nearest is None
        small = facts("S2", free=Resources.of(mem=1, cpus=1, ports=[(1, 1)]))
        assert explain(ASK, [unknown, small]).nearest == "node S2 is 127 MB short"


class TestSummary:
    def test_the_whole_funnel_in_one_line(self) -> None:
        slots = [
            facts("S1", free=Resources.of(mem=96, cpus=1, ports=[(1, 1)])),
            facts("S2", free=Resources.of(mem=8)),
            facts("S3", unmet=(RACK,)),
            facts("S4", excluded="draining"),
        ]
        assert explain(ASK, slots).summary == (
            "of 4 nodes, 2 lack memory, 1 fails the constraint 'rack == r9', 1 is draining;"
            " nearest: node S1 is 32 MB short"
        )

    def test_a_constraint_is_named_if_all_that_are_counted_for_it_fail_the_same(self) -> None:
        small = facts("S1", free=Resources.of(mem=96, cpus=1, ports=[(1, 1)]), unmet=(ZONE,))
        same = [facts("S2", unmet=(RACK,)), facts("S3", unmet=(RACK,))]
        found = explain(ASK, [small, *same]).summary
        assert found.startswith("of 3 nodes, 1 lacks memory, 2 fail the constraint 'rack == r9'; nearest: ")
        found = explain(ASK, [*same, facts("S4", unmet=(ZONE,))]).summary
        assert found.startswith("of 3 nodes, 3 fail a constraint; nearest: node S2 fails the constraint 'rack == r9'")

    def test_a_long_constraint_is_shortened(self) -> None:
        found = explain(ASK, [facts(unmet=(Constraint("rack", "LIKE", "r|" * 400),))])
        assert len(found.summary) < 600

    def test_no_agent_at_all(self) -> None:
        explanation = explain(ASK, [])
        assert explanation.summary == "no node is known"
        assert (explanation.agents, explanation.failed, explanation.nearest) == (0, {}, None)

    def test_what_failed_is_counted_by_reason(self) -> None:
        assert explain(ASK, [facts(unmet=(RACK,))]).failed == {"constraint": 1}

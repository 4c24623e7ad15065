"""What is sent to the master never keeps an agent from us that we would take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.core.constraints import Constraint, shared_attributes
from owmesos.mesos.messages import Attribute, Text
from owmesos.mesos.scheduler.revive import MAX_GROUPS, of_launches, reaches
from owmesos.simulator.master.constraints import compile_constraints
from owmesos.simulator.pieces import NO_PIECES
from owmesos.simulator.protocol import AgentDescription

TEXTS = st.sampled_from(["r1", "r2", "r10", "2"])
HOSTS = st.sampled_from(["h1", "h2", "r1"])
CONSTRAINTS = st.builds(
    Constraint,
    st.sampled_from(["@hostname", "rack", "zone"]),
    st.sampled_from(["LIKE", "UNLIKE", "==", "!="]),
    st.sampled_from(["r1", "r[12]", "h.", ".*", "2", "[hr]1"]),
)


@given(
    st.lists(st.lists(CONSTRAINTS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3),
    HOSTS,
    st.lists(st.tuples(st.sampled_from(["rack", "zone"]), TEXTS), max_size=4),
)
def test_an_agent_that_meets_a_launchs_constraints_is_let_in(
    wanted: list[tuple[Constraint, ...]], host: str, pairs: list[tuple[str, str]]
) -> None:
    sent = of_launches(("web",), wanted)
    attributes = shared_attributes(pairs)
    told = tuple(Attribute(name, "TEXT", text=Text(text)) for name, text in pairs)
    lets_in = compile_constraints(sent).get("web")
    let_in = lets_in is None or lets_in(AgentDescription("S1", host, "10.0.0.1", 5051, NO_PIECES, told))
    for constraints in wanted:
        if all(each.matches(host, attributes) for each in constraints):
            assert let_in
        if reaches(constraints, host, attributes):
            assert let_in


@pytest.mark.parametrize(
    "wanted",
    [
        [],
        [()],
        [(Constraint.parse("@hostname == h1"),), ()],
        [(Constraint.parse("@hostname LIKE " + "|".join(f"{n * 7919 % 10**9:09d}" for n in range(30))),)],
        [(Constraint.parse(f"@hostname == h{number}"),) for number in range(MAX_GROUPS + 1)],
    ],
    ids=["none", "without", "one-without", "too-large-for-a-master", "too-many"],
)
def test_where_it_cannot_be_said_all_agents_are_asked(wanted: list[tuple[Constraint, ...]]) -> None:
    assert of_launches(("web",), wanted) is None


def test_a_pattern_that_is_too_large_is_left_out_of_its_group() -> None:
    large = Constraint.parse("@hostname LIKE " + "|".join(f"{n * 7919 % 10**9:09d}" for n in range(30)))
    sent = of_launches(("web",), [(large, Constraint.parse("rack != r1"))])
    assert sent is not None
    (group,) = sent.role_constraints["web"].groups
    assert [each.selector.attribute_name for each in group.attribute_constraints] == ["rack"]

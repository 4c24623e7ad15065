"""Documents with a fault: any JSON in the place of any value of a good one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

_NUMBERS = st.one_of(
    st.integers(-3, 70_000),
    st.sampled_from([2**31, 2**53 + 1, 2**63, 2**64, 10**18, 10**300, -(10**300), 1e15, 1e300, -1e300, 5e-324, -0.0]),
    st.floats(allow_nan=False, allow_infinity=False),
)
_TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["\0", "a\0b", "x" * 5000, "=", ".", "1", "*", "TASK_RUNNING"]))
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)),
    max_leaves=5,
)


@st.composite
def faulty(draw: st.DrawFn, document: Any) -> Any:
    """`document` with one value replaced or left out, or with two."""
    result = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        places = list(paths(result))
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        if isinstance(parent, dict) and draw(st.integers(0, 5)) == 0:
            del parent[key]
        else:
            parent[key] = draw(ANY_JSON)
    return result


def paths(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in `value`: what holds it, and its key there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from paths(inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield value, index
            yield from paths(inner)

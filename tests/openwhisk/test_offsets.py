"""The books of what is under way in one partition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from owmesos.openwhisk.offsets import Offsets


def test_the_low_water_mark_is_the_oldest_that_is_not_done() -> None:
    offsets = Offsets()
    assert offsets.low_water is None
    for offset in (5, 6, 8):
        offsets.received(offset, 10)
    assert offsets.low_water == 5
    offsets.done(6)
    assert offsets.low_water == 5
    offsets.done(5)
    assert offsets.low_water == 8
    offsets.done(8)
    assert offsets.low_water == 9


def test_weight_is_what_is_held() -> None:
    offsets = Offsets()
    offsets.received(0, 10)
    offsets.received(1, 1)
    offsets.add_weight(0, 100)
    offsets.add_weight(7, 100)
    assert offsets.weight == 111
    offsets.done(0)
    offsets.done(0)
    assert (offsets.weight, len(offsets)) == (1, 1)
    offsets.add_weight(0, 5)
    assert offsets.weight == 1


def test_a_new_beginning_forgets_what_was() -> None:
    offsets = Offsets()
    offsets.received(7, 10)
    offsets.restart()
    assert (offsets.weight, len(offsets), offsets.low_water, offsets.next) == (0, 0, None, None)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=100))
def test_nothing_above_the_low_water_mark_is_ever_lost(steps: list[tuple[bool, int]]) -> None:
    offsets, under_way, following = Offsets(), set[int](), 0
    for receive, number in steps:
        if receive:
            offsets.received(following, number)
            under_way.add(following)
            following += 1
        else:
            offsets.done(number)
            under_way.discard(number)
        assert offsets.low_water == (min(under_way, default=following) if following else None)
        assert len(offsets) == len(under_way)

"""Which ports of those that are there a task gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.resources import Ports

RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)).map(lambda r: (r[0], r[0] + r[1])), max_size=6)


@given(RANGES, st.integers(0, 10), st.floats(0, 1, exclude_max=True))
def test_ports_are_taken_in_a_row_from_any_place_and_all_of_them_are_there(
    ranges: list[tuple[int, int]], count: int, place: float
) -> None:
    ports = Ports.of(ranges)
    listed = list(ports)
    if count > len(listed):
        with pytest.raises(ValueError, match="missing"):
            ports.take(count, place)
        return
    begin = int(place * len(listed))
    assert list(ports.take(count, place)) == sorted((listed[begin:] + listed[:begin])[:count])


@given(RANGES, st.integers(0, 10), st.integers(0, 70))
def test_ports_above_one_are_taken_first_and_then_the_lowest(
    ranges: list[tuple[int, int]], count: int, above: int
) -> None:
    ports = Ports.of(ranges)
    listed = list(ports)
    if count <= len(listed):
        expected = [port for port in listed if port > above] + [port for port in listed if port <= above]
        assert list(ports.take(count, above=above)) == sorted(expected[:count])


def test_by_default_they_are_the_lowest() -> None:
    assert list(Ports.of([(5, 6), (1, 2)]).take(3)) == [1, 2, 5]

"""The books of what is under way in a topic's partitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from owmesos.openwhisk.kafka.offsets import Offsets, Position


def at(offset: int, partition: int = 0) -> Position:
    return Position(partition, offset)


def test_the_low_water_mark_is_the_oldest_that_is_not_done() -> None:
    offsets = Offsets()
    assert offsets[0].low_water is None
    for offset in (5, 6, 8):
        offsets.received(at(offset), 10)
    assert offsets[0].low_water == 5
    offsets.done(at(6))
    assert offsets[0].low_water == 5
    offsets.done(at(5))
    assert offsets[0].low_water == 8
    offsets.done(at(8))
    assert offsets[0].low_water == 9


def test_weight_is_what_is_held() -> None:
    offsets = Offsets()
    offsets.received(at(0), 10)
    offsets.received(at(1), 1)
    offsets.add_bytes(at(0), 100)
    offsets.add_bytes(at(7), 100)
    assert offsets.weight == 111
    offsets.done(at(0))
    offsets.done(at(0))
    assert (offsets.weight, len(offsets)) == (1, 1)
    offsets.add_bytes(at(0), 5)
    assert offsets.weight == 1


def test_what_was_received_is_not_new() -> None:
    offsets = Offsets()
    assert offsets.is_new(at(7))
    offsets.received(at(7), 10)
    assert not offsets.is_new(at(7))
    assert offsets.is_new(at(8))
    assert offsets.is_new(at(0, partition=1))
    offsets.give_back(at(7))
    assert offsets.is_new(at(7))


def test_a_partition_begins_anew_below_what_was_committed_before_its_reader() -> None:
    offsets = Offsets()
    for offset in (7, 8):
        assert not offsets.given(at(offset))
        offsets.received(at(offset), 1)
    offsets.received(at(2, partition=1), 1)
    offsets[0].committed = 8
    offsets.begin_reader()
    offsets[0].committed = 9
    offsets[1].committed = 3
    assert not offsets.given(at(8)), "it was on its way when 9 was committed"
    assert not offsets.given(at(2, partition=1))
    assert not offsets.given(at(0, partition=2))
    offsets.begin_reader()
    assert offsets.given(at(8))


def test_a_partition_begins_anew_where_its_reader_goes_back() -> None:
    offsets = Offsets()
    for offset in (0, 1):
        assert not offsets.given(at(offset))
        offsets.received(at(offset), 1)
    assert offsets.given(at(0))


def test_a_partition_begins_anew_where_an_open_offset_has_another_record() -> None:
    offsets = Offsets()
    for offset in range(3):
        offsets.received(at(offset), 1, checksum=offset)
    offsets[0].committed = 0
    offsets.begin_reader()
    assert not offsets.given(at(0), 0)
    assert offsets.given(at(1), 7)


def test_what_ends_after_a_new_beginning_ends_nothing_of_the_new_one() -> None:
    offsets = Offsets()
    before = offsets.position(0, 5)
    offsets.received(before, 10)
    offsets.restart(0)
    now = offsets.position(0, 5)
    offsets.received(now, 1)
    offsets.add_bytes(before, 100)
    offsets.done(before)
    offsets.give_back(before)
    assert (offsets.weight, len(offsets), offsets[0].low_water, offsets[0].next) == (1, 1, 5, 6)
    offsets.done(now)
    assert (offsets.weight, len(offsets), offsets[0].low_water) == (0, 0, 6)


def test_a_new_beginning_forgets_what_was_in_the_partition() -> None:
    offsets = Offsets()
    offsets.received(at(7), 10)
    offsets.received(at(7, partition=1), 5)
    offsets.restart(0)
    assert (offsets.weight, len(offsets), offsets[0].low_water, offsets[0].committed) == (5, 1, None, None)
    assert (bool(offsets[0].open), bool(offsets[1].open)) == (False, True)
    assert offsets.is_new(at(0))


def test_each_partition_has_a_mark_to_commit() -> None:
    offsets = Offsets()
    offsets.received(at(3), 1)
    offsets.received(at(9, partition=2), 1)
    assert offsets.to_commit() == {}
    offsets.done(at(9, partition=2))
    assert offsets.to_commit() == {2: 10}
    offsets[2].committed = 10
    offsets.done(at(3))
    assert offsets.to_commit() == {0: 4}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 30)), max_size=100))
def test_nothing_above_the_low_water_mark_is_ever_lost(steps: list[tuple[bool, int, int]]) -> None:
    offsets, under_way, following = Offsets(), set[Position](), [0, 0, 0]
    for receive, partition, number in steps:
        if receive:
            position = at(following[partition], partition)
            offsets.received(position, number)
            under_way.add(position)
            following[partition] += 1
        else:
            offsets.done(at(number, partition))
            under_way.discard(at(number, partition))
        for each, end in enumerate(following):
            open_ones = [position.offset for position in under_way if position.partition == each]
            assert offsets[each].low_water == (min(open_ones, default=end) if end else None)
        assert len(offsets) == len(under_way)

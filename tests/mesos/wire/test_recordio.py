"""RecordIO, however the stream is cut."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.mesos.wire.recordio import BadRecord, RecordDecoder


def framed(records: list[bytes]) -> bytes:
    return b"".join(b"%d\n%s" % (len(record), record) for record in records)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(ends)]


def decoded(decoder: RecordDecoder, parts: list[bytes]) -> list[bytes]:
    return [bytes(record) for part in parts for record in decoder.feed(part)]


class TestCuts:
    @given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 10_000), max_size=20))
    def test_records_come_out_as_they_went_in_wherever_the_stream_is_cut(
        self, records: list[bytes], places: list[int]
    ) -> None:
        assert decoded(RecordDecoder(), cut(framed(records), places)) == records

    @given(st.lists(st.binary(max_size=10), max_size=6))
    def test_one_byte_at_a_time(self, records: list[bytes]) -> None:
        data = framed(records)
        assert decoded(RecordDecoder(), [data[i : i + 1] for i in range(len(data))]) == records

    def test_an_incomplete_record_is_waited_for(self) -> None:
        decoder = RecordDecoder()
        assert decoded(decoder, [b"5\nab"]) == []
        assert decoded(decoder, [b"cde1\nx"]) == [b"abcde", b"x"]


class TestBounds:
    def test_a_record_of_the_limit_passes(self) -> None:
        assert decoded(RecordDecoder(limit=5), [b"5\nabcde"]) == [b"abcde"]

    def test_a_record_over_the_limit_is_an_error_before_its_bytes_come(self) -> None:
        with pytest.raises(BadRecord, match="6 bytes exceeds the limit of 5"):
            decoded(RecordDecoder(limit=5), [b"6\n"])

    @pytest.mark.parametrize(
        "garbage", [b"<html>", b"\n", b"-5\nabcde", b"5 \nabcde", b"5x\n", b"1" * 21, b"\xff\n", b"0x5\n"]
    )
    @given(places=st.lists(st.integers(0, 30), max_size=4))
    def test_a_length_that_is_no_number_is_an_error(self, garbage: bytes, places: list[int]) -> None:
        with pytest.raises(BadRecord, match="not a number"):
            decoded(RecordDecoder(), cut(garbage, places))

    def test_records_before_the_error_are_delivered(self) -> None:
        decoder = RecordDecoder()
        records = decoder.feed(b"2\nhino")
        assert next(records) == b"hi"
        with pytest.raises(BadRecord):
            next(records)

    def test_a_lying_length_takes_no_memory(self) -> None:
        tracemalloc.start()
        try:
            decoded(RecordDecoder(), [b"200000000\nabc"])
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()

    def test_a_large_record_in_pieces_exists_once(self) -> None:
        size, piece = 32 * 1024 * 1024, b"x" * 65536
        decoder = RecordDecoder()
        tracemalloc.start()
        try:
            assert decoded(decoder, [b"%d\n" % size]) == []
            for _ in range(size // len(piece) - 1):
                assert list(decoder.feed(piece)) == []
            (record,) = decoder.feed(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(record) == size
        assert peak < size * 1.2

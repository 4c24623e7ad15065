"""What pymesos is given to read: whole records, however the stream is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.mesos.wire.recordio import BadRecord
from tests.mesos.pymesos.conftest import PYMESOS_MISSING

pytest.importorskip("pymesos", reason=PYMESOS_MISSING)

from owmesos.mesos.pymesos.wire import _Parser

HEAD = b"HTTP/1.1 200 OK\r\nMesos-Stream-Id: s\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def framed(record: bytes) -> bytes:
    return b"%d\n%s" % (len(record), record)


def fed(parser: _Parser, data: bytes) -> bytes:
    assert parser.execute(data, len(data)) == len(data)
    return parser.recv_body() if parser.is_partial_body() else b""


@given(records=st.lists(st.binary(max_size=60), max_size=8), places=st.lists(st.integers(0, 600), max_size=30))
def test_only_whole_records_are_given_and_all_of_them(records: list[bytes], places: list[int]) -> None:
    stream = b"".join(map(framed, records))
    edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    parser, given_so_far, ends = _Parser(100), b"", {0}
    fed(parser, HEAD)
    for record in records:
        ends.add(max(ends) + len(framed(record)))
    for begin, end in pairwise(sorted(set(edges))):
        given_so_far += fed(parser, chunk(stream[begin:end]))
        assert len(given_so_far) == max(each for each in ends if each <= end)
    assert given_so_far == stream


@pytest.mark.parametrize("bad", [b"\n", b"x", b"-1\n{}", b"1" * 21, b"101\n", b"2\n{}oops"])
def test_what_is_no_record_is_an_error(bad: bytes) -> None:
    parser = _Parser(100)
    fed(parser, HEAD)
    with pytest.raises(BadRecord):
        fed(parser, chunk(bad))


def test_an_answer_that_is_no_stream_is_shown_when_it_is_whole() -> None:
    parser = _Parser(100)
    assert fed(parser, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nw") == b""
    assert not parser.is_headers_complete()
    assert fed(parser, b"ho?") == b""
    assert parser.is_headers_complete()
    assert parser.refusal == b"who?"

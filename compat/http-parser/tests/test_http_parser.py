"""HttpParser as pymesos uses it: whatever the cuts, the same answer; whatever comes, no exception."""

from __future__ import annotations

from importlib.metadata import version
from itertools import pairwise

import pytest
from http_parser.http import HttpParser
from hypothesis import given
from hypothesis import strategies as st

HEAD = b"HTTP/1.1 200 OK\r\nMesos-Stream-Id: 7b-1\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(data) for place in places}), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges) if begin < end]


def fed(*pieces: bytes) -> HttpParser:
    parser = HttpParser()
    for piece in pieces:
        assert parser.execute(piece, len(piece)) == len(piece)
    return parser


class TestAnswers:
    @given(parts=st.lists(st.binary(max_size=300), max_size=8), places=st.lists(st.integers(0, 5000), max_size=40))
    def test_a_stream_is_the_same_however_it_is_cut(self, parts: list[bytes], places: list[int]) -> None:
        parser, body = HttpParser(), b""
        for piece in cut(HEAD + chunked(parts), places):
            assert not parser.is_message_complete()
            assert parser.execute(piece, len(piece)) == len(piece)
            if parser.is_partial_body():
                body += parser.recv_body()
        assert body == b"".join(parts)
        assert parser.is_message_complete()
        assert (parser.get_errno(), parser.get_status_code()) == (0, 200)

    def test_the_headers_are_there_before_the_body(self) -> None:
        parser = fed(HEAD[:-1])
        assert not parser.is_headers_complete()
        assert parser.get_status_code() == 0
        assert parser.get_headers() == {}
        assert parser.execute(HEAD[-1:], 1) == 1
        assert parser.is_headers_complete()
        assert parser.is_chunked()
        assert not parser.is_partial_body()
        assert parser.get_headers() == {"Mesos-Stream-Id": "7b-1", "Transfer-Encoding": "chunked"}

    def test_a_part_of_a_chunk_is_given_at_once_and_once(self) -> None:
        parser = fed(HEAD, b"5\r\nhel")
        assert parser.is_partial_body()
        assert parser.recv_body() == b"hel"
        assert not parser.is_partial_body()
        assert parser.recv_body() == b""

    def test_a_body_with_a_length(self) -> None:
        parser = fed(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\n", b"no!")
        assert (parser.get_status_code(), parser.is_chunked()) == (401, False)
        assert parser.is_message_complete()
        assert parser.recv_body() == b"no!"

    def test_a_body_without_a_length_ends_with_the_connection(self) -> None:
        parser = fed(b"HTTP/1.1 200 OK\r\n\r\n", b"<html>")
        assert not parser.is_message_complete()
        assert parser.execute(b"", 0) == 0
        assert parser.is_message_complete()
        assert parser.get_errno() == 0

    def test_only_so_many_bytes_as_are_named_are_read(self) -> None:
        parser = HttpParser()
        assert parser.execute(HEAD + b"garbage", len(HEAD)) == len(HEAD)
        assert parser.is_headers_complete()
        assert parser.get_errno() == 0

    def test_100_continue_is_no_answer_yet(self) -> None:
        assert not fed(b"HTTP/1.1 100 Continue\r\n\r\n").is_headers_complete()

    def test_a_repeated_header_is_joined(self) -> None:
        parser = fed(b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\nA: 2\r\n\r\n")
        assert parser.get_headers()["A"] == "1, 2"

    def test_what_comes_after_the_end_is_ignored(self) -> None:
        parser = fed(HEAD, chunked([b"x"]) + b"HTTP/1.1 500", b"more")
        assert parser.is_message_complete()
        assert parser.recv_body() == b"x"


class TestMalformed:
    @pytest.mark.parametrize(
        "data",
        [
            b"\x00\x01\x02 garbage\r\n\r\n",
            b"HTTP/1.1 two hundred\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            HEAD + b"xyz\r\n",
            HEAD + b"-5\r\nhello\r\n",
            HEAD + b"5\r\nhello!!",
            HEAD + b"5" * 30 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        ],
    )
    def test_a_malformed_answer_is_an_error_that_stays(self, data: bytes) -> None:
        parser = HttpParser()
        assert parser.execute(data, len(data)) < len(data)
        assert parser.get_errno() != 0
        assert parser.execute(b"HTTP/1.1 200 OK\r\n\r\n", 19) == 0
        assert not parser.is_message_complete()

    @pytest.mark.parametrize("sent", [b"", HEAD[:20], HEAD, HEAD + b"5\r\nhel", HEAD + b"5\r\nhello\r\n"])
    def test_a_connection_that_ends_too_early_is_an_error(self, sent: bytes) -> None:
        parser = fed(*([sent] if sent else []))
        parser.execute(b"", 0)
        assert parser.get_errno() != 0
        assert not parser.is_message_complete()

    @given(st.binary(max_size=400), st.lists(st.integers(0, 500), max_size=10))
    def test_nothing_raises(self, garbage: bytes, places: list[int]) -> None:
        for start in (b"", HEAD, HEAD + b"5\r\nhel"):
            parser = HttpParser()
            for piece in cut(start + garbage, places) if start + garbage else []:
                good = parser.execute(piece, len(piece))
                assert (good < len(piece)) == bool(parser.get_errno())
                parser.recv_body()

    def test_requests_are_not_read(self) -> None:
        with pytest.raises(ValueError, match="only answers"):
            HttpParser(0)


class TestDistribution:
    def test_pymesos_does_not_take_it_for_the_old_pure_python_parser(self) -> None:
        assert not hasattr(HttpParser(), "errno")

    def test_it_stands_for_http_parser(self) -> None:
        assert version("http-parser").startswith("0.9.0+owmesos")

"""HttpParser as http-parser has it: whatever the cuts, the same message; whatever comes, no exception.

What requests come to was compared with http-parser 0.9.0 itself, on Python 3.10: on what is written down here, and on
60,000 random messages with random cuts.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from typing import Any

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


REQUEST = b"POST /a/b?x=1&y=%20#f HTTP/1.1\r\nHost: h\r\nContent-Type: t/t\r\nX-Y: 1\r\nContent-Length: 5\r\n\r\nhello"


def request(*pieces: bytes, kind: int = 0, **options: Any) -> HttpParser:
    parser = HttpParser(kind, **options)
    for piece in pieces:
        assert parser.execute(piece, len(piece)) == len(piece)
    return parser


class TestRequests:
    @pytest.mark.parametrize("kind", [0, 2])
    def test_what_it_says(self, kind: int) -> None:
        parser = request(REQUEST, kind=kind)
        assert (parser.get_method(), parser.get_version(), parser.get_status_code()) == ("POST", (1, 1), 0)
        assert parser.get_url() == "/a/b?x=1&y=%20#f"
        assert (parser.get_path(), parser.get_query_string(), parser.get_fragment()) == ("/a/b", "x=1&y=%20", "f")
        assert parser.get_headers() == {"Host": "h", "Content-Type": "t/t", "X-Y": "1", "Content-Length": "5"}
        assert parser.is_message_begin()
        assert parser.is_headers_complete()
        assert parser.is_message_complete()
        assert parser.is_partial_body()
        assert parser.recv_body() == b"hello"
        assert not parser.is_partial_body()
        assert (parser.get_errno(), parser.is_upgrade(), parser.should_keep_alive()) == (0, 0, 1)
        assert not parser.is_chunked()

    @given(
        parts=st.lists(st.binary(min_size=1, max_size=60), max_size=5),
        kind=st.sampled_from([0, 2]),
        places=st.lists(st.integers(0, 500), max_size=20),
    )
    def test_it_is_the_same_however_it_is_cut(self, parts: list[bytes], kind: int, places: list[int]) -> None:
        head = b"PUT /x?y HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        parser, body = HttpParser(kind), b""
        for piece in cut(head + chunked(parts), places):
            assert parser.execute(piece, len(piece)) == len(piece)
            body += parser.recv_body()
        assert (parser.get_method(), parser.get_url(), parser.is_chunked()) == ("PUT", "/x?y", True)
        assert body == b"".join(parts)
        assert parser.is_message_complete()

    @pytest.mark.parametrize(
        ("data", "method", "url", "keeps"),
        [
            (b"GET / HTTP/1.1\r\n\r\n", "GET", "/", 1),
            (b"GET / HTTP/1.0\r\n\r\n", "GET", "/", 0),
            (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/", 1),
            (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "GET", "/", 0),
            (b"HEAD http://h:80/a?q HTTP/1.1\r\n\r\n", "HEAD", "http://h:80/a?q", 1),
            (b"OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS", "*", 1),
            (b"M-SEARCH /x HTTP/1.1\r\n\r\n", "M-SEARCH", "/x", 1),
            (b"\r\n\r\nGET /a HTTP/1.1\r\n\r\n", "GET", "/a", 1),
            (b"GET /a HTTP/1.1\nA: b\n\n", "GET", "/a", 1),
        ],
    )
    @pytest.mark.parametrize("kind", [0, 2])
    def test_a_request_without_a_body(self, kind: int, data: bytes, method: str, url: str, keeps: int) -> None:
        parser = request(data, kind=kind)
        assert (parser.get_method(), parser.get_url(), parser.should_keep_alive()) == (method, url, keeps)
        assert parser.is_message_complete()
        assert parser.recv_body() == b""

    def test_the_first_line_is_known_before_the_headers(self) -> None:
        parser = request(b"GET /a?b HTTP/1.0\r\nHo")
        assert (parser.get_method(), parser.get_path(), parser.get_version()) == ("GET", "/a", (1, 0))
        assert not parser.is_headers_complete()

    def test_before_anything(self) -> None:
        parser = HttpParser()
        assert (parser.get_version(), parser.get_status_code(), parser.get_url()) == ((0, 0), 0, "")
        assert (parser.get_path(), parser.get_headers(), parser.is_message_begin()) == ("", {}, False)
        assert (parser.should_keep_alive(), parser.is_upgrade(), parser.is_chunked()) == (0, 0, False)

    def test_headers_are_found_in_any_case(self) -> None:
        headers = request(b"GET / HTTP/1.1\r\nX-Test: foo\r\n bar\r\nx-test: baz\r\n qux\r\n\r\n").get_headers()
        assert headers["X-TEST"] == headers.get("x-Test") == "foo bar, baz qux"
        assert "x-tesT" in headers
        assert list(headers) == ["X-Test"]
        assert headers.get("none", "no") == "no"

    def test_trailers_are_headers_too(self) -> None:
        parser = request(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nTr: x\r\n\r\n")
        assert parser.get_headers() == {"Transfer-Encoding": "chunked", "Tr": "x"}

    def test_the_environ_of_wsgi(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCRIPT_NAME", "/a")
        assert request(REQUEST).get_wsgi_environ() == {
            "REQUEST_METHOD": "POST",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SCRIPT_NAME": "/a",
            "PATH_INFO": "/b",
            "QUERY_STRING": "x=1&y=%20",
            "RAW_URI": "/a/b?x=1&y=%20#f",
            "CONTENT_TYPE": "t/t",
            "CONTENT_LENGTH": "5",
            "HTTP_HOST": "h",
            "HTTP_X_Y": "1",
        }

    def test_the_body_into_a_buffer(self) -> None:
        parser, buffer = request(REQUEST), bytearray(3)
        assert (parser.recv_body_into(buffer), bytes(buffer), parser.is_partial_body()) == (3, b"hel", True)
        assert (parser.recv_body_into(buffer), bytes(buffer[:2]), parser.is_partial_body()) == (2, b"lo", False)
        assert parser.recv_body_into(buffer) == 0

    @pytest.mark.parametrize(
        "head",
        [
            b"CONNECT h:80 HTTP/1.1\r\n\r\n",
            b"GET /chat HTTP/1.1\r\nConnection: keep-alive, upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ],
    )
    def test_what_follows_an_upgrade_is_not_read(self, head: bytes) -> None:
        parser = HttpParser()
        assert parser.execute(head + b"abc", len(head) + 3) == len(head)
        assert (parser.is_upgrade(), parser.is_message_complete(), parser.get_errno()) == (1, True, 0)
        assert parser.execute(b"def", 3) == 0

    def test_headers_only(self) -> None:
        parser = HttpParser(header_only=True)
        assert parser.execute(REQUEST, len(REQUEST)) == len(REQUEST)
        assert (parser.is_message_complete(), parser.recv_body()) == (True, b"")

    @pytest.mark.parametrize(
        ("encoding", "squeeze"),
        [
            ("gzip", gzip.compress),
            ("deflate", zlib.compress),
            ("deflate", lambda data: zlib.compress(data)[2:-4]),
            ("identity", bytes),
        ],
    )
    def test_a_compressed_body(self, encoding: str, squeeze: Callable[[bytes], bytes]) -> None:
        text = b"hello" * 100
        body = squeeze(text)
        head = b"POST / HTTP/1.1\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(body))
        assert request(head + body, decompress=True).recv_body() == text
        assert request(head + body).recv_body() == body

    def test_a_compressed_body_that_is_none(self) -> None:
        data = b"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
        parser = HttpParser(decompress=True)
        assert parser.execute(data, len(data)) == 0
        assert parser.get_errno() != 0

    @pytest.mark.parametrize("url", [b"http://[::1/x", b"//[x", b"http://h:99999/x", b"%zz"])
    def test_a_url_that_is_none_is_shown_as_it_came(self, url: bytes) -> None:
        parser = request(b"GET %s HTTP/1.1\r\n\r\n" % url)
        assert parser.get_url() == url.decode()
        parser.get_path(), parser.get_query_string(), parser.get_fragment(), parser.get_wsgi_environ()

    @pytest.mark.parametrize("module", ["http_parser.http", "http_parser.parser", "http_parser.pyparser"])
    def test_it_is_where_http_parser_has_it(self, module: str) -> None:
        assert import_module(module).HttpParser is HttpParser

    @pytest.mark.parametrize(
        "data",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"get / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1 x\r\n\r\n",
            b"GET / FTP/1.1\r\n\r\n",
            b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"GET /" + b"x" * 200_000,
            b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000,
            b"\x16\x03\x01\x02\x00",
            b"\x00",
        ],
    )
    def test_what_is_no_request_is_an_error_that_stays(self, data: bytes) -> None:
        parser = HttpParser(0)
        assert parser.execute(data, len(data)) < len(data)
        assert parser.get_errno() != 0
        assert parser.execute(REQUEST, len(REQUEST)) == 0
        assert not parser.is_message_complete()

    def test_a_request_is_no_answer(self) -> None:
        parser = HttpParser(1)
        assert parser.execute(REQUEST, len(REQUEST)) < len(REQUEST)
        assert parser.get_errno() != 0


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
        for start in (
            b"",
            HEAD,
            HEAD + b"5\r\nhel",
            b"POST /",
            b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):
            parser = HttpParser()
            for piece in cut(start + garbage, places) if start + garbage else []:
                good = parser.execute(piece, len(piece))
                assert (good < len(piece)) == bool(parser.get_errno())
                parser.recv_body()

    @pytest.mark.parametrize("kind", [-1, 3, None, "0"])
    def test_a_kind_that_is_none(self, kind: Any) -> None:
        with pytest.raises(ValueError, match="kind must be 0"):
            HttpParser(kind)


class TestDistribution:
    def test_pymesos_does_not_take_it_for_the_old_pure_python_parser(self) -> None:
        assert not hasattr(HttpParser(), "errno")

    def test_it_stands_for_http_parser(self) -> None:
        assert version("http-parser").startswith("0.9.0+owmesos")

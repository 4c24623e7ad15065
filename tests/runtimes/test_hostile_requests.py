"""A request that makes no sense, or that never ends, costs its sender a connection and nobody a container."""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.runtimes.conftest import Start
from tests.runtimes.container import ActionContainer
from tests.waiting import eventually

SECRET = "5ec" + "7e7" * 20 + "0"
ECHO = {
    "python:3": "def main(args):\n    return {'got': args}",
    "nodejs:20": "function main(args) { return { got: args } }",
}
HEADS = [
    "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: ²",
    "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: ٣",
    "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: -1",
    "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: +2",
    "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2",
    "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0",
    "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: ",
    "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: " + "9" * 5000,
    "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3",
    "POST /init HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2",
    "POST /init HTTP/9.9",
    "POST /init",
    "POST",
    "",
    "\x00\x01\x02\x16\x03\x01",
    "POST __proto__ HTTP/1.1\r\nHost: x\r\nContent-Length: 2",
    "POST /__proto__ HTTP/1.1\r\nHost: x\r\nContent-Length: 2",
    "POST constructor HTTP/1.1\r\nHost: x\r\nContent-Length: 2",
    "POST * HTTP/1.1\r\nHost: x\r\nContent-Length: 2",
    "POST /\xff\xfe HTTP/1.1\r\nHost: x\r\nContent-Length: 2",
    "CONNECT h:1 HTTP/1.1",
    "GET /run HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade",
    "POST /run HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2",
    "POST /run HTTP/1.1\r\nHost: x\r\nExpect: the unexpected\r\nContent-Length: 2",
    "POST /init HTTP/1.1\r\nHost: x\r\n" + "X: y\r\n" * 20_000,
    "POST /init HTTP/1.1\r\nHost: x\r\nX: " + "y" * 200_000,
    "POST /" + "x" * 200_000 + " HTTP/1.1",
]


@pytest.fixture(params=[None, SECRET], ids=["open", "with-secret"])
def container(request: pytest.FixtureRequest, kind: str, start: Start) -> ActionContainer:
    return start(kind, secret=request.param)


def connect(container: ActionContainer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", container.port), timeout=10)


def check(container: ActionContainer, kind: str) -> None:
    # An open container takes everybody's /init, and may be about to refuse one.
    eventually(lambda: container.init(ECHO[kind])[0] == 200, what="the container can be initialized")
    assert container.run({"n": 1}) == (200, {"got": {"n": 1}})


def test_a_head_that_makes_no_sense(container: ActionContainer, kind: str) -> None:
    for head in HEADS:
        with connect(container) as connection, contextlib.suppress(ConnectionError, TimeoutError):
            data = head.encode("utf-8" if any(ord(each) > 255 for each in head) else "latin-1")
            connection.sendall(data + b"\r\n\r\n{}")
            connection.settimeout(2)
            assert not connection.recv(65536).startswith(b"HTTP/1.1 200"), head
        assert container.process.poll() is None, (head[:100], container.stderr())
    check(container, kind)


def test_requests_that_never_end(container: ActionContainer, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(connect(container))
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"POST /run HTTP/1.1\r\nHost: x\r\nX: y" if number % 2 else b"P")
        check(container, kind)


def test_one_who_asks_and_never_reads(container: ActionContainer, kind: str) -> None:
    with connect(container) as connection, contextlib.suppress(OSError):
        connection.settimeout(1)
        for _ in range(200):
            connection.sendall(b"POST /prove HTTP/1.1\r\nHost: x\r\nContent-Length: 64\r\n\r\n" + b"0" * 64 * 100)
    assert container.process.poll() is None, container.stderr()
    check(container, kind)


def test_a_body_larger_than_any_code(kind: str, start: Start) -> None:
    """It is refused by its head, and whatever comes of it is not kept."""
    container = start(kind)
    with connect(container) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: 300000000\r\n\r\n")
        assert b" 413 " in connection.recv(65536)[:100]
        connection.sendall(bytes(1_000_000))
    check(container, kind)

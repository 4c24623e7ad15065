"""The client's own HTTP against a server that answers as it is told."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from owmesos.cli.client import STARTING, AdminClient, AdminRequest, MayPass, NotAllowed, NotRunning, RequestFailed
from owmesos.cli.connection import Endpoint
from owmesos.cli.http1 import BadAnswer, HttpConnection
from tests.cli.running import environment

Server = Callable[[bytes], int]


@pytest.fixture
def server() -> Iterator[Server]:
    """Answers one connection with these bytes, once the request's head was read: its port."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer_one() -> None:
            connection, _ = listener.accept()
            with connection:
                read = b""
                while b"\r\n\r\n" not in read:
                    read += connection.recv(65536)
                connection.sendall(answer)

        threads.append(threading.Thread(target=answer_one))
        threads[-1].start()
        port: int = listener.getsockname()[1]
        return port

    yield serve
    for thread in threads:
        thread.join()
    for listener in listeners:
        listener.close()


def got(port: int) -> tuple[int, str, bytes]:
    with HttpConnection("127.0.0.1", port, timeout=10) as connection:
        answer = connection.ask("GET", "/", {})
        return answer.status, answer.kind, answer.read()


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"Content-Length: 5\r\n\r\nhello and more", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: t\r\n\r\n", b"hello"),
        (b"\r\nhello", b"hello"),  # up to the connection's end
        (b"Content-Length: 0\r\n\r\n", b""),
    ],
)
def test_a_body_is_read_as_it_was_announced(server: Server, raw: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Plain; charset=utf-8\r\n"
    assert got(server(head + raw)) == (200, "text/plain", body)


def test_answers_before_the_answer_are_passed_over(server: Server) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello"
    assert got(server(interim + answer)) == (404, "text/plain", b"hello")
    with pytest.raises(BadAnswer):
        got(server(interim))


def test_lines_come_whole_however_they_were_sent(server: Server) -> None:
    chunks = b"4\r\nab\nc\r\n4\r\nd\n\ne\r\n0\r\n\r\n"
    port = server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    with HttpConnection("127.0.0.1", port, timeout=10) as connection:
        assert list(connection.ask("GET", "/", {}).lines()) == [b"ab", b"cd", b"", b"e"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 3 + b"c" * 100_000,
    ],
)
def test_what_is_cut_off_or_is_not_http_is_an_error(server: Server, raw: bytes) -> None:
    with pytest.raises(BadAnswer):
        got(server(raw))


def test_who_waits_for_ever_hears_that_the_other_machine_is_gone(server: Server) -> None:
    with HttpConnection("127.0.0.1", server(b"HTTP/1.1 200 OK\r\n\r\n"), timeout=10) as connection:
        assert connection.ask("GET", "/", {}).status == 200
        connection.wait_forever()
        assert connection._socket.gettimeout() is None
        assert connection._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_an_answer_that_comes_before_the_request_was_read_counts(server: Server) -> None:
    port = server(b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\n{}")
    with HttpConnection("127.0.0.1", port, timeout=10) as connection:
        assert connection.ask("POST", "/", {}, b"x" * 30_000_000).status == 413


def test_a_header_cannot_bring_another(server: Server) -> None:
    port = server(b"")
    with HttpConnection("127.0.0.1", port, timeout=10) as connection:
        with pytest.raises(BadAnswer, match="header"):
            connection.ask("GET", "/", {"Authorization": "Bearer a\r\nB: c"})
        with pytest.raises(BadAnswer):
            connection.ask("GET", "/", {})


def client(port: int) -> AdminClient:
    return AdminClient(Endpoint("127.0.0.1", port))


def test_the_client_reports_what_is_not_an_answer_in_one_line(server: Server) -> None:
    with pytest.raises(MayPass, match=r"broke \(it does not speak HTTP\): is that `owmesos run`\?"):
        client(server(b"SSH-2.0-OpenSSH\r\n")).get("nodes")
    with pytest.raises(RequestFailed, match="is not an owmesos admin API"):
        client(server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")).get("nodes")


def test_events_that_are_not_json_are_an_error(server: Server) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    events = client(server(head + b'event: change\ndata: {"rest": 0}\n\nevent: change\ndata: {"re\n\n')).events()
    assert next(events) == ("change", {"rest": 0})
    with pytest.raises(RequestFailed, match="is not an owmesos admin API"):
        next(events)


class TestStarting:
    """A command waits for a framework that is not up yet."""

    @pytest.fixture
    def waits(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The pauses; time passes by them alone."""
        pauses: list[float] = []
        monkeypatch.setattr("owmesos.cli.client.STARTING", STARTING or 3.0)
        monkeypatch.setattr("owmesos.cli.client.time.monotonic", lambda: sum(pauses))
        monkeypatch.setattr("owmesos.cli.client.time.sleep", pauses.append)
        return pauses

    def test_and_gets_its_answer(self, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        def ask_once(self: AdminClient, request: AdminRequest) -> Any:
            if len(waits) < 3:
                raise NotRunning("nobody")
            return []

        monkeypatch.setattr(AdminClient, "ask_once", ask_once)
        assert client(1).get("nodes") == []
        assert len(waits) == 3

    def test_and_looks_again_for_a_token_that_was_made_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It was not there when the command looked for it, and the framework served when the command asked."""
        found = iter([None, None, "new"])
        used: list[str | None] = []
        admin = AdminClient(Endpoint("127.0.0.1", 1), token=lambda _: next(found, "new"))

        def ask_once(self: AdminClient, request: AdminRequest) -> Any:
            used.append(self._token(self.endpoint))
            if used[-1] is None:
                raise NotAllowed("the admin API needs a token")
            return []

        monkeypatch.setattr(AdminClient, "ask_once", ask_once)
        assert admin.get("nodes") == []
        assert used == [None, "new"]

    def test_but_says_at_once_that_a_token_is_not_the_right_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[AdminRequest] = []

        def ask_once(self: AdminClient, request: AdminRequest) -> Any:
            asked.append(request)
            raise NotAllowed("wrong token")

        monkeypatch.setattr(AdminClient, "ask_once", ask_once)
        with pytest.raises(NotAllowed):
            client(1).get("nodes")
        assert len(asked) == 1

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
    def test_also_if_it_changes_something(
        self, method: str, waits: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`owmesos action create`, pasted below `owmesos run --standalone &`."""

        def ask_once(self: AdminClient, request: AdminRequest) -> Any:
            if len(waits) < 3:
                raise NotRunning("nobody")
            return {}

        monkeypatch.setattr(AdminClient, "ask_once", ask_once)
        assert client(1).ask(AdminRequest(method, "actions/hello", body={})) == {}
        assert len(waits) == 3

    def test_or_says_after_some_seconds_that_nobody_answers(
        self, waits: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def ask_once(self: AdminClient, request: AdminRequest) -> Any:
            raise NotRunning("nobody")

        monkeypatch.setattr(AdminClient, "ask_once", ask_once)
        with pytest.raises(NotRunning):
            client(1).get("nodes")
        assert 2 < sum(waits) <= 3


@pytest.mark.parametrize("module", ["email", "ssl", "http.client", "tomllib", "tomli", "rich", "msgspec", "asyncio"])
def test_a_listing_does_not_wait_for_what_it_does_not_need(module: str) -> None:
    """The module is not there for it: whoever imports it fails."""
    program = f"import sys; sys.modules[{module!r}] = None; from owmesos.cli.main import main; main(['nodes'])"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        port = listener.getsockname()[1]

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]")
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                document = b'{"cluster": {"connected": true}}'
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(document)}\r\n\r\n"
                connection.sendall(head.encode() + document)

        thread = threading.Thread(target=answer)
        thread.start()
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env=environment(OWMESOS_ADMIN=f"127.0.0.1:{port}"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        thread.join()
    assert (ran.returncode, ran.stderr) == (0, "no node is known\n")

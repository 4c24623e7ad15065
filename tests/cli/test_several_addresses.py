"""Commands that are given several addresses, or a standby's: they ask the process that leads."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread, Timer
from typing import Any

import pytest

from owmesos.cli.client import AdminClient, AdminRequest, MayPass, NotRunning, RequestFailed
from owmesos.cli.connection import AdminAccess, Endpoint
from owmesos.errors import InvalidInput
from tests.cli.running import owmesos

LAUNCH = AdminRequest("POST", "launches", body={"launch": {}, "count": 1}, key="k")


class Place(ThreadingHTTPServer):
    """A process of the group. `leader`: where it sends requests; None where it leads itself."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.leader: str | None = None
        self.asked: list[tuple[str, str, str | None, bytes]] = []
        """Method, path, Authorization and body."""

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.server_port, "http")


class _Answers(BaseHTTPRequestHandler):
    server: Place

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        leader = self.server.leader
        if self.path.startswith("/healthz"):
            self._send(200, {"subscribed": True}) if leader is None else self._send(503, self._standby)
            return
        self.server.asked.append((self.command, self.path, self.headers["Authorization"], body))
        if leader is None:
            self._send(200, [{"from": self.server.server_port}])
        else:
            self._send(307, self._standby, {"Location": leader + self.path})

    @property
    def _standby(self) -> dict[str, Any]:
        return {"standby": True, "leader": self.server.leader or None}

    def _send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def served() -> Iterator[Place]:
    with Place() as place:
        thread = Thread(target=place.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield place
        finally:
            place.shutdown()
            thread.join()


@pytest.fixture
def places() -> Iterator[list[Place]]:
    """The first leads, the others are standbys that know it."""
    with ExitStack() as stack:
        found = [stack.enter_context(served()) for _ in range(3)]
        for each in found[1:]:
            each.leader = found[0].endpoint.url
        yield found


@pytest.fixture
def nobody() -> Iterator[Endpoint]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Endpoint("127.0.0.1", taken.getsockname()[1], "http")


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Its machine takes connections, and nobody answers."""
    monkeypatch.setattr("owmesos.cli.client._PROBE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Endpoint("127.0.0.1", listening.getsockname()[1], "http")


def test_a_redirection_is_followed_with_all_that_was_sent(places: list[Place]) -> None:
    client = AdminClient(places[1].endpoint, token=lambda at: f"token-of-{at.port}")
    for _ in range(2):
        assert client.ask(LAUNCH) == [{"from": places[0].server_port}]
    assert client.endpoint == places[0].endpoint
    assert len(places[1].asked) == 1  # it is remembered
    method, path, token, body = places[0].asked[0]
    assert (method, path, json.loads(body)) == ("POST", "/api/v1/launches", LAUNCH.body)
    assert token == f"Bearer token-of-{places[0].server_port}"


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 1)])
def test_of_several_the_leader_is_asked(places: list[Place], order: tuple[int, ...], nobody: Endpoint) -> None:
    client = AdminClient(nobody, *(places[each].endpoint for each in order))
    assert client.get("nodes") == [{"from": places[0].server_port}]
    assert [each.asked for each in places[1:]] == [[], []]


def test_one_that_does_not_answer_is_passed_over(places: list[Place], frozen: Endpoint) -> None:
    """Also where a standby takes it for the leader still."""
    places[1].leader = frozen.url
    client = AdminClient(frozen, places[1].endpoint, places[0].endpoint)
    assert client.get("nodes") == [{"from": places[0].server_port}]


def test_the_next_leader_is_found(places: list[Place]) -> None:
    client = AdminClient(places[0].endpoint, places[1].endpoint, token=lambda _: "token")
    assert client.get("nodes") == [{"from": places[0].server_port}]
    places[0].leader, places[1].leader = places[1].endpoint.url, None
    assert client.get("nodes") == [{"from": places[1].server_port}]
    places[1].shutdown()
    places[1].server_close()
    places[0].leader = None
    assert client.ask_again(LAUNCH) == [{"from": places[0].server_port}]


def test_a_command_that_watches_waits_for_the_next_leader(
    places: list[Place], nobody: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owmesos.cli.client.STARTING", 0.1)
    monkeypatch.setattr("owmesos.cli.client.PATIENCE", 15.0)
    places[0].leader = nobody.url  # the leader was killed
    with pytest.raises(NotRunning, match="the leader does not answer"):
        AdminClient(places[0].endpoint).watched("nodes")
    taking_over = Timer(0.5, setattr, (places[0], "leader", None))
    taking_over.start()
    client = AdminClient(nobody, places[0].endpoint)
    assert client.watched("nodes") == [{"from": places[0].server_port}]
    taking_over.join()


def test_nobody_leads(places: list[Place], nobody: Endpoint) -> None:
    places[0].leader = ""
    client = AdminClient(nobody, places[0].endpoint)
    with pytest.raises(NotRunning, match=rf"no framework that leads answers at {nobody.url}, {places[0].endpoint.url}"):
        client.ask_once(LAUNCH)
    places[0].leader = nobody.url  # it was killed
    with pytest.raises(
        NotRunning, match=f"nobody leads at the moment: {places[0].endpoint.url} is a standby, and waits"
    ):
        client.ask_once(LAUNCH)
    with pytest.raises(
        NotRunning, match=f"the leader does not answer at {nobody.url}, which a standby names: it waits"
    ):
        AdminClient(places[0].endpoint).ask_once(LAUNCH)
    places[0].leader, places[1].leader = places[1].endpoint.url, places[0].endpoint.url
    with pytest.raises(MayPass, match="redirects again and again"):
        AdminClient(places[0].endpoint).ask_once(LAUNCH)


@pytest.mark.parametrize("location", ["http://10.1.2.3:8686", "nonsense"])
def test_the_token_is_not_sent_unencrypted(places: list[Place], location: str) -> None:
    places[0].leader = location
    with pytest.raises(RequestFailed, match=r"unencrypted|is not an admin API"):
        AdminClient(places[0].endpoint).ask_once(LAUNCH)
    assert AdminClient(insecure=True)._redirected(places[0].endpoint, "http://10.1.2.3:1/x").host == "10.1.2.3"
    with pytest.raises(RequestFailed, match="unencrypted"):
        AdminClient(insecure=True)._redirected(Endpoint("h", 1, "https"), "http://10.1.2.3:1/x")


def test_as_an_option(places: list[Place], nobody: Endpoint) -> None:
    both = f"{nobody.url},{places[1].endpoint.url}"
    assert owmesos("dashboard", "--admin", both).line.endswith("no token was found: give --admin-token-file")
    assert places[0].asked
    assert len(AdminAccess(url="a:1,https://b:2").endpoints()) == 2
    with pytest.raises(InvalidInput, match="would go to http://a:1 unencrypted"):
        AdminAccess(url="127.0.0.1:1,a:1").client()
    with pytest.raises(InvalidInput, match="'' is not an address of an admin API"):
        AdminAccess(url="a:1,").endpoints()

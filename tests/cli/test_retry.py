"""Commands that ask for something, while the framework process is killed, or is not up yet."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from owmesos.cli.client import AdminClient, MayPass, NotAllowed, RequestFailed
from owmesos.cli.connection import Endpoint
from owmesos.service.admin_tokens import ADMIN_FILE, read_token
from tests.cli.running import owmesos, owmesos_process, running
from tests.fakes.cluster import FakeCluster
from tests.waiting import eventually_async

SMALL = {"command": "sleep 60", "cpus": 0.01, "mem": 1}


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """Answers each connection with the next of `answers`: None closes it without a word."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self._answers = answers
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while self._answers:
            connection, _ = self._socket.accept()
            with connection:
                self.requests.append(connection.recv(65536))
                answer = self._answers.pop(0)
                if answer is not None:
                    connection.sendall(answer)
        self._socket.close()

    @property
    def keys(self) -> list[bytes]:
        return [line for each in self.requests for line in each.split(b"\r\n") if line.startswith(b"Idempotency-Key")]


def said(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def client(server: Server) -> AdminClient:
    return AdminClient(server.endpoint, token=lambda _: "token")


STOPS = said(
    "503 Service Unavailable", b'{"error": "the framework process is stopping: retry when it is running again"}'
)
Do = Callable[[AdminClient], Any]


class TestAnswers:
    @pytest.fixture(autouse=True)
    def _patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("owmesos.cli.client.PATIENCE", 30.0)

    @pytest.mark.parametrize(
        "do",
        [lambda client: client.launch(SMALL, 1), lambda client: client.kill({"all": True})],
        ids=["launch", "kill"],
    )
    def test_it_is_asked_again_with_its_key(self, do: Do) -> None:
        server = Server([None, STOPS, said("200 OK", b"[]")])
        assert do(client(server)) == []
        assert len(server.keys) == 3
        assert len(set(server.keys)) == 1

    def test_each_request_has_a_key_of_its_own(self) -> None:
        server = Server([said("200 OK", b"[]")] * 2)
        for _ in range(2):
            client(server).launch(SMALL, 1)
        assert len(set(server.keys)) == 2

    def test_what_is_refused_is_not_asked_again(self) -> None:
        server = Server([said("400 Bad Request", b'{"error": "no"}'), said("200 OK", b"[]")])
        with pytest.raises(Exception, match="no"):
            client(server).launch(SMALL, 1)
        assert len(server.requests) == 1

    def test_a_listing_is_not_asked_again(self) -> None:
        server = Server([None, said("200 OK", b"[]")])
        with pytest.raises(MayPass, match="broke"):
            client(server).get("nodes")
        assert len(server.requests) == 1

    def test_an_action_is_not_sent_again_for_that_may_find_itself_there(self) -> None:
        server = Server([None, said("200 OK", b"{}")])
        ran = owmesos("action", "update", "x", "--admin", f"http://127.0.0.1:{server.endpoint.port}")
        assert "broke" in ran.line
        assert len(server.requests) == 1

    def test_a_token_that_was_made_meanwhile_is_used(self) -> None:
        server = Server([said("401 Unauthorized", b'{"error": "no"}'), said("200 OK", b"[]")])
        token = iter(["old", *["new"] * 9])
        assert AdminClient(server.endpoint, token=lambda _: next(token)).launch(SMALL, 1) == []

    def test_a_token_that_stays_wrong_is_an_error_at_once(self) -> None:
        server = Server([said("401 Unauthorized", b'{"error": "no"}'), said("200 OK", b"[]")])
        with pytest.raises(NotAllowed):
            AdminClient(server.endpoint, token=lambda _: "old").launch(SMALL, 1)


class TestNobodyOfOurs:
    """A stranger who has taken the address of a framework that does not run."""

    @pytest.mark.parametrize(
        "command",
        ["launch --env PASSWORD=hunter2 --command hunter2", "invoke x --param password hunter2", "kill hunter2"],
    )
    @pytest.mark.parametrize(
        "answer", [said("401 Unauthorized", b'{"error": "no"}'), said("200 OK", b"[]"), said("200 OK", b"{}")]
    )
    def test_gets_nothing_of_a_request(self, command: str, answer: bytes) -> None:
        server = Server([answer] * 4)
        ran = owmesos(*command.split(), "--admin", f"http://127.0.0.1:{server.endpoint.port}")
        assert ran.code == 1
        assert server.requests
        assert b"hunter2" not in b"".join(server.requests)
        assert {each.partition(b"\r\n")[0] for each in server.requests} == {b"GET /api/v1/status HTTP/1.1"}

    def test_gets_nothing_of_a_request_where_no_token_is_looked_for(self) -> None:
        server = Server([said("200 OK", b"[]")])
        with pytest.raises(RequestFailed, match="is not an owmesos admin API: it answers 200 without a token"):
            AdminClient(server.endpoint).launch({"command": "hunter2"}, 1)
        assert b"hunter2" not in b"".join(server.requests)

    def test_gets_no_code(self, tmp_path: Path) -> None:
        (tmp_path / "x.py").write_text("hunter2")
        server = Server([said("200 OK", b"{}")] * 4)
        ran = owmesos(
            "action", "create", "x", str(tmp_path / "x.py"), "--admin", f"http://127.0.0.1:{server.endpoint.port}"
        )
        assert "is not an owmesos admin API" in ran.line
        assert b"hunter2" not in b"".join(server.requests)


class TestOursWithoutAToken:
    """It may answer something else than 401 before it looks for the token."""

    def test_what_it_rejects_is_said_in_its_words(self) -> None:
        server = Server([said("403 Forbidden", b'{"error": "unknown Host x: give --admin-host x"}')])
        ran = owmesos("launch", "--command", "x", "--admin", f"http://127.0.0.1:{server.endpoint.port}")
        assert ran.line == "owmesos launch: unknown Host x: give --admin-host x"

    def test_what_may_pass_is_asked_again(self) -> None:
        tokens = iter([None, None])
        server = Server([STOPS, said("200 OK", b"[]")])
        admin = AdminClient(server.endpoint, token=lambda _: next(tokens, "made meanwhile"))
        assert admin.launch(SMALL, 1) == []
        assert len(server.requests) == 2


@pytest.mark.parametrize("command", ["kill x", "launch --command x", "invoke x", "action update x"])
def test_where_nothing_answers_it_says_so_in_one_line(command: str, port: int) -> None:
    ran = owmesos(*command.split(), "--admin", f"http://127.0.0.1:{port}")
    name, _, _ = command.partition(" ")
    assert ran.line == (
        f"owmesos {name}: no framework answers at http://127.0.0.1:{port}: start one with `owmesos run` or give --admin"
        " (asked again for 0.3 s)"
    )


def test_a_wait_that_is_not_short_is_said_once(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("owmesos.cli.client.PATIENCE", 2.0)
    monkeypatch.setattr("owmesos.cli.client._SILENT", 0.2)
    ran = owmesos("launch", "--command", "x", "--admin", f"http://127.0.0.1:{port}")
    first, last = ran.err.splitlines()
    why = (
        f"owmesos launch: no framework answers at http://127.0.0.1:{port}: start one with `owmesos run` or give --admin"
    )
    assert first.startswith(f"{why}; asking again for ")
    assert last == f"{why} (asked again for 2 s)"


async def test_a_launch_waits_a_moment_for_run(fake_cluster: FakeCluster, tmp_path: Path, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    options = ("--master", fake_cluster.master.address, "--state", str(tmp_path), "--admin", f"127.0.0.1:{port}")
    launch = asyncio.create_task(
        owmesos_process("launch", "--command", "sleep 60", "--wait", "running", "-o", "json", "--admin", url)
    )
    await asyncio.sleep(1)  # it is refused meanwhile
    assert not launch.done()
    async with running(*options):
        (row,) = (await launch).json
        assert row["state"] == "RUNNING"
        assert fake_cluster.running() == [row["task_id"]]


async def test_kill_9_under_launches_loses_and_repeats_none(
    fake_cluster: FakeCluster, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owmesos.cli.client.PATIENCE", 60.0)
    options = ("--master", fake_cluster.master.address, "--state", str(tmp_path), "--admin", f"127.0.0.1:{port}")
    answered: list[str] = []
    asked = 0
    stop = False

    def ask_on() -> None:
        nonlocal asked
        client = AdminClient(Endpoint("127.0.0.1", port), token=lambda _: read_token(tmp_path / ADMIN_FILE))
        while not stop:
            asked += 1
            (row,) = client.launch(SMALL, 1)
            answered.append(row["launch_id"])

    askers: list[asyncio.Future[None]] = []
    for kill in range(4):
        async with running(*options) as process:
            if kill == 0:
                askers = [asyncio.ensure_future(asyncio.to_thread(ask_on)) for _ in range(4)]
            before = len(answered)
            await eventually_async(lambda least=before + 20: len(answered) >= least)
            await process.end(signal.SIGKILL)
    async with running(*options) as process:
        stop = True
        await asyncio.gather(*askers)
        rows = (await process.ask("launches", "-o", "json")).json
    assert len(set(answered)) == len(answered) == asked
    assert {row["launch_id"] for row in rows} == set(answered)

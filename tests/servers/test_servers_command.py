"""`scripts/kafka`, `scripts/couchdb` and `scripts/zookeeper`: which port they use, also after a crash."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import __main__ as command
from tests.servers.kafka import Kafka
from tests.servers.process import Server, free_port
from tests.servers.zookeeper import LastingZooKeeper


class Small(Server):
    name = "Small"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "http.server", str(self.port), "--bind", "127.0.0.1"]


class Scripts:
    """The command, and the servers that it has made. They are children of this process, which has to wait for them."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._made: list[Server] = []

    def make(self, folder: Path, port: int) -> Server:
        self._made.append(Small(folder, port))
        return self._made[-1]

    def run(self, *arguments: str) -> int:
        return command.main(["kafka", *arguments], self._cache)

    def crash(self) -> None:
        for each in self._made:
            if each.ended_by_itself is None:
                each.stop(force=True)


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripts]:
    scripts = Scripts(tmp_path)
    monkeypatch.setitem(command.SERVERS, "kafka", (scripts.make, free_port()))
    yield scripts
    scripts.crash()


def test_after_a_crash_it_uses_the_port_that_is_asked_for(scripts: Scripts, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = free_port(), free_port()
    assert scripts.run("up", "--port", str(first)) == 0
    scripts.crash()
    assert scripts.run("up", "--port", str(second)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Small runs at 127.0.0.1:{second}"
    scripts.crash()
    assert scripts.run("up") == 0
    assert capsys.readouterr().out == f"Small runs at 127.0.0.1:{second}\n"


def test_one_that_runs_keeps_its_port_and_says_so(scripts: Scripts, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = free_port(), free_port()
    assert scripts.run("up", "--port", str(first)) == 0
    assert scripts.run("up", "--port", str(second)) == 1
    assert capsys.readouterr().err == f"Small runs at 127.0.0.1:{first}: `scripts/kafka down` first\n"
    assert scripts.run("up", "--port", str(first)) == 0


def test_kafka_gets_its_ports_anew_and_keeps_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formatted: list[Path] = []

    def format_(self: Kafka, properties: Path) -> None:
        formatted.append(properties)
        (self.folder / "data").mkdir()
        (self.folder / "data" / "meta.properties").touch()

    monkeypatch.setattr("tests.servers.kafka.jars", lambda *_: tmp_path)
    monkeypatch.setattr(Kafka, "certify", lambda self: None)
    monkeypatch.setattr(Kafka, "_format", format_)
    for port in (1111, 2222):
        Kafka(tmp_path, port).command()
        assert f"listeners=PLAINTEXT://127.0.0.1:{port}," in (tmp_path / "server.properties").read_text()
    assert len(formatted) == 1


@pytest.mark.zookeeper
def test_the_zookeeper_of_the_command_answers_until_it_is_stopped(tmp_path: Path) -> None:
    server = LastingZooKeeper(tmp_path, free_port())
    server.start()
    try:
        assert LastingZooKeeper(tmp_path, server.port).pid is not None
    finally:
        server.stop()
    assert server.pid is None

"""`owmesos local`: serves until a signal, says where, leaves nothing, and tells in one line why it cannot."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from owmesos.cli.local import local
from owmesos.local.build import Build
from owmesos.local.proc import with_variable
from tests.fixtures.real_mesos import reserved_port
from tests.local.plain_scheduler import PlainScheduler, agents
from tests.waiting import eventually


def run(*arguments: str) -> Result:
    return CliRunner().invoke(local, arguments)


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and the line that it prints when it is ready."""
    command = [sys.executable, "-m", "owmesos", "local", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "mesos", "--agents", "-1"], "0 to 254 agents"),
        (["--engine", "mesos", "--port", "0"], "the master's port is"),
        (["--agents", "-1"], "0 to 10000 agents"),
        (["--port", "-1"], "the master's port is"),
        (["--resources", "cpus=2"], "'cpus=2' is no resource"),
    ],
)
def test_wrong_settings_are_one_line(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert result.output.count("\n") == 1


def test_without_a_compiler_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("--engine", "mesos")
    assert result.exit_code == 1
    assert result.output.startswith("owmesos local: ")
    assert result.output.count("\n") == 1


class TestSimulator:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_serves_until_a_signal_and_its_tasks_end_with_it(
        self, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with reserved_port() as port, serving("--agents", "2", "--port", str(port)) as (process, line):
            master = f"127.0.0.1:{port}"
            assert line.startswith(f"simulated Mesos master at {master} with 2 agents: ")
            assert set(agents(master)) == {"127.0.0.1", "127.0.0.2"}
            with PlainScheduler(master) as scheduler:
                scheduler.launch("t1", {"value": "exec sleep 600"})
                scheduler.states("TASK_RUNNING")
                tasks = with_variable("MESOS_FRAMEWORK_ID", scheduler.framework_id)
                assert len(tasks) == 1
            process.send_signal(number)
            assert process.wait(20) == 0
            with pytest.raises(ConnectionRefusedError):
                agents(master)
        assert with_variable("MESOS_FRAMEWORK_ID", scheduler.framework_id) == []
        assert not list(tmp_path.glob("owmesos-local-*"))

    def test_its_tasks_end_even_when_it_is_killed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with reserved_port() as port, serving("--agents", "1", "--port", str(port)) as (process, _):
            with PlainScheduler(f"127.0.0.1:{port}") as scheduler:
                scheduler.launch("t1", {"value": "exec sleep 600"})
                scheduler.states("TASK_RUNNING")
            process.kill()
            process.wait(20)
        eventually(lambda: not with_variable("MESOS_FRAMEWORK_ID", scheduler.framework_id), what="no task is left")

    def test_a_taken_port_is_one_line(self) -> None:
        with reserved_port() as port, socket.create_server(("127.0.0.1", port)):
            result = run("--port", str(port))
        assert result.exit_code == 1
        assert result.output.startswith(f"owmesos local: master cannot listen at 127.0.0.1:{port}")
        assert result.output.count("\n") == 1


@pytest.mark.real_mesos
class TestMesos:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_serves_until_a_signal(
        self, mesos_build: Build, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with (
            reserved_port() as port,
            serving("--engine", "mesos", "--agents", "2", "--port", str(port)) as (process, line),
        ):
            assert line.startswith(f"Mesos master at 127.0.0.1:{port} with 2 agents: ")
            assert set(agents(f"127.0.0.1:{port}")) == {"127.0.0.1", "127.0.0.2"}
            process.send_signal(number)
            assert process.wait(20) == 0
            with pytest.raises(ConnectionRefusedError):
                agents(f"127.0.0.1:{port}")
        assert not list(tmp_path.glob("owmesos-local-*"))

    def test_a_second_signal_does_not_hinder_the_clearing_up(
        self, mesos_build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with (
            reserved_port() as port,
            serving("--engine", "mesos", "--agents", "1", "--port", str(port)) as (process, _),
        ):
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert not list(tmp_path.glob("owmesos-local-*"))

    def test_resources_and_attributes(self, mesos_build: Build) -> None:
        options = ["--agents", "1", "--resources", "cpus:7;mem:100", "--attributes", "rack:a{n}"]
        with reserved_port() as port, serving("--engine", "mesos", "--port", str(port), *options):
            (agent,) = agents(f"127.0.0.1:{port}").values()
            assert agent["agent_info"]["attributes"][0]["text"]["value"] == "a1"
            assert {"name": "cpus", "type": "SCALAR", "scalar": {"value": 7.0}} in agent["agent_info"]["resources"]

    def test_a_taken_port_is_one_line(self, mesos_build: Build) -> None:
        with reserved_port() as port, socket.create_server(("127.0.0.1", port)):
            result = run("--engine", "mesos", "--port", str(port))
        assert result.exit_code == 1
        assert result.output.startswith(f"owmesos local: master cannot listen at 127.0.0.1:{port}")
        assert result.output.count("\n") == 1

    def test_it_ends_when_its_master_does(
        self, mesos_build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with (
            reserved_port() as port,
            serving("--engine", "mesos", "--agents", "1", "--port", str(port)) as (process, _),
        ):
            (file,) = tmp_path.glob("owmesos-local-*/master.pid")
            subprocess.run(["kill", "-9", file.read_text(encoding="ascii").split()[0]], check=True)
            assert process.wait(20) == 1
            assert process.stderr is not None
            assert "owmesos local: master has ended" in process.stderr.read()
        eventually(lambda: not list(tmp_path.glob("owmesos-local-*")), what="its folder is gone")

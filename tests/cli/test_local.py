"""`owmesos local`: serves until a signal, says where, leaves nothing, and tells in one line why it cannot."""

from __future__ import annotations

import asyncio
import base64
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from owmesos.cli.embedded import free_ports
from owmesos.cli.main import commands
from owmesos.local.build import Build
from owmesos.local.proc import with_variable
from owmesos.system.discovery import MASTER, find
from tests.cli.running import running
from tests.fixtures.real_mesos import reserved_port
from tests.local.plain_scheduler import PlainScheduler, agents
from tests.waiting import eventually


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["local", *arguments])


def ours(master: str) -> str:
    """The header by which this user is let in."""
    host, _, port = master.rpartition(":")
    pair = find(MASTER, host, int(port)) or ""
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and the line that it prints when it is ready."""
    command = [sys.executable, "-m", "owmesos", "local", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield process, line
        finally:
            process.terminate()


@contextmanager
def hangup(handler: signal.Handlers) -> Iterator[None]:
    """What processes inherit for SIGHUP that are started now: tests, too, may run under `nohup`."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How the command ended, which may take a while where the machine is busy, and what it said on stderr."""
    status = process.wait(60)
    assert process.stderr is not None
    return status, process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "mesos", "--agents", "-1"], "0 to 254 agents"),
        (["--engine", "mesos", "--port", "0"], "the master's port is"),
        (["--agents", "-1"], "0 to 10000 agents"),
        (["--port", "-1"], "the master's port is"),
        (["--resources", "cpus=2"], "'cpus=2' is not a resource"),
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
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_it_serves_until_a_signal_and_its_tasks_end_with_it(
        self, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with (
            hangup(signal.SIG_DFL),
            reserved_port() as port,
            serving("--agents", "2", "--port", str(port)) as (process, line),
        ):
            master = f"127.0.0.1:{port}"
            assert line.startswith(f"simulated Mesos master at {master} with 2 agents: ")
            assert set(agents(master, ours(master))) == {"127.0.0.1", "127.0.0.2"}
            with PlainScheduler(master, authorization=ours(master)) as scheduler:
                scheduler.launch("t1", {"value": "exec sleep 600"})
                scheduler.states("TASK_RUNNING")
                found = partial(with_variable, "MESOS_FRAMEWORK_ID", scheduler.framework_id)
                eventually(lambda: len(found()) == 1, what="the task's process is seen")
            process.send_signal(number)
            status, said = ended(process)
            assert status == 0, said
            with pytest.raises(ConnectionRefusedError):
                agents(master, ours(master))
        assert with_variable("MESOS_FRAMEWORK_ID", scheduler.framework_id) == []
        assert not list(tmp_path.glob("owmesos-local-*"))

    def test_nohup_lets_it_outlive_its_terminal(self) -> None:
        with (
            hangup(signal.SIG_IGN),
            reserved_port() as port,
            serving("--agents", "1", "--port", str(port)) as (process, _),
        ):
            process.send_signal(signal.SIGHUP)
            assert set(agents(f"127.0.0.1:{port}", ours(f"127.0.0.1:{port}"))) == {"127.0.0.1"}
            process.send_signal(signal.SIGINT)
            assert ended(process)[0] == 0

    def test_its_tasks_end_even_when_it_is_killed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with reserved_port() as port, serving("--agents", "1", "--port", str(port)) as (process, _):
            with PlainScheduler(f"127.0.0.1:{port}", authorization=ours(f"127.0.0.1:{port}")) as scheduler:
                scheduler.launch("t1", {"value": "exec sleep 600"})
                scheduler.states("TASK_RUNNING")
            process.kill()
            process.wait(60)
        eventually(lambda: not with_variable("MESOS_FRAMEWORK_ID", scheduler.framework_id), what="no task is left")

    def test_without_a_port_it_takes_one_that_nobody_uses(self) -> None:
        with socket.socket() as other:
            with suppress(OSError):  # somebody listens there already
                other.bind(("127.0.0.1", 5050))
                other.listen()
            with serving("--agents", "1") as (_, line):
                assert "master at 127.0.0.1:" in line
                assert "127.0.0.1:5050 " not in line

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
            assert set(agents(f"127.0.0.1:{port}", ours(f"127.0.0.1:{port}"))) == {"127.0.0.1", "127.0.0.2"}
            process.send_signal(number)
            status, said = ended(process)
            assert status == 0, said
            with pytest.raises(ConnectionRefusedError):
                agents(f"127.0.0.1:{port}", ours(f"127.0.0.1:{port}"))
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
            status, said = ended(process)
            assert status == 0, said
        assert not list(tmp_path.glob("owmesos-local-*"))

    def test_resources_and_attributes(self, mesos_build: Build) -> None:
        options = ["--agents", "1", "--resources", "cpus:7;mem:100", "--attributes", "rack:a{n}"]
        with reserved_port() as port, serving("--engine", "mesos", "--port", str(port), *options):
            (agent,) = agents(f"127.0.0.1:{port}", ours(f"127.0.0.1:{port}")).values()
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
            status, said = ended(process)
            assert status == 1
            assert "owmesos local: master has ended" in said
        eventually(lambda: not list(tmp_path.glob("owmesos-local-*")), what="its folder is gone")


def test_agents_of_a_running_cluster_are_killed_started_and_added() -> None:
    port = free_ports()
    with serving("--agents", "1", "--port", str(port)) as (process, line):
        master = f"127.0.0.1:{port}"
        assert master in line
        of_it = ("--port", str(port))
        killed = run("kill", "agent1", *of_it)
        assert (killed.exit_code, "agent1 was killed" in killed.output) == (0, True)
        assert f"`owmesos local start agent1 --port {port}`" in killed.output
        assert run("start", "agent1", *of_it).output.startswith("agent1 runs again; ")
        assert run("add", *of_it).output.startswith("agent2 was added; ")
        assert set(agents(master, ours(master))) == {"127.0.0.1", "127.0.0.2"}
        for words, says in (
            (("kill", "agent7"), "'agent7' is not an agent: use one of agent1, agent2\n"),
            (("start", "master"), "'master' is not an agent: use one of agent1, agent2\n"),
            (("kill", "master"), "'master' is not an agent: use one of agent1, agent2\n"),
            (("start", "agent1"), "agent1"),
        ):
            result = run(*words, *of_it)
            assert result.exit_code == 1
            assert says in result.output
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, f"agent1 at 127.0.0.1:{port + 1} has ended; the others continue\n")


@pytest.mark.parametrize(
    ("agents", "says"),
    [(0, "there are none"), (12, f"use one of {', '.join(f'agent{number}' for number in range(1, 11))}, ...")],
)
def test_of_many_agents_the_first_are_named(agents: int, says: str) -> None:
    port = free_ports()
    with serving("--agents", str(agents), "--port", str(port)):
        assert run("kill", "agent99", "--port", str(port)).output.endswith(f"'agent99' is not an agent: {says}\n")


async def test_agents_of_the_cluster_of_a_framework_are_killed_and_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))

    def asked(*words: str) -> str:
        return run(*words).output

    async with running("--master", "local") as process:
        killed = await asyncio.to_thread(asked, "kill", "agent2")
        assert killed.startswith("agent2 was killed; ")
        assert (await asyncio.to_thread(asked, "start", "agent2")).startswith("agent2 runs again; ")
        assert (await process.ask("status")).code == 0
        port = free_ports()
        with serving("--agents", "1", "--port", str(port)):
            several = await asyncio.to_thread(asked, "kill", "agent1")
            assert "several clusters run: give --port " in several
            assert str(port) in several
    assert "no cluster of yours runs: start one with `owmesos local`" in asked("kill", "agent1")


def test_which_agent_must_be_said_and_a_cluster_must_run() -> None:
    assert "kill needs an AGENT" in run("kill").output
    assert "add takes no AGENT" in run("add", "agent1").output
    port = free_ports()
    result = run("kill", "agent1", "--port", str(port))
    assert (result.exit_code, f"no cluster of yours runs with its master at 127.0.0.1:{port}" in result.output) == (
        1,
        True,
    )

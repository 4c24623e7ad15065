"""`scripts/real-mesos`, as tests of any kind call it: a cluster that outlives the command, until `down`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from owmesos.local.build import Build
from tests.fixtures.real_mesos import reserved_port
from tests.local.plain_scheduler import PlainScheduler, agents

pytestmark = pytest.mark.real_mesos
ROOT = Path(__file__).parents[2]


class Script:
    def __init__(self, state: Path, port: int) -> None:
        self.master = f"127.0.0.1:{port}"
        own = {"REAL_MESOS_STATE": str(state), "REAL_MESOS_PORT": str(port), "OWMESOS_PYTHON": sys.executable}
        self._environment = os.environ | own

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "scripts/real-mesos"), *arguments]
        return subprocess.run(command, env=self._environment, check=False, capture_output=True, text=True, timeout=100)


@pytest.fixture
def script(mesos_build: Build, tmp_path: Path) -> Iterator[Script]:
    with reserved_port() as port:
        script = Script(tmp_path / "state", port)
        yield script
        script("down")


def test_a_cluster_outlives_the_command(script: Script) -> None:
    assert script("up", "--agents", "2", "--master-flag", "offer_timeout=5secs").stdout == f"{script.master}\n"
    assert set(agents(script.master)) == {"127.0.0.1", "127.0.0.2"}
    status = script("status")
    assert status.returncode == 0
    assert [line.split()[0] for line in status.stdout.splitlines()] == ["master", "agent1", "agent2"]


def test_kill_and_start(script: Script) -> None:
    assert script("up", "--agents", "1").returncode == 0
    assert script("kill", "agent1").returncode == 0
    status = script("status")
    assert status.returncode == 1
    assert status.stdout.splitlines()[1].endswith(" down")
    assert script("start", "agent1").returncode == 0
    assert script("status").returncode == 0


def test_up_starts_what_is_down(script: Script) -> None:
    assert script("up", "--agents", "1").returncode == 0
    before = script("status").stdout
    assert script("kill", "agent1").returncode == 0
    assert script("up", "--agents", "1").returncode == 0
    after = script("status").stdout
    assert after.splitlines()[0] == before.splitlines()[0]
    assert "down" not in after


def test_down_ends_daemons_and_tasks(script: Script) -> None:
    assert script("up", "--agents", "1").returncode == 0
    with PlainScheduler(script.master) as scheduler:
        scheduler.launch("t1", {"value": "sleep 1000"})
        scheduler.states("TASK_RUNNING")
    assert script("down").returncode == 0
    assert script("status").stdout.count("down") == 2
    with pytest.raises(ConnectionRefusedError):
        agents(script.master)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status"], 1, "no cluster was brought up in"),
        (["kill", "agent1"], 1, "begin with `up`"),
        (["turn"], 2, "invalid choice"),
        (["up", "--agents", "999"], 2, "0 to 254 agents"),
        (["up", "--master-flag", "x"], 2, "a flag is NAME=VALUE"),
    ],
)
def test_wrong_use_is_told(script: Script, arguments: list[str], code: int, words: str) -> None:
    done = script(*arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr

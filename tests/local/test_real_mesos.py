"""`scripts/real-mesos`, as tests of any kind call it: a cluster that outlives the command, until `down`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from owmesos.errors import OwmesosError
from owmesos.local.build import Build
from owmesos.system.task_ports import HeldPorts
from tests.fixtures.real_mesos import reserved_port
from tests.local.plain_scheduler import PlainScheduler, agents
from tests.waiting import eventually

pytestmark = pytest.mark.real_mesos
ROOT = Path(__file__).parents[2]


class Script:
    def __init__(self, state: Path, port: int) -> None:
        self.state = state
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


def test_the_ports_of_its_tasks_are_its_own_as_long_as_its_master_runs(script: Script) -> None:
    script("up", "--agents", "1")
    blocks, _ = json.loads((script.state / "task-ports.json").read_bytes())
    with pytest.raises(OwmesosError, match="another cluster"):
        HeldPorts(blocks)
    script("kill", "master")
    HeldPorts(blocks).close()
    script("start", "master")
    with pytest.raises(OwmesosError, match="another cluster"):
        HeldPorts(blocks)
    script("up", "--agents", "1")
    script("down")
    HeldPorts(blocks).close()


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


def test_each_agent_may_be_given_its_own_resources_and_attributes(script: Script) -> None:
    each = ["--resources", "cpus:1;mem:256", "--resources", "cpus:3;mem:512", "--attributes", "rack:r7"]
    assert script("up", "--agents", "2", *each).returncode == 0
    known = agents(script.master)
    infos = [known[f"127.0.0.{n}"]["agent_info"] for n in (1, 2)]
    cpus = [part["scalar"]["value"] for info in infos for part in info["resources"] if part["name"] == "cpus"]
    assert cpus == [1, 3]
    assert [info["attributes"][0]["text"]["value"] for info in infos] == ["r7", "r7"]


def test_an_agent_that_starts_fresh_comes_as_a_new_one(script: Script) -> None:
    assert script("up", "--agents", "1").returncode == 0
    (before,) = agents(script.master).values()
    assert "`kill` it first" in script("start", "agent1", "--fresh").stderr
    assert script("kill", "agent1").returncode == 0
    assert script("start", "agent1", "--fresh").returncode == 0

    def is_new() -> bool:
        known = agents(script.master).values()
        return [each["agent_info"]["id"] for each in known] not in ([], [before["agent_info"]["id"]])

    eventually(is_new)


def test_a_fresh_cluster_may_be_of_another_shape(script: Script) -> None:
    assert script("up", "--agents", "1").returncode == 0
    assert "`down` first" in script("up", "--fresh", "--agents", "1", "--resources", "cpus:1;mem:99").stderr
    assert script("down").returncode == 0
    assert script("up", "--fresh", "--agents", "1", "--resources", "cpus:1;mem:99").returncode == 0
    assert len(agents(script.master)) == 1


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

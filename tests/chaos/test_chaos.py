"""`python -m chaos` as its users run it: a short attack on Apache Mesos, and a shorter one on the simulator."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from owmesos.local.build import Build
from tests.servers.zookeeper import ZooKeeper

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 900.0  # seconds: more than all that the attack itself waits for, after which it says what it missed


def attacked(tmp_path: Path, *options: str) -> dict[str, Any]:
    """The result, of a run that found nothing wrong."""
    result = tmp_path / "result.json"
    ran = subprocess.run(
        [sys.executable, "-m", "chaos", "--json", str(result), *options],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
    return json.loads(result.read_text())  # type: ignore[no-any-return]


@pytest.mark.real_mesos
@pytest.mark.timeout(PATIENCE + 30)
def test_twenty_kills_on_apache_mesos(mesos_build: Build, tmp_path: Path) -> None:
    result = attacked(tmp_path, "--kills", "20", "--seed", "3")
    assert result["kills"] == 20
    assert result["launches"]["ran"] >= 20
    assert result["activations"]["ran"] >= 20
    assert [each.name for each in tmp_path.iterdir()] == ["result.json"]  # no logs are left, for nothing was wrong


@pytest.mark.cluster
@pytest.mark.timeout(PATIENCE + 30)
def test_a_few_kills_on_the_simulator(tmp_path: Path) -> None:
    result = attacked(tmp_path, "--kills", "6", "--seed", "1", "--engine", "simulator", "--no-standalone")
    assert result["kills"] == 6
    assert result["launches"]["ran"] >= 5


@pytest.mark.zookeeper
@pytest.mark.timeout(PATIENCE + 30)
def test_a_few_kills_of_a_leader_and_its_standby(zookeeper: ZooKeeper, tmp_path: Path) -> None:
    options = ("--engine", "simulator", "--standby", "--zookeeper", zookeeper.address)
    result = attacked(tmp_path, "--kills", "6", "--seed", "13", *options)
    assert result["kills"] == 6
    assert result["launches"]["ran"] >= 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--kills", "0"), "0 is not in the range x>=1"),
        (("--standby",), "--standby needs --zookeeper HOST:PORT; scripts/zookeeper up starts one"),
        (("--zookeeper", "127.0.0.1:1"), "nothing answers at 127.0.0.1:1: start a ZooKeeper, as scripts/zookeeper up"),
        (("--zookeeper", "zk://127.0.0.1:1/"), "nothing answers at 127.0.0.1:1: "),
        (("--zookeeper", "a..b:1"), "a..b"),
    ],
)
def test_a_wrong_option_is_one_line(options: tuple[str, ...], says: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "chaos", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert says in ran.stderr

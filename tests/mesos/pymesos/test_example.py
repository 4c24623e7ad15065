"""examples/pymesos_framework.py on Apache Mesos: as it stands, and on pymesos with its one import changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.real_mesos import ClusterFactory
from tests.mesos.pymesos.conftest import PYMESOS_MISSING

EXAMPLE = Path(__file__).parents[3] / "examples" / "pymesos_framework.py"
OURS = "from owmesos.compat.pymesos import MesosSchedulerDriver, Scheduler\n"
PYMESOS = "from pymesos import MesosSchedulerDriver, Scheduler\n"


@pytest.mark.real_mesos
@pytest.mark.parametrize("imported", [OURS, PYMESOS], ids=["owmesos", "pymesos"])
def test_it_runs_unchanged_but_for_one_import(mesos_cluster: ClusterFactory, tmp_path: Path, imported: str) -> None:
    pytest.importorskip("pymesos", reason=PYMESOS_MISSING)
    program = EXAMPLE.read_text()
    assert program.count(OURS) == 1
    copy = tmp_path / "framework.py"
    copy.write_text(program.replace(OURS, imported))
    cluster = mesos_cluster(agents=2)
    done = subprocess.run(
        [sys.executable, str(copy), cluster.master, "--tasks", "5"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("registered as ")
    assert any(line.endswith("is TASK_RUNNING as the master says") for line in said)
    assert said[-1] == "4 finished, 1 killed"
    assert "Traceback" not in done.stderr


def test_the_example_says_how_to_run_it_on_pymesos() -> None:
    assert PYMESOS.strip() in EXAMPLE.read_text()

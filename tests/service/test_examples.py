"""The examples, as processes: on a cluster of their own they end in order by a signal and by the framework's end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from owmesos.simulator.cluster import SimulatedCluster
from tests.waiting import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, *arguments: str, out: Path) -> subprocess.Popen[bytes]:
    with out.open("wb") as file:
        return subprocess.Popen([sys.executable, EXAMPLES / name, *arguments], stdout=file, stderr=file)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("name", ["batch.py", "service.py"])
def test_a_signal_ends_it_without_a_traceback(name: str, number: int, code: int, tmp_path: Path) -> None:
    commands, out = tmp_path / "commands", tmp_path / "out"
    commands.write_text("echo begun; sleep 300\ntrue\n")
    process = example(name, "local", *([str(commands)] if name == "batch.py" else []), out=out)
    eventually(lambda: ("FINISHED" if name == "batch.py" else "serves at") in out.read_text())
    process.send_signal(number)
    assert process.wait(30) == code
    assert "Traceback" not in out.read_text()


def test_a_file_that_cannot_be_read_is_an_error_of_usage(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert example("batch.py", "local", str(tmp_path / "none"), out=out).wait(30) == 2
    assert "Traceback" not in out.read_text()
    assert "none cannot be read: " in out.read_text()


@pytest.mark.parametrize("name", ["batch.py", "service.py"])
def test_it_ends_with_the_reason_when_the_framework_does(
    name: str, simulator: SimulatedCluster, tmp_path: Path
) -> None:
    commands, out = tmp_path / "commands", tmp_path / "out"
    commands.write_text("sleep 300\n")
    process = example(name, simulator.master, *([str(commands)] if name == "batch.py" else []), out=out)

    def ids() -> list[str]:
        master = simulator.world.master
        return list(master.books.frameworks) if master is not None else []

    (framework_id,) = eventually(lambda: simulator.enter(ids))
    simulator.enter(
        lambda: simulator.world.operate("TEARDOWN", {"teardown": {"framework_id": {"value": framework_id}}})
    )
    assert process.wait(30) == 1
    assert "Traceback" not in out.read_text()
    assert "the framework has stopped: " in out.read_text()

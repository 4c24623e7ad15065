"""Nothing that `owmesos run` or `owmesos local` writes can be read by another user, under any umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from owmesos.simulator.cluster import SimulatedCluster
from tests.cli.running import running
from tests.fixtures.real_mesos import ClusterFactory
from tests.fixtures.task_ports import TaskPorts
from tests.local.plain_scheduler import PlainScheduler

ACTION = "def main(args):\n    return {'secret': args['password']}\n"


@pytest.fixture(autouse=True)
def _a_careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def exposed(folder: Path) -> list[str]:
    """What in `folder` others may read, write or enter."""
    found = [folder, *folder.rglob("*")]
    return [str(path) for path in found if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077]


def content(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_the_state_of_a_standalone_invoker(task_ports: TaskPorts, tmp_path: Path) -> None:
    """In a folder that somebody made before, with files of an earlier start."""
    state = tmp_path / "state"
    state.mkdir(mode=0o777)
    for name in ("owmesos.sqlite", "openwhisk.sqlite", "admin.token"):
        (state / name).touch(0o666)
    (tmp_path / "hello.py").write_text(ACTION)
    with SimulatedCluster(tmp_path / "cluster", agents=1, resources=task_ports.resources(1)) as cluster:
        async with running("--standalone", "--master", cluster.master, "--state", str(state)) as process:
            create = ("action", "create", "hello", str(tmp_path / "hello.py"))
            made = await process.ask(*create, "--param", "password", "hunter2")
            assert made.code == 0, made.err
            ran = await process.ask("invoke", "hello", "--result")
            assert "hunter2" in ran.out, ran.err
            names = content(state)
            assert {"owmesos.sqlite-wal", "openwhisk.sqlite-wal", "lock", "admin.token", "admin-read.token"} <= names
            assert exposed(state) == []
            assert exposed(tmp_path / "cluster") == []
            assert (await process.end()).code == 0
    assert exposed(state) == []


@pytest.mark.real_mesos
def test_a_cluster_of_real_mesos(mesos_cluster: ClusterFactory, tmp_path: Path) -> None:
    cluster = mesos_cluster(agents=1)
    with PlainScheduler(cluster.master) as scheduler:
        scheduler.launch("t1", {"value": "echo secret; exec sleep 600"})
        scheduler.states("TASK_RUNNING")
        assert {"master", "agent1", "master.log", "agent1.pid", "owner"} <= content(cluster.state)
        assert list(cluster.state.rglob("stdout"))
        assert [path for path in exposed(cluster.state) if Path(path).is_file()] == []
        # Mesos sets the modes of some folders itself; they are within one that is private.
        assert [path for path in cluster.state.iterdir() if str(path) in exposed(cluster.state)] == []

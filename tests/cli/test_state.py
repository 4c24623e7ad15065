"""`owmesos state`, and `run` with its state in ZooKeeper."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.storage import SaveFramework, SaveLaunch, SQLiteStore
from owmesos.storage.zookeeper import ZooKeeperStore
from tests.cli.running import SLEEP, Ran, owmesos, owmesos_process, running
from tests.fakes.cluster import FakeCluster
from tests.fakes.master import FRAMEWORK_ID
from tests.servers.zookeeper import ZooKeeper
from tests.storage.records import a_record, save
from tests.waiting import eventually_async

_numbers = count()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = SQLiteStore(tmp_path / "state")
    store.commit([SaveFramework("framework-1"), save(a_record())])
    store.close()
    return tmp_path / "state"


def with_state(command: str, state: object, *more: str) -> Ran:
    return owmesos("state", command, "--state", str(state), *more)


def test_export_and_import(folder: Path, tmp_path: Path) -> None:
    """By stdout, and by a file that only its owner may read."""
    lines = with_state("export", folder).out.splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["state", "framework", "launch", "end"]
    file = tmp_path / "new" / "export"
    before = os.umask(0)
    try:
        assert with_state("export", folder, str(file)) == Ran(0, "", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().splitlines()[1:] == lines[1:]
    ran = with_state("import", tmp_path / "other", str(file))
    assert ran.out == f"imported framework-1, 1 launches into {tmp_path / 'other'}\n"
    again = with_state("import", tmp_path / "other", str(file))
    assert again.code == 2
    assert "already: export it, then remove it or name another place" in again.line


def test_an_export_leaves_the_folder_as_it_is(folder: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    for mode in (0o755, 0o1777, 0o755):  # empty, as /tmp, and with the file that is exported again
        shared.chmod(mode)
        assert with_state("export", folder, str(shared / "export")) == Ran(0, "", "")
        assert stat.S_IMODE(shared.stat().st_mode) == mode
        assert stat.S_IMODE((shared / "export").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_an_export_replaces_regular_files_only(folder: Path, tmp_path: Path, kind: str) -> None:
    """As root it would replace /dev/stdout, by which others write."""
    file = tmp_path / "file"
    if kind == "link":
        file.symlink_to("/proc/self/fd/1")
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    ran = with_state("export", folder, str(file))
    assert ran.code == 2
    assert ran.line.endswith(f"{file} is not a regular file: give another, or none to write to stdout")
    assert not file.is_file() or file.is_symlink()


def test_check(folder: Path) -> None:
    ran = with_state("check", folder)
    assert ran.code == 0
    assert "framework-1, 1 launches, 0 answers" in " ".join(ran.out.split())
    with closing(SQLiteStore(folder)) as store:
        store.commit([SaveLaunch("launch-2", b"{}")])
        ran = with_state("check", folder, "-o", "json")
    assert ran.code == 1
    assert [(row["check"], row["state"]) for row in ran.document] == [("state", "ok"), ("launch", "fail")]
    assert "launch-2: Object missing required field" in ran.document[1]["message"]


def test_check_of_what_cannot_be_read_at_all(folder: Path, tmp_path: Path) -> None:
    assert with_state("check", tmp_path / "nothing").line.endswith(f"there is no state in {tmp_path / 'nothing'}")
    with closing(sqlite3.connect(folder / "owmesos.sqlite")) as database, database:
        database.execute("PRAGMA user_version = 99")
    ran = with_state("check", folder, "-o", "json")
    assert ran.code == 1
    assert "written by a later owmesos" in ran.document[0]["message"]


@pytest.mark.parametrize("command", ["export", "import", "check"])
def test_settings_are_those_of_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text('state = "from-the-file"\n[run]\nbuffer-mem = 1\n')
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    file = ("empty",) if command == "import" else ()
    found = {owmesos("state", command, "--config", str(config), *file).err}
    monkeypatch.setenv("OWMESOS_STATE", "zk://me:secret@h:1")
    found.add(owmesos("state", command, *file).err)
    shown = " ".join(found)
    assert "lacks the path in ZooKeeper" in shown
    assert "secret" not in shown
    if command != "import":  # it reads the file first
        assert "there is no state in from-the-file" in shown


# -- in ZooKeeper


@pytest.fixture
def address(zookeeper: ZooKeeper) -> Iterator[ZooKeeperPath]:
    return ZooKeeperPath(zookeeper.address, f"/frameworks/{next(_numbers)}")


def options(cluster: FakeCluster, address: ZooKeeperPath, tmp_path: Path) -> tuple[str, ...]:
    return (
        *("--master", cluster.master.address, "--state", str(address)),
        *("--local-folder", str(tmp_path / "local"), "--connect-timeout", "60"),
    )


@pytest.mark.parametrize("server", [pytest.param("zookeeper", marks=pytest.mark.zookeeper), "fake_zookeeper"])
async def test_a_kill_9_loses_and_repeats_nothing(
    server: str, request: pytest.FixtureRequest, fake_cluster: FakeCluster, tmp_path: Path
) -> None:
    """As with a folder: the fake cluster fails the test when a task id is launched twice.

    The fake ZooKeeper is for the Pythons on which no test has a real one.
    """
    address = ZooKeeperPath(request.getfixturevalue(server).address, f"/frameworks/{next(_numbers)}")
    asked: list[str] = []
    for _ in range(2):
        async with running(*options(fake_cluster, address, tmp_path)) as process:
            for _ in range(2):
                rows = (await process.ask(*SLEEP, "--retry", "lost", "--count", "3", "-o", "json")).json
                asked += [row["launch_id"] for row in rows]
            await process.end(signal.SIGKILL)
    async with running(*options(fake_cluster, address, tmp_path)) as process:
        await eventually_async(lambda: len(fake_cluster.running()) == len(asked))
        rows = (await process.ask("launches", "-o", "json")).json
        assert {row["launch_id"] for row in rows} == set(asked)
        (found,) = (await owmesos_process("state", "check", "--state", str(address), "-o", "json")).json
        assert f"framework {FRAMEWORK_ID}, {len(asked)} launches" in found["message"]
        assert "process" in found["message"]
        assert (await process.end(signal.SIGTERM)).code == 0
    assert sorted(task_id.rpartition(".")[0] for task_id in fake_cluster.tasks) == sorted(asked)
    assert {file.name for file in (tmp_path / "local").iterdir()} == {"lock", "admin.token", "admin-read.token"}


@pytest.mark.zookeeper
async def test_launches_go_on_while_zookeeper_is_away(
    fake_cluster: FakeCluster, address: ZooKeeperPath, zookeeper: ZooKeeper, tmp_path: Path
) -> None:
    async with running(*options(fake_cluster, address, tmp_path)) as process:
        await process.ask(*SLEEP, "--wait", "running")
        zookeeper.stop()
        await process.said("the connection to ZooKeeper at")
        assert len((await process.ask("launches", "-o", "json")).json) == 1
        zookeeper.start()
        await process.said(r"the connection to ZooKeeper at \S+ is back, after \d+ s")
        assert (await process.ask(*SLEEP, "--wait", "running")).code == 0
        assert len(fake_cluster.running()) == 2
        assert (await process.end(signal.SIGTERM)).code == 0


@pytest.mark.zookeeper
async def test_who_lost_the_state_ends(fake_cluster: FakeCluster, address: ZooKeeperPath, tmp_path: Path) -> None:
    """Frozen until another process has the state; then it may do nothing more."""
    async with running(*options(fake_cluster, address, tmp_path)) as process:
        await process.ask(*SLEEP, "--wait", "running")
        process.process.send_signal(signal.SIGSTOP)
        store = ZooKeeperStore(address, wait=60.0)
        process.process.send_signal(signal.SIGCONT)
        ended = await process.ended()
        assert ended.code == 1
        assert f"the state in {address}" in ended.err.splitlines()[-1]
        assert len(store.load().records) == 1
        store.close()


@pytest.mark.zookeeper
def test_doctor_names_who_uses_it(address: ZooKeeperPath, tmp_path: Path) -> None:
    given = ("doctor", "--master", "127.0.0.1:1", "--state", str(address), "--local-folder", str(tmp_path / "local"))
    ran = owmesos(*given, "-o", "json")
    assert f"{address} has no state yet" in [row["message"] for row in ran.document]
    with closing(ZooKeeperStore(address)):
        ran = owmesos(*given, "-o", "json")
    (found,) = (row for row in ran.document if str(address) in row["message"] and row["check"] == "state")
    assert f"process {os.getpid()} on" in found["message"]

"""State in a folder: what was committed is there, whatever happened to the process."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from owmesos.core.launch import Launch
from owmesos.core.launches import LaunchRecord
from owmesos.errors import InvalidInput
from owmesos.storage import (
    ForgetFramework,
    ForgetLaunch,
    MemoryStore,
    SaveFramework,
    SaveLaunch,
    SQLiteStore,
    StateDamaged,
    StateInUse,
    StateTooNew,
    Store,
    StoreFailed,
)
from owmesos.storage.sqlite import FILE
from tests.storage.records import a_record

ROOT = Path(__file__).parent.parent.parent


def save(record: LaunchRecord) -> SaveLaunch:
    return SaveLaunch(record.id, record.stored_form())


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    keeper: Store = SQLiteStore(tmp_path) if request.param == "sqlite" else MemoryStore()
    yield keeper
    keeper.close()


# -- what is kept


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.load() == (None, [])


def test_a_record_comes_back_whole(store: Store) -> None:
    record = a_record()
    store.commit([SaveFramework("framework-1"), save(record)])
    assert store.load() == ("framework-1", [record])


def test_the_last_write_of_a_launch_counts(store: Store) -> None:
    record = a_record()
    store.commit([save(record)])
    record.message = "later"
    store.commit([save(record)])
    assert store.load().records[0].message == "later"


def test_records_come_in_the_order_of_their_places(store: Store) -> None:
    store.commit([save(a_record("z", place=1)), save(a_record("a", place=2)), save(a_record("m", place=0))])
    assert [record.id for record in store.load().records] == ["m", "z", "a"]


def test_a_launch_is_forgotten(store: Store) -> None:
    store.commit([save(a_record("one")), save(a_record("two", place=1))])
    store.commit([ForgetLaunch("one"), ForgetLaunch("never there")])
    assert [record.id for record in store.load().records] == ["two"]


def test_a_framework_is_forgotten_with_its_launches(store: Store) -> None:
    store.commit([SaveFramework("framework-1"), save(a_record())])
    store.commit([ForgetFramework()])
    assert store.load() == (None, [])


def test_an_edit_of_the_task_is_stored_by_its_effect(store: Store) -> None:
    record = a_record()
    record.launch = Launch(command="true", task_info=lambda info: info)
    store.commit([save(record)])
    assert store.load().records[0].launch == Launch(command="true")


def test_it_may_be_used_by_another_thread(store: Store) -> None:
    thread = threading.Thread(target=store.commit, args=([SaveFramework("framework-1")],))
    thread.start()
    thread.join()
    assert store.load().framework_id == "framework-1"


# -- the process ends


def test_what_was_committed_outlives_the_store(tmp_path: Path) -> None:
    first = SQLiteStore(tmp_path)
    first.commit([SaveFramework("framework-1"), save(a_record())])
    first.close()
    second = SQLiteStore(tmp_path)
    assert second.load() == ("framework-1", [a_record()])
    second.close()


def test_a_commit_is_whole_or_not_there_after_a_kill(tmp_path: Path) -> None:
    """kill -9 in the middle of commits: all that was said to be committed is there, and nothing by half."""
    for _ in range(3):
        command = [sys.executable, "-m", "tests.storage.committer", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(20)]
            process.kill()
            said += [int(line) for line in process.stdout if line.endswith("\n")]
        store = SQLiteStore(tmp_path)
        saved = store.load()
        store.commit([ForgetFramework()])
        store.close()
        there = {record.id for record in saved.records}
        assert saved.framework_id == "framework-1"
        assert there >= {f"launch-{number}{half}" for number in said for half in "ab"}
        assert {name[:-1] + half for name in there for half in "ab"} == there


def test_a_failed_commit_changes_nothing(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    store.commit([SaveFramework("framework-1")])
    with pytest.raises(StoreFailed):
        store.commit([ForgetFramework(), SaveLaunch("launch-1", None)])  # type: ignore[arg-type]
    store.commit([save(a_record())])
    assert store.load() == ("framework-1", [a_record()])
    store.close()


def test_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


# -- who may use it


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    with pytest.raises(StateInUse, match=rf"^the state in {tmp_path} is owned by process {os.getpid()}: .+$"):
        SQLiteStore(tmp_path)
    store.close()
    SQLiteStore(tmp_path).close()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreFailed, match="closed"):
        store.load()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    store = SQLiteStore(folder)
    store.commit([SaveFramework("framework-1")])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 4  # database, log, its index, lock
    store.close()


def test_to_begin_anew_is_to_forget_all(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    store.commit([SaveFramework("framework-1"), save(a_record())])
    store.close()
    anew = SQLiteStore(tmp_path, forget=True)
    assert anew.load() == (None, [])
    anew.close()


# -- what cannot be used: one line that names the file


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput, match="is no folder"):
            SQLiteStore(path)


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(StoreFailed, match="cannot be made"):
        SQLiteStore(Path("/proc/owmesos"))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all\n" * 1000)
    assert_damaged(tmp_path)


def test_a_database_with_a_damaged_page(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    store.commit([save(a_record(f"launch-{number}", place=number)) for number in range(50)])
    store.close()
    file = tmp_path / FILE
    data = bytearray(file.read_bytes())
    data[4096 * 2 : 4096 * 4] = b"\xff" * 4096 * 2
    file.write_bytes(data)
    assert_damaged(tmp_path)


def test_a_record_that_is_none(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    store.commit([SaveLaunch("launch-1", b'{"id": 1}')])
    with pytest.raises(StateDamaged, match=rf"launch-1 in {tmp_path / FILE} cannot be read"):
        store.load()
    store.close()


def test_the_state_of_a_later_version(tmp_path: Path) -> None:
    SQLiteStore(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateTooNew, match=r"^the state in .+ was written by a later owmesos \(form 99.+$"):
        SQLiteStore(tmp_path)


def assert_damaged(folder: Path) -> None:
    with pytest.raises(StateDamaged, match=rf"^the state in {folder / FILE} is damaged .+$"):
        SQLiteStore(folder)
    # It was let go: the next one hears the same, and not that it is in use.
    with pytest.raises(StateDamaged):
        SQLiteStore(folder)

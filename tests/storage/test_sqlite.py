"""State in a folder: what was committed is there, whatever happened to the process."""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path
from typing import ClassVar

import pytest

from owmesos.errors import InvalidInput
from owmesos.storage import (
    Answer,
    ForgetFramework,
    SaveFramework,
    SaveLaunch,
    SQLiteStore,
    StateDamaged,
    StateInUse,
    StateTooNew,
    StoreFailed,
    sent_mark,
)
from owmesos.storage.sqlite import FILE
from tests.storage.records import a_record, save
from tests.waiting import eventually

ROOT = Path(__file__).parent.parent.parent


# -- the process ends


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


def test_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


# -- who may use it


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    with pytest.raises(StateInUse, match=rf"^process {os.getpid()} uses the state in {tmp_path}: .+$"):
        SQLiteStore(tmp_path)
    store.close()
    SQLiteStore(tmp_path).close()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    store = SQLiteStore(folder)
    store.commit([SaveFramework("framework-1")])
    store.load()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 5  # database, log, its index, lock, which ACCEPTs were sent
    store.close()


def test_to_begin_anew_is_to_forget_all(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    store.commit([SaveFramework("framework-1"), save(a_record())])
    store.close()
    anew = SQLiteStore(tmp_path, forget=True)
    assert anew.load()[:3] == (None, [], [])
    anew.close()


# -- what cannot be used: one line that names the file


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput, match="is not a folder"):
            SQLiteStore(path)


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(StoreFailed, match="cannot be created"):
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


@pytest.mark.parametrize("value", ["12", "NULL", "x'ff00'", "CAST(x'7bff' AS TEXT)", "'{}'", "1e400", "10000000000000"])
def test_whatever_sqlite_holds_in_a_row_only_that_row_is_set_aside(tmp_path: Path, value: str) -> None:
    store = SQLiteStore(tmp_path)
    store._db.execute("DROP TABLE launches")
    store._db.execute("CREATE TABLE launches (launch_id TEXT PRIMARY KEY, record BLOB)")
    store.commit([SaveLaunch("launch-1", a_record().stored_form())])
    store._db.execute(f"INSERT INTO launches VALUES ('launch-2', {value})")
    store._db.execute(f"INSERT INTO launches VALUES ({value}, x'7b7d')")
    saved = store.load()
    assert saved.records == [a_record()]
    assert len(saved.unreadable) == 2
    store.close()


@pytest.mark.parametrize("value", ["12", "x'ff'", "''"])
def test_a_framework_id_that_is_no_text(tmp_path: Path, value: str) -> None:
    store = SQLiteStore(tmp_path)
    store._db.execute("DROP TABLE framework")
    store._db.execute("CREATE TABLE framework (only INTEGER PRIMARY KEY, framework_id)")
    store._db.execute(f"INSERT INTO framework VALUES (1, {value})")
    with pytest.raises(StateDamaged, match="the framework id is"):
        store.load()
    store.close()


def test_the_state_of_a_later_version(tmp_path: Path) -> None:
    SQLiteStore(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateTooNew, match=r"^the state in .+ was written by a later owmesos \(format 99.+$"):
        SQLiteStore(tmp_path)


EARLIER = (
    "CREATE TABLE framework (only INTEGER PRIMARY KEY CHECK (only = 1), framework_id TEXT NOT NULL)",
    "CREATE TABLE launches (launch_id TEXT PRIMARY KEY, record BLOB NOT NULL)",
    "INSERT INTO framework VALUES (1, 'framework-1')",
    "PRAGMA user_version = 1",
)
"""Format 1, of which the first versions had no answers."""


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        for statement in EARLIER:
            database.execute(statement)
        database.execute("INSERT INTO launches VALUES (?, ?)", save(a_record()))
    return tmp_path


def test_an_earlier_format_is_migrated_once_with_a_copy(earlier: Path) -> None:
    store = SQLiteStore(earlier)
    assert store.load()[:3] == ("framework-1", [a_record()], [])
    assert store.answers() == []
    store.commit([SaveFramework("framework-2"), Answer("key", b"digest", 1.0, b"body")])
    store.close()
    store = SQLiteStore(earlier)
    assert store.load().framework_id == "framework-2"
    store.close()
    copies = [file for file in earlier.iterdir() if "format" in file.name]
    assert [file.name for file in copies] == ["owmesos.format-1.sqlite"]
    assert stat.S_IMODE(copies[0].stat().st_mode) == 0o600
    with closing(sqlite3.connect(copies[0])) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)
        assert copy.execute("SELECT framework_id FROM framework").fetchone() == ("framework-1",)
        assert copy.execute("SELECT launch_id FROM launches").fetchall() == [("launch-1",)]


def test_a_copy_that_cannot_be_made_leaves_the_state_as_it_is(earlier: Path) -> None:
    (earlier / "owmesos.format-1.unfinished").mkdir()
    with pytest.raises(StoreFailed, match="cannot be used"):
        SQLiteStore(earlier)
    with closing(sqlite3.connect(earlier / FILE)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
    (earlier / "owmesos.format-1.unfinished").rmdir()
    SQLiteStore(earlier).close()


def assert_damaged(folder: Path) -> None:
    with pytest.raises(StateDamaged, match=rf"^the state in {folder / FILE} is damaged .+$"):
        SQLiteStore(folder)
    # It was let go: the next one hears the same, and not that it is in use.
    with pytest.raises(StateDamaged):
        SQLiteStore(folder)


def test_what_is_there_already_becomes_private(tmp_path: Path) -> None:
    """A folder that somebody else made, and files of an earlier version, SQLite's own too, under a careless umask."""
    folder = tmp_path / "state"
    SQLiteStore(folder).close()
    leftovers = ["owmesos.sqlite", "lock", "openwhisk.sqlite", "openwhisk.sqlite-wal", "openwhisk.sqlite-shm"]
    for name in leftovers:
        (folder / name).touch()
        (folder / name).chmod(0o666)
    folder.chmod(0o777)
    before = os.umask(0)
    try:
        store = SQLiteStore(folder)
        store.commit([save(a_record())])
        found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert {"owmesos.sqlite-wal", "owmesos.sqlite-shm", *leftovers} <= set(found)
    assert set(found.values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["owmesos.sqlite-wal", "owmesos.sqlite-shm", "openwhisk.sqlite-wal", "accepts-sent"])
def test_what_another_user_has_put_there_is_not_used(tmp_path: Path, name: str) -> None:
    """SQLite would write all commits to such a log, which its owner reads."""
    folder = tmp_path / "state"
    SQLiteStore(folder).close()
    folder.chmod(0o777)
    (folder / name).unlink(missing_ok=True)
    (folder / name).touch(0o666)
    os.chown(folder / name, 65534, 65534)
    for _ in range(2):
        with pytest.raises(InvalidInput, match=f"{name} belongs to another user"):
            SQLiteStore(folder)
    (folder / name).unlink()
    SQLiteStore(folder).close()


# -- which ACCEPTs were sent


def start(folder: Path) -> tuple[SQLiteStore, float]:
    """A store as a process takes it up, and what it knows of its former life."""
    store = SQLiteStore(folder)
    return store, store.load().sent_until


def sent_in_a_process_that_is_killed(folder: Path, accepted_at: float) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from owmesos.storage import SQLiteStore\n"
        "store = SQLiteStore(Path(sys.argv[1]))\n"
        "store.load()\n"
        "store.sending(float(sys.argv[2]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(folder), repr(accepted_at)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9


LATER = 4_000_000_000.0  # than this test runs


def test_what_may_have_been_sent_outlives_a_kill(tmp_path: Path) -> None:
    sent_in_a_process_that_is_killed(tmp_path, LATER + 0.1)
    store, until = start(tmp_path)
    assert until == LATER + 0.1
    store.close()


def test_before_the_first_accept_it_is_known_that_none_was_sent(tmp_path: Path) -> None:
    before = time.time()
    start(tmp_path)[0].close()
    store, until = start(tmp_path)
    assert before <= until <= time.time()
    store.close()


@pytest.mark.parametrize("mark", [b"", b"another-boot 5.0", b"\0\0\0", b"{boot} nan", b"{boot} ", b" 5.0", b"\xff 5"])
def test_where_the_mark_cannot_be_trusted_all_may_have_been_sent(tmp_path: Path, mark: bytes) -> None:
    """The machine stopped, and the mark may not have come to its disk. Nor must it be trusted at the next start."""
    start(tmp_path)[0].close()
    (tmp_path / "accepts-sent").write_bytes(mark.replace(b"{boot}", sent_mark._boot_id().encode()))
    store, until = start(tmp_path)
    assert until == math.inf
    record = a_record()
    record.accepted_at = LATER
    store.commit([save(record)])
    store.close()
    (tmp_path / "accepts-sent").unlink()
    for expected in (math.inf, LATER):
        store, until = start(tmp_path)
        assert until == expected
        store.close()


def test_a_system_that_names_no_boot_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_mark, "_BOOT_ID", tmp_path / "nothing")
    for _ in range(2):
        store, until = start(tmp_path / "state")
        assert until == math.inf
        store.close()


def test_a_mark_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    store, _ = start(tmp_path)
    store.close()
    with pytest.raises(StoreFailed, match="accepts-sent cannot be written"):
        store.sending(LATER)


class TestAFullDisk:
    """SQLite says the same of a file that may have no more pages as of a disk without room."""

    LARGE: ClassVar = [SaveLaunch(f"launch-{number}", bytes(100_000)) for number in range(5)]

    @staticmethod
    def limit(opened: SQLiteStore, pages: int) -> None:
        assert opened._connection is not None
        opened._connection.execute(f"PRAGMA max_page_count = {pages}")

    def test_a_commit_waits_until_there_is_room(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        opened = SQLiteStore(tmp_path)
        self.limit(opened, 1)
        with ThreadPoolExecutor(1) as thread:
            commit = thread.submit(opened.commit, self.LARGE)
            eventually(lambda: "the disk is full; make room on it; trying again for 60 s" in caplog.text)
            assert not commit.done()
            self.limit(opened, 1_000_000)
            commit.result()
        opened.close()
        again = SQLiteStore(tmp_path)
        assert [each for each in again.raw()[0] if isinstance(each, SaveLaunch)] == self.LARGE
        again.close()

    def test_it_is_told_when_there_is_none_in_time_and_nothing_is_half_there(self, tmp_path: Path) -> None:
        opened = SQLiteStore(tmp_path, patience=0.0)
        opened.commit(self.LARGE[:1])
        self.limit(opened, 1)
        with pytest.raises(StoreFailed, match="the disk is full; make room on it"):
            opened.commit(self.LARGE)
        self.limit(opened, 1_000_000)
        assert [each for each in opened.raw()[0] if isinstance(each, SaveLaunch)] == self.LARGE[:1]
        opened.commit(self.LARGE)
        opened.close()


@pytest.mark.parametrize("instead", ["nothing", "another"])
def test_a_state_that_is_removed_while_it_is_in_use_takes_nothing_more(tmp_path: Path, instead: str) -> None:
    """It would be lost, and its answer a lie; and whoever starts in the new folder would not know of this process."""
    folder = tmp_path / "state"
    with closing(SQLiteStore(folder)) as kept:
        kept.commit([SaveFramework("framework-1")])
        folder.rename(tmp_path / "away")
        with (
            closing(SQLiteStore(folder)) if instead == "another" else nullcontext(),
            pytest.raises(StoreFailed, match="was removed or replaced while it was in use"),
        ):
            kept.commit([save(a_record())])
        if instead == "nothing":
            (tmp_path / "away").rename(folder)
            kept.commit([save(a_record())])
            assert kept.load().records == [a_record()]

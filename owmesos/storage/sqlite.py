"""State in a local folder, in SQLite: each commit is on disk when it returns (`owmesos.system.databases`)."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from owmesos.errors import InvalidInput, os_reason
from owmesos.storage import store
from owmesos.storage.records import StoredCounts, read
from owmesos.storage.sent_mark import SentMark
from owmesos.system.clock import process_time
from owmesos.system.databases import open_database, readable, transaction
from owmesos.system.file_lock import FileLock
from owmesos.system.private_files import make_private, make_private_folder

_log = logging.getLogger("owmesos.storage")
FILE = "owmesos.sqlite"
COPY = "owmesos.format-{}.sqlite"
"""A state of an earlier version, as it was before it was migrated."""
_OURS = ("lock", "accepts-sent", "*.sqlite", "*.sqlite-*", "*.token")
"""What may be in the folder from an earlier start, by patterns: SQLite's log has the mode that it once got."""
VERSION = 2
"""The version of the tables and their records; a later one is refused, an earlier one is migrated by `_prepare`."""

_MIGRATIONS = (
    (
        "CREATE TABLE framework (only INTEGER PRIMARY KEY CHECK (only = 1), framework_id TEXT NOT NULL)",
        "CREATE TABLE launches (launch_id TEXT PRIMARY KEY, record BLOB NOT NULL)",
    ),
    (
        # the last owmesos that wrote format 1 had it already
        """
        CREATE TABLE IF NOT EXISTS answers (
            number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, request BLOB NOT NULL, taken_at REAL NOT NULL,
            body BLOB NOT NULL
        )
        """,
    ),
)
"""What leads from each version to the next one, from an empty file on."""
PATIENCE = 60.0  # seconds; as long as for a ZooKeeper that is away
_AGAIN = 0.5  # seconds between two attempts
_FULL = "disk is full"  # in SQLite's text for SQLITE_FULL


class _DiskFull(store.StoreFailed):
    """Nothing of it was written; it may be tried again."""


# What each write executes, with its fields as the parameters.
_STATEMENTS: dict[type[store.Write], tuple[str, ...]] = {
    store.SaveFramework: ("INSERT OR REPLACE INTO framework VALUES (1, ?)",),
    store.ForgetFramework: ("DELETE FROM framework", "DELETE FROM launches", "DELETE FROM answers"),
    store.SaveLaunch: (
        "INSERT INTO launches VALUES (?, ?) ON CONFLICT (launch_id) DO UPDATE SET record = excluded.record",
    ),
    store.ForgetLaunch: ("DELETE FROM launches WHERE launch_id = ?",),
    store.Answer: ("INSERT OR REPLACE INTO answers (key, request, taken_at, body) VALUES (?, ?, ?, ?)",),
    store.ForgetAnswer: ("DELETE FROM answers WHERE key = ?",),
}


class SQLiteStore:
    """Owns `folder` from its creation until `close`. May be used from another thread than the one that created it."""

    def __init__(self, folder: Path, *, forget: bool = False, patience: float = PATIENCE) -> None:
        """The folder is created if it does not exist. `forget` removes what is stored. `patience`: seconds that a
        commit waits for room on a full disk.

        Raises InvalidInput if it is not a folder, StateInUse, StateDamaged, StateTooNew or StoreFailed.
        """
        self._file = folder / FILE
        self._patience = 0.0  # at the start it is told at once
        self._lock = own_folder(folder)
        self._sent = SentMark(folder)
        self._connection: sqlite3.Connection | None = None
        try:
            with self._explained():
                self._connection = open_database(self._file)
                self._inode = _inode(self._file)
                self._prepare()
            if forget:
                self.commit([store.ForgetFramework()])
        except BaseException:
            self.close()
            raise
        self._patience = patience
        self._trouble: store.StoreTrouble | None = None

    def load(self) -> store.Saved:
        with self._explained():
            found = self._db.execute("SELECT framework_id FROM framework").fetchone()
            rows = self._db.execute("SELECT launch_id, record FROM launches").fetchall()
        (framework_id,) = found or (None,)
        if found is not None and (not isinstance(framework_id, str) or not framework_id):
            raise self._damaged(f"the framework id is {framework_id!r:.100}")
        records, unreadable = read(rows)
        latest = max([time.time(), *(record.accepted_at or 0.0 for record in records)])
        return store.Saved(framework_id, records, unreadable, self._sent.begin(latest))

    def answers(self) -> list[store.Answer]:
        with self._explained():
            rows = self._db.execute("SELECT key, request, taken_at, body FROM answers ORDER BY number").fetchall()
        return readable(rows, store.Answer, "the stored answer to request")

    def raw(self) -> tuple[list[store.Write], float | None]:
        """All that is stored, also what `load` cannot read, and `sent_until` if it is known. Raises StoreFailed; a row
        whose columns are of other types is skipped and logged."""
        saved = self.load()
        with self._explained():
            rows = self._db.execute("SELECT launch_id, CAST(record AS BLOB) FROM launches").fetchall()
        found: list[store.Write] = [store.SaveFramework(saved.framework_id)] if saved.framework_id is not None else []
        found += readable(rows, store.SaveLaunch, "the stored launch")
        return [*found, *self.answers()], saved.sent_until if math.isfinite(saved.sent_until) else None

    def commit(self, writes: Sequence[store.Write]) -> None:
        until = time.monotonic() + self._patience
        waits = False
        while True:
            try:
                with self._explained(), transaction(self._db):
                    self._check_in_place()
                    for write in writes:
                        for statement in _STATEMENTS[type(write)]:
                            self._db.execute(statement, write)
                break
            except _DiskFull as error:
                if time.monotonic() >= until:
                    raise
                if not waits:
                    _log.error("%s; trying again for %g s", error, self._patience)
                    self._trouble = store.StoreTrouble(str(error), process_time())
                waits = True
                time.sleep(_AGAIN)
        if waits:
            self._trouble = None
            _log.info("there is room again: the state in %s is stored", self._file)

    def trouble(self) -> store.StoreTrouble | None:
        return self._trouble

    def begin_sending(self, sent_until: float) -> None:
        """For a state that comes from another place: ACCEPTs of a later time were not sent."""
        self._sent.begin(sent_until)

    def about_to_send(self, accepted_at: float) -> None:
        """It need not be known before."""

    def sending(self, accepted_at: float) -> None:
        self._sent.note(accepted_at)

    def watch(self, lost: Callable[[store.StoreFailed], None]) -> None:
        """Nobody can take the folder away from a process that lives."""

    def close(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                with self._explained():
                    connection.close()
        finally:
            self._sent.close()
            self._lock.release()

    def _check_in_place(self) -> None:
        """What is written to a file without a name is lost, and another process may own the folder of that name."""
        if _inode(self._file) != self._inode:
            raise store.StoreFailed(
                f"the state in {self._file} was removed or replaced while it was in use: its tasks run on; put it back"
                " from a copy, or start with a new framework"
            )

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise store.StoreFailed(f"the state in {self._file} is closed")
        return self._connection

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise store.StateTooNew(
                f"the state in {self._file} was written by a later owmesos (format {version}, not {VERSION}):"
                " use that version, or give another --state"
            )
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self._damaged(verdict)
        if 0 < version < VERSION:
            self._keep_copy(version)
        if version == VERSION:
            return
        with transaction(self._db):
            for statements in _MIGRATIONS[version:]:
                for statement in statements:
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _keep_copy(self, version: int) -> None:
        """Whole, or not under its name: the process may end in between."""
        copy = self._file.with_name(COPY.format(version))
        unfinished = copy.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with closing(open_database(unfinished)) as target:
            self._db.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        unfinished.replace(copy)
        _log.info(
            "the state in %s has format %d: migrated to %d, with a copy in %s", self._file, version, VERSION, copy
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as ours. It raises DatabaseError itself, and no subclass, for a damaged file only."""
        try:
            yield
        except sqlite3.Error as error:
            if type(error) is sqlite3.DatabaseError:
                raise self._damaged(str(error)) from None
            if _FULL in str(error):  # sqlite3 has no code of it before Python 3.11
                raise _DiskFull(
                    f"the state in {self._file} cannot be written: the disk is full; make room on it"
                ) from None
            raise store.StoreFailed(f"the state in {self._file} cannot be used: {error}") from None
        except OSError as error:
            raise store.StoreFailed(f"the state in {self._file} cannot be used: {os_reason(error)}") from None

    def _damaged(self, why: str) -> store.StateDamaged:
        return store.StateDamaged(
            f"the state in {self._file} is damaged ({' '.join(why.split())}): restore it, or move it away and start"
            " with a new framework"
        )


def _inode(file: Path) -> tuple[int, int] | None:
    """None if there is no such file."""
    try:
        known = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return known.st_dev, known.st_ino


def look_into(folder: Path) -> StoredCounts | None:
    """Count what is in a state folder, without its lock and without changes. None if there is no state yet. Raises
    StateTooNew, StateDamaged and StoreFailed."""
    file = folder / FILE
    if not file.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as database:
            return _counted(database, file)
    except sqlite3.Error as error:
        damaged = type(error) is sqlite3.DatabaseError
        kind = store.StateDamaged if damaged else store.StoreFailed
        raise kind(f"the state in {file} cannot be read: {error}") from None


def _counted(database: sqlite3.Connection, file: Path) -> StoredCounts:
    """Raises StateTooNew, StateDamaged and sqlite3.Error."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise store.StateTooNew(f"the state in {file} was written by a later owmesos: use that version")
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    records, unreadable = read(database.execute("SELECT launch_id, record FROM launches") if version else ())
    ids = [found for (found,) in database.execute("SELECT framework_id FROM framework")] if version else []
    if any(not isinstance(each, str) or not each for each in ids):
        raise store.StateDamaged(f"the state in {file} is damaged: the framework id is {ids[0]!r:.100}")
    columns = "SELECT key, request, taken_at, body FROM answers"
    answers = database.execute(columns).fetchall() if "answers" in tables else []
    good = readable(answers, store.Answer, "the stored answer to request")
    known = {each.key for each in good}
    faults = [f"the stored answer to request {key!s:.100} cannot be read" for key, *_ in answers if key not in known]
    return StoredCounts(len(records), unreadable, next(iter(ids), None), len(good), faults)


def own_folder(folder: Path) -> FileLock:
    """Make the folder, only for this user, and lock it. Raises InvalidInput, StateInUse and StoreFailed."""
    _make(folder)
    lock = lock_folder(folder)
    try:
        make_private(folder, _OURS)
    except BaseException:
        lock.release()
        raise
    return lock


def lock_folder(folder: Path) -> FileLock:
    """Lock a state folder. Raises StateInUse, with the owner's process id, and StoreFailed."""
    file = folder / "lock"
    lock = FileLock(file)
    try:
        if not lock.acquire(timeout=0.0):
            owner = file.read_text(encoding="ascii", errors="replace").strip() or "unknown"
            advice = "stop it, or give another --name or --state"
            raise store.StateInUse(f"process {owner} uses the state in {folder}: {advice}")
        file.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        lock.release()
        raise store.StoreFailed(
            f"{file} cannot be locked: {os_reason(error)}: give another folder to --state"
        ) from None
    return lock


def _make(folder: Path) -> None:
    try:
        make_private_folder(folder, (FILE,))
    except (FileExistsError, NotADirectoryError):
        raise InvalidInput(f"--state {folder} is not a folder") from None
    except OSError as error:
        raise store.StoreFailed(f"the folder {folder} for the state cannot be created: {os_reason(error)}") from None

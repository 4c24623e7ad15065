"""State in a folder of this machine, by SQLite.

Write-ahead log with `synchronous=FULL`: each commit is on disk when it returns, and a process or a machine that dies in
the middle of one loses that one only (sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from owmesos.errors import InvalidInput
from owmesos.storage.lock import FolderLock
from owmesos.storage.records import decode, in_order
from owmesos.storage.store import (
    ForgetFramework,
    ForgetLaunch,
    Saved,
    SaveFramework,
    SaveLaunch,
    StateDamaged,
    StateTooNew,
    StoreFailed,
    Write,
)

FILE = "owmesos.sqlite"
VERSION = 1
"""Of the tables and of the records in them; a later one is refused, an earlier one is carried over by `_prepare`."""

_SCHEMA = (
    "CREATE TABLE framework (only INTEGER PRIMARY KEY CHECK (only = 1), framework_id TEXT NOT NULL)",
    "CREATE TABLE launches (launch_id TEXT PRIMARY KEY, record BLOB NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)


class SQLiteStore:
    """Owns `folder` from its making until `close`. May be used by another thread than the one that made it."""

    def __init__(self, folder: Path, *, forget: bool = False) -> None:
        """The folder is made where it lacks. `forget` begins anew, with nothing stored.

        Raises InvalidInput when it is no folder, StateInUse, StateDamaged, StateTooNew or StoreFailed.
        """
        self._file = folder / FILE
        _make(folder)
        self._lock = FolderLock(folder)
        self._connection: sqlite3.Connection | None = None
        try:
            with self._explained():
                self._connection = _connect(self._file)
                self._prepare()
            if forget:
                self.commit([ForgetFramework()])
        except BaseException:
            self.close()
            raise

    def load(self) -> Saved:
        with self._explained():
            found = self._db.execute("SELECT framework_id FROM framework").fetchone()
            rows = self._db.execute("SELECT launch_id, record FROM launches").fetchall()
        records = [decode(launch_id, bytes(data), str(self._file)) for launch_id, data in rows]
        return Saved(found[0] if found is not None else None, in_order(records))

    def commit(self, writes: Sequence[Write]) -> None:
        with self._explained(), self._transaction():
            for write in writes:
                self._write(write)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                with self._explained():
                    connection.close()
        finally:
            self._lock.release()

    def _write(self, write: Write) -> None:
        if isinstance(write, SaveLaunch):
            self._db.execute(
                "INSERT INTO launches VALUES (?, ?) ON CONFLICT (launch_id) DO UPDATE SET record = excluded.record",
                write,
            )
        elif isinstance(write, ForgetLaunch):
            self._db.execute("DELETE FROM launches WHERE launch_id = ?", write)
        elif isinstance(write, SaveFramework):
            self._db.execute("INSERT OR REPLACE INTO framework VALUES (1, ?)", write)
        else:
            self._db.execute("DELETE FROM framework")
            self._db.execute("DELETE FROM launches")

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreFailed(f"the state in {self._file} is closed")
        return self._connection

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StateTooNew(
                f"the state in {self._file} was written by a later owmesos (form {version}, this one knows {VERSION}):"
                " use that one, or give another --state"
            )
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self._damaged(verdict)
        if version == 0:
            with self._transaction():
                for statement in _SCHEMA:
                    self._db.execute(statement)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back on its own account (sqlite.org/lang_transaction.html); else it is done here.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as ours. It raises DatabaseError itself, and no subclass, for a damaged file only."""
        try:
            yield
        except sqlite3.Error as error:
            if type(error) is sqlite3.DatabaseError:
                raise self._damaged(str(error)) from None
            raise StoreFailed(f"the state in {self._file} cannot be used: {error}") from None
        except OSError as error:
            raise StoreFailed(f"the state in {self._file} cannot be used: {error.strerror}") from None

    def _damaged(self, why: str) -> StateDamaged:
        return StateDamaged(
            f"the state in {self._file} is damaged ({' '.join(why.split())}): restore it, or move it away and start"
            " with a new framework"
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidInput(f"--state {folder} is no folder") from None
    except OSError as error:
        raise StoreFailed(f"the folder {folder} for the state cannot be made: {error.strerror}") from None


def _connect(file: Path) -> sqlite3.Connection:
    """Made here when it lacks, as SQLite gives its other files the mode of this one. Nothing is read yet."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    _sync(file.parent)
    return sqlite3.connect(file, isolation_level=None, check_same_thread=False)


def _sync(folder: Path) -> None:
    """The entry of a new file is durable too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

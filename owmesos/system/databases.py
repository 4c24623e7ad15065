"""SQLite files that only their owner can read, and whose commits survive the end of the process."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from owmesos.system.private_files import open_private

T = TypeVar("T")
_log = logging.getLogger("owmesos.storage")


def open_database(file: Path, *, synced: bool = True) -> sqlite3.Connection:
    """For any thread, one at a time; the file is made if it is missing. Raises OSError and sqlite3.Error.

    With a write-ahead log and `synchronous=FULL` a process or a machine that ends in the middle of a commit loses that
    one only (sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous). One that is not `synced` does not wait
    for the disk: a process that ends loses no more, but a machine whose power fails loses what was not synced since.
    """
    os.close(open_private(file, os.O_RDWR | os.O_CREAT))  # SQLite gives its other files the mode of this one
    _sync(file.parent)
    database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    database.text_factory = lambda text: text.decode(errors="replace")  # what is not UTF-8 harms its own row only
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
    except sqlite3.Error:
        database.close()
        raise
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Committed at the end of the block, or, if that raises, rolled back."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        yield


def readable(rows: Iterable[tuple[Any, ...]], kind: type[T], what: str) -> list[T]:
    """The rows as `kind`. A row that cannot be read is skipped, stays in the file and is logged, as `what`."""
    found = []
    for row in rows:
        try:
            found.append(msgspec.convert(row, kind, builtin_types=(bytes,)))
        except msgspec.ValidationError as error:  # noqa: PERF203
            _log.error("%s %.100s cannot be read and is left out: %s", what, row[0], error)
    return found


def _sync(folder: Path) -> None:
    """The entry of a new file is durable too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

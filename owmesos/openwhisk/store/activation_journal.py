"""Records which activations were taken and which were given to a container, in a file that survives `kill -9`.

An invoker takes an activation before it answers its id, begins it before its container is asked `/run`, ends it
before it answers the result, and forgets it once its record is stored. The entries at the next start were in
progress: those that had not begun may run; those that had begun may have run and must not run again; those that had
ended have the result that was answered.

With Kafka the topic keeps what was taken, until its offset is committed, and delivers it again at the next start. So
there an activation is begun as above, is `over` when its Controller has been answered, and is forgotten after the
commit.

A `synced` journal waits for the disk: what it has written survives a power cut. Its writes are grouped: all writes
during one commit share the next one, so a warm run costs a part of one fsync. The fsync blocks, so a separate thread
writes; everything else runs in one event loop. Where the loop is busy, each way to that thread and back costs several
turns of it, 10 to 30 ms.

One that is not synced writes at once, in the event loop and into the memory of the operating system: it survives
`kill -9`, and a warm run does not wait. The thread syncs it every SYNC_EVERY, so a power cut loses about so much.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from owmesos.errors import os_reason
from owmesos.openwhisk.store.journal_batch import OVER, JournalBatch, JournalEntry, JournalFailed, TakenKey
from owmesos.system.databases import open_database, readable, transaction

FILE = "activations.sqlite"
LINGER = 0.2  # seconds; that what is to be forgotten waits for a commit of others
RETRY = 1.0  # seconds; after a commit that failed
SYNC_EVERY = 0.05  # seconds between syncs of a journal that does not wait for them
CHECKPOINT_AFTER = 1000  # commits of such a journal; SQLite's own checkpoints would sync in the event loop
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS activations (
        number INTEGER PRIMARY KEY, activation_id TEXT NOT NULL, message BLOB NOT NULL, begun_at REAL, result BLOB
    );
    CREATE TABLE IF NOT EXISTS keys (
        number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, request BLOB NOT NULL, activation_id TEXT NOT NULL,
        taken_at REAL NOT NULL
    );
    CREATE TABLE IF NOT EXISTS journal (name TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS closed (at REAL NOT NULL);
"""
_log = logging.getLogger("owmesos.standalone")


def _written_at(file: Path) -> float | None:
    """SQLite writes to the log beside the file first (sqlite.org/wal.html)."""
    files = [each for each in (file, file.with_name(f"{file.name}-wal")) if each.exists()]
    return max((each.stat().st_mtime for each in files), default=None)


class ActivationJournal:
    """The activations of one process, in a file that no other process uses at the same time.

    What is put in is written at the next commit; `taken`, `begin` and `end` return when theirs is durable.
    """

    def __init__(self, file: Path, *, synced: bool = True) -> None:
        """`synced`: whether it waits for the disk; see the module.

        Reads what an earlier process left: see `entries`, `keys` and `written_at`. Raises JournalFailed.

        `name` is the file's for life, and no other's. `written_at`: when it was written last, and `closed_at`: when the
        process before closed it, in seconds since the epoch; None for a new one, and for one that was not closed.
        """
        self._file = file
        self.written_at = _written_at(file)
        self._loop = asyncio.get_running_loop()
        self._worker = ThreadPoolExecutor(1, "activation-journal")
        self._committing: asyncio.Future[None] | None = None
        self._scheduled = False
        self._closed = False
        self._synced = synced
        self._sync_timer: asyncio.TimerHandle | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._unsynced = self._sync_failed = False
        self._commits = 0  # since the last checkpoint
        self._later: asyncio.TimerHandle | None = None
        try:
            self._db = open_database(file, synced=synced)
            if not synced:
                self._db.execute("PRAGMA wal_autocheckpoint = 0")
            self._db.executescript(_SCHEMA)
            rows = self._db.execute(
                "SELECT number, activation_id, message, begun_at, result FROM activations ORDER BY number"
            ).fetchall()
            keys = self._db.execute("SELECT key, request, activation_id, taken_at FROM keys ORDER BY number").fetchall()
            self.name = self._named()
            self.closed_at = self._reopened()
            self._log_file = None if synced else os.open(f"{file}-wal", os.O_RDONLY)
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from None
        self.entries = readable((row[1:] for row in rows), JournalEntry, "the entry of activation")
        self.keys = readable(keys, TakenKey, "the key")
        self._current: JournalBatch | None = None
        self._last = max((number for number, *_ in rows), default=0)
        read = {each.activation_id for each in self.entries}
        self._known: dict[str, int] = {row[1]: row[0] for row in rows if row[1] in read}
        self._next = JournalBatch()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, activation_id: object) -> bool:
        return activation_id in self._known

    def take(
        self, activation_id: str, message: bytes, key: TakenKey | None = None, *, begun_at: float | None = None
    ) -> None:
        """It is this process's from now on, and with `begun_at` has begun; `key` is written in the same commit. See
        `taken`."""
        self._last += 1
        self._known[activation_id] = self._last
        self._next.taken[activation_id] = JournalEntry(activation_id, message, begun_at)
        if key is not None:
            self._next.keys.append(key)
        self._schedule()

    def taken(self, activation_id: str) -> asyncio.Future[None]:
        """Done once it is durable that it was taken; raises JournalFailed where it cannot be. To be asked for before
        anything else is waited for."""
        for batch in (self._next, self._current):
            if batch is not None and activation_id in batch.taken:
                return self._written(batch)
        done = self._loop.create_future()
        done.set_result(None)
        return done

    async def begin(self, activation_id: str, now: float) -> None:
        """To be awaited before its container is asked `/run`. Raises JournalFailed, also where it was not taken."""
        entry = self._next.taken.get(activation_id)
        if entry is not None:
            self._next.taken[activation_id] = entry._replace(begun_at=now)
        else:
            self._next.begun[activation_id] = now
        await self._written(self._next)
        if activation_id not in self._known:  # it never was, or its taking failed meanwhile
            raise JournalFailed(f"activation {activation_id} is not in {self._file}")

    async def end(self, activation_id: str, result: bytes) -> None:
        """To be awaited before the result is answered; without effect once it is forgotten. Raises JournalFailed."""
        if activation_id in self._known:
            self._next.ended[activation_id] = result
            await self._written(self._next)

    def over(self, activation_id: str, now: float) -> None:
        """Nothing more is to be said of it, and its message may be given again. It need not have been taken. No commit
        is made for it alone, unless none comes within a moment. `now`: for one that never began."""
        batch = self._next
        entry = batch.taken.get(activation_id)
        if activation_id not in self._known:
            self._last += 1
            self._known[activation_id] = self._last
            batch.taken[activation_id] = JournalEntry(activation_id, b"", now, OVER)
        elif entry is not None:
            batch.taken[activation_id] = entry._replace(result=OVER)
        else:
            batch.ended[activation_id] = OVER
        self._commit_later(LINGER)

    def forget(self, activation_ids: Iterable[str]) -> None:
        """They are over, and kept elsewhere. Without effect for those that are not there. No commit is made for it
        alone, unless none comes within a moment."""
        batch = self._next
        for activation_id in activation_ids:
            number = self._known.pop(activation_id, None)
            if number is None:
                continue
            batch.begun.pop(activation_id, None)
            batch.ended.pop(activation_id, None)
            if batch.taken.pop(activation_id, None) is None:
                batch.forgotten.append(number)
        self._commit_later(LINGER)

    def forget_keys(self, keys: Iterable[str]) -> None:
        """As `forget`."""
        self._next.forgotten_keys.extend(keys)
        self._commit_later(LINGER)

    async def close(self) -> None:
        """Returns when all that can be written is written. What comes later is not written."""
        await self._commit_has_ended()
        self._commit_next()  # what came during that one, or is to be forgotten and was not by it
        await self._commit_has_ended()
        for timer in (self._later, self._sync_timer):
            if timer is not None:
                timer.cancel()
        self._closed = True
        await self._loop.run_in_executor(self._worker, self._close)  # after a sync that is under way
        self._worker.shutdown()

    def _close(self) -> None:
        """SQLite syncs what it writes here (sqlite.org/wal.html#how_to_checkpoint)."""
        if self._log_file is not None:
            os.close(self._log_file)
        try:
            self._db.execute("INSERT INTO closed (at) VALUES (?)", (time.time(),))
        except sqlite3.Error as error:
            _log.warning("%s: the next start will take this one for crashed", self._failed(error))
        self._db.close()

    async def _commit_has_ended(self) -> None:
        """Nor is another one under way that follows it at once."""
        while self._committing is not None:
            await asyncio.wait([self._committing])
            await asyncio.sleep(0)

    def _named(self) -> str:
        row = self._db.execute("SELECT name FROM journal").fetchone()
        if row is None:
            row = (secrets.token_hex(8),)
            self._db.execute("INSERT INTO journal (name) VALUES (?)", row)
        return str(row[0])

    def _reopened(self) -> float | None:
        row = self._db.execute("SELECT max(at) FROM closed").fetchone()
        self._db.execute("DELETE FROM closed")
        return None if row[0] is None else float(row[0])

    # -- batches

    def _schedule(self) -> None:
        """What is put in during this turn of the loop, or while a commit is under way, shares one."""
        self._next.urgent = True
        if not self._scheduled and self._committing is None:
            self._scheduled = True
            self._loop.call_soon(self._commit_next)

    def _written(self, batch: JournalBatch) -> asyncio.Future[None]:
        """A future for each who waits: one that is cancelled takes nothing from the others."""
        waiting = self._loop.create_future()
        if batch.has_ended:  # it stays the current one until the next
            batch.wake(waiting)
            return waiting
        batch.waiting.append(waiting)
        if batch is self._next:
            if self._synced or self._committing is not None:
                self._schedule()
            else:
                self._commit_next()
        return waiting

    def _commit_later(self, seconds: float) -> None:
        if self._later is None and self._next:
            self._later = self._loop.call_later(seconds, self._commit_now)

    def _commit_now(self) -> None:
        self._later = None
        self._commit_next()

    def _commit_next(self) -> None:
        self._scheduled = False
        if self._committing is not None or self._closed:
            return
        batch, self._next = self._next, JournalBatch()
        self._current = batch
        if not batch:
            batch.done(None)
            return
        batch.prepare(self._known)
        if self._synced:
            self._committing = self._loop.run_in_executor(self._worker, self._commit, batch)
            self._committing.add_done_callback(partial(self._committed, batch))
            return
        error: Exception | None = None
        try:
            self._commit(batch)
        except Exception as failure:  # noqa: BLE001  (of whatever kind: those who wait for the commit are told)
            error = failure
        self._ended(batch, error)
        self._commits += 1
        self._unsynced = True
        self._sync_later()

    def _committed(self, batch: JournalBatch, commit: asyncio.Future[None]) -> None:
        self._committing = None
        self._ended(batch, commit.exception())

    def _ended(self, batch: JournalBatch, error: BaseException | None) -> None:
        batch.done(self._failed(error) if error is not None else None)
        if error is not None:
            self._lost(batch)
        if self._next.urgent:
            self._commit_next()
        else:
            self._commit_later(RETRY if error is not None else LINGER)

    def _sync_later(self) -> None:
        if self._unsynced and self._sync_timer is None and self._syncing is None:
            self._sync_timer = self._loop.call_later(SYNC_EVERY, self._sync)

    def _sync(self) -> None:
        """Let the thread sync the log, or now and then write a checkpoint. Commits wait for a checkpoint only."""
        self._sync_timer, self._unsynced = None, False
        if self._log_file is None or self._committing is not None or self._syncing is not None or self._closed:
            return
        if self._commits < CHECKPOINT_AFTER:
            self._syncing = self._loop.run_in_executor(self._worker, os.fdatasync, self._log_file)
        else:
            self._commits = 0
            self._syncing = self._committing = self._loop.run_in_executor(self._worker, self._checkpoint)
        self._syncing.add_done_callback(self._has_synced)

    def _checkpoint(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _has_synced(self, sync: asyncio.Future[None]) -> None:
        self._syncing = None
        error = sync.exception()
        if error is not None and not self._sync_failed:
            _log.error("%s: what is written survives kill -9, and no power cut", self._failed(error))
        self._sync_failed = error is not None
        if self._committing is sync:
            self._committing = None
            self._commit_next()
        self._sync_later()

    def _lost(self, batch: JournalBatch) -> None:
        """Nothing of it is tried again but what is to be forgotten."""
        for activation_id in batch.taken:
            self._known.pop(activation_id, None)
        self._next.forgotten = batch.forgotten + self._next.forgotten
        self._next.forgotten_keys = batch.forgotten_keys + self._next.forgotten_keys

    def _commit(self, batch: JournalBatch) -> None:
        if len(batch.statements) == 1:  # a transaction of its own
            self._db.execute(*batch.statements[0])
            return
        with transaction(self._db):
            for statement, values in batch.statements:
                self._db.execute(statement, values)

    def _failed(self, error: BaseException) -> JournalFailed:
        why = os_reason(error) if isinstance(error, OSError) else str(error)
        return JournalFailed(f"{self._file} cannot be used: {' '.join(str(why).split())}")

"""Actions and records in a file of this machine, for a cluster without CouchDB: the same documents, by SQLite.

SQLite blocks, so one worker thread does all that touches the file. A record may be lost with the machine, never the
file: the log is written ahead, and synced at its checkpoints (sqlite.org/pragma.html#pragma_synchronous, NORMAL).
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from owmesos.errors import OwmesosError
from owmesos.openwhisk.action_cache import ActionCache
from owmesos.openwhisk.activation import Activation, ActivationDocument, Response
from owmesos.openwhisk.activation_writer import ActivationWriter
from owmesos.openwhisk.couchdb import CouchFailed
from owmesos.openwhisk.entities import (
    ActionDocument,
    ActionMissing,
    ActionNotFetched,
    ActionUnreadable,
    Attachment,
    decode_action,
    to_executable,
)
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import ABSENT, EntityName, encode

T = TypeVar("T")

FILE = "openwhisk.sqlite"
KEPT = 100_000
WRITE_WAIT = 10.0
"""Seconds that who asks for a record waits for its writing."""
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS actions (id TEXT PRIMARY KEY, rev TEXT NOT NULL, document BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS activations (
        number INTEGER PRIMARY KEY, activation_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, document BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS by_name ON activations (name);
"""


class _Key(msgspec.Struct, rename="camel"):
    """What a record is found by. Its result may be JSON that nothing here can decode: `1e999`."""

    activation_id: str
    name: str


class _KeptResponse(Response, frozen=True, rename="camel", omit_defaults=True):
    result: msgspec.Raw = ABSENT


class _Kept(ActivationDocument, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    response: _KeptResponse


_key = msgspec.json.Decoder(_Key).decode
_activation = msgspec.json.Decoder(_Kept).decode


class EmbeddedStoreFailed(OwmesosError):
    """The file cannot be used; the text says why."""


class EmbeddedStore:
    """An ActionStore and an ActivationStore, and what the command line shows of both."""

    def __init__(
        self, folder: Path, manifest: Manifest, *, kept: int = KEPT, now: Callable[[], float] = time.time
    ) -> None:
        """The folder must be there and be this process's own. `kept`: how many records stay. Raises
        EmbeddedStoreFailed."""
        self._file = folder / FILE
        self._manifest = manifest
        self._kept = kept
        self._now = now
        self._worker = ThreadPoolExecutor(1, "embedded-store")
        self.cache = ActionCache()
        self._writer = ActivationWriter(self, now=now, refused=self._refused)
        self._unwritten: set[str] = set()
        self._wrote = asyncio.Event()  # the next time
        try:
            self._db = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise self._failed(error) from None

    # -- actions

    async def action(self, entity: EntityName, revision: str | None) -> Executable:
        return await self.cache.get(entity.document_id, revision, lambda: self._fetch(entity))

    async def _fetch(self, entity: EntityName) -> Executable:
        name = entity.document_id
        try:
            document = await self.action_document(name)
        except EmbeddedStoreFailed as error:
            raise ActionNotFetched(name, str(error)) from None
        if document is None:
            raise ActionMissing(name)
        code = document.exec.code
        if isinstance(code, Attachment):
            raise ActionUnreadable(name, "its code is in an attachment, and this store has none")
        return to_executable(entity, document, code, self._manifest)

    async def action_document(self, document_id: str) -> ActionDocument | None:
        """Raises EmbeddedStoreFailed or ActionUnreadable."""
        rows = await self._query("SELECT document FROM actions WHERE id = ?", document_id)
        return decode_action(document_id, rows[0][0]) if rows else None

    async def put_action(self, document: ActionDocument) -> str:
        """In the place of the one that is there; returns the new revision. Raises EmbeddedStoreFailed."""
        document_id = f"{document.namespace}/{document.name}"
        rows = await self._query("SELECT rev FROM actions WHERE id = ?", document_id)
        number = int(rows[0][0].partition("-")[0]) + 1 if rows else 1
        updated = msgspec.structs.replace(document, id=document_id, rev=None, updated=int(self._now() * 1000))
        digest = hashlib.md5(encode(updated), usedforsecurity=False).hexdigest()
        stored = msgspec.structs.replace(updated, rev=f"{number}-{digest}")
        await self._query("INSERT OR REPLACE INTO actions VALUES (?, ?, ?)", document_id, stored.rev, encode(stored))
        assert stored.rev is not None
        return stored.rev

    async def delete_action(self, document_id: str) -> bool:
        """Whether it was there. Raises EmbeddedStoreFailed."""
        return bool(await self._query("DELETE FROM actions WHERE id = ? RETURNING id", document_id))

    async def actions(self) -> list[ActionDocument]:
        """All, by name. Raises EmbeddedStoreFailed or ActionUnreadable."""
        rows = await self._query("SELECT id, document FROM actions ORDER BY id")
        return [decode_action(document_id, data) for document_id, data in rows]

    # -- records

    def store(self, activation: Activation) -> None:
        dropped = self._writer.dropped
        self._writer.store(activation)
        if self._writer.dropped == dropped:
            self._unwritten.add(activation.activation_id)

    async def activation(self, activation_id: str) -> ActivationDocument | None:
        """Also one that was stored a moment ago; its result is msgspec.Raw. Raises EmbeddedStoreFailed."""
        await self._until_written(self._unwritten & {activation_id})
        rows = await self._query("SELECT document FROM activations WHERE activation_id = ?", activation_id)
        return _activation(rows[0][0]) if rows else None

    async def activations(self, *, name: str | None = None, limit: int = 30, skip: int = 0) -> list[ActivationDocument]:
        """The last first; of the action `name` alone, if it is given. As `activation` gives them."""
        await self._until_written(self._unwritten.copy())
        where, arguments = ("", ()) if name is None else ("WHERE name = ?", (name,))
        rows = await self._query(
            f"SELECT document FROM activations {where} ORDER BY number DESC LIMIT ? OFFSET ?", *arguments, limit, skip
        )
        return [_activation(row[0]) for row in rows]

    async def write(self, records: Sequence[bytes]) -> list[str | None]:
        """What its own writer calls: see `Records`."""
        try:
            written = await self._in_worker(lambda: self._write(records))
        except EmbeddedStoreFailed as error:
            raise CouchFailed(str(error)) from None
        self._settled(written)
        return [None] * len(records)

    def _refused(self, document_id: str) -> None:
        self._settled([document_id.rpartition("/")[2]])

    def _settled(self, activation_ids: Iterable[str]) -> None:
        """Nobody need wait for them."""
        self._unwritten.difference_update(activation_ids)
        wrote, self._wrote = self._wrote, asyncio.Event()
        wrote.set()

    async def _until_written(self, activation_ids: set[str]) -> None:
        async def written() -> None:
            while not self._unwritten.isdisjoint(activation_ids):
                await self._wrote.wait()

        try:
            await asyncio.wait_for(written(), WRITE_WAIT)
        except asyncio.TimeoutError:
            raise EmbeddedStoreFailed(f"{len(activation_ids)} records could not be written yet") from None

    def _write(self, records: Sequence[bytes]) -> list[str]:
        """The activations' ids."""
        keys = map(_key, records)
        rows = [(key.activation_id, key.name, data) for key, data in zip(keys, records, strict=True)]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            # A record that is there already stays, as in CouchDB.
            self._db.executemany(
                "INSERT OR IGNORE INTO activations (activation_id, name, document) VALUES (?, ?, ?)", rows
            )
            self._db.execute(
                "DELETE FROM activations WHERE number <= (SELECT max(number) FROM activations) - ?", (self._kept,)
            )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return [row[0] for row in rows]

    async def close(self) -> None:
        """When all records are kept that can be."""
        await self._writer.close()
        await self._in_worker(self._db.close)
        self._worker.shutdown()

    # -- the worker

    async def _query(self, statement: str, *arguments: Any) -> list[Any]:
        return await self._in_worker(lambda: self._db.execute(statement, arguments).fetchall())

    async def _in_worker(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.Error) -> EmbeddedStoreFailed:
        return EmbeddedStoreFailed(f"{self._file} cannot be used: {' '.join(str(error).split())}")

"""Actions and records in a local SQLite file, for a cluster without CouchDB; the documents are the same.

SQLite blocks, so one worker thread accesses the file. Each commit is on disk when it returns
(sqlite.org/pragma.html#pragma_synchronous, FULL); records are committed in groups.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from owmesos.errors import NOT_READABLE, OwmesosError
from owmesos.openwhisk import entities
from owmesos.openwhisk.activation import Activation, ActivationDocument, Response
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import ABSENT, EntityName
from owmesos.openwhisk.store.action_cache import ActionCache
from owmesos.openwhisk.store.activation_writer import ActivationWriter
from owmesos.openwhisk.store.couchdb import CouchFailed
from owmesos.system.databases import open_database, transaction
from owmesos.system.lone_surrogates import Decoder, encode

T = TypeVar("T")
DecodeAction = Callable[[str, bytes], entities.ActionDocument]
_log = logging.getLogger("owmesos.standalone")

FILE = "openwhisk.sqlite"
KEPT = 100_000  # records
WRITE_WAIT = 10.0  # seconds that a request for a record waits until it is written
_AT_ONCE = 500  # ids in one statement; SQLite allows at least 999
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


class KeptResponse(Response, frozen=True, rename="camel", omit_defaults=True):
    """A response whose result is kept as it was written."""

    result: msgspec.Raw = ABSENT


class _Kept(ActivationDocument, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    response: KeptResponse


_key = Decoder(_Key).decode
_activation = Decoder(_Kept).decode


_UNREADABLE = (*NOT_READABLE, TypeError)  # TypeError: not text, not bytes


def _bytes(document_id: str, data: Any) -> bytes:
    """Raises ActionUnreadable."""
    if not isinstance(data, (bytes, str)):
        raise entities.ActionUnreadable(document_id, f"the stored value has the type {type(data).__name__}")
    return data.encode() if isinstance(data, str) else data


def _action(decode: DecodeAction, document_id: str, data: Any) -> entities.ActionDocument:
    """Raises ActionUnreadable."""
    return decode(str(document_id), _bytes(document_id, data))


def _number(revision: Any) -> int:
    """0 where it is none of ours."""
    number = str(revision).partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


class EmbeddedStoreFailed(OwmesosError):
    """The file, or a record in it, cannot be used; the text says why."""


def _record(activation_id: str, data: Any) -> ActivationDocument:
    """Raises EmbeddedStoreFailed."""
    try:
        return _activation(data)
    except _UNREADABLE as error:
        raise EmbeddedStoreFailed(f"the record of activation {activation_id} cannot be read: {error}") from None


class EmbeddedStore:
    """An ActionStore and an ActivationStore, and what the command line shows of both."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        kept: int = KEPT,
        now: Callable[[], float] = time.time,
        settled: Callable[[Collection[str]], None] = lambda activation_ids: None,
    ) -> None:
        """The folder must be there and be this process's own. `kept`: how many records stay. `settled` is told of the
        activations whose records are durable, or will never be. Raises EmbeddedStoreFailed."""
        self.folder = folder
        self._file = folder / FILE
        self._manifest = manifest
        self._kept = kept
        self._now = now
        self._tell_settled = settled
        self._worker = ThreadPoolExecutor(1, "embedded-store")
        self.cache = ActionCache()
        self.records = ActivationWriter(
            self.write, now=now, dropped=lambda each: self._settled([each.rpartition("/")[2]])
        )
        self._unwritten: dict[str, asyncio.Future[None]] = {}  # by activation; done once it is settled
        try:
            self._db = open_database(self._file)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._failed(error) from None

    # -- actions

    async def action(self, entity: EntityName, revision: str | None) -> Executable:
        return await self.cache.get(entity.document_id, revision, lambda: self._fetch(entity))

    async def _fetch(self, entity: EntityName) -> Executable:
        name = entity.document_id
        try:
            rows = await self._query("SELECT document FROM actions WHERE id = ?", name)
        except EmbeddedStoreFailed as error:
            raise entities.ActionNotFetched(name, str(error)) from None
        if not rows:
            raise entities.ActionMissing(name)
        return await asyncio.to_thread(self._executable, entity, rows[0][0])

    def _executable(self, entity: EntityName, data: Any) -> Executable:
        """For a thread: large code takes long. Raises ActionUnavailable."""
        document, large = entities.decode_large_action(entity.document_id, _bytes(entity.document_id, data))
        code = entities.code_of(document, self._manifest) if large is None else large
        if isinstance(code, entities.Attachment):
            why = "its code is in an attachment, which this store does not support"
            raise entities.ActionUnreadable(entity.document_id, why)
        return entities.to_executable(entity, document, code, self._manifest)

    async def action_document(self, document_id: str) -> entities.ActionDocument | None:
        """Raises EmbeddedStoreFailed or ActionUnreadable."""
        rows = await self._query("SELECT document FROM actions WHERE id = ?", document_id)
        if not rows:
            return None
        return await asyncio.to_thread(_action, entities.decode_action_in_slices, document_id, rows[0][0])

    async def put_action(self, document: entities.ActionDocument) -> str:
        """Replaces an existing action; returns the new revision. Raises EmbeddedStoreFailed."""
        return await self._in_worker(lambda: self._put_action(document))

    def _put_action(self, document: entities.ActionDocument) -> str:
        document_id = f"{document.namespace}/{document.name}"
        row = self._db.execute("SELECT rev FROM actions WHERE id = ?", (document_id,)).fetchone()
        number = _number(row[0]) + 1 if row is not None else 1
        updated = msgspec.structs.replace(
            entities.with_written_code(document), id=document_id, rev=None, updated=int(self._now() * 1000)
        )
        revision = f"{number}-{hashlib.md5(encode(updated), usedforsecurity=False).hexdigest()}"
        stored = encode(msgspec.structs.replace(updated, rev=revision))
        self._db.execute("INSERT OR REPLACE INTO actions VALUES (?, ?, ?)", (document_id, revision, stored))
        return revision

    async def delete_action(self, document_id: str) -> bool:
        """True if it existed. Raises EmbeddedStoreFailed."""
        return bool(await self._query("DELETE FROM actions WHERE id = ? RETURNING id", document_id))

    async def actions(self) -> list[entities.ActionDocument]:
        """All that can be read, by name, without their code; the others stay, and are named in the log. Raises
        EmbeddedStoreFailed."""
        read = partial(_action, entities.decode_action_without_code)
        statement = "SELECT id, document FROM actions ORDER BY id"
        return await self._in_worker(lambda: self._readable(read, self._db.execute(statement)))

    # -- records

    @property
    def records_waiting(self) -> int:
        """How many records are not durable yet."""
        return len(self._unwritten)

    def store(self, activation: Activation) -> None:
        activation_id = activation.activation_id
        self._unwritten.setdefault(activation_id, asyncio.get_running_loop().create_future())
        try:
            self.records.store(activation)
        except BaseException:
            self._unwritten.pop(activation_id).set_result(None)  # nobody need wait for it
            raise

    async def written(self, *activation_ids: str) -> None:
        """Returns once the records of those that were stored are durable, or will never be. Raises
        EmbeddedStoreFailed."""
        waiting = [self._unwritten[each] for each in activation_ids if each in self._unwritten]
        if waiting and (late := (await asyncio.wait(waiting, timeout=WRITE_WAIT))[1]):
            raise EmbeddedStoreFailed(f"{len(late)} records could not be written yet: they are tried again")

    async def recorded(self, activation_ids: Sequence[str]) -> set[str]:
        """Those that have a record. Raises EmbeddedStoreFailed."""
        found: set[str] = set()
        for begin in range(0, len(activation_ids), _AT_ONCE):
            part = activation_ids[begin : begin + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            rows = await self._query(f"SELECT activation_id FROM activations WHERE activation_id IN ({marks})", *part)
            found.update(row[0] for row in rows)
        return found

    async def activation(self, activation_id: str) -> ActivationDocument | None:
        """Also one that was stored a moment ago; its result is msgspec.Raw. Raises EmbeddedStoreFailed, also where its
        record cannot be read."""
        await self.written(activation_id)
        rows = await self._query("SELECT document FROM activations WHERE activation_id = ?", activation_id)
        return _record(activation_id, rows[0][0]) if rows else None

    async def ids_that_begin(self, text: str, most: int) -> list[str]:
        """Ids of stored activations that begin with `text`, at most `most`. Raises EmbeddedStoreFailed."""
        await self.written(*(each for each in self._unwritten if each.startswith(text)))
        rows = await self._query(
            "SELECT activation_id FROM activations WHERE activation_id >= ? AND activation_id < ? LIMIT ?",
            text,
            f"{text}\U0010ffff",
            most,
        )
        return [row[0] for row in rows]

    async def activations(self, *, name: str | None = None, limit: int = 30, skip: int = 0) -> list[ActivationDocument]:
        """The last first; of the action `name` alone, if it is given. As `activation` gives them; those that cannot be
        read are left out, and named in the log."""
        await self.written(*self._unwritten)
        where, arguments = ("", ()) if name is None else ("WHERE name = ?", (name,))
        rows = await self._query(
            f"SELECT activation_id, document FROM activations {where} ORDER BY number DESC LIMIT ? OFFSET ?",
            *arguments,
            limit,
            skip,
        )
        return self._readable(_record, rows)

    def _readable(self, read: Callable[[str, Any], T], rows: Iterable[Any]) -> list[T]:
        found = [self._unless_unreadable(read, *row) for row in rows]
        return [each for each in found if each is not None]

    def _unless_unreadable(self, read: Callable[[str, Any], T], name: str, data: Any) -> T | None:
        try:
            return read(name, data)
        except (EmbeddedStoreFailed, entities.ActionUnreadable) as error:
            _log.error("an entry of %s is left out: %s", self._file, error)
            return None

    async def write(self, records: Sequence[bytes]) -> list[str | None]:
        """For its own writer."""
        try:
            written = await self._in_worker(lambda: self._write(records))
        except EmbeddedStoreFailed as error:
            raise CouchFailed(str(error)) from None
        self._settled(written)
        return [None] * len(records)

    def _settled(self, activation_ids: Collection[str]) -> None:
        """Nobody need wait for them."""
        self._tell_settled(activation_ids)
        for activation_id in activation_ids:
            settled = self._unwritten.pop(activation_id, None)
            if settled is not None:
                settled.set_result(None)

    def _write(self, records: Sequence[bytes]) -> list[str]:
        """The activations' ids."""
        keys = map(_key, records)
        rows = [(key.activation_id, key.name, data) for key, data in zip(keys, records, strict=True)]
        with transaction(self._db):
            # A record that is there already stays, as in CouchDB.
            self._db.executemany(
                "INSERT OR IGNORE INTO activations (activation_id, name, document) VALUES (?, ?, ?)", rows
            )
            self._db.execute(
                "DELETE FROM activations WHERE number <= (SELECT max(number) FROM activations) - ?", (self._kept,)
            )
        return [row[0] for row in rows]

    async def close(self) -> None:
        """Returns when all records that can be stored are stored."""
        await self.records.close()
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

    def _failed(self, error: OSError | sqlite3.Error) -> EmbeddedStoreFailed:
        return EmbeddedStoreFailed(f"{self._file} cannot be used: {' '.join(str(error).split())}")

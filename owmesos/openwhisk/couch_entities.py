"""Actions, blocked namespaces and records in OpenWhisk's own databases (core/database/CouchDbRestStore.scala)."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Sequence

import msgspec

from owmesos.openwhisk.action_cache import ActionCache
from owmesos.openwhisk.couchdb import CouchDB, CouchFailed
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
from owmesos.openwhisk.messages import EntityName

_log = logging.getLogger("owmesos.couchdb")

COUCH_SCHEME, MEMORY_SCHEME = "couch:", "mem:"
BLACKLIST_EVERY = 300.0  # seconds


class Databases(msgspec.Struct, frozen=True):
    """Their names, which begin with the deployment's prefix."""

    actions: str = "whisks"
    activations: str = "activations"
    subjects: str = "subjects"


def databases(prefix: str = "") -> Databases:
    return Databases(f"{prefix}whisks", f"{prefix}activations", f"{prefix}subjects")


class CouchActions:
    """An ActionStore."""

    def __init__(self, couch: CouchDB, database: str, manifest: Manifest, cache: ActionCache | None = None) -> None:
        self._couch = couch
        self._database = database
        self._manifest = manifest
        self.cache = cache or ActionCache()

    async def action(self, entity: EntityName, revision: str | None) -> Executable:
        return await self.cache.get(entity.document_id, revision, lambda: self._fetch(entity, revision))

    async def _fetch(self, entity: EntityName, revision: str | None) -> Executable:
        name = entity.document_id
        try:
            data = await self._couch.document(self._database, name, revision)
            if data is None and revision is not None:
                # It was updated since, and the old one is compacted away: the new one is what the user wants now.
                data = await self._couch.document(self._database, name)
            if data is None or _is_deleted(data):
                raise ActionMissing(name)
            document = decode_action(name, data)
            return to_executable(entity, document, await self._code(name, document), self._manifest)
        except CouchFailed as error:
            raise ActionNotFetched(name, str(error)) from None

    async def _code(self, name: str, document: ActionDocument) -> str | None:
        code = document.exec.code
        if not isinstance(code, Attachment):
            return code
        data = await self._attached(name, code.attachment_name, document.rev)
        if document.exec.binary:
            return base64.b64encode(data).decode()
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ActionUnreadable(name, "its code is neither text nor marked as binary") from None

    async def _attached(self, name: str, attachment: str, revision: str | None) -> bytes:
        if attachment.startswith(MEMORY_SCHEME):
            try:
                encoded = attachment[len(MEMORY_SCHEME) :]
                return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            except ValueError:
                raise ActionUnreadable(name, "the code in its attachment's name is no base64") from None
        scheme, separator, _ = attachment.partition(":")
        if separator and f"{scheme}:" != COUCH_SCHEME:
            raise ActionUnreadable(name, f"its code is in an attachment store of another kind, {scheme}")
        stored = attachment.removeprefix(COUCH_SCHEME)
        data = await self._couch.attachment(self._database, name, stored, revision)
        if data is None:
            raise ActionUnreadable(name, f"its attachment {stored} is not there")
        return data


class _Deleted(msgspec.Struct):
    deleted: bool = msgspec.field(name="_deleted", default=False)


def _is_deleted(data: bytes) -> bool:
    """CouchDB gives a revision that is a deletion as a document."""
    try:
        return b"_deleted" in data and msgspec.json.decode(data, type=_Deleted).deleted
    except msgspec.DecodeError:
        return False  # whoever reads it says what is wrong


class CouchBlacklist:
    """A Blacklist, read again every few minutes (NamespaceBlacklist.scala). Without an answer the last one stays."""

    def __init__(self, couch: CouchDB, database: str, every: float = BLACKLIST_EVERY) -> None:
        self._couch = couch
        self._database = database
        self._every = every
        self._blocked: frozenset[str] = frozenset()
        self._said = ""

    def blocks(self, namespace: str) -> bool:
        return namespace in self._blocked

    async def keep_up(self) -> None:
        """Runs until it is cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._every)

    async def refresh(self) -> None:
        try:
            rows = await self._couch.view(
                self._database,
                "namespaceThrottlings",
                "blockedNamespaces",
                reduce="false",
                descending="true",
                stale="update_after",
            )
        except CouchFailed as error:
            self._say(f"the blocked namespaces cannot be read: {error}")
            return
        if rows is None:
            self._say(f"{self._database} has no view of the blocked namespaces: none is blocked")
            return
        blocked = frozenset(row["key"] for row in rows if isinstance(row.get("key"), str))
        if blocked != self._blocked:
            _log.info("%d namespaces are blocked", len(blocked))
        self._blocked, self._said = blocked, ""

    def _say(self, what: str) -> None:
        """Once, until it changes."""
        if what != self._said:
            _log.warning("%s", what)
        self._said = what


class CouchRecords:
    """Where ActivationWriter writes to."""

    def __init__(self, couch: CouchDB, database: str) -> None:
        self._couch = couch
        self._database = database

    async def write(self, records: Sequence[bytes]) -> list[str | None]:
        """Why each could not be written, None for those that are there. A record that was there already is one.

        Raises CouchFailed.
        """
        written = await self._couch.write(self._database, records)
        if len(written) != len(records):
            raise CouchFailed(f"CouchDB answers for {len(written)} of {len(records)} records")
        return [
            None if each.error in (None, "conflict") else f"{each.error}: {each.reason or 'no reason is given'}"
            for each in written
        ]

"""Actions, blocked namespaces and records in OpenWhisk's own databases (core/database/CouchDbRestStore.scala)."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Sequence

import msgspec

from owmesos.errors import NOT_READABLE
from owmesos.openwhisk import entities
from owmesos.openwhisk.executable import Encoding, Executable, StoredCode
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import EntityName
from owmesos.openwhisk.store.action_cache import ActionCache
from owmesos.openwhisk.store.code_cache import CodeCache
from owmesos.openwhisk.store.couchdb import CouchDB, CouchFailed
from owmesos.system.lone_surrogates import replaced

_log = logging.getLogger("owmesos.couchdb")

_NOT_TEXT = "its code is neither text nor marked as binary"
COUCH_SCHEME, MEMORY_SCHEME = "couch:", "mem:"
BLACKLIST_EVERY = 300.0  # seconds
BLACKLIST_AGAIN = 10.0  # seconds; where there was no answer


class Databases(msgspec.Struct, frozen=True):
    """Their names, which begin with the deployment's prefix."""

    actions: str = "whisks"
    activations: str = "activations"
    subjects: str = "subjects"


class CouchActions:
    """An ActionStore; `codes` is its CodeStore, which keeps to a budget."""

    def __init__(self, couch: CouchDB, database: str, manifest: Manifest) -> None:
        self._couch = couch
        self._database = database
        self._manifest = manifest
        self.cache = ActionCache()
        self.codes = CodeCache(self._fetch_code)

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
                raise entities.ActionMissing(name)
        except CouchFailed as error:
            raise entities.ActionNotFetched(name, str(error)) from None
        found = await asyncio.to_thread(self._executable, entity, data)
        if isinstance(found.initializer, StoredCode):
            self.codes.prefetch(found.initializer)  # most likely it has no container yet
        return found

    def _executable(self, entity: EntityName, data: bytes) -> Executable:
        """For a thread: large code takes long. Raises ActionUnavailable."""
        document, large = entities.decode_large_action(entity.document_id, data)
        code = self._code(entity.document_id, document) if large is None else large
        return entities.to_executable(entity, document, code, self._manifest)

    def _code(self, name: str, document: entities.ActionDocument) -> str | StoredCode | None:
        """Raises ActionUnreadable."""
        code = entities.code_of(document, self._manifest)
        if not isinstance(code, entities.Attachment):
            return code
        attachment = code.attachment_name
        if attachment.startswith(MEMORY_SCHEME):
            return _in_its_name(name, attachment[len(MEMORY_SCHEME) :], binary=document.exec.binary)
        scheme, separator, _ = attachment.partition(":")
        if separator and f"{scheme}:" != COUCH_SCHEME:
            raise entities.ActionUnreadable(name, f"its code is in an unsupported attachment store, {scheme}")
        return StoredCode(
            document_id=name,
            revision=document.rev,
            attachment=attachment.removeprefix(COUCH_SCHEME),
            length=code.length,
            digest=code.digest,
        )

    async def _fetch_code(self, code: StoredCode) -> bytearray:
        """Raises ActionUnavailable."""
        name = code.document_id
        try:
            made = await self._couch.attachment(
                self._database, name, code.attachment, code.revision, into=lambda: Encoding(code)
            )
            if made is None:
                raise entities.ActionUnreadable(name, f"its attachment {code.attachment} does not exist")
            return made.finish()
        except CouchFailed as error:
            raise entities.ActionNotFetched(name, str(error)) from None
        except UnicodeDecodeError:
            raise entities.ActionUnreadable(name, _NOT_TEXT) from None


def _in_its_name(name: str, encoded: str, *, binary: bool) -> str:
    """Code in the name of its attachment. Raises ActionUnreadable."""
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        return base64.b64encode(data).decode() if binary else data.decode()
    except UnicodeDecodeError:
        raise entities.ActionUnreadable(name, _NOT_TEXT) from None
    except ValueError:
        raise entities.ActionUnreadable(name, "the code in its attachment's name is not valid base64") from None


class _Deleted(msgspec.Struct):
    deleted: bool = msgspec.field(name="_deleted", default=False)


def _is_deleted(data: bytes) -> bool:
    """CouchDB gives a revision that is a deletion as a document."""
    try:
        return b"_deleted" in data and msgspec.json.decode(data, type=_Deleted).deleted
    except NOT_READABLE:
        return False  # its reader reports the error


class CouchBlacklist:
    """A Blacklist, read again every few minutes (NamespaceBlacklist.scala). If that fails, the last one stays
    valid."""

    def __init__(self, couch: CouchDB, database: str) -> None:
        self._couch = couch
        self._database = database
        self._blocked: frozenset[str] = frozenset()
        self._said = ""

    def blocks(self, namespace: str) -> bool:
        return namespace in self._blocked

    async def keep_up(self) -> None:
        """Runs until it is cancelled."""
        while True:
            answered = await self.refresh()
            await asyncio.sleep(BLACKLIST_EVERY if answered else BLACKLIST_AGAIN)

    async def refresh(self) -> bool:
        """False if CouchDB did not answer."""
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
            if not error.outage:  # which is told elsewhere
                self._say(f"the blocked namespaces cannot be read: {error}")
            return False
        if rows is None:
            self._say(f"database {self._database} lacks the view of blocked namespaces: no namespace is blocked")
            return True
        blocked = frozenset(row["key"] for row in rows if isinstance(row.get("key"), str))
        if blocked != self._blocked:
            _log.info("%d namespaces are blocked", len(blocked))
        self._blocked, self._said = blocked, ""
        return True

    def _say(self, what: str) -> None:
        """Once, until it changes."""
        if what != self._said:
            _log.warning("%s", what)
        self._said = what


async def write_records(couch: CouchDB, database: str, records: Sequence[bytes]) -> list[str | None]:
    """For an ActivationWriter. A record that was already stored counts as written."""
    # CouchDB's parser (jiffy) takes no lone surrogates, and refuses the whole request for one.
    written = await couch.write(database, map(replaced, records))
    if len(written) != len(records):
        raise CouchFailed(f"CouchDB answered for {len(written)} of {len(records)} records")
    return [
        None if each.error in (None, "conflict") else f"{each.error}: {each.reason or 'no reason given'}"
        for each in written
    ]

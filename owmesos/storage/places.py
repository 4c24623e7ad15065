"""Where a state is: in a folder, or in ZooKeeper (`zk://…`); and its way from one place to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from owmesos.errors import InvalidInput
from owmesos.mesos.wire.address import ZooKeeperPath, parse_zookeeper
from owmesos.storage import lines
from owmesos.storage.memory import MemoryStore
from owmesos.storage.owned_nodes import lock_holder, look_at_owner
from owmesos.storage.records import StoredCounts
from owmesos.storage.sqlite import SQLiteStore, look_into
from owmesos.storage.store import Store, StoreFailed
from owmesos.storage.zookeeper import ZooKeeperStore
from owmesos.storage.zookeeper_contents import counted
from owmesos.storage.zookeeper_session import SESSION, ZooKeeperSession
from owmesos.system.lease import Lease
from owmesos.system.user_folders import is_url

Place: TypeAlias = Path | ZooKeeperPath
KeptStore: TypeAlias = SQLiteStore | ZooKeeperStore
_PATIENCE = 15.0  # seconds; for a person who waits


class Seen(NamedTuple):
    """What is at a place. `holder` uses it now, as far as that can be told without its lock."""

    counts: StoredCounts
    holder: str | None = None


def place_of(text: str | Path) -> Place:
    """Raises InvalidInput."""
    if is_url(text):
        return parse_zookeeper(str(text), credentials_allowed=True)
    return Path(text)


def open_store(place: Place, *, forget: bool = False, wait: float | None = None, session: float = SESSION) -> KeptStore:
    """See SQLiteStore and ZooKeeperStore. Raises InvalidInput and StoreFailed."""
    if isinstance(place, ZooKeeperPath):
        return ZooKeeperStore(place, forget=forget, wait=wait, session=session)
    return SQLiteStore(place, forget=forget)


def store_of(state: str | Path | None, *, forget: bool, lease: Lease | None) -> Store:
    """In memory without `state`. With `lease` its lock is given away as soon as that. Raises InvalidInput and
    StoreFailed."""
    if state is None:
        return MemoryStore()
    return open_store(place_of(state), forget=forget, session=SESSION if lease is None else lease.session)


def look_at(place: Place) -> Seen | None:
    """Without a lock and without changes. None if there is no state yet. Raises StoreFailed."""
    if not isinstance(place, ZooKeeperPath):
        counts = look_into(place)
        return Seen(counts) if counts is not None else None
    session = ZooKeeperSession(place, lambda: None, patience=_PATIENCE)
    try:
        owner, _ = look_at_owner(place, session)
        return Seen(counted(place, session), lock_holder(place, session)) if owner is not None else None
    finally:
        session.close()


def exported(place: Place) -> Iterator[bytes]:
    """Lines of JSON. Raises InvalidInput if there is no state, StateInUse and StoreFailed."""
    if look_at(place) is None:
        raise InvalidInput(f"there is no state in {place}")
    store = open_store(place, wait=0.0)
    try:
        writes, sent_until = store.raw()
    finally:
        store.close()
    yield lines.head(str(place), sent_until)
    yield from map(lines.line, writes)
    yield lines.end(len(writes))


def imported(place: Place, data: bytes) -> StoredCounts:
    """All of `data`, an export, or nothing. Raises InvalidInput, also if there is a framework already, StateInUse and
    StoreFailed."""
    head, writes = lines.export_of(data)
    store = open_store(place, wait=0.0)
    try:
        before = _present(place).counts
        if before.framework_id is not None or before.launches or before.unreadable:
            raise InvalidInput(f"there is a state in {place} already: export it, then remove it or name another place")
        store.commit(writes)
        if head.sent_until is not None:
            store.begin_sending(head.sent_until)
        return _present(place).counts
    finally:
        store.close()


def _present(place: Place) -> Seen:
    """Look at a store that is open. Raises StoreFailed."""
    seen = look_at(place)
    if seen is None:
        raise StoreFailed(f"the state in {place} was removed meanwhile")
    return seen

"""Which nodes hold what of the state in ZooKeeper, and their reading: `zookeeper` writes them.

A value larger than a node may be is in several: `ID`, `ID.1`, `ID.2`, …
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol
from urllib.parse import quote, unquote

import msgspec

from owmesos.errors import NOT_READABLE
from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.storage import store
from owmesos.storage.records import StoredCounts, read
from owmesos.storage.zookeeper_session import ZooKeeperSession

LAUNCHES, ANSWERS, REDO = "launches", "answers", "redo"
FRAMEWORK, SENT = "framework", "accepts-sent"


class StateNodes(Protocol):
    """Each method raises StoreFailed."""

    def path(self, *names: str) -> str: ...

    def read(self, paths: Sequence[str]) -> list[bytes | None]:
        """None for those that do not exist."""

    def children(self, name: str) -> list[str]: ...


class StoredAnswer(msgspec.Struct, frozen=True):
    """`number` gives the order."""

    number: int
    key: str
    request: bytes
    taken_at: float
    body: bytes


class Contents:
    """What is below one path. `parts` has the nodes that are there: which parts of which value, by its path."""

    def __init__(self, nodes: StateNodes, address: ZooKeeperPath) -> None:
        self._nodes = nodes
        self._address = address
        self.parts: dict[str, frozenset[int]] = {}

    def find(self) -> None:
        """Raises StoreFailed."""
        self.parts = {}
        for table in (LAUNCHES, ANSWERS, REDO):
            for child in self._nodes.children(table):
                name, _, part = child.partition(".")
                path = self._nodes.path(table, name)
                self.parts[path] = self.parts.get(path, frozenset()) | {int(part) if part.isdecimal() else 0}
        paths = [self._nodes.path(name) for name in (FRAMEWORK, SENT)]
        for path, data in zip(paths, self._nodes.read(paths), strict=True):
            if data is not None:
                self.parts[path] = frozenset({0})

    def values(self, table: str) -> Iterator[tuple[str, bytes]]:
        """The quoted names, and what is stored under each. Raises StoreFailed."""
        start = self._nodes.path(table, "")
        wanted = {path: sorted(parts) for path, parts in self.parts.items() if path.startswith(start) and parts}
        paths = [part_of(path, part) for path, parts in wanted.items() for part in parts]
        found = dict(zip(paths, self._nodes.read(paths), strict=True))
        for path, parts in wanted.items():
            yield path.removeprefix(start), b"".join(found[part_of(path, part)] or b"" for part in parts)

    def framework_id(self) -> str | None:
        """Raises StateDamaged and StoreFailed."""
        (data,) = self._nodes.read([self._nodes.path(FRAMEWORK)])
        if data is None:
            return None
        framework_id = data.decode(errors="replace")
        if not framework_id or "\N{REPLACEMENT CHARACTER}" in framework_id:
            raise store.StateDamaged(
                f"the state in {self._address} is damaged (the framework id is {data!r:.100}): restore it, or start"
                " with --new-framework"
            )
        return framework_id

    def launches(self) -> Iterator[tuple[str, bytes]]:
        """Ids and records. Raises StoreFailed."""
        return ((unquote(name, errors="surrogatepass"), data) for name, data in self.values(LAUNCHES))

    def answers(self) -> tuple[list[store.Answer], list[str]]:
        """In their order; and why others cannot be read. Raises StoreFailed."""
        found, unreadable = [], []
        for name, data in self.values(ANSWERS):
            try:
                found.append(msgspec.json.decode(data, type=StoredAnswer))
            except NOT_READABLE as error:  # noqa: PERF203
                unreadable.append(f"the stored answer to request {unquote(name):.100} cannot be read: {error}")
        found.sort(key=lambda each: each.number)
        return [store.Answer(each.key, each.request, each.taken_at, each.body) for each in found], unreadable

    def sent_until(self) -> float | None:
        """None if it is unknown. Raises StoreFailed."""
        (data,) = self._nodes.read([self._nodes.path(SENT)])
        try:
            known = float(data) if data is not None else math.nan
        except ValueError:
            known = math.nan
        return known if math.isfinite(known) else None


class _Seen:
    """Nodes that are only looked at."""

    def __init__(self, address: ZooKeeperPath, session: ZooKeeperSession) -> None:
        self._path = address.path
        self._session = session
        self.read = session.read_all

    def path(self, *names: str) -> str:
        return "/".join((self._path, *names))

    def children(self, name: str) -> list[str]:
        return self._session.children(self.path(name))


def counted(address: ZooKeeperPath, session: ZooKeeperSession) -> StoredCounts:
    """What is stored, while another process may change it. Raises StateDamaged and StoreFailed."""
    contents = Contents(_Seen(address, session), address)
    contents.find()
    records, unreadable = read(contents.launches())
    answers, faults = contents.answers()
    return StoredCounts(len(records), unreadable, contents.framework_id(), len(answers), faults)


def part_of(path: str, number: int) -> str:
    """The node that holds a part of the value at `path`."""
    return f"{path}.{number}" if number else path


def quoted(name: str) -> str:
    """A node's name; a dot is before the number of a part only."""
    return quote(name, safe="", errors="surrogatepass").replace(".", "%2E")

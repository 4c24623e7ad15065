"""Rows that clients follow: each client gets what has changed since its last event, however long ago that was.

A row is kept as JSON, once for all clients, with the number of the update that last changed it. The only state of a
client is such a number: a slow client costs no memory, and gets what it missed as one change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from owmesos.system.lone_surrogates import encode

MOST_GONE = 10_000
"""Most keys of removed rows to remember; a client that missed more gets a new snapshot."""


AGING = {"age_s", "observed_at"}
"""Fields that do not count as a change: a master offers all nodes again and again, which changes only these."""


class Row(NamedTuple):
    version: int
    content: bytes  # JSON without AGING, to compare rows by
    json: bytes


class Table:
    """Rows by key; `key` returns the key of a document."""

    def __init__(self, key: Callable[[Any], str]) -> None:
        self._key = key
        self._rows: dict[str, Row] = {}  # least recently changed first
        self._gone: dict[str, int] = {}
        self.complete_since = 0
        """Clients with an older version than this may have missed removed rows."""

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> set[str]:
        return set(self._rows)

    def put(self, document: Mapping[str, Any], version: int) -> str:
        """Add or replace a row; return its key."""
        key = self._key(document)
        content = encode({name: value for name, value in document.items() if name not in AGING})
        before = self._rows.get(key)
        if before is None or before.content != content:
            self._rows.pop(key, None)
            self._gone.pop(key, None)
            json = encode(document) if AGING & document.keys() else content
            self._rows[key] = Row(version, content, json)
        return key

    def remove(self, key: str, version: int) -> None:
        if self._rows.pop(key, None) is None:
            return
        self._gone.pop(key, None)
        self._gone[key] = version
        if len(self._gone) > MOST_GONE:
            self.complete_since = self._gone.pop(next(iter(self._gone)))

    def replace(self, documents: Iterable[Mapping[str, Any]], version: int) -> None:
        """Make `documents` the only rows."""
        kept = {self.put(document, version) for document in documents}
        for key in self.keys() - kept:
            self.remove(key, version)

    def since(self, version: int) -> tuple[list[bytes], list[str]]:
        """The rows that changed after `version`, as JSON, and the keys of removed rows."""
        changed = takewhile(lambda row: row.version > version, reversed(self._rows.values()))
        rows = [row.json for row in changed]
        rows.reverse()
        gone = takewhile(lambda each: each[1] > version, reversed(self._gone.items()))
        return rows, [key for key, _ in gone] if version else []

"""Requests that may be repeated: a client names a request by a key, and a repetition gets the first answer again
without any further effect.

As in "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header): the client chooses the
key, the same key with a different request is an error (422), and keys expire. A repetition that arrives while the
first request is in progress waits for it and gets its answer instead of a 409. Keys and answers are stored in the
same commit as the request's effects.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from owmesos.errors import InvalidInput, OwmesosError

HEADER = "Idempotency-Key"
MAX_KEYS = 10_000
MAX_AGE = 24 * 3600.0  # seconds that a key is known
MAX_BYTES = 16 * 2**20  # of all answers together
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"\Z')  # sf-string of RFC 8941
_BARE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+\Z")
_LONGEST = 255
PATTERN = (
    rf'^"([\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){{1,{_LONGEST}}}"$'
    rf"|^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{{1,{_LONGEST}}}$"
)
"""The two forms of a key, for the API's description: `_QUOTED` and `_BARE` as JSON Schema writes them."""


class KeyReused(OwmesosError):
    """The key was given with another request before."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the {HEADER} {key!r} was used for another request: make a new key for each")


class Keyed(Protocol):
    """A request: its digest, when it was taken (seconds since the epoch), and how many bytes its answer takes."""

    @property
    def key(self) -> str: ...
    @property
    def request(self) -> bytes: ...
    @property
    def taken_at(self) -> float: ...
    @property
    def weight(self) -> int: ...


K = TypeVar("K", bound=Keyed)


class KeyBook(Generic[K]):
    """The requests that are known by their keys, within bounds: the oldest are forgotten first."""

    def __init__(self, count: int = MAX_KEYS, age: float = MAX_AGE, size: int = MAX_BYTES) -> None:
        """`age` in seconds, `size` in bytes."""
        self._count, self._age, self._size = count, age, size
        self._known: dict[str, K] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: str, request: bytes, now: float) -> K | None:
        """None for a new one. Raises KeyReused."""
        found = self._known.get(key)
        if found is None or found.taken_at < now - self._age:
            return None
        if found.request != request:
            raise KeyReused(key)
        return found

    def add(self, *taken: K, now: float) -> list[str]:
        """The keys that are forgotten for it."""
        for each in taken:
            self.discard(each.key)
            self._known[each.key] = each
            self._bytes += each.weight
        forgotten = []
        while self._known and self._beyond(next(iter(self._known.values())), now):
            forgotten.append(next(iter(self._known)))
            self.discard(forgotten[-1])
        return forgotten

    def discard(self, key: str) -> None:
        found = self._known.pop(key, None)
        if found is not None:
            self._bytes -= found.weight

    def _beyond(self, oldest: K, now: float) -> bool:
        return len(self._known) > self._count or self._bytes > self._size or oldest.taken_at < now - self._age


def digest(parts: Iterable[bytes]) -> bytes:
    """A hash of a request: the same for the same parts."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.digest()


def check_key(key: str) -> str:
    """Raises InvalidInput."""
    if not 1 <= len(key) <= _LONGEST or not (key.isascii() and key.isprintable()):
        raise InvalidInput(f"a key must be 1 to {_LONGEST} printable ASCII characters, not {key[:100]!r}")
    return key


def key_of(header: str) -> str:
    """The key in the header: a string in quotes, as the draft wants it, or the bare text. Raises InvalidInput."""
    text = header.strip()
    quoted = _QUOTED.match(text)
    if quoted is not None:
        return check_key(re.sub(r'\\(["\\])', r"\1", quoted[1]))
    if _BARE.match(text) is None:
        raise InvalidInput(f"the {HEADER} {text[:100]!r} is not valid: write a string in double quotes")
    return check_key(text)

"""What is in an activation journal, and what one commit of it writes; it opens no file.

`activation_journal` says what is written when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import msgspec

from owmesos.errors import OwmesosError

OVER = b""
"""The result of an activation whose Controller has been answered: nothing more is to be said of it."""
Seconds = Annotated[float, msgspec.Meta(ge=0, le=200_000_000_000)]
"""Since the epoch, up to the year 8307."""


class JournalFailed(OwmesosError):
    """A write failed, or may have failed: nothing that relies on it may be done."""


class JournalEntry(NamedTuple):
    """An activation under way. `message` is as it was taken; `begun_at` in seconds since the epoch, None before;
    `result` is the activation with its result, None before its caller gets it."""

    activation_id: str
    message: bytes
    begun_at: Seconds | None = None
    result: bytes | None = None


class TakenKey(NamedTuple):
    """A client's name for a request, the digest of the request, and the activation that it was answered with."""

    key: str
    request: bytes
    activation_id: str
    taken_at: Seconds

    @property
    def weight(self) -> int:
        return len(self.key)


_UPDATE = (
    "UPDATE activations SET {0} = (SELECT {0} FROM new WHERE new.number = activations.number) "
    "WHERE number IN (SELECT number FROM new)"
)
# What stands before a statement's rows, and after them. Made once: a warm run waits for a batch.
_TAKE = ("INSERT INTO activations (number, activation_id, message, begun_at, result) VALUES ", "")
_BEGIN = ("WITH new (begun_at, number) AS (VALUES ", f") {_UPDATE.format('begun_at')}")
_END = ("WITH new (result, number) AS (VALUES ", f") {_UPDATE.format('result')}")
_FORGET = ("DELETE FROM activations WHERE number IN (VALUES ", ")")
_FORGET_KEYS = ("DELETE FROM keys WHERE key IN (VALUES ", ")")
_KEYS = ("INSERT OR REPLACE INTO keys (key, request, activation_id, taken_at) VALUES ", "")
_AT_ONCE = 100  # rows in a statement: SQLite before 3.32 takes 999 values (sqlite.org/limits.html)


def _statements(start: str, rows: Sequence[tuple[object, ...]], end: str) -> Iterator[tuple[str, list[object]]]:
    """Statements of many rows each. The thread that writes leaves the interpreter to the event loop in each one, and
    waits until it gets it back: with a statement for each row it mostly waits."""
    for first in range(0, len(rows), _AT_ONCE):
        several = rows[first : first + _AT_ONCE]
        row = f"({', '.join('?' * len(several[0]))})"
        yield start + ", ".join([row] * len(several)) + end, [value for each in several for value in each]


class JournalBatch:
    """What one commit writes. Of an activation that is taken and forgotten meanwhile nothing is written."""

    def __init__(self) -> None:
        self.taken: dict[str, JournalEntry] = {}
        self.begun: dict[str, float] = {}
        self.ended: dict[str, bytes] = {}
        self.forgotten: list[int] = []
        self.keys: list[TakenKey] = []
        self.forgotten_keys: list[str] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.has_ended = False
        self.error: JournalFailed | None = None  # why it was not written
        self.urgent = False
        self.statements: list[tuple[str, list[object]]] = []

    def __bool__(self) -> bool:
        return bool(self.taken or self.begun or self.ended or self.forgotten or self.keys or self.forgotten_keys)

    def prepare(self, numbers: dict[str, int]) -> None:
        """For the thread that writes. `numbers`: of the activations' rows; what has none is not written."""
        rows: dict[tuple[str, str], list[tuple[object, ...]]] = {
            _TAKE: [(numbers[each], *entry) for each, entry in self.taken.items() if each in numbers],
            _BEGIN: [(at, numbers[each]) for each, at in self.begun.items() if each in numbers],
            _END: [(result, numbers[each]) for each, result in self.ended.items() if each in numbers],
            _FORGET: [(number,) for number in self.forgotten],
            _FORGET_KEYS: [(key,) for key in self.forgotten_keys],
            _KEYS: [*self.keys],
        }
        self.statements = [each for (start, end), several in rows.items() for each in _statements(start, several, end)]

    def done(self, error: JournalFailed | None) -> None:
        """Wakes those who wait for the commit."""
        self.has_ended, self.error = True, error
        for waiting in self.waiting:
            self.wake(waiting)

    def wake(self, waiting: asyncio.Future[None]) -> None:
        """Tell one who waits how the commit ended."""
        if waiting.done():
            return
        if self.error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(self.error)
            waiting.exception()  # nobody need have waited

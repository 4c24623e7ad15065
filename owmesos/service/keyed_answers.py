"""Requests that their clients named by a key, so that they can be repeated: each is carried out once.

Its answer is stored, as compressed JSON, in the same commit as what it did.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from owmesos.service.idempotency import KeyBook, check_key, digest
from owmesos.service.shell import Shell
from owmesos.storage import Answer


class KeyedAnswers:
    """The answers that are known, those of an earlier process included."""

    def __init__(self, stored: Iterable[Answer], now: float) -> None:
        """`now` in seconds since the epoch."""
        self._book: KeyBook[Answer] = KeyBook()
        self.outlived = self._book.add(*stored, now=now)
        """The keys of those that are too old or too many by now: the store still has them."""

    async def once(self, shell: Shell, key: str, request: Iterable[bytes], do: Callable[[], Any]) -> bytes:
        """What `do` returned when the request first came with this key, as JSON, once that is stored.

        `request` are the parts that make it the same request. Raises InvalidInput for the key, and KeyReused.
        """
        name, digested, now = check_key(key), digest(request), shell.clock.now()
        answer = self._book.find(name, digested, now)
        if answer is None:
            body = zlib.compress(msgspec.json.encode(do()), 1)
            answer = Answer(name, digested, now, body)
            shell.store_answer(answer, self._book.add(answer, now=now))
        await shell.outbox.flushed()  # also where another task put it in, a moment ago
        return zlib.decompress(answer.body)

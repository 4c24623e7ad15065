"""Requests that their clients named by a key, so that they can be repeated: each is carried out once.

Its answer is stored, as compressed JSON, in the same commit as what it did.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable

from owmesos.service.idempotency import KeyBook, check_key, digest
from owmesos.service.shell import Shell
from owmesos.storage import Answer
from owmesos.system.tasks import keep

Asked = Callable[[], Awaitable[bytes]]
"""Carries out a request, and returns its answer."""


class KeyedAnswers:
    """The answers that are known, those of an earlier process included."""

    def __init__(self, stored: Iterable[Answer], now: float) -> None:
        """`now` in seconds since the epoch."""
        self._book: KeyBook[Answer] = KeyBook()
        self._one_at_a_time = asyncio.Lock()
        self._under_way: set[asyncio.Task[bytes]] = set()
        self.outlived = self._book.add(*stored, now=now)
        """The keys of those that are too old or too many by now: the store still has them."""

    async def once(self, shell: Shell, key: str, request: Iterable[bytes], do: Asked) -> bytes:
        """What `do` returned when the request first came with this key, once that is stored. What is begun is done as a
        whole, also where nobody waits for it any more.

        `request` are the parts that make it the same request. Raises InvalidInput for the key, and KeyReused.
        """
        name, digested = check_key(key), digest(request)
        asked = asyncio.create_task(self._asked(shell, name, digested, do))
        keep(asked, self._under_way)
        body = await asyncio.shield(asked)
        await shell.outbox.flushed()  # also where another task put it in, a moment ago
        return await asyncio.to_thread(zlib.decompress, body)

    async def _asked(self, shell: Shell, name: str, digested: bytes, do: Asked) -> bytes:
        """The compressed answer: that of the first request, also while it is under way."""
        async with self._one_at_a_time:
            answer = self._book.find(name, digested, shell.clock.now())
            if answer is None:
                async with shell.outbox.in_one_commit():
                    body = await asyncio.to_thread(zlib.compress, await do(), 1)
                    answer = Answer(name, digested, shell.clock.now(), body)
                    shell.store_answer(answer, self._book.add(answer, now=answer.taken_at))
            return answer.body

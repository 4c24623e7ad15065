"""A cache of fetched actions, by revision, up to a weight in bytes: code may have many MB.

An updated action has another revision, so no entry becomes outdated; a message without a revision bypasses the cache
(WhiskAction.scala). Activations that need the same missing action share one fetch.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from owmesos.openwhisk.executable import Executable

Key = tuple[str, str]
Fetch = Callable[[], Awaitable[Executable]]


class ActionCache:
    """Keeps the last used actions. To be used within one event loop."""

    def __init__(self, max_weight: int = 128 * 1024**2) -> None:
        self._max_weight = max_weight
        self._known: OrderedDict[Key, Executable] = OrderedDict()
        self._fetching: dict[Key, asyncio.Future[Executable]] = {}
        self.weight = 0  # bytes

    def __len__(self) -> int:
        return len(self._known)

    async def get(self, document_id: str, revision: str | None, fetch: Fetch) -> Executable:
        """Raises what `fetch` raises; a failure is not cached."""
        key = (document_id, revision or "")
        if revision is None:
            return await self._fetch(key, fetch)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        task = self._fetching.get(key)
        if task is None:
            task = self._fetching[key] = asyncio.ensure_future(self._fetch(key, fetch))
            task.add_done_callback(lambda _: self._fetching.pop(key))
        # The cancellation of one waiter must not affect the others.
        return await asyncio.shield(task)

    async def _fetch(self, key: Key, fetch: Fetch) -> Executable:
        found = await fetch()
        self._keep((key[0], found.revision or key[1]), found)
        return found

    def _keep(self, key: Key, found: Executable) -> None:
        self._drop(key)
        if found.weight > self._max_weight:
            return
        self._known[key] = found
        self.weight += found.weight
        while self.weight > self._max_weight:
            self._drop(next(iter(self._known)))

    def _drop(self, key: Key) -> None:
        dropped = self._known.pop(key, None)
        if dropped is not None:
            self.weight -= dropped.weight

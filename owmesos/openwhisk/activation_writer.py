"""Records of activations on their way to where they are kept: in batches, again after a failure, and within a bound.

While the database is away nothing waits for it: acknowledgements go on, and records gather here. Past the bound new
ones are dropped, which is said and counted; the result was told to whoever waited for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from owmesos.openwhisk.activation import Activation, document
from owmesos.openwhisk.couchdb import CouchFailed
from owmesos.openwhisk.messages import encode

_log = logging.getLogger("owmesos.records")

TOO_LARGE = 413  # HTTP: the batch is, or its only record
SAY_EVERY = 60.0  # seconds


class WriterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`batch_bytes` and `max_bytes` in bytes, waits and `close_timeout` in seconds."""

    batch_count: int = 500
    batch_bytes: int = 5 * 1024**2
    max_count: int = 20_000
    max_bytes: int = 64 * 1024**2
    first_wait: float = 0.1
    longest_wait: float = 5.0
    close_timeout: float = 10.0


class Records(Protocol):
    """Where they are kept."""

    async def write(self, records: Sequence[bytes]) -> list[str | None]:
        """Why each could not be written, None for those that are there. Raises CouchFailed when nobody knows."""
        ...


class ActivationWriter:
    """An ActivationStore. Within one event loop; `store` begins the writing."""

    def __init__(
        self,
        records: Records,
        settings: WriterSettings | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._settings = settings or WriterSettings()
        self._now = now
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._said_at = -SAY_EVERY
        self.written = 0
        self.dropped = 0

    def __len__(self) -> int:
        """How many are not kept yet."""
        return len(self._waiting)

    def store(self, activation: Activation) -> None:
        record = encode(document(activation, self._now()))
        if len(self._waiting) >= self._settings.max_count or self._bytes + len(record) > self._settings.max_bytes:
            self._drop(activation.document_id)
            return
        self._waiting.append(record)
        self._bytes += len(record)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_all())

    async def close(self) -> None:
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=self._settings.close_timeout)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._waiting:
            self.dropped += len(self._waiting)
            _log.error("%d records of activations could not be kept before the end", len(self._waiting))

    def _drop(self, document_id: str) -> None:
        self.dropped += 1
        if self._now() - self._said_at >= SAY_EVERY:
            self._said_at = self._now()
            _log.error("too many records wait for the database: dropped %s, %d so far", document_id, self.dropped)

    async def _write_all(self) -> None:
        wait, limit = self._settings.first_wait, self._settings.batch_count
        while self._waiting:
            batch = self._batch(limit)
            try:
                faults = await self._records.write(batch)
            except CouchFailed as error:
                if error.status == TOO_LARGE and len(batch) > 1:
                    limit = len(batch) // 2
                    continue
                if error.status == TOO_LARGE:
                    self._taken([f"it is too large: {len(batch[0])} bytes"], batch)
                    continue
                _log.warning("%d records cannot be kept, next try in %g s: %s", len(self._waiting), wait, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, self._settings.longest_wait)
                continue
            self._taken(faults, batch)
            wait, limit = self._settings.first_wait, self._settings.batch_count

    def _batch(self, limit: int) -> list[bytes]:
        """The first that wait; at least one."""
        batch: list[bytes] = []
        size = 0
        for record in self._waiting:
            size += len(record)
            if batch and (len(batch) >= limit or size > self._settings.batch_bytes):
                break
            batch.append(record)
        return batch

    def _taken(self, faults: Sequence[str | None], batch: Sequence[bytes]) -> None:
        for record, fault in zip(batch, faults, strict=True):
            self._waiting.popleft()
            self._bytes -= len(record)
            if fault is None:
                self.written += 1
            else:
                self.dropped += 1
                _log.error("a record is refused, %s: %.200s", fault, record.decode("utf-8", "replace"))

"""Writes activation records to their store: in batches, with retries, and within a limit.

While the database is down nothing waits for it: acknowledgements continue, and records collect here. Above the limit
new records are dropped, logged and counted; callers have got their results already. A batch that is rejected because
of its content is halved until the rejected record is found, which is dropped: it must not delay the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from owmesos.openwhisk.activation import Activation, document
from owmesos.openwhisk.store.couchdb import CouchFailed
from owmesos.system.lone_surrogates import encode
from owmesos.system.tasks import cancel_all

_log = logging.getLogger("owmesos.records")

TOO_LARGE = 413  # HTTP: the batch is, or its only record
REFUSALS = (400, TOO_LARGE, 422)
"""HTTP: the batch is refused for what is in it, and will be again. After all else it is tried again."""
SAY_EVERY = 60.0  # seconds
Write = Callable[[Sequence[bytes]], Awaitable[list[str | None]]]
"""Writes records, and returns for each the reason why it was not written, or None. Raises CouchFailed if that is
unknown."""


class WriterSettings(msgspec.Struct, frozen=True, kw_only=True):
    batch_count: int = 500  # records in one write
    batch_bytes: int = 5 * 1024**2  # bytes in one write
    max_count: int = 20_000  # records that may wait
    max_bytes: int = 64 * 1024**2  # bytes that may wait
    first_wait: float = 0.1  # seconds before the first retry, doubling
    longest_wait: float = 5.0  # seconds before a retry, at most
    close_timeout: float = 10.0  # seconds for the last writes


class _Waiting(NamedTuple):
    document_id: str
    data: bytes


class ActivationWriter:
    """An ActivationStore. Within one event loop; `store` begins the writing."""

    def __init__(
        self,
        write: Write,
        settings: WriterSettings | None = None,
        *,
        now: Callable[[], float] = time.time,
        dropped: Callable[[str], None] = lambda document_id: None,
        outages_are_told: bool = False,
    ) -> None:
        """`dropped` is called for each record that will never be written. `outages_are_told`: the log has a line for
        each outage of the database already."""
        self._write = write
        self._settings = settings or WriterSettings()
        self._now = now
        self._on_dropped = dropped
        self._outages_are_told = outages_are_told
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._said_at = -SAY_EVERY
        self.written = 0
        self.dropped = 0

    def __len__(self) -> int:
        """How many records are not stored yet."""
        return len(self._waiting)

    def store(self, activation: Activation) -> None:
        record = encode(document(activation, self._now()))
        if len(self._waiting) >= self._settings.max_count or self._bytes + len(record) > self._settings.max_bytes:
            self._drop(activation.document_id)
            return
        self._waiting.append(_Waiting(activation.document_id, record))
        self._bytes += len(record)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_all())

    async def close(self) -> None:
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=self._settings.close_timeout)
            await cancel_all([self._task])
        if self._waiting:
            self.dropped += len(self._waiting)
            _log.error("%d activation records could not be stored before shutdown", len(self._waiting))

    def _drop(self, document_id: str) -> None:
        self.dropped += 1
        if time.monotonic() - self._said_at >= SAY_EVERY:
            self._said_at = time.monotonic()
            _log.error("too many records wait for the database: dropped %s, %d so far", document_id, self.dropped)
        self._on_dropped(document_id)

    async def _write_all(self) -> None:
        wait, limit = self._settings.first_wait, self._settings.batch_count
        while self._waiting:
            batch = self._batch(limit)
            try:
                faults = await self._written(batch)
            except CouchFailed as error:
                level = logging.DEBUG if error.outage and self._outages_are_told else logging.WARNING
                _log.log(level, "%d records cannot be stored, retrying in %g s: %s", len(self._waiting), wait, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, self._settings.longest_wait)
                continue
            if faults is None:
                limit = len(batch) // 2
                continue
            self._taken(faults, batch)
            wait, limit = self._settings.first_wait, self._settings.batch_count

    async def _written(self, batch: Sequence[_Waiting]) -> Sequence[str | None] | None:
        """Why each was not; None when the batch was refused as a whole, and fewer should be tried. Raises CouchFailed
        when all should be tried again."""
        try:
            return await self._write([each.data for each in batch])
        except CouchFailed as error:
            if error.status not in REFUSALS:
                raise
            too_large = f"it is too large: {len(batch[0].data)} bytes"
            fault = too_large if error.status == TOO_LARGE else str(error)
        except Exception as error:  # noqa: BLE001  (an internal error: it is logged, and the other records are kept)
            if len(batch) == 1:
                _log.exception("the record of activation %s cannot be written", batch[0].document_id)
            fault = f"{type(error).__name__}: {error}"
        return [fault] if len(batch) == 1 else None

    def _batch(self, limit: int) -> list[_Waiting]:
        """The first that wait; at least one."""
        batch: list[_Waiting] = []
        size = 0
        for record in self._waiting:
            size += len(record.data)
            if batch and (len(batch) >= limit or size > self._settings.batch_bytes):
                break
            batch.append(record)
        return batch

    def _taken(self, faults: Sequence[str | None], batch: Sequence[_Waiting]) -> None:
        for (document_id, data), fault in zip(batch, faults, strict=True):
            self._waiting.popleft()
            self._bytes -= len(data)
            if fault is None:
                self.written += 1
                continue
            self.dropped += 1
            _log.error("an activation record was rejected, %s: %.200s", fault, data.decode("utf-8", "replace"))
            self._on_dropped(document_id)

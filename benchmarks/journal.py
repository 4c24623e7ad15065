"""What the journal of delivery at most once costs a warm run: the invoker of kafka_invoker with and without it.

One invoker answers batches of activations, 32 at once, with its journal and without it in turns, first the one and then
the other in each pair of batches; of each figure the median counts. Processor time is that of the invoker and of the
simulated cluster, which are one process. Without its journal an invoker writes nothing, and promises nothing.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.kafka_invoker import CONTAINERS, broker_of, calls, servers
from benchmarks.row import Row
from owmesos.invoker import kafka
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.kafka.feed_settings import Delivery
from owmesos.openwhisk.store.activation_journal import ActivationJournal

PAIRS, TOTAL = 20, 2_000
KEPT = 0.95  # of the rate without a journal


class SwitchedJournal(ActivationJournal):
    """One that can be switched off."""

    on = True

    async def begin(self, activation_id: str, now: float) -> None:
        if self.on:
            await super().begin(activation_id, now)

    def take(self, activation_id: str, message: bytes, key: object = None, *, begun_at: float | None = None) -> None:
        if self.on:
            super().take(activation_id, message, begun_at=begun_at)

    def over(self, activation_id: str, now: float) -> None:
        if self.on:
            super().over(activation_id, now)

    def forget(self, activation_ids: Iterable[str]) -> None:
        if self.on:
            super().forget(activation_ids)


class Batch(NamedTuple):
    """Activations a second, their median time in ms, and processor time in ms of each."""

    rate: float
    median: float
    processor: float


async def _measure(broker: Broker, database: str, pairs: int, total: int) -> dict[bool, list[Batch]]:
    found: dict[bool, list[Batch]] = {True: [], False: []}
    kafka.ActivationJournal = SwitchedJournal  # type: ignore[attr-defined]
    async with calls(broker, database, Delivery.AT_MOST_ONCE) as call:
        for number in range(pairs):
            for on in (True, False) if number % 2 else (False, True):
                SwitchedJournal.on = on
                begun = time.process_time()
                took = await call(total, CONTAINERS)
                spent = (time.process_time() - begun) / total * 1000
                found[on].append(Batch(took.rate, took.median, spent))
        SwitchedJournal.on = True
    return found


def run(quick: bool = False) -> list[Row]:
    with servers() as (address, database):
        broker = broker_of(address, "journal-")
        found = asyncio.run(_measure(broker, database, 2 if quick else PAIRS, 200 if quick else TOTAL))
    rate, median, processor = (
        {on: statistics.median(each[field] for each in batches) for on, batches in found.items()}
        for field in range(len(Batch._fields))
    )
    kept = rate[True] / rate[False]
    against = "without it"
    return [
        Row(name=f"{CONTAINERS} at once", ours=rate[True], other=rate[False], against=against, unit="/s"),
        Row(
            name="rate, of the rate without it",
            ours=kept,
            unit="",
            target=f"{KEPT:g} and more",
            met=None if quick else kept >= KEPT,
        ),
        Row(name="median", ours=median[True], other=median[False], against=against, unit="ms"),
        Row(name="processor time", ours=processor[True], other=processor[False], against=against, unit="ms each"),
    ]

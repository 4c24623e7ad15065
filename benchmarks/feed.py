"""Activations from Kafka and back without containers: poll, decode, hand to the event loop, acknowledge.

A real broker of one node beside the process holds 100,000 activations, which an invoker that answers each at once
works off. The rate is wall time on whatever cores broker and invoker share; the cost is processor time of the invoker
alone, and its inverse what one core could do. Memory is the most that ever was resident (VmHWM), Python in it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.memory import resident
from benchmarks.row import Row
from owmesos.openwhisk.activation import Reporter, not_run, success
from owmesos.openwhisk.kafka.acks import AckSender
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.kafka.feed import Feed, FeedBroke
from owmesos.openwhisk.kafka.feed_settings import Delivery, FeedSettings
from owmesos.openwhisk.kafka.offsets import Position, Received, Rejected
from owmesos.openwhisk.messages import invoker_id
from tests.openwhisk.samples import ACTIVATION_1_0
from tests.servers.kafka import Kafka

ACTIVATIONS = 100_000
RATE, MEMORY_MB = 5_000.0, 300.0


class Answering:
    """Says of each activation that it ran."""

    def __init__(self, broker: Broker, delivery: Delivery, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = count
        self._reporter = Reporter(invoker_id(0), time.time)
        self._acks = AckSender(broker)
        self._feed = Feed(
            broker,
            broker.invoker_topic(0).name,
            self,
            self._loop,
            FeedSettings(delivery=delivery),
        )
        self._over = asyncio.Event()
        self._begun = 0.0

    async def work(self) -> tuple[float, float]:
        """Seconds from the first activation to the last acknowledgement, and the processor time of all of it."""
        self._acks.start()
        used = time.process_time()
        self._feed.start()
        await self._over.wait()
        took, used = time.perf_counter() - self._begun, time.process_time() - used
        await asyncio.to_thread(self._feed.stop)
        await asyncio.to_thread(self._acks.stop)
        return took, used

    def received(self, batch: Sequence[Received]) -> None:
        self._begun = self._begun or time.perf_counter()
        for position, message, *_ in batch:
            activation = not_run(message, success({"greeting": "Hello"}), time.time())
            self._acks.send(
                message.root_controller_index,
                self._reporter.combined(message, activation),
                lambda done=position: self._acknowledged(done),  # type: ignore[misc]
            )

    def _acknowledged(self, position: Position) -> None:
        """In the thread of Kafka's client."""
        self._feed.done(position)
        self._left -= 1
        if not self._left:
            self._loop.call_soon_threadsafe(self._over.set)

    def committed(self, offsets: Mapping[int, int]) -> None: ...

    def rejected(self, record: Rejected) -> None:
        raise AssertionError(record)

    def reading(self) -> None: ...

    def broke(self, reason: FeedBroke) -> None:
        raise reason


def _measure(server: Kafka, delivery: Delivery, count: int) -> list[Row]:
    broker = Broker(hosts=(server.address,), prefix=f"b{uuid.uuid4().hex[:8]}-")
    topic = broker.invoker_topic(0)
    broker.ensure([topic, broker.completed_topic("0")])
    with closing(broker.producer(client_id="bench", acks=1, linger_ms=5, enable_idempotence=False)) as producer:
        for _ in range(count):
            producer.send(topic.name, ACTIVATION_1_0)
        producer.flush()

    async def work() -> tuple[float, float]:
        return await Answering(broker, delivery, count).work()

    took, used = asyncio.run(work())
    rate = count / took
    return [
        Row(name=f"{delivery.value}: rate", ours=rate, unit="a second", target="5,000 a second", met=rate >= RATE),
        Row(name=f"{delivery.value}: processor time", ours=used / count * 1e6, unit="µs each"),
    ]


def run(quick: bool = False) -> list[Row]:
    count = 5_000 if quick else ACTIVATIONS
    with tempfile.TemporaryDirectory() as folder:
        server = Kafka(Path(folder))
        server.start()
        try:
            rows = [row for delivery in Delivery for row in _measure(server, delivery, count)]
        finally:
            server.stop(force=True)
    most = resident("VmHWM")
    rows.append(Row(name="memory at most", ours=most, unit="MB", target="300 MB", met=most <= MEMORY_MB))
    return rows

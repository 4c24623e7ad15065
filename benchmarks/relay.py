"""The least that an invoker could be, as a floor for `kafka_invoker`: from Kafka to a container by aiohttp, and back.

It has no pool, no limits, no records and no journal, and knows its containers already. What it shares with owmesos is
what it is made of: kafka-python in a thread of its own, one event loop, aiohttp's client, containers, the machine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from kafka import KafkaConsumer, TopicPartition

from owmesos.documents import ContainerDocument
from owmesos.openwhisk.container.access import secret_of
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.system.tasks import keep

INSTANCE = 1
"""Whose topic it reads."""


class _Activation(msgspec.Struct):
    activation_id: str = msgspec.field(name="activationId")
    content: msgspec.Raw


_decode = msgspec.json.Decoder(_Activation).decode


class _Relay:
    def __init__(self, broker: Broker, session: aiohttp.ClientSession, containers: Sequence[ContainerDocument]) -> None:
        self._session = session
        self._answers = broker.completed_topic("0").name
        self._producer = broker.producer(client_id="relay", acks="all", enable_idempotence=True)
        self._consumer = KafkaConsumer(bootstrap_servers=list(broker.hosts))
        partition = TopicPartition(broker.invoker_topic(INSTANCE).name, 0)
        self._consumer.assign([partition])
        self._consumer.seek_to_end(partition)
        self._consumer.position(partition)  # now: what is sent from here on is read
        self._loop = asyncio.get_running_loop()
        self._free: asyncio.LifoQueue[ContainerDocument] = asyncio.LifoQueue()
        for each in containers:
            self._free.put_nowait(each)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping = True
        self._thread.join()
        self._producer.close()

    def _read(self) -> None:
        while not self._stopping:
            for records in self._consumer.poll(timeout_ms=200).values():
                self._loop.call_soon_threadsafe(self._take, [record.value for record in records])
        self._consumer.close()

    def _take(self, messages: list[bytes]) -> None:
        for message in messages:
            keep(self._loop.create_task(self._run(_decode(message))), self._tasks)

    async def _run(self, activation: _Activation) -> None:
        container = await self._free.get()
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {secret_of(container['container_id'])}",
        }
        body = b'{"value":' + bytes(activation.content) + b"}"
        async with self._session.post(f"http://{container['address']}/run", data=body, headers=headers) as response:
            assert response.status == 200
            result = msgspec.Raw(await response.read())
        self._free.put_nowait(container)
        ended = {"activationId": activation.activation_id, "response": {"statusCode": 0, "result": result}}
        self._producer.send(self._answers, msgspec.json.encode({"response": ended}))


@asynccontextmanager
async def relaying(broker: Broker, containers: Sequence[ContainerDocument]) -> AsyncIterator[None]:
    """While it relays to `containers`, which nobody else uses meanwhile."""
    async with aiohttp.ClientSession() as session:
        relay = _Relay(broker, session, containers)
        try:
            yield
        finally:
            await asyncio.to_thread(relay.close)

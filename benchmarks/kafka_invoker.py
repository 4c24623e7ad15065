"""Activations from a Controller's producer to its consumer: Kafka, the whole invoker, containers, on simulated Mesos.

All of `owmesos run --kafka` takes part: the feed, the pool, warm containers of owmesos's own for python:3, the
acknowledgements, and records that are written in batches. Kafka is a real broker of one node, with
group.coordinator.append.linger.ms=0. The caller, a process of its own, is the Controller's side: it sends blocking
activations of one action that returns its arguments, and takes the time until the acknowledgement is read. The database
keeps nothing: on the cores that all of this shares (broker, invoker, caller, database, 32 containers) a real one would
be measured instead.

At once: so many are always open, and the next is sent when one is answered. Offered: so many are sent each second,
four at a time, whatever comes back. The plain relay (`benchmarks/relay.py`) takes them to the same containers by the
same libraries, and does nothing else. Processor time is that of the invoker, or the relay, and the simulated cluster,
which are one process: it says more than the rate where the machine has other things to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from kafka import KafkaConsumer, TopicPartition

from benchmarks.memory import resident
from benchmarks.relay import INSTANCE as RELAY
from benchmarks.relay import relaying
from benchmarks.row import Row
from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.kafka import KafkaInvoker
from owmesos.invoker.kafka_settings import CouchSettings, InvokerSettings
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.kafka.feed_settings import Delivery, FeedSettings
from owmesos.openwhisk.messages import ActivationMessage, ControllerId, EntityName, Identity, Namespace, invoker_id
from owmesos.service.framework import Framework
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.system.lone_surrogates import encode
from tests.openwhisk.documents import action_document
from tests.servers.kafka import Kafka

TOTAL, OFFERED = 20_000, 800
RATE, MEDIAN_MS = 800.0, 25.0
CONTAINERS = 32
RELAYED = 5_000
TOGETHER = 4  # of those that are offered
AGENTS, RESOURCES = 3, "cpus:32;mem:1536;disk:1024;ports:[{ports}]"  # room for 33 containers
ECHO = "def main(args):\n    return args\n"


class Took(NamedTuple):
    """How many a second, and the times of each in ms."""

    rate: float
    times: list[float]
    processor: float = 0.0  # ms of the invoker's process for each

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.times, n=100)[98]


# -- in the caller's process


class _Response(msgspec.Struct):
    status: int = msgspec.field(name="statusCode")


class _Answer(msgspec.Struct):
    id: str = msgspec.field(name="activationId")
    response: _Response


class _Acknowledgement(msgspec.Struct):
    """As much of one as the caller looks at."""

    response: _Answer


_decode = msgspec.json.Decoder(_Acknowledgement).decode


class Caller:
    """The Controller's side of Kafka."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._producer = broker.producer(client_id="caller", acks=1, linger_ms=1, enable_idempotence=False)
        self._consumer = KafkaConsumer(bootstrap_servers=list(broker.hosts), auto_offset_reset="earliest")
        self._consumer.assign([TopicPartition(broker.completed_topic("0").name, 0)])
        self._sent: dict[str, float] = {}
        self._times: list[float] = []
        self._open = threading.Semaphore()
        self._all = threading.Event()
        self._left = 0
        threading.Thread(target=self._read, daemon=True).start()

    def call(self, total: int, at_once: int, a_second: float | None, instance: int) -> Took:
        topic = self._broker.invoker_topic(instance).name
        self._times, self._left = [], total
        self._open = threading.Semaphore(at_once)
        self._all.clear()
        begun = time.perf_counter()
        for number in range(total):
            if a_second is not None and number % TOGETHER == 0:
                time.sleep(max(0.0, begun + number / a_second - time.perf_counter()))
            self._open.acquire()
            message = _activation()
            self._sent[message.activation_id] = time.perf_counter()
            self._producer.send(topic, encode(message))
        if not self._all.wait(120):
            raise RuntimeError(f"{self._left} of {total} activations were not acknowledged")
        return Took(total / (time.perf_counter() - begun), self._times)

    def _read(self) -> None:
        while True:
            for records in self._consumer.poll(timeout_ms=1000).values():
                for record in records:
                    self._answered(_decode(record.value).response)

    def _answered(self, activation: _Answer) -> None:
        assert activation.response.status == 0, activation
        self._times.append((time.perf_counter() - self._sent.pop(activation.id)) * 1000)
        self._open.release()
        self._left -= 1
        if not self._left:
            self._all.set()


_callers: list[Caller] = []  # one, once there was a call


def _call(broker: Broker, total: int, at_once: int, a_second: float | None, instance: int) -> Took:
    if not _callers:
        _callers.append(Caller(broker))
    return _callers[0].call(total, at_once, a_second, instance)


def _activation() -> ActivationMessage:
    return ActivationMessage(
        transid=[uuid.uuid4().hex, int(time.time() * 1000)],
        action=EntityName("guest", "echo", "0.0.1"),
        revision="1-a",
        user=Identity("guest", Namespace("guest", "guest"), {}),
        activation_id=uuid.uuid4().hex,
        root_controller_index=ControllerId("0"),
        blocking=True,
        content=msgspec.Raw(b'{"name":"owmesos"}'),
    )


def _database(ready: Any) -> None:
    """One action, and records that go nowhere."""
    document = action_document(name="echo", code=ECHO) | {"_rev": "1-a", "parameters": []}
    document["limits"] = document["limits"] | {"logs": 0}

    async def give(request: web.Request) -> web.Response:
        return web.json_response({"rows": []} if "/_view/" in request.path else document)

    async def take(request: web.Request) -> web.Response:
        records = msgspec.json.decode(await request.read(), type=dict[str, list[msgspec.Raw]])["docs"]
        return web.Response(body=b"[" + b",".join([b"{}"] * len(records)) + b"]", status=201)

    async def serve() -> None:
        application = web.Application(client_max_size=2**24)
        application.router.add_get("/{path:.*}", give)
        application.router.add_post("/{path:.*}", take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


# -- in the invoker's


@contextlib.asynccontextmanager
async def calls(broker: Broker, database: str, delivery: Delivery) -> AsyncIterator[Callable[..., Awaitable[Took]]]:
    """An invoker with all its containers warm. Yields a function that sends activations, as `Caller.call` does, to it
    or to a plain relay in its place."""
    settings = InvokerSettings(
        invoker=invoker_id(0),
        broker=broker,
        couch=CouchSettings(url=database),
        manifest=embedded_manifest(),
        feed=FeedSettings(delivery=delivery),
        pool=PoolSettings(max_starts=50, max_starts_on_agent=50),
    )
    loop, work = asyncio.get_running_loop(), KafkaInvoker(settings)
    with (
        SimulatedCluster(agents=AGENTS, resources=[RESOURCES] * AGENTS) as cluster,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as caller,
    ):

        async def send(total: int, at_once: int, a_second: float | None = None, instance: int = 0) -> Took:
            begun = time.process_time()
            took = await loop.run_in_executor(caller, _call, broker, total, at_once, a_second, instance)
            return took._replace(processor=(time.process_time() - begun) / total * 1000)

        async with Framework(master=cluster.master, name="invoker", pool=work.pool) as framework:
            await work.start(framework)

            async def call(total: int, at_once: int, a_second: float | None = None, *, relayed: bool = False) -> Took:
                if not relayed:
                    return await send(total, at_once, a_second)
                async with relaying(broker, [row for row in framework.containers() if row["state"] == "warm"]):
                    return await send(total, at_once, a_second, RELAY)

            try:
                while sum(row["state"] == "warm" for row in framework.containers()) < CONTAINERS:
                    await call(CONTAINERS * 2, CONTAINERS * 2)
                    await asyncio.sleep(0.2)
                yield call
            finally:
                await work.close()


@contextlib.contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """The addresses of a broker and of a database."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Queue()
    database = spawn.Process(target=_database, args=(ready,), daemon=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        database.start()
        stack.callback(database.kill)
        url = f"http://127.0.0.1:{ready.get(timeout=30)}"
        server = Kafka(Path(folder))
        server.start()
        stack.callback(server.stop, force=True)
        yield server.address, url


def broker_of(address: str, prefix: str) -> Broker:
    """With the topics that an invoker and its caller need."""
    broker = Broker(hosts=(address,), prefix=prefix)
    broker.ensure([broker.invoker_topic(0), broker.invoker_topic(RELAY), broker.completed_topic("0")])
    return broker


async def _measure(broker: Broker, database: str, delivery: Delivery, total: int) -> tuple[Took, Took, Took, Took]:
    async with calls(broker, database, delivery) as call:
        return (
            await call(total, CONTAINERS),
            await call(total, CONTAINERS // 2),
            await call(total // 2, 10_000, OFFERED),
            await call(min(total, RELAYED), CONTAINERS, relayed=True),
        )


def _rows(delivery: Delivery, took: tuple[Took, Took, Took, Took], quick: bool) -> list[Row]:
    many, fewer, offered, relay = took
    against = "a plain relay"
    name, half = delivery.value, CONTAINERS // 2
    return [
        Row(
            name=f"{name}: {CONTAINERS} at once",
            ours=many.rate,
            other=relay.rate,
            against=against,
            unit="/s",
            target=f"{RATE:,.0f}/s",
            met=None if quick else many.rate >= RATE,
        ),
        Row(
            name=f"{name}: {CONTAINERS} at once, median",
            ours=many.median,
            other=relay.median,
            against=against,
            unit="ms",
        ),
        Row(
            name=f"{name}: {CONTAINERS} at once, processor time",
            ours=many.processor,
            other=relay.processor,
            against=against,
            unit="ms each",
        ),
        Row(name=f"{name}: {half} at once", ours=fewer.rate, unit="/s"),
        Row(name=f"{name}: {half} at once, median", ours=fewer.median, unit="ms"),
        Row(
            name=f"{name}: {OFFERED} a second offered, median",
            ours=offered.median,
            unit="ms",
            target=f"{MEDIAN_MS:g} ms",
            met=None if quick else offered.median <= MEDIAN_MS,
        ),
        Row(name=f"{name}: {OFFERED} a second offered, 99 of 100 within", ours=offered.p99, unit="ms"),
    ]


def run(quick: bool = False) -> list[Row]:
    total = 1_000 if quick else TOTAL
    rows = []
    with servers() as (address, database):
        for delivery in Delivery:
            broker = broker_of(address, f"{delivery.value}-")
            rows += _rows(delivery, asyncio.run(_measure(broker, database, delivery, total)), quick)
    return [*rows, Row(name="memory of the invoker and the simulator at most", ours=resident("VmHWM"), unit="MB")]

"""The feed on a real broker: bounds, both kinds of delivery, garbage, and brokers that go away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from owmesos.errors import InvalidInput
from owmesos.openwhisk.broker import MAX_MESSAGE, Broker
from owmesos.openwhisk.feed import Delivery, Feed, FeedBroke, FeedSettings, Received, Rejected
from tests.openwhisk import samples
from tests.openwhisk.topics import activation, administration, committed, write
from tests.servers.kafka import PASSWORD, USER, Kafka
from tests.waiting import eventually_async

pytestmark = [pytest.mark.kafka, pytest.mark.cluster]
MOST, LEAST = Delivery.AT_MOST_ONCE, Delivery.AT_LEAST_ONCE


class Invoker:
    """Collects what a feed brings."""

    def __init__(self, broker: Broker, **settings: Any) -> None:
        self.topic = broker.invoker_topic(0).name
        self.got: list[Received] = []
        self.rejects: list[Rejected] = []
        self.broken: FeedBroke | None = None
        self.most = 0
        self.feed = Feed(broker, self.topic, self, asyncio.get_running_loop(), FeedSettings(**settings))

    def received(self, batch: Sequence[Received]) -> None:
        self.got += batch
        self.most = max(self.most, self.feed.held)

    def rejected(self, record: Rejected) -> None:
        self.rejects.append(record)

    def broke(self, reason: FeedBroke) -> None:
        self.broken = reason

    @property
    def offsets(self) -> list[int]:
        return [received.offset for received in self.got]

    async def has(self, count: int, timeout: float = 20) -> None:
        await eventually_async(lambda: len(self.got) >= count, timeout, what=f"{count} activations")
        assert len(self.got) == count

    async def idle(self) -> None:
        """It has looked again, and found no reason to bring more."""
        before = len(self.got)
        await asyncio.sleep(0.6)
        assert len(self.got) == before


class Invokers:
    """Starts invokers on one topic, and stops them after the test."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.topic = broker.invoker_topic(0).name
        self.all: list[Invoker] = []

    def start(self, broker: Broker | None = None, **settings: Any) -> Invoker:
        invoker = Invoker(broker or self.broker, **settings)
        self.all.append(invoker)
        invoker.feed.start()
        return invoker

    async def stop(self, invoker: Invoker) -> None:
        await asyncio.to_thread(invoker.feed.stop)
        await asyncio.sleep(0)  # what it told last arrives

    async def send(self, messages: Sequence[Any]) -> None:
        await asyncio.to_thread(write, self.broker, self.topic, messages)

    async def committed(self) -> int | None:
        return await asyncio.to_thread(committed, self.broker, self.topic)


@pytest.fixture
async def invokers(broker: Broker) -> AsyncIterator[Invokers]:
    await asyncio.to_thread(broker.ensure, [broker.invoker_topic(0)])
    invokers = Invokers(broker)
    yield invokers
    for invoker in invokers.all:
        await invokers.stop(invoker)


class TestArrival:
    async def test_in_order_and_whole(self, invokers: Invokers) -> None:
        sent = [activation({"n": n}) for n in range(300)]
        await invokers.send(sent[:100])
        invoker = invokers.start()
        await invokers.send(sent[100:])
        await invoker.has(300)
        assert [received.message.activation_id for received in invoker.got] == [each.activation_id for each in sent]
        assert [received.message.arguments()["n"] for received in invoker.got] == list(range(300))
        assert invoker.offsets == list(range(300))

    async def test_the_largest_message_passes(self, invokers: Invokers) -> None:
        await invokers.send([activation({"large": "x" * 1024 * 1024}), activation()])
        invoker = invokers.start()
        await invoker.has(2)
        assert invoker.feed.weight > 1024 * 1024


class TestBounds:
    async def test_no_more_than_the_count_are_held(self, invokers: Invokers) -> None:
        await invokers.send([activation() for _ in range(40)])
        invoker = invokers.start(max_count=8)
        await invoker.has(8)
        await invoker.idle()
        invoker.feed.done(3)
        await invoker.has(9)
        await invoker.idle()
        for done in (offset for offset in range(32) if offset != 3):
            arrived = len(invoker.got)
            invoker.feed.done(done)
            await eventually_async(lambda before=arrived: len(invoker.got) > before)  # type: ignore[misc]
        await invoker.has(40)
        assert invoker.most <= 8
        assert invoker.offsets == list(range(40))

    async def test_no_more_than_the_weight_is_held(self, invokers: Invokers) -> None:
        await invokers.send([activation({"x": "y" * 10_000}) for _ in range(10)])
        invoker = invokers.start(max_weight=36_000)
        await invoker.has(3)
        await invoker.idle()
        invoker.feed.done(0)
        await invoker.has(4)
        invoker.feed.add_weight(1, 20_000)
        invoker.feed.done(2)
        await invoker.idle()
        invoker.feed.done(1)
        await invoker.has(6)

    async def test_one_is_admitted_whatever_it_weighs(self, invokers: Invokers) -> None:
        await invokers.send([activation({"x": "y" * 10_000}) for _ in range(2)])
        invoker = invokers.start(max_weight=100)
        await invoker.has(1)
        await invoker.idle()
        invoker.feed.done(0)
        await invoker.has(2)

    @pytest.mark.parametrize("settings", [{"max_count": 0}, {"max_weight": 0}])
    def test_nothing_at_all_is_no_bound(self, settings: dict[str, int]) -> None:
        with pytest.raises(InvalidInput):
            FeedSettings(**settings)


class TestDelivery:
    async def test_at_most_once_commits_what_is_handed_over(self, invokers: Invokers) -> None:
        await invokers.send([activation() for _ in range(10)])
        invoker = invokers.start(max_count=4)
        await invoker.has(4)
        assert await invokers.committed() == 4
        await invokers.stop(invoker)
        after = invokers.start()
        await after.has(6)
        assert after.offsets == [4, 5, 6, 7, 8, 9]

    async def test_at_least_once_repeats_what_is_not_done(self, invokers: Invokers) -> None:
        await invokers.send([activation() for _ in range(10)])
        invoker = invokers.start(delivery=LEAST, max_count=8, commit_every=0.1)
        await invoker.has(8)
        for offset in (0, 1, 4, 7):
            invoker.feed.done(offset)
        await invoker.has(10)
        await eventually_async(lambda: _equal(invokers.committed(), 2))
        await invokers.stop(invoker)
        after = invokers.start(delivery=LEAST)
        await after.has(8)
        assert after.offsets == [2, 3, 4, 5, 6, 7, 8, 9]

    async def test_at_least_once_commits_at_the_end_what_is_done(self, invokers: Invokers) -> None:
        await invokers.send([activation() for _ in range(5)])
        invoker = invokers.start(delivery=LEAST, commit_every=60)
        await invoker.has(5)
        for offset in range(5):
            invoker.feed.done(offset)
        await invokers.stop(invoker)
        assert await invokers.committed() == 5


async def _equal(answer: Any, wanted: int) -> bool:
    return await answer == wanted


class TestGarbage:
    @pytest.mark.parametrize("delivery", [MOST, LEAST])
    async def test_is_logged_once_with_its_offset_and_passed(
        self, invokers: Invokers, caplog: pytest.LogCaptureFixture, delivery: Delivery
    ) -> None:
        unreadable = samples.ACTIVATION_1_0.replace(b'"blocking":true', b'"blocking":"perhaps"')
        await invokers.send([activation(), b"\x00\xff", unreadable, activation()])
        with caplog.at_level(logging.ERROR, "owmesos.feed"):
            invoker = invokers.start(delivery=delivery, commit_every=0.1)
            await invoker.has(2)
        assert invoker.offsets == [0, 3]
        lines = [record.getMessage() for record in caplog.records if record.name == "owmesos.feed"]
        assert [line.split(":")[0] for line in lines] == [f"{invokers.topic}, offset {n}" for n in (1, 2)]
        nobody, somebody = invoker.rejects
        assert (nobody.offset, nobody.addressed) == (1, None)
        assert somebody.addressed is not None
        assert somebody.addressed.activation_id == samples.ACTIVATION_ID
        for offset in (0, 3):
            invoker.feed.done(offset)
        assert invoker.feed.held == 0
        await eventually_async(lambda: _equal(invokers.committed(), 4))


class TestOneReader:
    async def test_a_process_that_comes_back_need_not_wait(self, invokers: Invokers) -> None:
        """The one before it never said good-bye, and Kafka would keep its place for 30 s. It is full, as one that has
        ended takes nothing more."""
        await invokers.send([activation()])
        before = invokers.start(max_count=1)
        await before.has(1)
        after = invokers.start()
        await invokers.send([activation()])
        await after.has(1, timeout=20)

    async def test_two_of_one_id_are_found_out(self, invokers: Invokers) -> None:
        """One of them ends: mostly the first, but it may take its place back before it learns of the second."""
        both = [invokers.start()]
        await invokers.send([activation()])
        await both[0].has(1)
        both.append(invokers.start())
        await eventually_async(lambda: any(each.broken for each in both), 60)
        (ended,) = [each for each in both if each.broken is not None]
        assert "another process" in str(ended.broken)
        (stays,) = [each for each in both if each is not ended]
        seen = len(stays.offsets)
        await invokers.send([activation()])
        await stays.has(seen + 1, timeout=60)
        assert stays.broken is None


class TestBrokersThatGoAway:
    @pytest.mark.parametrize("delivery", [MOST, LEAST])
    async def test_nothing_is_lost_or_repeated(self, invokers: Invokers, kafka: Kafka, delivery: Delivery) -> None:
        await invokers.send([activation() for _ in range(5)])
        invoker = invokers.start(delivery=delivery, max_count=3, commit_every=0.1)
        await invoker.has(3)
        await asyncio.to_thread(kafka.stop, force=True)
        invoker.feed.done(0)
        await asyncio.sleep(1)
        await asyncio.to_thread(kafka.start)
        await invokers.send([activation() for _ in range(5)])
        for offset in range(1, 10):
            await eventually_async(lambda at=offset: at in invoker.offsets, 30)  # type: ignore[misc]
            invoker.feed.done(offset)
        await invoker.has(10)
        assert invoker.offsets == list(range(10))
        await eventually_async(lambda: _equal(invokers.committed(), 10), 15)

    async def test_one_that_comes_late_is_waited_for(self, invokers: Invokers, kafka: Kafka) -> None:
        await invokers.send([activation()])
        await asyncio.to_thread(kafka.stop)
        invoker = invokers.start()
        await asyncio.sleep(1)
        await asyncio.to_thread(kafka.start)
        await invoker.has(1, timeout=30)


class TestTopics:
    async def test_are_created_as_openwhisk_does(self, broker: Broker) -> None:
        topics = [broker.invoker_topic(7), broker.health_topic(), broker.completed_topic("0"), broker.events_topic()]
        await asyncio.to_thread(broker.ensure, topics)
        await asyncio.to_thread(broker.ensure, topics)
        with administration(broker) as admin:
            described = {each["name"]: each for each in admin.describe_topics([topic.name for topic in topics])}
        assert described.keys() == {topic.name for topic in topics}
        assert all(len(each["partitions"]) == 1 for each in described.values())
        assert topics[0].settings() == {
            "segment.bytes": "536870912",
            "retention.bytes": "1073741824",
            "retention.ms": "172800000",
            "max.message.bytes": str(MAX_MESSAGE),
        }
        assert topics[1].settings()["retention.ms"] == "3600000"

    async def test_pass_over_tls_with_a_login(self, invokers: Invokers, kafka: Kafka) -> None:
        secure = Broker(
            hosts=(f"127.0.0.1:{kafka.secure_port}",),
            prefix=invokers.broker.prefix,
            security={
                "security_protocol": "SASL_SSL",
                "ssl_cafile": str(kafka.authority),
                "sasl_mechanism": "PLAIN",
                "sasl_plain_username": USER,
                "sasl_plain_password": PASSWORD,
            },
        )
        await invokers.send([activation()])
        await invokers.start(secure).has(1)

    def test_other_settings_are_none_of_security_s(self) -> None:
        with pytest.raises(InvalidInput, match="group_id"):
            Broker(hosts=("localhost:9092",), security={"group_id": "g"})

"""The feed on a real broker: bounds, both kinds of delivery, garbage, and brokers that go away."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import kafka.codec
import pytest

from owmesos.errors import InvalidInput
from owmesos.openwhisk.kafka.broker import MAX_MESSAGE, Broker
from owmesos.openwhisk.kafka.feed import READING, Feed, FeedBroke
from owmesos.openwhisk.kafka.feed_settings import Delivery, FeedSettings
from owmesos.openwhisk.kafka.offsets import Position, Received, Rejected
from owmesos.openwhisk.reachability import Reachability
from tests.openwhisk import samples
from tests.openwhisk.kafka.secured import secure
from tests.openwhisk.kafka.topics import activation, administration, committed, committed_in, create, only_for, write
from tests.servers.kafka import Kafka
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
        self.kafka = Reachability("Kafka", broker.address)
        loop = asyncio.get_running_loop()
        more: dict[str, Any] = {"topics": [broker.invoker_topic(0)], "kafka": self.kafka, "journal": "a1"}
        self.feed = Feed(broker, self.topic, self, loop, FeedSettings(**settings), **more)

    def received(self, batch: Sequence[Received]) -> None:
        self.got += batch
        self.most = max(self.most, self.feed.held)

    def committed(self, offsets: Mapping[int, int]) -> None: ...

    def rejected(self, record: Rejected) -> None:
        self.rejects.append(record)

    def reading(self) -> None: ...

    def broke(self, reason: FeedBroke) -> None:
        self.broken = reason

    def done(self, offset: int, partition: int = 0) -> None:
        self.feed.done(Position(partition, offset))

    @property
    def offsets(self) -> list[int]:
        return [received.position.offset for received in self.got]

    async def has(self, count: int, timeout: float = 60) -> None:
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

    async def send(self, messages: Sequence[Any], *, sent_at: float | None = None) -> None:
        await asyncio.to_thread(write, self.broker, self.topic, messages, sent_at=sent_at)

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
        assert [json.loads(bytes(received.message.content))["n"] for received in invoker.got] == list(range(300))
        assert invoker.offsets == list(range(300))

    async def test_with_the_time_since_they_were_sent(self, invokers: Invokers) -> None:
        await invokers.send([activation()], sent_at=time.time() - 300)
        invoker = invokers.start()
        await invoker.has(1)
        assert 300 <= invoker.got[0].age < 330
        # From now on it reads everything at once: a clock that goes wrong makes nothing old.
        await eventually_async(lambda: invoker.feed._all_read_at is not None)
        for number, sent_at in enumerate((time.time() - 300, time.time() + 300, time.time()), 2):
            await invokers.send([activation()], sent_at=sent_at)
            await invoker.has(number)
            assert 0 <= invoker.got[-1].age < 10

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
        assert invoker.feed.lag == 32
        invoker.done(3)
        await invoker.has(9)
        await invoker.idle()
        for done in (offset for offset in range(32) if offset != 3):
            arrived = len(invoker.got)
            invoker.done(done)
            await eventually_async(lambda before=arrived: len(invoker.got) > before)  # type: ignore[misc]
        await invoker.has(40)
        await eventually_async(lambda: invoker.feed.lag == 0)
        assert invoker.most <= 8
        assert invoker.offsets == list(range(40))

    async def test_no_more_than_the_weight_is_held(self, invokers: Invokers) -> None:
        await invokers.send([activation({"x": "y" * 10_000}) for _ in range(10)])
        invoker = invokers.start(max_weight=36_000)
        await invoker.has(3)
        await invoker.idle()
        invoker.done(0)
        await invoker.has(4)
        invoker.feed.add_bytes(Position(0, 1), 20_000)
        invoker.done(2)
        await invoker.idle()
        invoker.done(1)
        await invoker.has(6)

    async def test_one_is_admitted_whatever_it_weighs(self, invokers: Invokers) -> None:
        await invokers.send([activation({"x": "y" * 10_000}) for _ in range(2)])
        invoker = invokers.start(max_weight=100)
        await invoker.has(1)
        await invoker.idle()
        invoker.done(0)
        await invoker.has(2)

    @pytest.mark.parametrize("settings", [{"max_count": 0}, {"max_weight": 0}])
    def test_nothing_at_all_is_no_bound(self, settings: dict[str, int]) -> None:
        with pytest.raises(InvalidInput):
            FeedSettings(**settings)


class TestDelivery:
    async def test_at_most_once_tells_the_next_what_was_handed_over(self, invokers: Invokers) -> None:
        await invokers.send([activation() for _ in range(10)])
        invoker = invokers.start(max_count=4)
        await invoker.has(4)
        assert await invokers.committed() == 0
        await invokers.stop(invoker)
        after = invokers.start()
        await after.has(10)
        assert [received.former_journal for received in after.got] == ["a1"] * 4 + [None] * 6

    async def test_at_least_once_repeats_what_is_not_done(self, invokers: Invokers) -> None:
        await invokers.send([activation() for _ in range(10)])
        invoker = invokers.start(delivery=LEAST, max_count=8, commit_every=0.1)
        await invoker.has(8)
        for offset in (0, 1, 4, 7):
            invoker.done(offset)
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
            invoker.done(offset)
        await invokers.stop(invoker)
        assert await invokers.committed() == 5


async def _equal(answer: Any, wanted: int) -> bool:
    return await answer == wanted


class TestSeveralPartitions:
    @pytest.mark.parametrize("delivery", [MOST, LEAST])
    async def test_each_activation_comes_once_also_over_a_restart(self, broker: Broker, delivery: Delivery) -> None:
        topic = broker.invoker_topic(0).name
        await asyncio.to_thread(create, broker, topic, 3)
        sent = [activation() for _ in range(30)]
        await asyncio.to_thread(write, broker, topic, sent, partitions=3)
        invokers = Invokers(broker)
        first = invokers.start(delivery=delivery, max_count=12)
        try:
            await first.has(12)
            for received in first.got:
                first.feed.done(received.position)
            await eventually_async(lambda: len(first.got) >= 20)
            first.feed.drain()
            for received in first.got:
                first.feed.done(received.position)
            await invokers.stop(first)
            after = invokers.start(delivery=delivery)
            await after.has(30 - len(first.got))
            for received in after.got:
                after.feed.done(received.position)
        finally:
            for invoker in invokers.all:
                await invokers.stop(invoker)
        got = [received.message.activation_id for received in first.got + after.got]
        assert sorted(got) == sorted(each.activation_id for each in sent)
        assert await asyncio.to_thread(committed_in, broker, topic, 3) == [10, 10, 10]


class TestCompression:
    async def test_batches_of_every_codec_are_read(self, invokers: Invokers) -> None:
        """The largest message too, as a Controller sends it."""
        sent = []
        for codec in ("gzip", "snappy", "lz4", "zstd", None):
            messages = [activation({"large": "x" * 1024 * 1024}), *(activation({"n": n}) for n in range(20))]
            await asyncio.to_thread(write, invokers.broker, invokers.topic, messages, codec=codec)
            sent += messages
        invoker = invokers.start()
        await invoker.has(len(sent))
        assert [each.message.activation_id for each in invoker.got] == [each.activation_id for each in sent]
        assert [len(each.message.content) for each in invoker.got] == [len(each.content) for each in sent]

    @pytest.mark.parametrize("codec", ["snappy", "lz4", "zstd"])
    async def test_what_the_broker_compresses_itself_is_read(self, broker: Broker, codec: str) -> None:
        """By Java's own codecs, which Controllers use as well."""
        invokers = Invokers(broker)
        await asyncio.to_thread(create, broker, invokers.topic, 1, **{"compression.type": codec})
        sent = [activation({"n": "y" * 20_000}) for _ in range(20)]
        await invokers.send(sent)
        invoker = invokers.start()
        try:
            await invoker.has(20)
        finally:
            await invokers.stop(invoker)
        assert [each.message.activation_id for each in invoker.got] == [each.activation_id for each in sent]

    async def test_one_that_cannot_be_read_is_said_and_holds_up_until_it_can(
        self, invokers: Invokers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        await asyncio.to_thread(write, invokers.broker, invokers.topic, [activation()], codec="lz4")
        caplog.set_level(logging.INFO, "owmesos.reachability")
        with monkeypatch.context() as without:
            without.setattr(kafka.codec, "has_lz4", lambda: False)
            invoker = invokers.start()
            await eventually_async(lambda: invoker.kafka.lasting(READING))
            await invokers.send([activation()])
        await invoker.has(2)
        await eventually_async(lambda: not invoker.kafka.down)
        said, back = [record.getMessage() for record in caplog.records if record.name == "owmesos.reachability"]
        assert "lz4" in said
        assert "owmesos[openwhisk]" in said
        assert "is back" in back


class TestRights:
    async def test_a_right_that_is_missing_is_said_and_needs_no_restart(
        self, invokers: Invokers, kafka: Kafka, caplog: pytest.LogCaptureFixture
    ) -> None:
        allow = await asyncio.to_thread(only_for, invokers.broker, invokers.topic, "somebody")
        await invokers.send([activation()])
        invoker = invokers.start(secure(invokers.broker, kafka))
        await eventually_async(lambda: invoker.kafka.lasting(READING))
        assert "allow owmesos's Kafka user to read" in str(invoker.kafka.document()["advice"])
        assert invoker.got == []
        await asyncio.to_thread(allow)
        await invoker.has(1, timeout=30)
        await eventually_async(lambda: not invoker.kafka.down)
        lines = [record.getMessage() for record in caplog.records if record.name == "owmesos.reachability"]
        assert len(lines) == 1, lines

    async def test_a_login_that_is_refused_is_said(self, invokers: Invokers, kafka: Kafka) -> None:
        broker = secure(invokers.broker, kafka, sasl_plain_password="wrong")
        invoker = invokers.start(broker)
        await eventually_async(lambda: invoker.kafka.down)
        said = invoker.kafka.document()  # kafka-python sees the refusal, or only the end of the connection
        assert "the login in --kafka-settings" in f"{said['reason']} {said['advice']}"


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
        assert [line.split(":")[0] for line in lines] == [f"{invokers.topic}, partition 0, offset {n}" for n in (1, 2)]
        nobody, somebody = invoker.rejects
        assert (nobody.position.offset, nobody.addressed) == (1, None)
        assert somebody.addressed is not None
        assert somebody.addressed.activation_id == samples.ACTIVATION_ID
        for offset in (0, 3):
            invoker.done(offset)
        await eventually_async(lambda: _equal(invokers.committed(), 2))
        assert invoker.feed.held == 1, "its Controller is not answered yet"
        invoker.feed.done(somebody.position)
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
        await after.has(2, timeout=20)

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
        invoker.done(0)
        await asyncio.sleep(1)
        await asyncio.to_thread(kafka.start)
        await invokers.send([activation() for _ in range(5)])
        for offset in range(1, 10):
            await eventually_async(lambda at=offset: at in invoker.offsets, 30)  # type: ignore[misc]
            invoker.done(offset)
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
        await invokers.send([activation()])
        await invokers.start(secure(invokers.broker, kafka)).has(1)

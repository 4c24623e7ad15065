"""What goes wrong between the feed and Kafka, on a broker that is none."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import pytest
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    KafkaConnectionError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
)

from owmesos.openwhisk.kafka import feed as feed_module
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.kafka.feed import READING, Feed, FeedBroke
from owmesos.openwhisk.kafka.feed_settings import Delivery, FeedSettings
from owmesos.openwhisk.kafka.offsets import Position, Received, Rejected
from owmesos.openwhisk.reachability import Reachability
from tests.fakes.kafka import FakeBroker
from tests.openwhisk import samples
from tests.waiting import eventually_async

MOST, LEAST = Delivery.AT_MOST_ONCE, Delivery.AT_LEAST_ONCE
ONE, OTHER = samples.ACTIVATION_1_0, samples.ACTIVATION_2_0


class Invoker:
    def __init__(self, broker: FakeBroker, **settings: Any) -> None:
        self.positions: list[Position] = []
        self.before: list[str | None] = []
        self.rejects: list[Rejected] = []
        self.marks: dict[int, int] = {}
        self.broken: FeedBroke | None = None
        self.reads = 0
        self.kafka = Reachability("Kafka", broker.address)
        journal = settings.pop("journal", "a1")
        fed = FeedSettings(**{"commit_every": 0.01, **settings})
        loop = asyncio.get_running_loop()
        self.feed = Feed(cast(Broker, broker), "invoker0", self, loop, fed, kafka=self.kafka, journal=journal)

    def received(self, batch: Sequence[Received]) -> None:
        self.positions += [received.position for received in batch]
        self.before += [received.former_journal for received in batch]

    def rejected(self, record: Rejected) -> None:
        self.rejects.append(record)

    def reading(self) -> None:
        self.reads += 1

    def committed(self, offsets: Mapping[int, int]) -> None:
        self.marks |= offsets

    def broke(self, reason: FeedBroke) -> None:
        self.broken = reason

    def done(self, offset: int, partition: int = 0) -> None:
        self.feed.done(Position(partition, offset))

    @property
    def offsets(self) -> list[int]:
        return [position.offset for position in self.positions]

    async def has(self, *offsets: int) -> None:
        await eventually_async(lambda: len(self.offsets) >= len(offsets))
        assert self.offsets == list(offsets)


class Invokers:
    def __init__(self) -> None:
        self.broker = FakeBroker()
        self.all: list[Invoker] = []

    def start(self, **settings: Any) -> Invoker:
        self.all.append(Invoker(self.broker, **settings))
        self.all[-1].feed.start()
        return self.all[-1]

    async def stop(self) -> None:
        for invoker in self.all:
            await asyncio.to_thread(invoker.feed.stop)


@pytest.fixture
async def invokers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Invokers]:
    monkeypatch.setattr(feed_module, "RETRY", (0.01, 0.02))
    monkeypatch.setattr(feed_module, "UNASSIGNED", 0.1)
    monkeypatch.setattr(feed_module, "LOOK_AGAIN", 0.01)
    invokers = Invokers()
    yield invokers
    await invokers.stop()
    assert all(consumer.closed for consumer in invokers.broker.consumers)


@pytest.mark.parametrize("where", ["connect", "partitions", "poll"])
async def test_what_kafka_refuses_is_tried_again(
    invokers: Invokers, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    invokers.broker.plan(where, KafkaConnectionError("away"), TopicAuthorizationFailedError("not yet"), OSError("no"))
    invokers.broker.append(ONE, ONE)
    with caplog.at_level(logging.INFO, "owmesos"):
        invoker = invokers.start()
        await invoker.has(0, 1)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" since ")[0] for line in lines[:2]] == [
        "Kafka at broker:9092 has been down",
        "Kafka at broker:9092 has been unusable",
    ], lines
    assert "TopicAuthorizationFailedError" in lines[1]
    assert "read and describe the invoker's topic" in lines[1]
    assert lines[2:] == ["Kafka at broker:9092 is back, after 0 s"]
    assert invoker.reads == 1


async def test_what_will_not_pass_is_said_once_and_holds_until_it_is_read(
    invokers: Invokers, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch whose codec is missing is still there, however well Kafka answers otherwise."""
    invokers.broker.append(ONE)
    missing = UnsupportedCodecError("Libraries for lz4 compression codec not found")
    invokers.broker.plan("poll", *[missing] * 20)
    with caplog.at_level(logging.INFO, "owmesos"):
        invoker = invokers.start()
        await eventually_async(lambda: len(invokers.broker.consumers) >= 10)
        assert invoker.kafka.lasting(READING)
        await invoker.has(0)
    assert not invoker.kafka.down
    said, back = (record.getMessage() for record in caplog.records)
    assert "lz4" in said
    assert "pip install 'owmesos[openwhisk]'" in said
    assert "is back" in back


async def test_a_broker_that_goes_away_while_nothing_comes_is_noticed(
    invokers: Invokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python's own poll waits for it, and says nothing."""
    monkeypatch.setattr(feed_module, "LOOK_EVERY", 0.01)
    invoker = invokers.start()
    await eventually_async(lambda: invoker.kafka.state == "up")
    invokers.broker.plan("ends", *[KafkaTimeoutError("away")] * 10)
    await eventually_async(lambda: invoker.kafka.down)
    await eventually_async(lambda: invoker.kafka.state == "up")


async def test_at_most_once_hands_nothing_over_that_is_not_committed(invokers: Invokers) -> None:
    invokers.broker.plan("commit", KafkaTimeoutError("slow"), CommitFailedError("another's"), KafkaTimeoutError("slow"))
    invokers.broker.append(ONE, ONE)
    invoker = invokers.start()
    await invoker.has(0, 1)
    assert invokers.broker.committed == 0
    assert invokers.broker.metadata == {0: "owmesos a1 2"}
    assert invoker.feed.held == 2


async def test_at_most_once_says_whose_journal_knows_what_was_handed_over(invokers: Invokers) -> None:
    invokers.broker.append(*[ONE] * 6)
    first = invokers.start(max_count=3)
    await first.has(0, 1, 2)
    assert first.before == [None] * 3
    await asyncio.to_thread(first.feed.stop)
    second = invokers.start(max_count=2, journal="b2")
    await second.has(0, 1)
    assert second.before == ["a1", "a1"]
    await asyncio.to_thread(second.feed.stop)
    # What the first has handed over and the second has not is known to the third, too.
    assert invokers.broker.metadata == {0: "owmesos a1 3"}
    third = invokers.start(journal="c3")
    await third.has(0, 1, 2, 3, 4, 5)
    assert third.before == ["a1"] * 3 + [None] * 3
    assert invokers.broker.metadata == {0: "owmesos 0 6"}, "no journal knows of all six"
    for offset in range(3):
        third.done(offset)
    await eventually_async(lambda: invokers.broker.metadata == {0: "owmesos c3 6"})


async def test_what_a_predecessor_had_is_not_taken_for_our_own_at_our_next_start(invokers: Invokers) -> None:
    """The predecessor's journal is lost, and the process after it ends before it has answered."""
    invokers.broker.append(*[ONE] * 3)
    for journal, before in (("a1", None), ("b2", "a1"), ("b2", "0")):
        invoker = invokers.start(journal=journal)
        await invoker.has(0, 1, 2)
        assert invoker.before == [before] * 3
        await asyncio.to_thread(invoker.feed.stop)


async def test_a_commit_after_a_rebalance_keeps_what_the_predecessor_had(
    invokers: Invokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An activation ends before the new consumer has a record, or even its partition."""
    monkeypatch.setattr(feed_module, "UNASSIGNED", 60.0)
    invokers.broker.append(*[ONE] * 3)
    first = invokers.start()
    await first.has(0, 1, 2)
    await asyncio.to_thread(first.feed.stop)
    second = invokers.start(journal="b2", max_count=2)
    await second.has(0, 1)
    invokers.broker.assigned, invokers.broker.silent = False, True
    invokers.broker.rebalances = 1
    await eventually_async(lambda: len(invokers.broker.consumers) == 3)
    second.done(0)
    polls = invokers.broker.consumers[-1].polls
    await eventually_async(lambda: invokers.broker.consumers[-1].polls > polls + 1)
    assert invokers.broker.committed == 0, "the partition may be another consumer's"
    invokers.broker.assigned = True
    await eventually_async(lambda: invokers.broker.committed == 1)
    invokers.broker.silent = False
    await second.has(0, 1, 2)
    assert second.before == ["a1"] * 3


@pytest.mark.parametrize("metadata", ["", "of another program", "owmesos a1", "owmesos a1 -3"])
async def test_what_others_wrote_beside_their_offset_says_nothing(invokers: Invokers, metadata: str) -> None:
    invokers.broker.append(ONE)
    invokers.broker.offsets[0], invokers.broker.metadata[0] = 0, metadata
    invoker = invokers.start()
    await invoker.has(0)
    assert invoker.before == [None]


async def test_at_most_once_commits_what_has_ended(invokers: Invokers) -> None:
    invokers.broker.append(*[ONE] * 4)
    invoker = invokers.start()
    await invoker.has(0, 1, 2, 3)
    invoker.done(1)
    invoker.done(0)
    await eventually_async(lambda: invoker.marks == {0: 2})
    assert (invokers.broker.committed, invokers.broker.metadata) == (2, {0: "owmesos a1 4"})


async def test_at_least_once_goes_on_without_a_commit(invokers: Invokers) -> None:
    invokers.broker.plan("commit", *[KafkaTimeoutError("slow")] * 3)
    invokers.broker.append(ONE, ONE)
    invoker = invokers.start(delivery=LEAST)
    await invoker.has(0, 1)
    invoker.done(0)
    invoker.done(1)
    await eventually_async(lambda: invokers.broker.committed == 2)
    assert len(invokers.broker.consumers) == 1


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_a_rebalance_loses_and_repeats_nothing(invokers: Invokers, delivery: Delivery) -> None:
    invokers.broker.append(*[ONE] * 6)
    invoker = invokers.start(delivery=delivery, max_count=4)
    await invoker.has(0, 1, 2, 3)
    invokers.broker.rebalances = 2
    for offset in (0, 2, 3):
        invoker.done(offset)
    await invoker.has(0, 1, 2, 3, 4, 5)
    invokers.broker.append(ONE)
    await invoker.has(0, 1, 2, 3, 4, 5, 6)
    await eventually_async(lambda: len(invokers.broker.consumers) >= 2)


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_a_rebalance_of_several_partitions_loses_and_repeats_nothing(
    invokers: Invokers, delivery: Delivery
) -> None:
    """Each has offsets of its own: what was committed of one says nothing of another."""
    invokers.broker.partitions = 3
    for partition, count in enumerate((7, 3, 1)):
        invokers.broker.append(*[ONE] * count, partition=partition)
    invoker = invokers.start(delivery=delivery, max_count=6)
    await eventually_async(lambda: len(invoker.positions) == 6)
    invokers.broker.rebalances = 2
    for number in range(11):
        await eventually_async(lambda at=number: len(invoker.positions) > at)  # type: ignore[misc]
        invoker.feed.done(invoker.positions[number])
    wanted = {0: 7, 1: 3, 2: 1}
    await eventually_async(lambda: invokers.broker.offsets == wanted)
    assert sorted(invoker.positions) == [
        Position(partition, n) for partition, count in wanted.items() for n in range(count)
    ]


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_what_is_on_its_way_when_more_is_committed_does_not_come_again(
    invokers: Invokers, caplog: pytest.LogCaptureFixture, delivery: Delivery
) -> None:
    """A new consumer begins at what is committed; what ends before its first records come is committed meanwhile."""
    invokers.broker.append(*[ONE] * 3)
    invoker = invokers.start(delivery=delivery)
    await invoker.has(0, 1, 2)
    invokers.broker.rebalances = 1
    invokers.broker.silent = True
    await eventually_async(lambda: len(invokers.broker.consumers) == 2)
    invoker.done(0)
    invoker.done(1)
    await eventually_async(lambda: invokers.broker.committed == 2)
    invokers.broker.silent = False
    invokers.broker.append(ONE)
    await invoker.has(0, 1, 2, 3)
    assert "begins anew" not in caplog.text


async def test_of_several_partitions_one_that_begins_anew_is_read_anew(invokers: Invokers) -> None:
    invokers.broker.partitions = 2
    invokers.broker.append(*[ONE] * 3)
    invokers.broker.append(ONE, partition=1)
    invoker = invokers.start()
    await eventually_async(lambda: len(invoker.positions) == 4)
    for offset in range(3):
        invoker.done(offset)
    await eventually_async(lambda: invokers.broker.committed == 3)
    with invokers.broker.change:
        invokers.broker.log = deque(record for record in invokers.broker.log if record.partition)
        invokers.broker.rewind = 0
    invokers.broker.append(ONE)
    await eventually_async(lambda: len(invoker.positions) == 5)
    assert invoker.positions[-1] == Position(0, 0, 1)
    assert invoker.feed.held == 2


async def test_a_topic_that_begins_anew_is_read_anew(invokers: Invokers, caplog: pytest.LogCaptureFixture) -> None:
    invokers.broker.append(*[ONE] * 3)
    invoker = invokers.start()
    await invoker.has(0, 1, 2)
    for offset in range(3):
        invoker.done(offset)
    await eventually_async(lambda: invokers.broker.committed == 3)
    with caplog.at_level(logging.WARNING, "owmesos.feed"), invokers.broker.change:
        invokers.broker.log.clear()
        invokers.broker.rewind = 0
    invokers.broker.append(ONE, ONE)
    await invoker.has(0, 1, 2, 0, 1)
    assert invoker.feed.held == 2


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_a_topic_that_begins_anew_before_anything_was_committed_is_read_anew(
    invokers: Invokers, delivery: Delivery
) -> None:
    """Only the records themselves tell that they are others. What was under way goes on, and ends nothing of theirs."""
    invokers.broker.append(*[ONE] * 3)
    if delivery is MOST:
        invokers.broker.offsets[0], invokers.broker.metadata[0] = 0, "owmesos a1 3"
    invoker = invokers.start(delivery=delivery, journal="b2")
    await invoker.has(0, 1, 2)
    before = list(invoker.positions)
    with invokers.broker.change:
        invokers.broker.log.clear()
    invokers.broker.append(OTHER, OTHER)
    invokers.broker.rebalances = 1
    await invoker.has(0, 1, 2, 0, 1)
    assert invoker.before[3:] == [None, None]
    for position in before:
        invoker.feed.done(position)
    assert invoker.feed.held == 2
    invoker.feed.done(invoker.positions[3])
    await eventually_async(lambda: invokers.broker.committed == 1)
    if delivery is MOST:
        assert invokers.broker.metadata == {0: "owmesos b2 2"}


async def test_a_consumer_without_a_partition_is_replaced(invokers: Invokers) -> None:
    invokers.broker.assigned = False
    invokers.broker.append(ONE)
    invoker = invokers.start()
    await eventually_async(lambda: len(invokers.broker.consumers) >= 2)
    invokers.broker.assigned = True
    await invoker.has(0)


async def test_a_full_feed_pauses(invokers: Invokers) -> None:
    invokers.broker.append(*[ONE] * 3)
    invoker = invokers.start(max_count=2)
    await invoker.has(0, 1)
    await eventually_async(lambda: invokers.broker.pauses == 1)
    invoker.done(0)
    await invoker.has(0, 1, 2)


async def test_a_feed_that_holds_all_the_bytes_that_fit_pauses(invokers: Invokers) -> None:
    """The next one waits in the backlog, and is too heavy for what room is left."""
    invokers.broker.append(*[ONE] * 4)
    invoker = invokers.start(max_weight=len(ONE) * 5 // 2)
    await invoker.has(0, 1)
    await eventually_async(lambda: invokers.broker.pauses == 1)
    invoker.done(0)
    await invoker.has(0, 1, 2)
    await eventually_async(lambda: invokers.broker.pauses == 2)


async def test_one_activation_is_admitted_whatever_it_weighs(invokers: Invokers) -> None:
    invokers.broker.append(ONE, ONE)
    invoker = invokers.start(max_weight=1)
    await invoker.has(0)
    await eventually_async(lambda: invokers.broker.pauses == 1)
    invoker.done(0)
    await invoker.has(0, 1)


@pytest.mark.parametrize(
    ("error", "says"), [(FencedInstanceIdError(), "another process"), (ZeroDivisionError("ours"), "internal error")]
)
async def test_what_cannot_be_mended_is_told(
    invokers: Invokers, caplog: pytest.LogCaptureFixture, error: Exception, says: str
) -> None:
    invokers.broker.plan("poll", error)
    invoker = invokers.start()
    await eventually_async(lambda: invoker.broken is not None)
    assert says in str(invoker.broken)
    assert len(invokers.broker.consumers) == 1


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_one_whose_place_is_taken_learns_of_it_while_nothing_comes(
    invokers: Invokers, monkeypatch: pytest.MonkeyPatch, delivery: Delivery
) -> None:
    monkeypatch.setattr(feed_module, "LOOK_EVERY", 0.01)
    invokers.broker.append(ONE)
    invoker = invokers.start(delivery=delivery)
    await invoker.has(0)
    invoker.done(0)
    await eventually_async(lambda: invokers.broker.commits[-3:] == [1, 1, 1])
    invokers.broker.plan("commit", KafkaTimeoutError("slow"), FencedInstanceIdError())
    await eventually_async(lambda: invoker.broken is not None)
    assert "another process" in str(invoker.broken)


async def test_what_another_consumer_has_committed_stays(invokers: Invokers, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when OpenWhisk's own invoker had the partition meanwhile."""
    monkeypatch.setattr(feed_module, "LOOK_EVERY", 0.01)
    invokers.broker.append(ONE)
    await invokers.start(delivery=MOST).has(0)
    invokers.broker.offsets[0] = 5
    before = len(invokers.broker.commits)
    await eventually_async(lambda: len(invokers.broker.commits) > before + 3)
    assert set(invokers.broker.commits[before + 1 :]) == {5}


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_a_partition_that_has_to_wait_for_room_is_not_committed(
    invokers: Invokers, monkeypatch: pytest.MonkeyPatch, delivery: Delivery
) -> None:
    """A new group, and a poll that brought both partitions: the consumer stands after what was not handed over."""
    for constant in ("KEEP_ALIVE", "LOOK_EVERY"):
        monkeypatch.setattr(feed_module, constant, 0.01)
    invokers.broker.partitions = 2
    for partition in range(2):
        invokers.broker.append(*[ONE] * 3, partition=partition)
    invoker = invokers.start(delivery=delivery, max_count=3)
    await eventually_async(lambda: invokers.broker.looks >= 2)
    assert invoker.positions == [Position(0, offset) for offset in range(3)]
    assert 1 not in invokers.broker.offsets


async def test_the_last_commit_waits_for_the_group(invokers: Invokers) -> None:
    invokers.broker.append(ONE)
    invoker = invokers.start(delivery=LEAST, commit_every=60)
    await invoker.has(0)
    invoker.feed.drain()
    invokers.broker.plan("commit", CommitFailedError("rejoining"), CommitFailedError("rejoining"))
    invoker.done(0)
    await asyncio.to_thread(invoker.feed.stop)
    assert invokers.broker.committed == 1


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_one_that_drains_takes_no_more_and_commits_what_is_done(invokers: Invokers, delivery: Delivery) -> None:
    invokers.broker.append(ONE, ONE)
    invoker = invokers.start(delivery=delivery)
    await invoker.has(0, 1)
    invoker.feed.drain()
    invokers.broker.append(ONE)
    invoker.done(0)
    invoker.done(1)
    await asyncio.to_thread(invoker.feed.stop)
    assert invoker.offsets == [0, 1]
    assert invokers.broker.committed == 2


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_what_is_malformed_is_under_way_until_its_controller_is_answered(
    invokers: Invokers, delivery: Delivery
) -> None:
    """One that nobody can be told of is done at once."""
    invokers.broker.append(b"garbage", ONE.replace(b'"blocking":true', b'"blocking":1'))
    invoker = invokers.start(delivery=delivery)
    await eventually_async(lambda: invokers.broker.committed == 1)
    await eventually_async(lambda: len(invoker.rejects) == 2)
    nobody, somebody = invoker.rejects
    assert (nobody.addressed, invoker.feed.held) == (None, 1)
    invoker.feed.done(somebody.position)
    await eventually_async(lambda: invokers.broker.committed == 2)


async def test_it_stops_while_it_is_full_and_while_nobody_answers(invokers: Invokers) -> None:
    invokers.broker.append(*[ONE] * 3)
    full = invokers.start(max_count=1)
    await full.has(0)
    invokers.broker.plan("connect", *[KafkaConnectionError("away")] * 1000)
    invokers.start()
    await asyncio.wait_for(invokers.stop(), 14)  # less than a feed that does not end is waited for

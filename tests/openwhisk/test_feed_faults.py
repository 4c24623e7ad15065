"""What goes wrong between the feed and Kafka, on a broker that is none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    KafkaConnectionError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
)

from owmesos.openwhisk import feed as feed_module
from owmesos.openwhisk.broker import Broker
from owmesos.openwhisk.feed import Delivery, Feed, FeedBroke, FeedSettings, Received, Rejected
from tests.fakes.kafka import FakeBroker
from tests.openwhisk import samples
from tests.waiting import eventually_async

MOST, LEAST = Delivery.AT_MOST_ONCE, Delivery.AT_LEAST_ONCE
ONE = samples.ACTIVATION_1_0


class Invoker:
    def __init__(self, broker: FakeBroker, **settings: Any) -> None:
        self.offsets: list[int] = []
        self.broken: FeedBroke | None = None
        settings = {"commit_every": 0.01, **settings}
        self.feed = Feed(cast(Broker, broker), "invoker0", self, asyncio.get_running_loop(), FeedSettings(**settings))

    def received(self, batch: Sequence[Received]) -> None:
        self.offsets += [received.offset for received in batch]

    def rejected(self, record: Rejected) -> None: ...

    def broke(self, reason: FeedBroke) -> None:
        self.broken = reason

    async def has(self, *offsets: int) -> None:
        await eventually_async(lambda: len(self.offsets) >= len(offsets), 5)
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
    with caplog.at_level(logging.WARNING, "owmesos.feed"):
        await invokers.start().has(0, 1)
    assert len(caplog.records) == 3


async def test_at_most_once_hands_nothing_over_that_is_not_committed(invokers: Invokers) -> None:
    invokers.broker.plan("commit", KafkaTimeoutError("slow"), CommitFailedError("another's"), KafkaTimeoutError("slow"))
    invokers.broker.append(ONE, ONE)
    invoker = invokers.start()
    await invoker.has(0, 1)
    assert invokers.broker.commits == [2]
    assert len(invokers.broker.consumers) == 4
    assert invoker.feed.held == 2


async def test_at_least_once_goes_on_without_a_commit(invokers: Invokers) -> None:
    invokers.broker.plan("commit", *[KafkaTimeoutError("slow")] * 3)
    invokers.broker.append(ONE, ONE)
    invoker = invokers.start(delivery=LEAST)
    await invoker.has(0, 1)
    invoker.feed.done(0)
    invoker.feed.done(1)
    await eventually_async(lambda: invokers.broker.committed == 2)
    assert len(invokers.broker.consumers) == 1


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_a_rebalance_loses_and_repeats_nothing(invokers: Invokers, delivery: Delivery) -> None:
    invokers.broker.append(*[ONE] * 6)
    invoker = invokers.start(delivery=delivery, max_count=4)
    await invoker.has(0, 1, 2, 3)
    invokers.broker.rebalances = 2
    for offset in (0, 2, 3):
        invoker.feed.done(offset)
    await invoker.has(0, 1, 2, 3, 4, 5)
    invokers.broker.append(ONE)
    await invoker.has(0, 1, 2, 3, 4, 5, 6)
    await eventually_async(lambda: len(invokers.broker.consumers) >= 2)


async def test_a_topic_that_begins_anew_is_read_anew(invokers: Invokers, caplog: pytest.LogCaptureFixture) -> None:
    invokers.broker.append(*[ONE] * 3)
    invoker = invokers.start()
    await invoker.has(0, 1, 2)
    with caplog.at_level(logging.WARNING, "owmesos.feed"), invokers.broker.change:
        invokers.broker.log.clear()
        invokers.broker.rewind = 0
    invokers.broker.append(ONE, ONE)
    await invoker.has(0, 1, 2, 0, 1)
    assert invoker.feed.held == 2


async def test_a_consumer_without_a_partition_is_replaced(invokers: Invokers) -> None:
    invokers.broker.assigned = False
    invokers.broker.append(ONE)
    invoker = invokers.start()
    await eventually_async(lambda: len(invokers.broker.consumers) >= 2, 5)
    invokers.broker.assigned = True
    await invoker.has(0)


async def test_a_full_feed_pauses(invokers: Invokers) -> None:
    invokers.broker.append(*[ONE] * 3)
    invoker = invokers.start(max_count=2)
    await invoker.has(0, 1)
    await eventually_async(lambda: invokers.broker.pauses == 1)
    invoker.feed.done(0)
    await invoker.has(0, 1, 2)


@pytest.mark.parametrize(
    ("error", "says"), [(FencedInstanceIdError(), "another process"), (ZeroDivisionError("ours"), "broke")]
)
async def test_what_cannot_be_mended_is_told(
    invokers: Invokers, caplog: pytest.LogCaptureFixture, error: Exception, says: str
) -> None:
    invokers.broker.plan("poll", error)
    invoker = invokers.start()
    await eventually_async(lambda: invoker.broken is not None, 5)
    assert says in str(invoker.broken)
    assert len(invokers.broker.consumers) == 1


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_one_whose_place_is_taken_learns_of_it_while_nothing_comes(
    invokers: Invokers, monkeypatch: pytest.MonkeyPatch, delivery: Delivery
) -> None:
    monkeypatch.setattr(feed_module, "PLACE_EVERY", 0.01)
    invokers.broker.append(ONE)
    invoker = invokers.start(delivery=delivery)
    await invoker.has(0)
    invoker.feed.done(0)
    await eventually_async(lambda: invokers.broker.commits[-3:] == [1, 1, 1], 5)
    invokers.broker.plan("commit", KafkaTimeoutError("slow"), FencedInstanceIdError())
    await eventually_async(lambda: invoker.broken is not None, 5)
    assert "another process" in str(invoker.broken)


async def test_what_another_consumer_has_committed_stays(invokers: Invokers, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when OpenWhisk's own invoker had the partition meanwhile."""
    monkeypatch.setattr(feed_module, "PLACE_EVERY", 0.01)
    invokers.broker.append(ONE)
    await invokers.start(delivery=MOST).has(0)
    invokers.broker.committed = 5
    before = len(invokers.broker.commits)
    await eventually_async(lambda: len(invokers.broker.commits) > before + 3, 5)
    assert set(invokers.broker.commits[before + 1 :]) == {5}


async def test_the_last_commit_waits_for_the_group(invokers: Invokers) -> None:
    invokers.broker.append(ONE)
    invoker = invokers.start(delivery=LEAST, commit_every=60)
    await invoker.has(0)
    invoker.feed.drain()
    invokers.broker.plan("commit", CommitFailedError("rejoining"), CommitFailedError("rejoining"))
    invoker.feed.done(0)
    await asyncio.to_thread(invoker.feed.stop)
    assert invokers.broker.committed == 1


@pytest.mark.parametrize("delivery", [MOST, LEAST])
async def test_one_that_drains_takes_no_more_and_commits_what_is_done(invokers: Invokers, delivery: Delivery) -> None:
    invokers.broker.append(ONE, ONE)
    invoker = invokers.start(delivery=delivery)
    await invoker.has(0, 1)
    invoker.feed.drain()
    invokers.broker.append(ONE)
    invoker.feed.done(0)
    invoker.feed.done(1)
    await asyncio.to_thread(invoker.feed.stop)
    assert invoker.offsets == [0, 1]
    assert invokers.broker.committed == 2


async def test_it_stops_while_it_is_full_and_while_nobody_answers(invokers: Invokers) -> None:
    invokers.broker.append(*[ONE] * 3)
    full = invokers.start(max_count=1)
    await full.has(0)
    invokers.broker.plan("connect", *[KafkaConnectionError("away")] * 1000)
    invokers.start()
    await asyncio.wait_for(invokers.stop(), 5)

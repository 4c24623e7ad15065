"""Pings while Kafka is away, without Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import cast

import pytest
from kafka.errors import KafkaTimeoutError

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.kafka.pings import Pinger
from owmesos.openwhisk.messages import invoker_id
from owmesos.openwhisk.reachability import Reachability
from tests.fakes.kafka import FakeBroker
from tests.waiting import eventually_async


async def test_a_stop_while_kafka_is_away_is_as_any_other() -> None:
    """kafka-python refuses to close a producer that has pings under way, and a thread that fails over it is an error
    here."""
    broker = FakeBroker()
    broker.topics, broker.away = {"health"}, True
    pinger = Pinger(cast(Broker, broker), invoker_id(3))
    pinger.start()
    await eventually_async(lambda: broker.producers and broker.producers[0].under_way)
    await asyncio.to_thread(pinger.stop)
    assert broker.producers[0].refused_to_close == 1
    assert pinger.closed_because == "stopped"


class TestOneThatWantsNoWork:
    @pytest.fixture
    def broker(self) -> FakeBroker:
        broker = FakeBroker()
        broker.topics = {"health"}
        return broker

    @pytest.fixture
    def kafka(self) -> Reachability:
        return Reachability("Kafka", "broker:9092")

    @pytest.fixture
    def pinger(self, broker: FakeBroker, kafka: Reachability) -> Iterator[Pinger]:
        pinger = Pinger(cast(Broker, broker), invoker_id(3), interval=0.01, kafka=kafka)
        pinger.start()
        yield pinger
        pinger.stop()

    async def test_says_so_until_kafka_has_it(self, broker: FakeBroker, kafka: Reachability, pinger: Pinger) -> None:
        await eventually_async(lambda: broker.taken)
        broker.away = True
        (producer,) = broker.producers
        await eventually_async(lambda: producer.under_way)
        pinger.turn_away("disabled", True)
        for future in producer.under_way:
            future.failure(KafkaTimeoutError("late"))
        assert kafka.down
        count = len(producer.under_way)
        await eventually_async(lambda: len(producer.under_way) > count + 5)
        assert refusals(broker) == []
        broker.away = False
        await eventually_async(lambda: not kafka.down)
        await asyncio.to_thread(pinger.stop)
        assert refusals(broker) == [False]

    async def test_says_so_once_it_leads_again(self, broker: FakeBroker, pinger: Pinger) -> None:
        await eventually_async(lambda: broker.taken)
        broker.may_send = False
        pinger.turn_away("disabled", True)
        await eventually_async(lambda: pinger._said is False)
        broker.may_send = True
        await eventually_async(lambda: refusals(broker))
        await asyncio.to_thread(pinger.stop)
        assert refusals(broker) == [False]


def refusals(broker: FakeBroker) -> list[bool]:
    """The pings that want no work."""
    return [each for _, value in broker.taken if not (each := json.loads(value)["isEnabled"])]

"""Pings while Kafka is away, without Kafka."""

from __future__ import annotations

import asyncio
from typing import cast

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.kafka.pings import Pinger
from owmesos.openwhisk.messages import invoker_id
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

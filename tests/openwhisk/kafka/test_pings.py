"""Pings on a real broker."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.kafka.pings import PINGING, Pinger
from owmesos.openwhisk.messages import invoker_id
from owmesos.openwhisk.reachability import Reachability
from tests.openwhisk.kafka.secured import secure
from tests.openwhisk.kafka.topics import Reader, reader
from tests.servers.kafka import PASSWORD, Kafka
from tests.waiting import eventually_async

pytestmark = [pytest.mark.kafka, pytest.mark.cluster]


@pytest.fixture
async def pinger(broker: Broker) -> AsyncIterator[Pinger]:
    await asyncio.to_thread(broker.ensure, [broker.health_topic()])
    pinger = Pinger(broker, invoker_id(3, tags=["gpu"], dedicated_namespaces=["guest"]), interval=0.3)
    pinger.start()
    yield pinger
    await asyncio.to_thread(pinger.stop)


@pytest.fixture
def health(pinger: Pinger, broker: Broker) -> Iterator[Reader]:
    with reader(broker, broker.health_topic().name) as found:
        yield found


async def pings(health: Reader, count: int) -> list[Any]:
    await eventually_async(lambda: len(health.poll()) >= count)
    return health.json()


async def test_come_at_their_interval(health: Reader) -> None:
    await pings(health, 1)
    began = time.monotonic()
    found = await pings(health, 6)
    assert time.monotonic() - began > 1.0
    assert found[0] == {
        "name": {
            "instance": 3,
            "userMemory": "2147483647 MB",
            "instanceType": "invoker",
            "tags": ["gpu"],
            "dedicatedNamespaces": ["guest"],
        },
        "isEnabled": True,
    }


async def test_are_not_delayed_by_a_busy_event_loop(health: Reader) -> None:
    await pings(health, 1)
    began = time.time()
    while time.time() < began + 1.5:
        sum(range(1000))
    await pings(health, len(health.poll()) + 1)
    during = [moment for moment in health.times if began <= moment <= began + 1.5]
    assert len(during) >= 4


async def test_end_with_one_that_wants_no_work(pinger: Pinger, health: Reader) -> None:
    await pings(health, 1)
    assert pinger.enabled
    assert pinger.turn_away("disabled", True)
    assert not pinger.turn_away("disabled", True)
    await eventually_async(lambda: health.json()[-1]["isEnabled"] is False)
    await asyncio.sleep(1)  # in which another would come
    found = health.json()
    assert [each["isEnabled"] for each in found].count(False) == 1
    assert found[-1]["isEnabled"] is False
    count = len(found)
    assert pinger.turn_away("disabled", False)
    assert [each["isEnabled"] for each in (await pings(health, count + 2))[count:]] == [True, True]


async def test_back_pressure_turns_the_controller_away_at_once(pinger: Pinger, health: Reader) -> None:
    count = len(await pings(health, 1))
    pinger.turn_away("pressure", True)
    await eventually_async(lambda: health.json()[-1]["isEnabled"] is False, 2)
    pinger.turn_away("pressure", False)
    await eventually_async(lambda: health.json()[-1]["isEnabled"] is True, 2)
    assert len(health.records) > count
    assert pinger.enabled


async def test_pressed_and_disabled_need_both_to_end(pinger: Pinger, health: Reader) -> None:
    await pings(health, 1)
    pinger.turn_away("pressure", True)
    pinger.turn_away("disabled", True)
    pinger.turn_away("pressure", False)
    await asyncio.sleep(0.7)
    assert health.json()[-1]["isEnabled"] is False
    pinger.turn_away("disabled", False)
    await eventually_async(lambda: health.json()[-1]["isEnabled"] is True, 2)


async def test_a_stop_takes_leave(pinger: Pinger, health: Reader) -> None:
    await pings(health, 1)
    await asyncio.to_thread(pinger.stop)
    await eventually_async(lambda: health.json()[-1]["isEnabled"] is False)


async def test_one_whose_place_is_taken_says_no_more(pinger: Pinger, broker: Broker, health: Reader) -> None:
    await pings(health, 1)
    pinger.fall_silent()
    await asyncio.to_thread(pinger.stop)
    later = Pinger(broker, invoker_id(4))
    later.start()
    await eventually_async(lambda: [ping for ping in health.json() if ping["name"]["instance"] == 4])
    await asyncio.to_thread(later.stop)
    assert all(ping["isEnabled"] for ping in health.json() if ping["name"]["instance"] == 3)


async def test_a_stop_while_kafka_is_away_leaves_nothing_to_the_garbage_collector(broker: Broker, kafka: Kafka) -> None:
    """kafka-python's producer would close itself then, and print a traceback."""
    await asyncio.to_thread(broker.ensure, [broker.health_topic()])
    reachability = Reachability("Kafka", broker.address)
    pinger = Pinger(broker, invoker_id(3), interval=0.1, kafka=reachability)
    pinger.start()
    await eventually_async(lambda: reachability.state == "up")
    await asyncio.to_thread(kafka.stop, force=True)
    await eventually_async(lambda: reachability.down)  # more pings wait by then
    await asyncio.to_thread(pinger.stop, 10.0)
    gc.collect()  # what goes wrong here fails the test
    assert pinger.closed_because == "stopped"


async def test_a_rejected_login_is_tried_again(renewed: Kafka, broker: Broker) -> None:
    """Somebody may correct it at the broker."""
    kafka, ours = renewed, secure(broker, renewed)

    async def restart(password: str) -> None:
        await asyncio.to_thread(kafka.stop, force=True)
        kafka.password = password
        await asyncio.to_thread(kafka.start)

    await asyncio.to_thread(broker.ensure, [broker.health_topic()])
    reachability = Reachability("Kafka", ours.address)
    pinger = Pinger(ours, invoker_id(3), interval=0.3, kafka=reachability)
    pinger.start()
    try:
        await eventually_async(lambda: reachability.state == "up")
        await restart("another")
        await eventually_async(lambda: reachability.lasting(PINGING))
        await restart(PASSWORD)
        await eventually_async(lambda: reachability.state == "up")
    finally:
        await asyncio.to_thread(pinger.stop)

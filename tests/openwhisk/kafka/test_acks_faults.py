"""Acknowledgements where Controllers' topics come and go, and Kafka is away for long, without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import cast

import msgspec
import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from owmesos.openwhisk.kafka import acks as acks_module
from owmesos.openwhisk.kafka.acks import AckSender
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.messages import Completion, ControllerId
from owmesos.openwhisk.reachability import Reachability
from tests.fakes.kafka import FakeBroker
from tests.waiting import eventually_async, in_time


@pytest.fixture
def broker() -> FakeBroker:
    broker = FakeBroker()
    broker.topics = {"completed0", "completed1"}
    return broker


@pytest.fixture
def kafka() -> Reachability:
    return Reachability("Kafka", "broker:9092")


@pytest.fixture
async def sender(broker: FakeBroker, kafka: Reachability, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AckSender]:
    monkeypatch.setattr(acks_module, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(acks_module, "METADATA_WAIT", 0.05)
    sender = AckSender(cast(Broker, broker), kafka=kafka)
    sender.start()
    yield sender
    await asyncio.to_thread(sender.stop, 5.0)


def send(sender: AckSender, controller: str, *ids: str) -> None:
    for activation_id in ids:
        sender.send(ControllerId(controller), Completion(transid=[], activation_id=activation_id))


def taken(broker: FakeBroker, topic: str) -> list[str]:
    return [msgspec.json.decode(value)["activationId"] for name, value in broker.taken if name == topic]


async def test_a_topic_that_is_gone_holds_up_nobody_else(sender: AckSender, broker: FakeBroker) -> None:
    send(sender, "0", "a")
    await eventually_async(lambda: taken(broker, "completed0") == ["a"])
    broker.topics.discard("completed0")
    send(sender, "0", *"bcdef")
    send(sender, "1", "other")
    await eventually_async(lambda: taken(broker, "completed1") == ["other"])
    assert broker.refused == ["completed0"], "it is tried once, and the others wait with it"
    assert len(broker.producers) == 1, "nothing else that the producer has is given up"
    broker.topics.add("completed0")  # the end does not wait for it


async def test_what_waited_for_its_topic_comes_in_its_order(sender: AckSender, broker: FakeBroker) -> None:
    send(sender, "0", "a")
    await eventually_async(lambda: taken(broker, "completed0") == ["a"])
    broker.topics.discard("completed0")
    send(sender, "0", *"bcd")
    await eventually_async(lambda: broker.refused == ["completed0"])
    send(sender, "0", *"ef")
    broker.topics.add("completed0")
    await eventually_async(lambda: taken(broker, "completed0") == list("abcdef"))


async def test_a_topic_that_is_missing_is_named_once_and_is_not_an_outage(
    sender: AckSender, broker: FakeBroker, kafka: Reachability, caplog: pytest.LogCaptureFixture
) -> None:
    send(sender, "gone", "a", "b")
    await eventually_async(lambda: broker.asked_for.count("completedgone") > 2)
    assert not kafka.down
    assert caplog.text.count("create it with kafka-topics --create --topic completedgone") == 1
    broker.topics.add("completedgone")
    await eventually_async(lambda: taken(broker, "completedgone") == ["a", "b"])


async def test_a_broker_that_does_not_answer_is_an_outage_and_no_missing_topic(
    sender: AckSender, broker: FakeBroker, kafka: Reachability, caplog: pytest.LogCaptureFixture
) -> None:
    """kafka-python's error is the same."""
    broker.frozen = True
    send(sender, "0", "a")
    await eventually_async(lambda: broker.asked_for.count("completed0") > 2)
    assert kafka.down
    assert "does not exist" not in caplog.text
    broker.frozen = False
    await eventually_async(lambda: taken(broker, "completed0") == ["a"])
    await eventually_async(lambda: not kafka.down)


async def test_a_missing_topic_ends_an_outage_that_is_over(
    sender: AckSender, broker: FakeBroker, kafka: Reachability
) -> None:
    broker.plan("topics", OSError("connection refused"))
    down = asyncio.Event()
    kafka.changed.append(partial(asyncio.get_running_loop().call_soon_threadsafe, down.set))
    send(sender, "gone", "a")
    await down.wait()
    await eventually_async(lambda: not kafka.down)
    assert taken(broker, "completedgone") == []
    broker.topics.add("completedgone")


async def test_a_stop_does_not_wait_for_a_topic_that_is_gone(sender: AckSender, broker: FakeBroker) -> None:
    send(sender, "0", "a")
    await eventually_async(lambda: taken(broker, "completed0") == ["a"])
    broker.topics.discard("completed0")
    send(sender, "0", "b")
    await eventually_async(lambda: broker.refused == ["completed0"])
    await in_time(asyncio.to_thread(sender.stop, 0.2))


async def test_a_stop_looks_for_a_topic_that_is_gone_now_and_then(
    sender: AckSender, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not use up a processor until its time is over."""
    turns: list[object] = []
    turn = sender._turn

    def counted(producer: KafkaProducer) -> bool:
        turns.append(producer)
        return turn(producer)

    monkeypatch.setattr(sender, "_turn", counted)
    send(sender, "0", "a")
    await eventually_async(lambda: taken(broker, "completed0") == ["a"])
    send(sender, "gone", "b")
    await eventually_async(lambda: "completedgone" in broker.asked_for)
    await asyncio.to_thread(sender.stop, 0.5)
    assert len(turns) < 50


async def test_after_a_long_outage_all_is_sent_in_its_order(sender: AckSender, broker: FakeBroker) -> None:
    """The oldest expires first, and kafka-python closes no producer while others are under way."""
    broker.away = True
    send(sender, "0", "a", "b")
    await eventually_async(lambda: broker.producers and len(broker.producers[0].under_way) == 2)
    first = broker.producers[0]
    first.under_way[0].failure(KafkaTimeoutError("expired"))
    await eventually_async(lambda: first.refused_to_close)
    broker.away = False
    first.under_way[1].failure(KafkaTimeoutError("expired"))
    send(sender, "0", "c")
    await eventually_async(lambda: taken(broker, "completed0") == ["a", "b", "c"])
    assert len(broker.producers) == 2


async def test_what_a_stop_gives_up_is_not_said_to_be_sent(
    sender: AckSender, broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """The next process answers it. One is under way, one waits for its topic, and one comes too late."""
    sent: list[str] = []
    broker.away = True
    for controller in ("0", "gone"):
        sender.send(
            ControllerId(controller), Completion(transid=[], activation_id="a"), partial(sent.append, controller)
        )
    await eventually_async(lambda: broker.producers and broker.producers[0].under_way)
    await asyncio.to_thread(sender.stop, 0.1)
    sender.send(ControllerId("0"), Completion(transid=[], activation_id="b"), partial(sent.append, "late"))
    assert broker.producers[0].under_way[0].is_done
    assert sent == []
    assert "2 messages to Controllers could not be sent before shutdown" in caplog.text
    assert "has been down" not in caplog.text

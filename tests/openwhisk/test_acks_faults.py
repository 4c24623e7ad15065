"""Acknowledgements to Controllers whose topics come and go, without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import msgspec
import pytest

from owmesos.openwhisk import acks as acks_module
from owmesos.openwhisk.acks import AckSender
from owmesos.openwhisk.broker import Broker
from owmesos.openwhisk.ids import ControllerId
from owmesos.openwhisk.messages import Completion
from tests.fakes.kafka import FakeBroker
from tests.waiting import eventually_async


@pytest.fixture
def broker() -> FakeBroker:
    broker = FakeBroker()
    broker.topics = {"completed0", "completed1"}
    return broker


@pytest.fixture
async def sender(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AckSender]:
    monkeypatch.setattr(acks_module, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(acks_module, "METADATA_WAIT", 0.05)
    sender = AckSender(cast(Broker, broker))
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


async def test_what_waited_for_its_topic_comes_in_its_order(sender: AckSender, broker: FakeBroker) -> None:
    send(sender, "0", "a")
    await eventually_async(lambda: taken(broker, "completed0") == ["a"])
    broker.topics.discard("completed0")
    send(sender, "0", *"bcd")
    await eventually_async(lambda: broker.refused == ["completed0"])
    send(sender, "0", *"ef")
    broker.topics.add("completed0")
    await eventually_async(lambda: taken(broker, "completed0") == list("abcdef"))


async def test_a_stop_does_not_wait_for_a_topic_that_is_gone(sender: AckSender, broker: FakeBroker) -> None:
    send(sender, "0", "a")
    await eventually_async(lambda: taken(broker, "completed0") == ["a"])
    broker.topics.discard("completed0")
    send(sender, "0", "b")
    await eventually_async(lambda: broker.refused == ["completed0"])
    await asyncio.wait_for(asyncio.to_thread(sender.stop, 0.2), 10)

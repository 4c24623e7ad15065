"""Acknowledgements on a real broker: their order, their size, and what becomes of those that cannot be sent."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from owmesos.openwhisk.activation import Activation, Reporter, not_run, success
from owmesos.openwhisk.kafka.acks import AckSender
from owmesos.openwhisk.kafka.broker import Broker, Topic
from owmesos.openwhisk.messages import ActivationMessage, ControllerId, invoker_id
from owmesos.openwhisk.reachability import Reachability
from tests.openwhisk.kafka.topics import activation, administration, reader
from tests.servers.kafka import Kafka
from tests.waiting import eventually_async

pytestmark = [pytest.mark.kafka, pytest.mark.cluster]
reporter = Reporter(invoker_id(0), lambda: 1573724401.0)
CONTROLLER = ControllerId("0")


@pytest.fixture
async def sender(broker: Broker) -> AsyncIterator[AckSender]:
    await asyncio.to_thread(broker.ensure, [broker.completed_topic("0"), broker.events_topic()])
    sender = AckSender(broker)
    sender.start()
    yield sender
    await asyncio.to_thread(sender.stop)


def ended(result: Any = None, **changes: Any) -> tuple[ActivationMessage, Activation]:
    message = activation(**changes)
    return message, not_run(message, success(result), 1573724401.0)


async def read(broker: Broker, topic: Topic, count: int, timeout: float = 60) -> list[Any]:
    with reader(broker, topic.name) as found:
        return await asyncio.to_thread(found.wait_for, count, timeout)


class Counted:
    """How often Kafka was said to have it."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.count += 1


async def test_a_result_comes_before_its_completion(sender: AckSender, broker: Broker) -> None:
    expected = []
    sent = Counted()
    for n in range(200):
        message, activation = ended({"n": n})
        sender.send(CONTROLLER, reporter.result(message, activation))
        sender.send(CONTROLLER, reporter.completion(message, activation), sent)
        expected += [("result", activation.activation_id), ("completion", activation.activation_id)]
    found = await read(broker, broker.completed_topic("0"), 400)
    assert [
        ("completion", each["activationId"]) if "instance" in each else ("result", each["response"]["activationId"])
        for each in found
    ] == expected
    await eventually_async(lambda: sent.count == 200)


async def test_what_is_too_large_is_sent_as_an_id(sender: AckSender, broker: Broker) -> None:
    message, activation = ended({"large": "x" * 1024 * 1024 + "y" * 10_000})
    sender.send(CONTROLLER, reporter.combined(message, activation))
    (found,) = await read(broker, broker.completed_topic("0"), 1)
    assert found["response"] == activation.activation_id
    assert found["isSystemError"] is False


async def test_what_the_broker_finds_too_large_is_sent_as_an_id(sender: AckSender, broker: Broker) -> None:
    topic = broker.completed_topic("narrow")
    narrow = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "2000"}}
    with administration(broker) as admin:
        admin.create_topics({topic.name: narrow}, wait_for_metadata=True)
    ids = []
    sent = Counted()
    for result in ("small", "x" * 5000, "small"):
        message, activation = ended(result)
        ids.append(activation.activation_id)
        sender.send(ControllerId("narrow"), reporter.combined(message, activation), sent)
        sender.send(CONTROLLER, reporter.completion(message, activation), sent)
    found = await read(broker, topic, 3)
    assert [_id_of(each["response"]) for each in found] == ids
    assert found[1]["response"] == ids[1]
    assert [each["activationId"] for each in await read(broker, broker.completed_topic("0"), 3)] == ids
    await eventually_async(lambda: sent.count == 6)


def _id_of(response: Any) -> Any:
    return response if isinstance(response, str) else response["activationId"]


async def test_a_controller_without_a_topic_keeps_nobody_waiting(sender: AckSender, broker: Broker) -> None:
    sent = Counted()
    for _ in range(3):
        sender.send(ControllerId("later"), reporter.combined(*ended()), sent)
    for _ in range(3):
        sender.send(CONTROLLER, reporter.combined(*ended()))
    await read(broker, broker.completed_topic("0"), 3)
    assert sent.count == 0
    await asyncio.to_thread(broker.ensure, [broker.completed_topic("later")])
    await read(broker, broker.completed_topic("later"), 3)
    await eventually_async(lambda: sent.count == 3)


async def test_a_broker_that_does_not_answer_does_not_lack_the_topic(
    broker: Broker, kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    first, later = broker.completed_topic("0"), broker.completed_topic("later")
    await asyncio.to_thread(broker.ensure, [first])
    reachability, sent = Reachability("Kafka", broker.address), Counted()
    sender = AckSender(broker, kafka=reachability)
    sender.start()
    sender.send(ControllerId("later"), reporter.combined(*ended()))
    await eventually_async(lambda: f"topic {later.name} does not exist" in caplog.text)
    assert reachability.state == "up"
    pid = kafka.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        sender.send(CONTROLLER, reporter.combined(*ended()), sent)
        await eventually_async(lambda: reachability.down)
    finally:
        os.kill(pid, signal.SIGCONT)
    await eventually_async(lambda: sent.count == 1 and not reachability.down, 40)
    assert f"topic {first.name} does not exist" not in caplog.text
    await asyncio.to_thread(broker.ensure, [later])
    await asyncio.to_thread(sender.stop)


async def test_who_can_be_no_controller_is_logged(sender: AckSender, caplog: pytest.LogCaptureFixture) -> None:
    sent = Counted()
    with caplog.at_level(logging.ERROR, "owmesos.acks"):
        for name in ("", "../x", "a b", "x" * 129):
            sender.send(ControllerId(name), reporter.combined(*ended()), sent)
    assert sent.count == 4
    assert len(caplog.records) == 4


async def test_events_go_to_their_own_topic(sender: AckSender, broker: Broker) -> None:
    message, activation = ended({"statusCode": 201})
    sender.send_event(reporter.event(message, activation))
    (found,) = await read(broker, broker.events_topic(), 1)
    assert found["body"]["activationId"] == activation.activation_id
    assert found["body"]["userDefinedStatusCode"] == 201


async def test_all_is_sent_before_the_end(broker: Broker) -> None:
    await asyncio.to_thread(broker.ensure, [broker.completed_topic("0")])
    sender = AckSender(broker)
    sent = Counted()
    for _ in range(500):
        sender.send(CONTROLLER, reporter.combined(*ended()), sent)
    sender.start()
    await asyncio.to_thread(sender.stop)
    assert sent.count == 500
    await read(broker, broker.completed_topic("0"), 500)


async def test_a_broker_s_restart_loses_and_repeats_nothing(sender: AckSender, broker: Broker, kafka: Kafka) -> None:
    ids = []
    sent = Counted()

    async def some() -> None:
        for _ in range(50):
            message, activation = ended()
            ids.append(activation.activation_id)
            sender.send(CONTROLLER, reporter.combined(message, activation), sent)
            await asyncio.sleep(0.002)

    await some()
    await asyncio.to_thread(kafka.stop, force=True)
    await some()
    await asyncio.to_thread(kafka.start)
    await some()
    await eventually_async(lambda: sent.count == 150, 40)
    found = await read(broker, broker.completed_topic("0"), 150)
    assert [each["response"]["activationId"] for each in found] == ids


def test_a_message_is_what_json_reads() -> None:
    message, activation = ended(msgspec.Raw(b'{"a": [1, 2.50]}'))
    data = msgspec.json.encode(reporter.combined(message, activation))
    assert json.loads(data)["response"]["response"]["result"] == {"a": [1, 2.5]}

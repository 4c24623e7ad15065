"""What was answered before, on a real broker: what the Controllers' topics hold since a moment."""

from __future__ import annotations

import asyncio
import json
import time

import msgspec
import pytest

from owmesos.openwhisk.activation import Reporter, not_run, success
from owmesos.openwhisk.kafka.answered import answered
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.messages import invoker_id
from tests.openwhisk.kafka.topics import activation, write

pytestmark = [pytest.mark.kafka, pytest.mark.cluster]
REPORTER = Reporter(invoker_id(0), time.time)


async def test_tells_what_is_over_from_what_has_its_result_alone(broker: Broker) -> None:
    topics = [broker.completed_topic("0"), broker.completed_topic("1")]
    await asyncio.to_thread(broker.ensure, topics)
    early, blocking, other, told, both = [activation() for _ in range(5)]
    ended = {each.activation_id: not_run(each, success({"n": 1}), 1.0) for each in (early, blocking, other, told, both)}
    result = {each.activation_id: REPORTER.result(each, ended[each.activation_id]) for each in (told, both)}
    long_ago = [REPORTER.combined(early, ended[early.activation_id])]
    lately = [
        b"no acknowledgement",
        REPORTER.combined(blocking, ended[blocking.activation_id]),
        result[told.activation_id],
        result[both.activation_id],
        REPORTER.completion(both, ended[both.activation_id]),
    ]
    now = time.time()
    await asyncio.to_thread(write, broker, topics[0].name, long_ago, sent_at=now - 60)
    await asyncio.to_thread(write, broker, topics[0].name, lately)
    await asyncio.to_thread(write, broker, topics[1].name, [REPORTER.completion(other, ended[other.activation_id])])
    found = await asyncio.to_thread(answered, broker, ["0", "1", "0"], now - 5)
    assert found.completed == {blocking.activation_id, both.activation_id, other.activation_id}
    assert list(found.results) == [told.activation_id]
    assert json.loads(found.results[told.activation_id]) == json.loads(msgspec.json.encode(ended[told.activation_id]))
    nothing = await asyncio.to_thread(answered, broker, ["0"], time.time() + 60)
    assert nothing == (set(), {})


async def test_of_a_topic_that_is_not_there_nothing_is_known(broker: Broker) -> None:
    assert await asyncio.to_thread(answered, broker, ["nobody"], 0.0) == (set(), {})

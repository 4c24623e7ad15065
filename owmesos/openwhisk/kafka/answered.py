"""Reads from the Controllers' topics which activations an earlier process has answered already.

A process may be killed after it sent an answer and before it recorded that. Only Kafka knows, so the messages of its
last seconds are read again. If they cannot be read, nothing counts as answered: a Controller ignores a second answer
to an activation, but waits for minutes for a missing one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import closing
from typing import NamedTuple

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from owmesos.errors import NOT_READABLE, OwmesosError
from owmesos.openwhisk.kafka.broker import Broker, said
from owmesos.openwhisk.messages import ABSENT

_log = logging.getLogger("owmesos.invoker")
PATIENCE = 10.0  # seconds
POLL = 100  # ms


class Answered(NamedTuple):
    """`completed`: ids whose completion was sent. `results`: by id, the activations in JSON of which only the
    result was sent."""

    completed: set[str]
    results: dict[str, bytes]


class _Activation(msgspec.Struct):
    id: str = msgspec.field(name="activationId")


class _EarlierAnswer(msgspec.Struct):
    """The fields of an acknowledgement that identify its activation and its kind (`messages.Acknowledgement`)."""

    activation_id: str | None = msgspec.field(name="activationId", default=None)
    response: msgspec.Raw = ABSENT
    instance: msgspec.Raw = ABSENT
    invoker: msgspec.Raw = ABSENT


_answer = msgspec.json.Decoder(_EarlierAnswer)
_response = msgspec.json.Decoder(str | _Activation)


def answered(broker: Broker, controllers: Iterable[str], since: float) -> Answered:
    """What was sent to these Controllers since then, in seconds since the epoch. Blocks for at most `PATIENCE`."""
    found = Answered(set(), {})
    topics = sorted(broker.completed_topic(name).name for name in set(controllers))
    try:
        with closing(broker.consumer(group="owmesos-answered", client_id="owmesos-answered")) as consumer:
            _read(consumer, topics, since, found)
    except (KafkaError, OwmesosError, OSError) as error:
        _log.warning("earlier acknowledgements cannot be read from %s: %s", ", ".join(topics), said(error))
    return found


def _read(consumer: KafkaConsumer, topics: list[str], since: float, found: Answered) -> None:
    """Raises KafkaError."""
    partitions = [
        TopicPartition(topic, number) for topic in topics for number in consumer.partitions_for_topic(topic) or ()
    ]
    if not partitions:
        return
    consumer.assign(partitions)
    wait = int(PATIENCE * 1000)
    begin = consumer.offsets_for_times({each: int(since * 1000) for each in partitions}, timeout_ms=wait)
    end = consumer.end_offsets(partitions, timeout_ms=wait)
    for each in partitions:
        first = begin.get(each)
        consumer.seek(each, first.offset if first is not None else end[each])
    until = time.monotonic() + PATIENCE
    while any(consumer.position(each) < end[each] for each in partitions):
        if time.monotonic() > until:
            _log.warning("earlier acknowledgements could not all be read within %g s", PATIENCE)
            return
        for records in consumer.poll(timeout_ms=POLL).values():
            for record in records:
                _note(record.value or b"", found)


def _note(data: bytes, found: Answered) -> None:
    """What cannot be read was not sent by owmesos."""
    try:
        answer = _answer.decode(data)
        activation_id = answer.activation_id
        if activation_id is None:
            response = _response.decode(answer.response)
            activation_id = response if isinstance(response, str) else response.id
    except NOT_READABLE:
        return
    if answer.instance or answer.invoker:
        found.completed.add(activation_id)
        found.results.pop(activation_id, None)
    else:
        found.results[activation_id] = bytes(answer.response)

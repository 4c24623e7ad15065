"""Topics as tests write and read them: beside the code under test, straight to Kafka."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ACL, ACLFilter, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.messages import ActivationMessage, decode_activation
from owmesos.system.lone_surrogates import encode
from tests.openwhisk import samples
from tests.waiting import eventually

_PLAIN = decode_activation(samples.ACTIVATION_1_0)


def activation(content: Any = None, **changes: Any) -> ActivationMessage:
    """A message of its own activation."""
    changes.setdefault("activation_id", uuid.uuid4().hex)
    if content is not None:
        changes["content"] = msgspec.Raw(json.dumps(content).encode())
    return msgspec.structs.replace(_PLAIN, **changes)


def write(
    broker: Broker,
    topic: str,
    messages: Iterable[msgspec.Struct | bytes],
    *,
    partitions: int = 1,
    sent_at: float | None = None,
    codec: str | None = None,
) -> None:
    """In order, over the partitions in turn, compressed by `codec`; they are there when it returns. `sent_at`: seconds
    since the epoch, if not now."""
    timestamp = None if sent_at is None else int(sent_at * 1000)
    settings = {"acks": 1, "linger_ms": 5, "max_block_ms": 10_000, "compression_type": codec}
    with closing(broker.producer(client_id="test", **settings)) as producer:
        values = (each if isinstance(each, bytes) else encode(each) for each in messages)
        sent = [
            producer.send(topic, value, partition=number % partitions, timestamp_ms=timestamp)
            for number, value in enumerate(values)
        ]
        for future in sent:
            future.get(timeout=20)


class Reader:
    """Reads a topic from its beginning, and keeps what it has read."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self.records: list[bytes] = []
        self.times: list[float] = []  # when they were sent, in seconds since the epoch

    def poll(self) -> list[bytes]:
        """All that was ever read."""
        for found in self._consumer.poll(timeout_ms=100).values():
            self.records += [record.value for record in found]
            self.times += [record.timestamp / 1000 for record in found]
        return self.records

    def json(self) -> list[Any]:
        return [json.loads(record) for record in self.poll()]

    def until(self, enough: Callable[[list[bytes]], Any], timeout: float = 60) -> list[bytes]:
        eventually(lambda: enough(self.poll()), timeout, interval=0.001)
        return self.records

    def wait_for(self, count: int, timeout: float = 60) -> list[Any]:
        """The records as JSON, when there are `count`, and then no more."""
        self.until(lambda records: len(records) >= count, timeout)
        found = self.json()
        assert len(found) == count, f"{len(found)} records instead of {count}"
        return found


@contextmanager
def reader(broker: Broker, topic: str) -> Iterator[Reader]:
    consumer = KafkaConsumer(bootstrap_servers=list(broker.hosts), auto_offset_reset="earliest", metrics_enabled=False)
    with closing(consumer):
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        yield Reader(consumer)


def committed(broker: Broker, topic: str) -> int | None:
    """How far the topic's own group has come."""
    consumer = KafkaConsumer(bootstrap_servers=list(broker.hosts), group_id=topic, metrics_enabled=False)
    with closing(consumer):
        return consumer.committed(TopicPartition(topic, 0))


def committed_in(broker: Broker, topic: str, partitions: int) -> list[int | None]:
    """The same, partition by partition."""
    consumer = KafkaConsumer(bootstrap_servers=list(broker.hosts), group_id=topic, metrics_enabled=False)
    with closing(consumer):
        return [consumer.committed(TopicPartition(topic, number)) for number in range(partitions)]


def create(broker: Broker, topic: str, partitions: int, **settings: str) -> None:
    """As an operator does who wants another than OpenWhisk's."""
    asked = {"num_partitions": partitions, "replication_factor": 1, "configs": settings}
    with administration(broker) as admin:
        admin.create_topics({topic: asked}, wait_for_metadata=True)


def only_for(broker: Broker, topic: str, user: str) -> Callable[[], None]:
    """Nobody else may read it, until what is returned is called."""
    pattern = ResourcePattern(ResourceType.TOPIC, topic)
    rule = ACL(f"User:{user}", "*", ACLOperation.READ, ACLPermissionType.ALLOW, pattern)
    with administration(broker) as admin:
        admin.create_acls([rule])

    def end() -> None:
        with administration(broker) as admin:
            admin.delete_acls([ACLFilter(rule.principal, rule.host, rule.operation, rule.permission_type, pattern)])

    return end


@contextmanager
def administration(broker: Broker) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(bootstrap_servers=list(broker.hosts))) as admin:
        yield admin

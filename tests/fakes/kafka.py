"""A broker's consumers and producers without Kafka: for what a real broker does too rarely for a test."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.errors import IllegalStateError, KafkaTimeoutError
from kafka.future import Future
from kafka.structs import OffsetAndMetadata

from owmesos.openwhisk.kafka.broker import MAX_MESSAGE, Topic


class Record(NamedTuple):
    partition: int
    offset: int
    value: bytes | None
    timestamp: int = -1  # ms; not known


class FakeConsumer:
    """Gives what its broker's log holds from the last commit on. An error that is planned is raised once."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._listener: Any = None
        self._positions = {number: broker.offsets.get(number, 0) for number in range(broker.partitions)}
        self.closed = False
        self.polls = 0

    def partitions_for_topic(self, topic: str) -> set[int]:
        self._broker.fail("partitions")
        return set(range(self._broker.partitions))

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        self._topic = topics[0]
        self._listener = listener

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(self._topic, number) for number in self._positions} if self._broker.assigned else set()

    def paused(self) -> set[TopicPartition]:
        return set()

    def pause(self, *partitions: TopicPartition) -> None:
        self._broker.pauses += 1

    def resume(self, *partitions: TopicPartition) -> None:
        pass

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        self.polls += 1
        self._broker.fail("poll")
        with self._broker.change:
            if self._broker.rebalances:
                self._broker.rebalances -= 1
                self._listener.on_partitions_revoked([TopicPartition(self._topic, each) for each in self._positions])
            if self._broker.rewind is not None:
                self._positions[0], self._broker.rewind = self._broker.rewind, None
            found = [record for record in self._broker.log if record.offset >= self._positions[record.partition]]
            if not found or self._broker.silent or not self._broker.assigned:
                self._broker.change.wait(min(timeout_ms / 1000, 0.02))
                return {}
            polled: dict[TopicPartition, list[Record]] = {}
            for record in found:
                self._positions[record.partition] = record.offset + 1
                polled.setdefault(TopicPartition(self._topic, record.partition), []).append(record)
            return polled

    def position(self, partition: TopicPartition, timeout_ms: int) -> int:
        return self._positions[partition.partition]

    def highwater(self, partition: TopicPartition) -> int | None:
        return self._positions[partition.partition]

    def committed(self, partition: TopicPartition, metadata: bool, timeout_ms: int) -> OffsetAndMetadata | None:
        assert metadata
        number = partition.partition
        if number not in self._broker.offsets:
            return None
        return OffsetAndMetadata(self._broker.offsets[number], self._broker.metadata.get(number, ""), -1)

    def end_offsets(self, partitions: Sequence[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        self._broker.fail("ends")
        self._broker.looks += 1
        with self._broker.change:
            return {each: self._broker.end(each.partition) for each in partitions}

    def commit(self, offsets: dict[TopicPartition, Any], timeout_ms: int) -> None:
        self._broker.fail("commit")
        for partition, found in offsets.items():
            self._broker.offsets[partition.partition] = found.offset
            self._broker.metadata[partition.partition] = found.metadata
            self._broker.commits.append(found.offset)

    def close(self, autocommit: bool) -> None:
        self.closed = True


class FakeProducer:
    """Takes what its broker has a topic for. While the broker is away, `under_way` is what it waits for, and it cannot
    be closed."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self.under_way: list[Future] = []
        self.refused_to_close = 0
        self.answered_at = time.monotonic()

    def partitions_for(self, topic: str) -> set[int]:
        self._broker.asked_for.append(topic)
        self._broker.fail("topics")
        if not self._broker.frozen:
            self.answered_at = time.monotonic()
        if self._broker.frozen or topic not in self._broker.topics:
            raise KafkaTimeoutError("Failed to update metadata after 1.0 secs.")
        return {0}

    def send(self, topic: str, value: bytes) -> Future:
        self._broker.fail("send")
        if topic not in self._broker.topics:
            self.answered_at = time.monotonic()
            self._broker.refused.append(topic)
            raise KafkaTimeoutError(f"no metadata of {topic}")
        if self._broker.away:
            self.under_way.append(Future())
            return self.under_way[-1]
        self._broker.taken.append((topic, value))
        return Future().success(None)

    def close(self, timeout: float) -> None:
        with self._broker.change:
            self._broker.change.wait_for(lambda: all(each.is_done for each in self.under_way), min(timeout, 0.02))
        if not all(each.is_done for each in self.under_way):
            self.refused_to_close += 1
            raise KafkaTimeoutError("Timeout waiting for future")


class FakeBroker:
    """In `Broker`'s place: one topic's log, and what is to go wrong."""

    def __init__(self) -> None:
        self.change = threading.Condition()
        self.may_send = True  # this process leads
        self.log: deque[Record] = deque()
        self.partitions = 1
        self.offsets: dict[int, int] = {}  # that are committed, by partition
        self.metadata: dict[int, str] = {}  # of these
        self.commits: list[int] = []
        self.pauses = 0
        self.looks = 0  # at the partitions' ends
        self.assigned = True
        self.silent = False  # its consumers have their partitions, and no record has come yet
        self.rebalances = 0
        self.rewind: int | None = None
        self.consumers: list[FakeConsumer] = []
        self.producers: list[FakeProducer] = []
        self.topics: set[str] = set()
        self.away = False
        self.frozen = False  # it is connected, and does not answer
        self.max_message = MAX_MESSAGE
        self.taken: list[tuple[str, bytes]] = []
        self.refused: list[str] = []
        self.asked_for: list[str] = []  # topics, by producers
        self.planned: dict[str, list[Exception]] = {}

    @property
    def address(self) -> str:
        return "broker:9092"

    def consumer(self, **settings: Any) -> Any:
        self.fail("connect")
        self.consumers.append(FakeConsumer(self))
        return self.consumers[-1]

    def producer(self, **settings: Any) -> Any:
        self.producers.append(FakeProducer(self))
        return self.producers[-1]

    def answered_at(self, producer: FakeProducer) -> float:
        return producer.answered_at

    def abandon(self, producer: FakeProducer) -> None:
        for each in producer.under_way:
            if not each.is_done:
                each.failure(IllegalStateError("Producer is closed forcefully."))

    def health_topic(self) -> Topic:
        return Topic("health", "health")

    def completed_topic(self, controller: str) -> Topic:
        return Topic(f"completed{controller}", "completed")

    @property
    def committed(self) -> int:
        """In the first partition."""
        return self.offsets.get(0, 0)

    def append(self, *values: bytes, partition: int = 0) -> None:
        with self.change:
            for value in values:
                self.log.append(Record(partition, self.end(partition), value))
            self.change.notify_all()

    def end(self, partition: int) -> int:
        """One after its last record."""
        return 1 + max((record.offset for record in self.log if record.partition == partition), default=-1)

    def plan(self, where: str, *errors: Exception) -> None:
        self.planned[where] = list(errors)

    def fail(self, where: str) -> None:
        errors = self.planned.get(where)
        if errors:
            raise errors.pop(0)

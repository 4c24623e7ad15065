"""A broker's consumers and producers without Kafka: for what a real broker does too rarely for a test."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.future import Future

from owmesos.openwhisk.broker import Topic


class Record(NamedTuple):
    offset: int
    value: bytes | None


class FakeConsumer:
    """Gives what its broker's log holds from the last commit on. An error that is planned is raised once."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._listener: Any = None
        self._position = broker.committed
        self.closed = False

    def partitions_for_topic(self, topic: str) -> set[int]:
        self._broker.fail("partitions")
        return {0}

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        self._partition = TopicPartition(topics[0], 0)
        self._listener = listener

    def assignment(self) -> set[TopicPartition]:
        return {self._partition} if self._broker.assigned else set()

    def paused(self) -> set[TopicPartition]:
        return set()

    def pause(self, *partitions: TopicPartition) -> None:
        self._broker.pauses += 1

    def resume(self, *partitions: TopicPartition) -> None:
        pass

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        self._broker.fail("poll")
        with self._broker.change:
            if self._broker.rebalances:
                self._broker.rebalances -= 1
                self._listener.on_partitions_revoked([self._partition])
            if self._broker.rewind is not None:
                self._position, self._broker.rewind = self._broker.rewind, None
            found = [record for record in self._broker.log if record.offset >= self._position]
            if not found or not self._broker.assigned:
                self._broker.change.wait(min(timeout_ms / 1000, 0.02))
                return {}
            self._position = found[-1].offset + 1
            return {self._partition: found}

    def position(self, partition: TopicPartition, timeout_ms: int) -> int:
        return self._position

    def committed(self, partition: TopicPartition, timeout_ms: int) -> int:
        return self._broker.committed

    def commit(self, offsets: dict[TopicPartition, Any], timeout_ms: int) -> None:
        self._broker.fail("commit")
        self._broker.committed = offsets[self._partition].offset
        self._broker.commits.append(self._broker.committed)

    def close(self, autocommit: bool) -> None:
        self.closed = True


class FakeProducer:
    """Takes what its broker has a topic for."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker

    def partitions_for(self, topic: str) -> set[int]:
        return {0} if topic in self._broker.topics else set()

    def send(self, topic: str, value: bytes) -> Future:
        self._broker.fail("send")
        if topic not in self._broker.topics:
            self._broker.refused.append(topic)
            raise KafkaTimeoutError(f"no metadata of {topic}")
        self._broker.taken.append((topic, value))
        return Future().success(None)

    def close(self, timeout: float) -> None:
        pass


class FakeBroker:
    """In `Broker`'s place: one topic's log, and what is to go wrong."""

    def __init__(self) -> None:
        self.change = threading.Condition()
        self.log: deque[Record] = deque()
        self.committed = 0
        self.commits: list[int] = []
        self.pauses = 0
        self.assigned = True
        self.rebalances = 0
        self.rewind: int | None = None
        self.consumers: list[FakeConsumer] = []
        self.producers: list[FakeProducer] = []
        self.topics: set[str] = set()
        self.taken: list[tuple[str, bytes]] = []
        self.refused: list[str] = []
        self.planned: dict[str, list[Exception]] = {}

    def consumer(self, **settings: Any) -> Any:
        self.fail("connect")
        self.consumers.append(FakeConsumer(self))
        return self.consumers[-1]

    def producer(self, **settings: Any) -> Any:
        self.producers.append(FakeProducer(self))
        return self.producers[-1]

    def completed_topic(self, controller: str) -> Topic:
        return Topic(f"completed{controller}", "completed")

    def append(self, *values: bytes, first: int | None = None) -> None:
        with self.change:
            for value in values:
                offset = self.log[-1].offset + 1 if self.log else 0
                self.log.append(Record(offset if first is None else first, value))
                first = None
            self.change.notify_all()

    def plan(self, where: str, *errors: Exception) -> None:
        self.planned[where] = list(errors)

    def fail(self, where: str) -> None:
        errors = self.planned.get(where)
        if errors:
            raise errors.pop(0)

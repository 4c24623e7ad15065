"""The invoker's topic: activations come from it no faster than they can be held.

Theory of operation. kafka-python blocks, so one thread reads; what it reads it hands to the event loop by
`call_soon_threadsafe`, batch by batch. The loop says `done` of each, from any thread. An invoker of OpenWhisk holds as
many as its user-memory admits; here the cluster has no such size, so the bounds are a count and a weight in bytes. At
a bound the partition is paused, and nothing is dropped: what was fetched already waits in the reader's own backlog.

Delivery at most once commits a batch before it is handed over, so that a crash loses it and nothing runs twice
(OpenWhisk: MessageFeed.scala). At least once commits up to the oldest that is not done, so that a crash repeats.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

import msgspec
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import CommitFailedError, FencedInstanceIdError, KafkaError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.openwhisk.broker import Broker, said
from owmesos.openwhisk.messages import ActivationMessage, Addressed, MalformedMessage, decode_activation
from owmesos.openwhisk.offsets import Offsets

_log = logging.getLogger("owmesos.feed")

POLL = 0.25  # seconds; how late a stop or a commit may be
KEEP_ALIVE = 5.0  # seconds; between looks at Kafka while there is no room
GATHER = 0.005  # seconds; for more room to come together, so that not each activation is a commit of its own
UNASSIGNED = 10.0  # seconds
PLACE_EVERY = 10.0  # seconds
LAST_COMMIT = 5.0  # seconds; for the last one before a stop
RETRY = (1.0, 10.0)  # seconds; first and longest wait after Kafka failed


class Delivery(str, Enum):
    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`max_weight` in bytes: of the messages, and of what `Feed.add_weight` adds. `commit_every` in seconds.

    One activation is admitted whatever it weighs, else it would stand in the way for ever.
    """

    max_count: int = 1024
    max_weight: int = 64 * 1024**2
    delivery: Delivery = Delivery.AT_MOST_ONCE
    commit_every: float = 1.0

    def __post_init__(self) -> None:
        if self.max_count < 1 or self.max_weight < 1:
            raise InvalidInput("the feed must be allowed to hold at least one activation and one byte")


class FeedBroke(OwmesosError):
    """No more activations come; the text says why."""


class Displaced(FeedBroke):
    """Another process has this invoker's place."""


class Received(NamedTuple):
    """An activation under way, until `Feed.done(offset)`."""

    offset: int
    message: ActivationMessage


class Rejected(NamedTuple):
    """A record that is no activation. It is logged and done with; `addressed` is whom to tell, if anybody."""

    offset: int
    reason: str
    addressed: Addressed | None


class Sink(Protocol):
    """What the feed tells, in the event loop's thread."""

    def received(self, batch: Sequence[Received]) -> None: ...

    def rejected(self, record: Rejected) -> None: ...

    def broke(self, reason: FeedBroke) -> None:
        """Nothing comes after this."""
        ...


class Feed:
    """One topic, one partition, one consumer; its group is named as the topic, as OpenWhisk's is."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        settings: FeedSettings | None = None,
    ) -> None:
        self._broker = broker
        self._partition = TopicPartition(topic, 0)
        self._sink = sink
        self._loop = loop
        self._settings = settings or FeedSettings()
        self._thread = threading.Thread(target=self._run, name=f"feed {topic}", daemon=True)
        self._change = threading.Condition()  # guards what follows
        self._offsets = Offsets()
        self._stopping = False
        self._draining = False
        self._moved = False
        # The reader's own.
        self._backlog: deque[Any] = deque()
        self._committed: int | None = None
        self._next_commit = 0.0
        self._assigned_at = 0.0
        self._next_look = 0.0

    def start(self) -> None:
        """Reading begins as soon as a broker answers."""
        self._thread.start()

    def drain(self) -> None:
        """Take no more; what is under way is still committed when it is done. At once, and until `stop`."""
        with self._change:
            self._draining = True
            self._change.notify_all()

    def stop(self) -> None:
        """Blocks until the last commit is made; nothing is handed over after it returns."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def done(self, offset: int) -> None:
        """The activation needs nothing more: there is room for another. From any thread; a second time is no harm."""
        with self._change:
            self._offsets.done(offset)
            self._change.notify_all()

    def add_weight(self, offset: int, weight: int) -> None:
        """`weight` more bytes are held for it: its action's code, its response. From any thread."""
        with self._change:
            self._offsets.add_weight(offset, weight)

    @property
    def held(self) -> int:
        """How many activations are under way."""
        return len(self._offsets)

    @property
    def weight(self) -> int:
        """Bytes that are held for them."""
        return self._offsets.weight

    # -- the reader's thread

    def _run(self) -> None:
        wait, longest = RETRY
        while not self._stopping:
            try:
                self._read()
                wait = RETRY[0]
                continue
            except FencedInstanceIdError:
                reason = f"another process reads {self._partition.topic} as this invoker: give each its own --id"
                self._tell(self._sink.broke, Displaced(reason))
                return
            except (KafkaError, OSError) as error:
                _log.warning("%s cannot be read, next try in %g s: %s", self._partition.topic, wait, said(error))
            except Exception as error:  # noqa: BLE001  (a fault of ours: whoever waits for activations must learn of it)
                _log.exception("reading %s broke", self._partition.topic)
                self._broken(f"reading {self._partition.topic} broke: {said(error)}")
                return
            with self._change:
                self._change.wait_for(lambda: self._stopping, wait)
            wait = min(wait * 2, longest)

    def _broken(self, reason: str) -> None:
        self._tell(self._sink.broke, FeedBroke(reason))

    def _tell(self, method: Any, *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(method, *arguments)

    def _read(self) -> None:
        topic = self._partition.topic
        consumer = self._broker.consumer(group=topic, client_id=f"owmesos-{topic}", instance_id=topic)
        try:
            if self._partition.partition not in consumer.partitions_for_topic(topic):
                raise UnknownTopicOrPartitionError(topic)
            self._backlog.clear()
            self._moved = False
            consumer.subscribe([topic], listener=_Listener(self))
            self._assigned_at = time.monotonic()
            self._next_look = self._assigned_at + PLACE_EVERY
            while self._until_room(consumer):
                self._turn(consumer)
            if self._settings.delivery is Delivery.AT_LEAST_ONCE:
                self._commit_last(consumer)
        finally:
            consumer.close(autocommit=False)

    def _turn(self, consumer: KafkaConsumer) -> None:
        if not self._backlog:
            self._poll(consumer, POLL)
        batch = self._take()
        if batch:
            self._hand_over(consumer, batch)
        elif not self._backlog:
            self._check_assignment(consumer)
            self._check_place(consumer)
        if self._settings.delivery is Delivery.AT_LEAST_ONCE and time.monotonic() >= self._next_commit:
            self._next_commit = time.monotonic() + self._settings.commit_every
            self._commit_low_water(consumer)

    def _check_assignment(self, consumer: KafkaConsumer) -> None:
        """A consumer that is given no partition, by mistake or because another has it, begins anew."""
        now = time.monotonic()
        if consumer.assignment():
            self._assigned_at = now
        elif now - self._assigned_at > UNASSIGNED:
            _log.warning("%s is given to no consumer of ours: does another invoker read it?", self._partition.topic)
            self.moved()

    def _check_place(self, consumer: KafkaConsumer) -> None:
        """While nothing comes, what is committed is committed again: a consumer whose place another one has taken is
        told so by nothing else. Raises FencedInstanceIdError."""
        if not consumer.assignment() or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + PLACE_EVERY
        try:
            # What the group has now, which another consumer may have moved on since ours committed.
            offset = consumer.committed(self._partition, timeout_ms=2000)
            if offset is None and not self.held:
                offset = consumer.position(self._partition, timeout_ms=2000)
            if offset is not None:
                consumer.commit({self._partition: OffsetAndMetadata(offset, "", -1)}, timeout_ms=2000)
        except FencedInstanceIdError:
            raise
        except CommitFailedError:
            self.moved()
        except KafkaError as error:
            _log.debug("whether %s is still ours is not known: %s", self._partition.topic, said(error))

    def _poll(self, consumer: KafkaConsumer, timeout: float) -> None:
        for records in consumer.poll(timeout_ms=int(timeout * 1000)).values():
            self._backlog.extend(records)

    def _until_room(self, consumer: KafkaConsumer) -> bool:
        """False when it is time to close this consumer."""
        if not self._wait_for(1, 0.0):
            _pause(consumer)
            while not self._wait_for(1, KEEP_ALIVE):
                self._poll(consumer, 0)
                if self._settings.delivery is Delivery.AT_LEAST_ONCE:
                    self._commit_low_water(consumer)
            self._wait_for(max(1, self._settings.max_count // 8), GATHER)
            _resume(consumer)
        return not self._stopping and not self._moved

    def _wait_for(self, count: int, timeout: float) -> bool:
        """Whether there is room for `count`, or no need of any."""
        with self._change:
            return self._change.wait_for(lambda: self._stopping or self._moved or self._has_room(count), timeout)

    def _has_room(self, count: int) -> bool:
        settings, held = self._settings, len(self._offsets)
        if self._draining:
            return False
        return held + count <= settings.max_count and (held == 0 or self._offsets.weight < settings.max_weight)

    def _take(self) -> list[Any]:
        """The next records that are new, as many as there is room for."""
        batch: list[Any] = []
        with self._change:
            while not self._moved and self._backlog and self._has_room(1):
                record = self._backlog[0]
                weight = len(record.value or b"")
                if len(self._offsets) and self._offsets.weight + weight > self._settings.max_weight:
                    break
                self._backlog.popleft()
                if self._is_new(record.offset):
                    self._offsets.received(record.offset, weight)
                    self._committed = record.offset if self._committed is None else self._committed
                    batch.append(record)
        return batch

    def _is_new(self, offset: int) -> bool:
        """A new consumer is given again what was received since the last commit."""
        if self._offsets.next is None or offset >= self._offsets.next:
            return True
        if self._committed is not None and offset < self._committed:
            topic, committed = self._partition.topic, self._committed
            _log.warning("%s begins anew: it gives offset %d, and %d was committed", topic, offset, committed)
            self._offsets.restart()
            self._committed = None
            return True
        return False

    def _hand_over(self, consumer: KafkaConsumer, batch: list[Any]) -> None:
        if self._settings.delivery is Delivery.AT_MOST_ONCE:
            try:
                self._commit(consumer, batch[-1].offset + 1)
            except KafkaError as error:
                self._give_back(batch)
                if not isinstance(error, CommitFailedError):
                    raise
                _log.warning("%s went to another consumer: %s", self._partition.topic, said(error))
                self.moved()
                return
        received = [each for each in map(self._decoded, batch) if each is not None]
        if received:
            self._tell(self._sink.received, received)

    def _give_back(self, batch: list[Any]) -> None:
        """It was not handed over, and will be read again by whoever has the partition then."""
        with self._change:
            for record in batch:
                self._offsets.done(record.offset)
            self._offsets.rewind(batch[0].offset)
        self._backlog.clear()

    def _decoded(self, record: Any) -> Received | None:
        try:
            return Received(record.offset, decode_activation(record.value or b""))
        except MalformedMessage as error:
            _log.error("%s, offset %d: %s", self._partition.topic, record.offset, error)
            self.done(record.offset)
            self._tell(self._sink.rejected, Rejected(record.offset, str(error), error.addressed))
            return None

    def _commit_last(self, consumer: KafkaConsumer) -> None:
        """Before a stop, also while the group is being formed anew: what is done must not be repeated for that."""
        until = time.monotonic() + LAST_COMMIT
        while not self._commit_low_water(consumer) and self._stopping and time.monotonic() < until:
            self._poll(consumer, POLL)

    def _commit_low_water(self, consumer: KafkaConsumer) -> bool:
        """False when it may succeed once this consumer has joined its group again."""
        with self._change:
            offset = self._offsets.low_water
        if offset is None or offset == self._committed:
            return True
        try:
            self._commit(consumer, offset)
        except FencedInstanceIdError:
            raise
        except KafkaError as error:
            # The next one covers it, and a repeat does no harm here.
            _log.warning("%s could not be committed up to %d: %s", self._partition.topic, offset, said(error))
            return not isinstance(error, CommitFailedError)
        return True

    def _commit(self, consumer: KafkaConsumer, offset: int) -> None:
        consumer.commit({self._partition: OffsetAndMetadata(offset, "", -1)}, timeout_ms=10_000)
        self._committed = offset

    def moved(self) -> None:
        """Kafka has taken the partition, or will give it again. Called in the client's own thread."""
        with self._change:
            self._moved = True
            self._change.notify_all()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """After a rebalance nobody knows whether another consumer had the partition meanwhile: a new one begins at what is
    committed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        if revoked:
            self._feed.moved()

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Nothing to do."""


def _pause(consumer: KafkaConsumer) -> None:
    consumer.pause(*consumer.assignment())


def _resume(consumer: KafkaConsumer) -> None:
    consumer.resume(*consumer.paused())

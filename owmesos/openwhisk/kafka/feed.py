"""The invoker's topic: activations come from it no faster than they can be held.

Theory of operation. One thread reads, and hands what it reads to the event loop, batch by batch; `done` is called
for each, from any thread. An invoker of OpenWhisk holds as many as its user-memory admits; here the cluster has no such
size, so the bounds are a count and a weight in bytes. At a bound the topic is paused, and nothing is dropped: what was
fetched already waits in the reader's own backlog.

Commits go up to the oldest that is not done, so after a crash the next process is given again what was under way. With
delivery at least once it repeats that. With at most once it must know what may have begun: before a batch is handed
over, a commit says so (see `commits`). OpenWhisk's own invoker commits a batch when it hands it over, so a crash loses
it (MessageFeed.scala).

A topic may have several partitions (`whisk.kafka.topics.invoker.partitions`, 2.0), each with offsets of its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import CommitFailedError, FencedInstanceIdError, KafkaError, UnknownTopicOrPartitionError

from owmesos.errors import OwmesosError
from owmesos.openwhisk.kafka.broker import Broker, KafkaFailed, KafkaThread, Topic, said
from owmesos.openwhisk.kafka.commits import Commits
from owmesos.openwhisk.kafka.feed_settings import Delivery, FeedSettings
from owmesos.openwhisk.kafka.offsets import Offsets, Position, Received, Rejected
from owmesos.openwhisk.messages import MalformedMessage, decode_activation
from owmesos.openwhisk.reachability import Reachability

_log = logging.getLogger("owmesos.feed")

POLL = 0.25  # seconds; how late a stop or a commit may be
KEEP_ALIVE = 5.0  # seconds; between looks at Kafka while there is no room
GATHER = 0.005  # seconds; for more room to come together, so that not each activation is a commit of its own
UNASSIGNED = 10.0  # seconds; a partition that is not assigned for longer may be another invoker's
LOOK_EVERY = 10.0  # seconds; at Kafka, while nothing comes
LOOK_AGAIN = 1.0  # seconds; while it does not answer
LAST_COMMIT = 5.0  # seconds; for the last one before a stop
STOP = 15.0  # seconds; that a stop waits for the reader
READING = "activations"  # the name of this use of Kafka in `Reachability`
RETRY = (1.0, 10.0)  # seconds; first and longest wait after Kafka failed
_Batch = list[tuple[Position, Any]]  # kafka-python's records, and where they stand


class FeedBroke(OwmesosError):
    """No more activations will come; the text says why."""


class Displaced(FeedBroke):
    """Another process reads as this invoker."""


class FeedSink(Protocol):
    """Receives the feed's events, in the event loop's thread."""

    def received(self, batch: Sequence[Received]) -> None: ...
    def rejected(self, record: Rejected) -> None: ...

    def committed(self, offsets: Mapping[int, int]) -> None:
        """Offsets below these, by partition, will not be delivered again."""

    def reading(self) -> None:
        """The topic exists and its partitions are assigned, for the first time: Controllers may send."""

    def broke(self, reason: FeedBroke) -> None:
        """The last event."""


class Feed(KafkaThread, ConsumerRebalanceListener):  # type: ignore[misc]
    """One topic with all its partitions, one consumer; its group is named as the topic, as OpenWhisk's is."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        sink: FeedSink,
        loop: asyncio.AbstractEventLoop,
        settings: FeedSettings | None = None,
        *,
        topics: Sequence[Topic] = (),
        kafka: Reachability | None = None,
        journal: str = "",
    ) -> None:
        """`topics` are created before reading, if they do not exist. `journal`: the name of this process's own, for
        delivery at most once."""
        super().__init__(broker, f"feed {topic}", READING, f"activations cannot be read from topic {topic}", kafka)
        self._topics = topics
        self._topic = topic
        self._sink = sink
        self._loop = loop
        self._settings = settings or FeedSettings()
        self._journal = journal if self._settings.delivery is Delivery.AT_MOST_ONCE else None
        self._abandoned = False  # nobody listens any more
        # Guarded by `_change`:
        self._offsets = Offsets()
        self._draining = self._moved = False
        # The reader's own:
        self._commits: Commits
        self._backlog: deque[Any] = deque()
        self._fetched: dict[int, int] = {}  # by partition, the offset after the last fetched record
        self._ends: dict[int, int] = {}  # by partition, the offset after the topic's last record, as last reported
        self._partitions: frozenset[int] = frozenset()
        self._next_commit = 0.0
        self._assigned_at = 0.0
        self._next_look = 0.0
        self._all_read_at: float | None = None
        self._reported_reading = False

    def drain(self) -> None:
        """Take no more activations until `stop`; those in progress are still committed when they are done."""
        with self._change:
            self._draining = True
            self._change.notify_all()

    def stop(self, timeout: float = STOP) -> None:
        """Blocks until the last commit is made, at most `timeout` seconds. Nothing is handed over after it returns."""
        super().stop(timeout)
        self._abandoned = True

    def done(self, position: Position) -> None:
        """It needs nothing more, and frees its room. From any thread; a second call has no effect."""
        with self._change:
            self._offsets.done(position)
            self._change.notify_all()

    def add_bytes(self, position: Position, count: int) -> None:
        """`count` more bytes are held for it: its action's code, its response. From any thread."""
        with self._change:
            self._offsets.add_bytes(position, count)

    @property
    def held(self) -> int:
        """The number of activations in progress."""
        return len(self._offsets)

    @property
    def weight(self) -> int:
        """The bytes that are held for them."""
        return self._offsets.weight

    @property
    def lag(self) -> int:
        """Activations in the topic that are not taken yet, as last reported. Thread-safe."""
        ends, fetched = dict(self._ends), self._fetched
        return len(self._backlog) + sum(max(0, end - fetched.get(each, end)) for each, end in ends.items())

    # -- the reader's thread

    def _run(self) -> None:
        wait, longest = RETRY
        while not self._stopping:
            try:
                self._read()
                wait = RETRY[0]
                continue
            except FencedInstanceIdError:
                reason = f"another process reads topic {self._topic} as this invoker: give each invoker its own --id"
                self._call_in_loop(self._sink.broke, Displaced(reason))
                return
            except (KafkaFailed, KafkaError, OSError) as error:
                self._report_failure(error)
            except Exception as error:  # noqa: BLE001  (an internal error: those who wait for activations must be told)
                _log.exception("internal error while reading topic %s", self._topic)
                reason = f"internal error while reading topic {self._topic}: {said(error)}"
                self._call_in_loop(self._sink.broke, FeedBroke(reason))
                return
            with self._change:
                self._change.wait_for(lambda: self._stopping, wait)
            wait = min(wait * 2, longest)

    def _call_in_loop(self, method: Any, *arguments: Any) -> None:
        if not self._abandoned:
            self._loop.call_soon_threadsafe(method, *arguments)

    def _read(self) -> None:
        topic = self._topic
        if self._topics:
            self._broker.ensure(self._topics)
        consumer = self._broker.consumer(group=topic, client_id=f"owmesos-{topic}", instance_id=topic)
        try:
            self._partitions = frozenset(consumer.partitions_for_topic(topic) or ())
            if not self._partitions:
                raise UnknownTopicOrPartitionError(topic)
            committed = partial(self._call_in_loop, self._sink.committed)
            self._commits = Commits(consumer, topic, self._offsets, self._change, self._journal, committed)
            self._backlog.clear()
            self._ends, self._fetched = {}, {}
            with self._change:
                self._offsets.begin_reader()
                self._moved = False
            consumer.subscribe([topic], listener=self)
            self._assigned_at = self._next_look = time.monotonic()
            while self._until_room(consumer):
                self._turn(consumer)
            self._commit_last(consumer)
        finally:
            consumer.close(autocommit=False)

    def _turn(self, consumer: KafkaConsumer) -> None:
        if not self._backlog:
            self._poll(consumer, POLL)
        if self._backlog:
            self._commits.learn(self._partitions)
        batch = self._take()
        if batch:
            self._hand_over(batch)
        elif not self._backlog:
            self._check_assignment(consumer)
            self._look(consumer)
        if time.monotonic() >= self._next_commit:
            self._next_commit = time.monotonic() + self._settings.commit_every
            self._advance()

    def _check_assignment(self, consumer: KafkaConsumer) -> None:
        """A consumer that does not get all partitions is replaced."""
        missing = self._missing(consumer)
        if not missing:
            self._assigned_at = time.monotonic()
        elif time.monotonic() - self._assigned_at > UNASSIGNED:
            text = "partition %s of %s is not assigned to this process: does another invoker read it?"
            _log.warning(text, ", ".join(map(str, sorted(missing))), self._topic)
            self._replace_consumer()

    def _missing(self, consumer: KafkaConsumer) -> frozenset[int]:
        """The partitions that are not assigned to it."""
        return self._partitions - {each.partition for each in consumer.assignment()}

    def _look(self, consumer: KafkaConsumer) -> None:
        """While nothing comes: kafka-python waits for a broker that is away, and says nothing.

        What is committed is committed again: a consumer whose place another one has taken is told so by nothing else.
        Each partition's leader is asked for its end. Raises FencedInstanceIdError.
        """
        partitions = list(consumer.assignment())
        if not partitions or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_AGAIN
        try:
            self._commits.repeat(partitions, all_received=not self._backlog)
            ends = consumer.end_offsets(partitions, timeout_ms=2000)
            places = {each: consumer.position(each, timeout_ms=2000) for each in partitions}
            read_all = all(places[each] >= ends[each] for each in partitions)
            self._fetched = {each.partition: offset for each, offset in places.items()}
            self._ends = {each.partition: offset for each, offset in ends.items()}
        except FencedInstanceIdError:
            raise
        except CommitFailedError:
            self._replace_consumer()
        except KafkaError as error:
            self._report_failure(error)
        else:
            # A batch that cannot be read is still there, whatever else Kafka answers.
            if read_all or not self._kafka.lasting(READING):
                self._report_working()
            self._next_look = time.monotonic() + LOOK_EVERY

    def _poll(self, consumer: KafkaConsumer, timeout: float) -> None:
        begun = time.monotonic()
        try:
            for partition, records in consumer.poll(timeout_ms=int(timeout * 1000)).items():
                self._backlog.extend(records)
                self._fetched[partition.partition] = records[-1].offset + 1
        finally:  # also where the first batch cannot be read
            if not self._reported_reading and not self._missing(consumer):
                self._reported_reading = True
                self._call_in_loop(self._sink.reading)
        assigned = consumer.assignment()
        ends = {each.partition: consumer.highwater(each) for each in assigned}
        answered = None not in ends.values()
        self._ends |= {each: end for each, end in ends.items() if end is not None and end > self._ends.get(each, 0)}
        if timeout and assigned and answered and not self._backlog:
            self._all_read_at = begun

    def _until_room(self, consumer: KafkaConsumer) -> bool:
        """False when it is time to close this consumer."""
        if not self._wait_for(1, 0.0):
            consumer.pause(*consumer.assignment())
            while not self._wait_for(1, KEEP_ALIVE):
                self._poll(consumer, 0)
                self._look(consumer)
                self._advance()
            self._wait_for(max(1, self._settings.max_count // 8), GATHER)
            consumer.resume(*consumer.paused())
        return not self._stopping and not self._moved

    def _wait_for(self, count: int, timeout: float) -> bool:
        """Whether there is room for `count`, or no need of any."""
        with self._change:
            return self._change.wait_for(lambda: self._stopping or self._moved or self._has_room(count), timeout)

    def _has_room(self, count: int) -> bool:
        """For so many more, the next of which weighs what the first of the backlog does."""
        held, first = len(self._offsets), len(self._backlog[0].value or b"") if self._backlog else 1
        fits = held == 0 or self._offsets.weight + first <= self._settings.max_weight
        return fits and held + count <= self._settings.max_count and not self._draining

    def _take(self) -> _Batch:
        """The next records that are new, as many as there is room for."""
        batch: _Batch = []
        with self._change:
            while not self._moved and self._backlog and self._has_room(1):
                record = self._backlog.popleft()
                value = record.value or b""
                checksum = zlib.crc32(value)
                position = self._offsets.position(record.partition, record.offset)
                if self._offsets.given(position, checksum):
                    position = self._begin_anew(position)
                if self._offsets.is_new(position):
                    self._offsets.received(position, len(value), checksum)
                    batch.append((position, record))
        return batch

    def _begin_anew(self, position: Position) -> Position:
        """Where the record stands in the new partition."""
        partition, offset, _ = position
        text = "partition %d of %s was recreated: it has offset %d now, but %s was committed"
        _log.warning(text, partition, self._topic, offset, self._offsets[partition].committed)
        self._offsets.restart(partition)
        self._commits.begin_anew(partition)
        self._ends.pop(partition, None)
        return self._offsets.position(partition, offset)

    def _hand_over(self, batch: _Batch) -> None:
        try:
            self._commits.hand_over({position.partition for position, _ in batch})
        except KafkaError as error:
            with self._change:
                for position, _ in reversed(batch):  # the consumer that gets the partitions next reads it again
                    self._offsets.give_back(position)
            self._backlog.clear()
            if not isinstance(error, CommitFailedError):
                raise
            _log.warning("topic %s was assigned to another consumer: %s", self._topic, said(error))
            self._replace_consumer()
            return
        self._report_working()
        received = [each for one in batch if (each := self._decoded(*one)) is not None]
        if received:
            self._call_in_loop(self._sink.received, received)

    def _decoded(self, position: Position, record: Any) -> Received | None:
        try:
            message = decode_activation(record.value or b"")
            return Received(position, message, self._age(record.timestamp), self._commits.former_journal(position))
        except MalformedMessage as error:
            _log.error("%s, partition %d, offset %d: %s", self._topic, *position[:2], error)
            if error.addressed is None:
                self.done(position)
            self._call_in_loop(self._sink.rejected, Rejected(position, str(error), error.addressed))
            return None

    def _age(self, sent_at: int) -> float:
        """Seconds since a record was sent. `sent_at`: ms since the epoch by its sender's clock; -1 is unknown. Whatever
        that clock says, it was not there yet when all had last been read."""
        if sent_at < 0:
            return 0.0
        longest = time.monotonic() - self._all_read_at if self._all_read_at is not None else math.inf
        return min(max(0.0, time.time() - sent_at / 1000), longest)

    def _commit_last(self, consumer: KafkaConsumer) -> None:
        """Before a stop, also while the group is being formed anew: what is done must not be repeated for that."""
        until = time.monotonic() + LAST_COMMIT
        while not self._advance() and self._stopping and time.monotonic() < until:
            self._poll(consumer, POLL)

    def _advance(self) -> bool:
        """As `Commits.advance`. Where it fails, the next one covers it, and a repeat does no harm here."""
        try:
            return self._commits.advance()
        except FencedInstanceIdError:
            raise
        except CommitFailedError as error:
            _log.debug("what is done of %s could not be committed: %s", self._topic, said(error))
            return False
        except KafkaError as error:
            self._report_failure(error)
            return True

    def _replace_consumer(self) -> None:
        """Nobody knows whether another consumer has had partitions meanwhile: a new one begins at what is
        committed."""
        with self._change:
            self._moved = True
            self._change.notify_all()

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        if revoked:
            self._replace_consumer()

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None: ...

"""Sends acknowledgements to the Controllers, and user events.

Theory of operation. kafka-python may block, so one thread sends, in the order of the calls: a result before its
completion. An idempotent producer keeps that order and sends nothing twice, over retries and a broker's restart. A
message that is too large for Kafka is reduced to the activation's id, as in OpenWhisk (MessagingActiveAck.scala). A
Controller whose topic does not exist does not delay others.

An error from a broker fails everything that the producer holds. Then a new producer is created, and the failed
messages are sent first, in their old order.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from operator import attrgetter
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.kafka.broker import Broker, KafkaThread, said
from owmesos.openwhisk.messages import Acknowledgement, Completion, ControllerId, UserEvent
from owmesos.openwhisk.reachability import Reachability
from owmesos.system.lone_surrogates import encode

_log = logging.getLogger("owmesos.acks")

GIVE_UP = 600.0  # seconds; by then every Controller has forced the completion
LOOK_AGAIN = 2.0  # seconds; at a topic that was not there
METADATA_WAIT = 1.0  # seconds
DELIVERY_WAIT = 120.0  # seconds; after these the library gives a batch back, which is sent again
RECONNECT_PAUSE = 1.0  # seconds; before another attempt to connect
CLOSE = 5.0  # seconds; that one attempt to close a producer waits for what it has
ATTEMPTS = 5  # at what is too large and cannot shrink: what was sent with it may have been
ANSWERING = "answers"  # the name of this use of Kafka in `Reachability`
_OVERHEAD = 128  # bytes of a record that are not its value
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,128}")


def shrunk(message: Acknowledgement) -> Acknowledgement:
    """The same acknowledgement with only the activation's id: the Controller then reads the database."""
    if isinstance(message, Completion) or isinstance(message.response, str):
        return message
    response = message.response
    activation_id = response.activation_id if isinstance(response, Activation) else response["activationId"]
    return msgspec.structs.replace(message, response=activation_id)


class _Outgoing(msgspec.Struct, eq=False):
    """One message on its way."""

    topic: str
    message: Acknowledgement | UserEvent
    sent: Callable[[], None] | None  # called once Kafka has it, or when it is given up
    asked_at: float = msgspec.field(default_factory=time.monotonic)  # seconds
    number: int = msgspec.field(default_factory=count().__next__)  # in the order of the calls
    attempts: int = 0

    @property
    def overdue(self) -> bool:
        return time.monotonic() - self.asked_at > GIVE_UP

    def data(self, max_message: int) -> bytes:
        data = encode(self.message)
        return encode(self.message) if len(data) > max_message - _OVERHEAD and self.shrink() else data

    def shrink(self) -> bool:
        """Whether it could be."""
        before = self.message
        if not isinstance(before, UserEvent):
            self.message = shrunk(before)
        return self.message is not before

    def end(self) -> None:
        if self.sent is not None:
            self.sent()

    def give_up(self, why: str) -> None:
        _log.error("giving up a message for %s: %s: %.300s", self.topic, why, encode(self.message).decode())
        self.end()


_BY_AGE = attrgetter("number")


class AckSender(KafkaThread):
    """`send` and `send_event` never block and may be called from any thread."""

    reports_while_stopping = True  # what is stopped after it does not wait for a Kafka that is away

    def __init__(self, broker: Broker, *, kafka: Reachability | None = None) -> None:
        """`kafka` is informed whether sending works."""
        super().__init__(broker, "acks", ANSWERING, "acknowledgements cannot be sent", kafka)
        # Guarded by `_change`:
        self._asked: list[_Outgoing] = []  # what no producer has, and came or came back
        self._under_way = 0
        self._spoiled = False
        self._until = math.inf  # when a stop gives up, by the monotonic clock
        # The sender's own: what waits for topics that are not there.
        self._seen: set[str] = set()
        self._reported_missing: set[str] = set()
        self._waiting: dict[str, list[_Outgoing]] = {}
        self._look_again: dict[str, float] = {}

    def stop(self, timeout: float = 10.0) -> None:
        """Blocks until everything is sent, for at most `timeout` seconds. `sent` is not called for the rest."""
        self._until = time.monotonic() + timeout
        super().stop(timeout + 1.0)

    def send(self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None) -> None:
        """Send to the Controller of the activation. `sent` is called once, in another thread, when nothing more is
        to be done."""
        outgoing = _Outgoing(self._broker.completed_topic(controller.as_string).name, message, sent)
        if _LEGAL.fullmatch(controller.as_string):
            self._ask(outgoing)
            return
        _log.error("%r is not a valid Controller name: it gets no acknowledgement", controller.as_string[:200])
        outgoing.end()

    def send_event(self, event: UserEvent) -> None:
        self._ask(_Outgoing(self._broker.events_topic().name, event, None))

    def _ask(self, outgoing: _Outgoing) -> None:
        with self._change:
            self._asked.append(outgoing)
            self._change.notify_all()

    # -- the sender's thread

    def _run(self) -> None:
        while not self._late:
            producer = self._connected(
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=int(DELIVERY_WAIT * 1000),
                max_block_ms=int(METADATA_WAIT * 1000),
            )
            if producer is None:
                with self._change:
                    if self._change.wait_for(lambda: self._stopping and not self._left, RECONNECT_PAUSE):
                        return
                continue
            try:
                self._report_working()
                while self._turn(producer):
                    pass
            finally:
                self._close(producer)
            with self._change:
                if not self._spoiled:
                    break
                self._spoiled = False
        left = self._left + self._under_way
        if left:
            _log.error("%d messages to Controllers could not be sent before shutdown", left)

    def _close(self, producer: KafkaProducer) -> None:
        """Once all that it has arrived, or expired and came back; at a stop within its time. kafka-python's `close`
        raises while anything is under way."""
        while True:
            with suppress(KafkaTimeoutError):
                producer.close(timeout=max(0.0, self._until - time.monotonic()) if self._stopping else CLOSE)
                return
            if self._late:
                self._broker.abandon(producer)
                return

    @property
    def _left(self) -> int:
        """Messages that no producer has."""
        return len(self._asked) + sum(map(len, self._waiting.values()))

    @property
    def _late(self) -> bool:
        """The end was asked for, and its time is over."""
        return time.monotonic() > self._until

    def _turn(self, producer: KafkaProducer) -> bool:
        """False when this producer is to be closed."""
        with self._change:
            if not self._has_news():
                self._change.wait(max(0.0, min(METADATA_WAIT, self._until - time.monotonic())))
            if self._spoiled or self._late:
                return False
            batch = sorted(self._asked, key=_BY_AGE)
            self._asked.clear()
            self._under_way += len(batch)
            if self._stopping and not self._under_way and not self._waiting:
                return False
        for outgoing in batch:
            if self._late:
                self._come_back(outgoing, spoiled=False)
            else:
                self._post(producer, outgoing)
        if self._waiting:
            self._look_at_waiting(producer)
        return True

    def _has_news(self) -> bool:
        return self._spoiled or bool(self._asked) or (self._stopping and not self._under_way and not self._waiting)

    def _post(self, producer: KafkaProducer, outgoing: _Outgoing) -> None:
        topic = outgoing.topic
        if topic not in self._waiting and (topic in self._seen or self._is_there(producer, topic)):
            self._give_to(producer, outgoing)
        else:
            self._park(outgoing)

    def _park(self, outgoing: _Outgoing) -> None:
        """Until its topic is there."""
        self._waiting.setdefault(outgoing.topic, []).append(outgoing)
        self._look_again.setdefault(outgoing.topic, time.monotonic() + LOOK_AGAIN)
        with self._change:
            self._under_way -= 1

    def _is_there(self, producer: KafkaProducer, topic: str) -> bool:
        began = time.monotonic()
        try:
            found = bool(producer.partitions_for(topic))
        except (KafkaError, OSError) as error:
            self._not_found(producer, topic, error, began)
            found = False
        if found:
            self._seen.add(topic)
            self._reported_missing.discard(topic)
            self._look_again.pop(topic, None)
        else:
            self._look_again[topic] = time.monotonic() + LOOK_AGAIN
        return found

    def _not_found(self, producer: KafkaProducer, topic: str, error: Exception, began: float) -> None:
        """Whether the brokers do not know it, or did not answer since `began`. That they do not is one line until it is
        there, and no outage: Kafka works."""
        if not isinstance(error, KafkaTimeoutError) or self._broker.answered_at(producer) < began:
            self._report_failure(error)
            return
        self._report_working()
        if topic not in self._reported_missing:
            self._reported_missing.add(topic)
            _log.warning(
                "topic %s does not exist, so its messages wait, each for %.0f s at most: the Controller of that name "
                "creates it when it starts; or create it with kafka-topics --create --topic %s",
                topic,
                GIVE_UP,
                topic,
            )

    def _look_at_waiting(self, producer: KafkaProducer) -> None:
        for topic in [topic for topic, when in self._look_again.items() if when <= time.monotonic()]:
            waiting = sorted(self._waiting.pop(topic), key=_BY_AGE)
            if self._is_there(producer, topic):
                with self._change:
                    self._under_way += len(waiting)
                for outgoing in waiting:
                    self._post(producer, outgoing)
                continue
            why = f"topic {topic} does not exist" if topic in self._reported_missing else "Kafka does not answer"
            left = []
            for outgoing in waiting:
                if outgoing.overdue:
                    outgoing.give_up(why)
                else:
                    left.append(outgoing)
            if left:
                self._waiting[topic] = left
            else:
                del self._look_again[topic]

    def _give_to(self, producer: KafkaProducer, outgoing: _Outgoing) -> None:
        began = time.monotonic()
        try:
            future = producer.send(outgoing.topic, outgoing.data(self._broker.max_message))
        except KafkaTimeoutError as error:
            # The producer does not have it, and nothing else that it has is in danger: its topic may have gone.
            self._seen.discard(outgoing.topic)
            self._not_found(producer, outgoing.topic, error, began)
            self._park(outgoing)
            return
        except (KafkaError, OSError) as error:
            self._failed(outgoing, error)
            return
        future.add_callback(self._arrived, outgoing)
        future.add_errback(partial(self._failed, outgoing))

    # -- the sender's thread, or the client's

    def _arrived(self, outgoing: _Outgoing, _: Any) -> None:
        outgoing.end()
        self._report_working()
        self._come_back(None, spoiled=False)

    def _failed(self, outgoing: _Outgoing, error: Exception) -> None:
        """It goes back, or is given up. At the end it is not: the next process answers what was never `sent`."""
        if self._late:
            self._come_back(outgoing, spoiled=False)
            return
        outgoing.attempts += 1
        too_large = isinstance(error, _TOO_LARGE)
        hopeless = too_large and not outgoing.shrink() and outgoing.attempts >= ATTEMPTS
        if hopeless or outgoing.overdue:
            outgoing.give_up(said(error))
            self._come_back(None, spoiled=True)
            if not self._left and not self._under_way:  # nothing else would report that it works again
                self._report_working()
            return
        if not too_large:
            _log.debug("sending a message for %s again: %s", outgoing.topic, said(error))
            self._report_failure(error)
        self._come_back(outgoing, spoiled=True)

    def _come_back(self, outgoing: _Outgoing | None, *, spoiled: bool) -> None:
        with self._change:
            self._under_way -= 1
            if outgoing is not None:
                self._asked.append(outgoing)
            if spoiled:
                self._spoiled = True
            if spoiled or self._stopping:
                self._change.notify_all()

"""What goes back: acknowledgements to the Controllers, and user events.

Theory of operation. kafka-python may block, so one thread sends, in the order in which it was asked: a result before
its completion. An idempotent producer keeps that order, and sends nothing twice, over retries and a broker's restart.
What is too large for Kafka is shrunk to the activation's id, as OpenWhisk does (MessagingActiveAck.scala). A Controller
whose topic is not there keeps nobody else waiting.

An error from a broker spoils the whole producer: all that it had fails with it. Then there is a new one, and what came
back goes first, in its old order.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
)

from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.broker import MAX_MESSAGE, Broker, said
from owmesos.openwhisk.ids import ControllerId
from owmesos.openwhisk.messages import Acknowledgement, Completion, Event, encode

_log = logging.getLogger("owmesos.acks")

GIVE_UP = 600.0  # seconds; by then every Controller has forced the completion
LOOK_AGAIN = 2.0  # seconds; at a topic that was not there
METADATA_WAIT = 1.0  # seconds
ATTEMPTS = 5  # at what is too large and cannot shrink: what was sent with it may have been
_OVERHEAD = 128  # bytes of a record that are not its value
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,128}")


def shrunk(message: Acknowledgement) -> Acknowledgement:
    """The same with the activation's id in its place: the Controller then looks in the database."""
    if isinstance(message, Completion) or isinstance(message.response, str):
        return message
    response = message.response
    activation_id = response.activation_id if isinstance(response, Activation) else response["activationId"]
    return msgspec.structs.replace(message, response=activation_id)


class _Outgoing:
    """One message on its way. `sent` is called once Kafka has it, or when it is given up."""

    __slots__ = ("asked_at", "attempts", "message", "number", "sent", "topic")
    _numbers = count()

    def __init__(self, topic: str, message: Acknowledgement | Event, sent: Callable[[], None] | None) -> None:
        self.topic = topic
        self.message = message
        self.sent = sent
        self.asked_at = time.monotonic()
        self.number = next(self._numbers)
        self.attempts = 0

    @property
    def overdue(self) -> bool:
        return time.monotonic() - self.asked_at > GIVE_UP

    def data(self) -> bytes:
        data = encode(self.message)
        if len(data) > MAX_MESSAGE - _OVERHEAD and self.shrink():
            return encode(self.message)
        return data

    def shrink(self) -> bool:
        """Whether it could be."""
        if isinstance(self.message, Event):
            return False
        smaller = shrunk(self.message)
        if smaller is self.message:
            return False
        self.message = smaller
        return True

    def end(self) -> None:
        if self.sent is not None:
            self.sent()

    def give_up(self, why: str) -> None:
        _log.error("a message for %s is given up: %s: %.300s", self.topic, why, encode(self.message).decode())
        self.end()


class AckSender:
    """`send` and `send_event` never block and may be called from any thread."""

    def __init__(self, broker: Broker, client_id: str = "owmesos-acks") -> None:
        self._broker = broker
        self._client_id = client_id
        self._thread = threading.Thread(target=self._run, name="acks", daemon=True)
        self._change = threading.Condition()  # guards what follows
        self._asked: deque[_Outgoing] = deque()
        self._again: list[_Outgoing] = []
        self._under_way = 0
        self._spoiled = False
        self._until: float | None = None  # when a stop gives up
        # The sender's own: what waits for topics that are not there.
        self._seen: set[str] = set()
        self._waiting: dict[str, list[_Outgoing]] = {}
        self._look_again: dict[str, float] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Blocks until all is sent, `timeout` seconds at most."""
        with self._change:
            self._until = time.monotonic() + timeout
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def send(self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None) -> None:
        """To the Controller that asked. `sent` is called in another thread, once, when nothing more is to be done."""
        if not _LEGAL.fullmatch(controller.as_string):
            _log.error("no Controller can be called %r: it gets no acknowledgement", controller.as_string[:200])
            if sent is not None:
                sent()
            return
        self._ask(_Outgoing(self._broker.completed_topic(controller.as_string).name, message, sent))

    def send_event(self, event: Event) -> None:
        """To those who count activations."""
        self._ask(_Outgoing(self._broker.events_topic().name, event, None))

    def _ask(self, outgoing: _Outgoing) -> None:
        with self._change:
            self._asked.append(outgoing)
            self._change.notify_all()

    # -- the sender's thread

    def _run(self) -> None:
        while not self._late:
            producer = self._connected()
            if producer is None:
                threading.Event().wait(1.0)
                continue
            try:
                while self._turn(producer):
                    pass
            finally:
                producer.close(timeout=5.0 if self._until is None else max(0.0, self._until - time.monotonic()))
            with self._change:
                if not self._spoiled:
                    break
                self._spoiled = False
        left = len(self._asked) + len(self._again) + sum(map(len, self._waiting.values()))
        if left:
            _log.error("%d messages to Controllers could not be sent before the end", left)

    def _connected(self) -> KafkaProducer | None:
        try:
            return self._broker.producer(
                client_id=self._client_id,
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=120_000,
                max_block_ms=int(METADATA_WAIT * 1000),
            )
        except (KafkaError, OSError) as error:
            _log.warning("no acknowledgement can be sent: %s", said(error))
            return None

    @property
    def _late(self) -> bool:
        """The end was asked for, and its time is over."""
        return self._until is not None and time.monotonic() > self._until

    def _turn(self, producer: KafkaProducer) -> bool:
        """False when this producer is to be closed."""
        with self._change:
            self._change.wait_for(self._has_news, METADATA_WAIT)
            if self._spoiled or self._late:
                return False
            batch = sorted(self._again, key=lambda outgoing: outgoing.number)
            batch += self._asked
            self._again.clear()
            self._asked.clear()
            self._under_way += len(batch)
            if self._until is not None and not self._under_way and not self._waiting:
                return False
        for outgoing in batch:
            if self._late:
                self._failed(outgoing, KafkaTimeoutError("the end came first"))
            else:
                self._post(producer, outgoing)
        if self._waiting:
            self._look_at_waiting(producer)
        return True

    def _has_news(self) -> bool:
        ending = self._until is not None and not self._under_way
        return self._spoiled or ending or bool(self._asked or self._again)

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
        try:
            found = bool(producer.partitions_for(topic))
        except (KafkaError, OSError) as error:
            _log.warning("%s is not there: %s", topic, said(error))
            found = False
        if found:
            self._seen.add(topic)
            self._look_again.pop(topic, None)
        else:
            self._look_again[topic] = time.monotonic() + LOOK_AGAIN
        return found

    def _look_at_waiting(self, producer: KafkaProducer) -> None:
        for topic in [topic for topic, when in self._look_again.items() if when <= time.monotonic()]:
            waiting = sorted(self._waiting.pop(topic), key=lambda outgoing: outgoing.number)
            if self._is_there(producer, topic):
                with self._change:
                    self._under_way += len(waiting)
                for outgoing in waiting:
                    self._post(producer, outgoing)
                continue
            for outgoing in waiting:
                if outgoing.overdue:
                    outgoing.give_up(f"there is no topic {topic}")
            left = [outgoing for outgoing in waiting if not outgoing.overdue]
            if left:
                self._waiting[topic] = left
            else:
                del self._look_again[topic]

    def _give_to(self, producer: KafkaProducer, outgoing: _Outgoing) -> None:
        try:
            future = producer.send(outgoing.topic, outgoing.data())
        except (KafkaTimeoutError, UnknownTopicOrPartitionError) as error:
            # The producer does not have it, and nothing else that it has is in danger: its topic has gone.
            _log.warning("%s is not there any more: %s", outgoing.topic, said(error))
            self._seen.discard(outgoing.topic)
            self._park(outgoing)
            return
        except (KafkaError, OSError) as error:
            self._failed(outgoing, error)
            return
        future.add_callback(self._arrived, outgoing)
        future.add_errback(lambda error: self._failed(outgoing, error))

    # -- the sender's thread, or the client's

    def _arrived(self, outgoing: _Outgoing, _: Any) -> None:
        outgoing.end()
        self._come_back(None, spoiled=False)

    def _failed(self, outgoing: _Outgoing, error: Any) -> None:
        """It goes back, or is given up."""
        outgoing.attempts += 1
        too_large = isinstance(error, _TOO_LARGE)
        hopeless = too_large and not outgoing.shrink() and outgoing.attempts >= ATTEMPTS
        if hopeless or outgoing.overdue or self._late:
            outgoing.give_up(said(error))
            self._come_back(None, spoiled=True)
            return
        if not too_large:
            _log.warning("a message for %s is sent again: %s", outgoing.topic, said(error))
        self._come_back(outgoing, spoiled=True)

    def _come_back(self, outgoing: _Outgoing | None, *, spoiled: bool) -> None:
        with self._change:
            self._under_way -= 1
            if outgoing is not None:
                self._again.append(outgoing)
            if spoiled:
                self._spoiled = True
            if spoiled or self._until is not None:
                self._change.notify_all()

"""What goes back: acknowledgements to the Controllers, and user events.

Theory of operation. kafka-python may block, so one thread sends, in the order in which it was asked: a result before
its completion. An idempotent producer keeps that order, and sends nothing twice, over retries and a broker's restart.
What is too large for Kafka is shrunk to the activation's id, as OpenWhisk does (MessagingActiveAck.scala). A Controller
whose topic is not there keeps nobody else waiting.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.broker import MAX_MESSAGE, Broker, said
from owmesos.openwhisk.ids import ControllerId
from owmesos.openwhisk.messages import Acknowledgement, Completion, Event, encode

_log = logging.getLogger("owmesos.acks")

GIVE_UP = 600.0  # seconds; by then every Controller has forced the completion
LOOK_AGAIN = 5.0  # seconds; at a topic that was not there
METADATA_WAIT = 1.0  # seconds
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

    __slots__ = ("asked_at", "message", "sent", "topic")

    def __init__(self, topic: str, message: Acknowledgement | Event, sent: Callable[[], None] | None) -> None:
        self.topic = topic
        self.message = message
        self.sent = sent
        self.asked_at = time.monotonic()

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


class AckSender:
    """`send` and `send_event` never block and may be called from any thread."""

    def __init__(self, broker: Broker, client_id: str = "owmesos-acks") -> None:
        self._broker = broker
        self._client_id = client_id
        self._queue: queue.SimpleQueue[_Outgoing | None] = queue.SimpleQueue()
        self._waiting: dict[str, deque[_Outgoing]] = {}  # for topics that are not there
        self._look_again: dict[str, float] = {}
        self._seen: set[str] = set()
        self._until: float | None = None  # when a stop gives up
        self._thread = threading.Thread(target=self._run, name="acks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Blocks until all is sent, `timeout` seconds at most."""
        self._until = time.monotonic() + timeout
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def send(self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None) -> None:
        """To the Controller that asked. `sent` is called in another thread, once, when nothing more is to be done."""
        if not _LEGAL.fullmatch(controller.as_string):
            _log.error("no Controller can be called %r: it gets no acknowledgement", controller.as_string[:200])
            if sent is not None:
                sent()
            return
        self._queue.put(_Outgoing(self._broker.completed_topic(controller.as_string).name, message, sent))

    def send_event(self, event: Event) -> None:
        """To those who count activations."""
        self._queue.put(_Outgoing(self._broker.events_topic().name, event, None))

    # -- the sender's thread

    def _run(self) -> None:
        producer = self._connected()
        while producer is None and not self._late:
            threading.Event().wait(1.0)
            producer = self._connected()
        if producer is None:
            _log.error("%d messages could not be sent before the end: no broker answers", self._queue.qsize() - 1)
            return
        try:
            self._work(producer)
        finally:
            producer.close(timeout=max(0.0, (self._until or 0.0) - time.monotonic()))

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

    def _work(self, producer: KafkaProducer) -> None:
        while True:
            try:
                outgoing = self._queue.get(timeout=1.0)
            except queue.Empty:
                self._look_at_waiting(producer)
                continue
            if outgoing is None:
                break
            self._post(producer, outgoing)
            if self._waiting:
                self._look_at_waiting(producer)
        assert self._until is not None
        try:
            producer.flush(timeout=max(0.0, self._until - time.monotonic()))
        except KafkaTimeoutError:
            _log.error("some acknowledgements could not be sent before the end")
        self._drain(producer)

    def _drain(self, producer: KafkaProducer) -> None:
        """What came back from Kafka in the meantime, once more; and what is left is named."""
        while not self._queue.empty():
            outgoing = self._queue.get()
            if outgoing is not None:
                self._post(producer, outgoing)
        for topic, waiting in self._waiting.items():
            _log.error("%d messages for %s could not be sent before the end", len(waiting), topic)

    def _post(self, producer: KafkaProducer, outgoing: _Outgoing) -> None:
        waiting = self._waiting.get(outgoing.topic)
        if waiting is not None:
            waiting.append(outgoing)
            return
        if outgoing.topic not in self._seen and not self._is_there(producer, outgoing.topic):
            self._waiting[outgoing.topic] = deque([outgoing])
            return
        self._give_to(producer, outgoing)

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
            waiting = self._waiting[topic]
            if self._is_there(producer, topic):
                del self._waiting[topic]
                for outgoing in waiting:
                    self._give_to(producer, outgoing)
                continue
            while waiting and waiting[0].overdue:
                self._give_up(waiting.popleft(), f"there is no topic {topic}")
            if not waiting:
                del self._waiting[topic], self._look_again[topic]

    def _give_to(self, producer: KafkaProducer, outgoing: _Outgoing) -> None:
        try:
            future = producer.send(outgoing.topic, outgoing.data())
        except (KafkaError, OSError) as error:
            self._failed(outgoing, error)
            return
        future.add_callback(lambda _: outgoing.end())
        future.add_errback(lambda error: self._failed(outgoing, error))

    def _failed(self, outgoing: _Outgoing, error: Any) -> None:
        """In the sender's thread or the client's: it goes back into the queue, or is given up."""
        if isinstance(error, _TOO_LARGE):
            if not outgoing.shrink():
                self._give_up(outgoing, said(error))
                return
        elif outgoing.overdue or self._late:
            self._give_up(outgoing, said(error))
            return
        else:
            _log.warning("a message for %s is sent again: %s", outgoing.topic, said(error))
        self._queue.put(outgoing)

    @staticmethod
    def _give_up(outgoing: _Outgoing, why: str) -> None:
        _log.error("a message for %s is given up: %s: %.300s", outgoing.topic, why, encode(outgoing.message).decode())
        outgoing.end()

"""Pings: the Controllers believe in an invoker that speaks every second.

From a thread of its own with a producer of its own: neither a busy event loop nor a queue of acknowledgements delays
them. An invoker that wants no work says so in one ping with `isEnabled: false`, and then nothing more
(InvokerReactive.scala): 2.0 heeds the word at once, and 1.0, which does not know it, the silence after ten seconds.
"""

from __future__ import annotations

import logging
import threading
import time

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from owmesos.openwhisk.broker import Broker, said
from owmesos.openwhisk.ids import InvokerId
from owmesos.openwhisk.messages import Ping, encode
from owmesos.openwhisk.sizes import megabytes

_log = logging.getLogger("owmesos.health")

INTERVAL = 1.0  # seconds


class Pinger:
    """Speaks from `start` to `stop`. Its setters may be called from any thread and are heard at once."""

    def __init__(self, broker: Broker, invoker: InvokerId, interval: float = INTERVAL) -> None:
        self._broker = broker
        self._topic = broker.health_topic().name
        self._interval = interval
        self._change = threading.Condition()  # guards what follows
        self._invoker = invoker
        self._enabled = True
        self._pressure = False
        self._stopping = False
        self._silent = False
        self._said: bool | None = None  # the last `isEnabled`
        self._losing = False
        self._thread = threading.Thread(target=self._run, name="pings", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Takes its leave with a last ping that wants no work. Blocks until that is sent, a few seconds at most."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def fall_silent(self) -> None:
        """No more pings, not even the last: another process speaks for this invoker."""
        with self._change:
            self._silent = True

    @property
    def enabled(self) -> bool:
        """What `/enable` and `/disable` have asked for."""
        return self._enabled

    def enable(self, on: bool) -> bool:
        """Whether that changed anything."""
        with self._change:
            changed = self._enabled is not on
            self._enabled = on
            self._change.notify_all()
        return changed

    def press(self, on: bool) -> None:
        """Back-pressure: nothing is launchable, so the Controllers should turn callers away at once."""
        with self._change:
            self._pressure = on
            self._change.notify_all()

    def set_busy_memory(self, amount: int | None) -> None:
        """In MB; with None it is left out, which it is from the beginning."""
        busy = None if amount is None else megabytes(amount)
        with self._change:
            self._invoker = msgspec.structs.replace(self._invoker, busy_memory=busy)

    # -- the pinger's thread

    @property
    def _open(self) -> bool:
        return self._enabled and not self._pressure and not self._stopping

    def _has_news(self) -> bool:
        return self._stopping or self._open is not self._said

    def _run(self) -> None:
        producer = self._connected()
        if producer is None:
            return
        due = time.monotonic()
        try:
            while True:
                with self._change:
                    self._change.wait_for(self._has_news, due - time.monotonic())
                    invoker, enabled, stopping = self._invoker, self._open, self._stopping
                    silent = self._silent
                if not silent and (enabled or self._said is not False):
                    self._ping(producer, Ping(name=invoker, is_enabled=enabled))
                self._said = enabled
                if stopping:
                    return
                due = max(due + self._interval, time.monotonic())
        finally:
            producer.close(timeout=2)

    def _connected(self) -> KafkaProducer | None:
        """None when it is stopped first."""
        while not self._stopping:
            producer = self._connect()
            if producer is not None:
                return producer
            with self._change:
                self._change.wait_for(lambda: self._stopping, self._interval)
        return None

    def _connect(self) -> KafkaProducer | None:
        try:
            # A ping that comes late is worth nothing.
            return self._broker.producer(
                client_id="owmesos-pings",
                acks=1,
                enable_idempotence=False,
                delivery_timeout_ms=5000,
                request_timeout_ms=3000,
                max_block_ms=1000,
            )
        except (KafkaError, OSError) as error:
            _log.warning("no ping can be sent: %s", said(error))
            return None

    def _ping(self, producer: KafkaProducer, ping: Ping) -> None:
        try:
            producer.send(self._topic, encode(ping)).add_callback(self._sent).add_errback(self._lost)
        except (KafkaError, OSError) as error:
            self._lost(error)

    def _sent(self, _: object) -> None:
        self._losing = False

    def _lost(self, error: BaseException) -> None:
        """Said once, until one is sent again."""
        if not self._losing:
            _log.warning("no ping is sent: %s", said(error))
        self._losing = True

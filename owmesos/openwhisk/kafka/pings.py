"""Pings: Controllers consider an invoker healthy only if it sends one every second.

Pings have their own thread and producer, so that neither a busy event loop nor queued acknowledgements delay them.
An invoker that wants no work sends one ping with `isEnabled: false`, and then none (InvokerReactive.scala): 2.0
reacts to the field at once, and 1.0, which does not know it, to the silence after ten seconds. If sending fails, that
ping is repeated until one arrives: Controllers get it, and the outage is seen to end.
"""

from __future__ import annotations

import time
from typing import Literal, get_args

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from owmesos.openwhisk.kafka.broker import Broker, KafkaThread
from owmesos.openwhisk.messages import InvokerId, Ping
from owmesos.openwhisk.reachability import Reachability
from owmesos.system.clock import process_time
from owmesos.system.lone_surrogates import encode

INTERVAL = 1.0  # seconds
LOST = 5.0  # seconds; a ping that comes later is worth nothing
LEAVE = 4.0  # seconds; that a stop waits for the last ping
Reason = Literal["disabled", "pressure", "kafka"]
"""By `/disable`; nothing can be launched, so Controllers should reject requests at once; activations cannot be read or
answered, and that will not pass by itself."""
PINGING = "pings"  # the name of this use of Kafka in `Reachability`
_PRODUCER = {
    "acks": 1,
    "enable_idempotence": False,
    "max_in_flight_requests_per_connection": 1,  # with more, the last ping is not the last one after a freeze
    "delivery_timeout_ms": int(LOST * 1000),
    "request_timeout_ms": 3000,
    "max_block_ms": 1000,
}


class Pinger(KafkaThread):
    """Sends pings from `start` to `stop`. Its setters may be called from any thread and take effect at once."""

    def __init__(
        self, broker: Broker, invoker: InvokerId, interval: float = INTERVAL, *, kafka: Reachability | None = None
    ) -> None:
        """`kafka` is informed whether pings are sent."""
        super().__init__(broker, "pings", PINGING, "pings cannot be sent", kafka)
        self._topic = broker.health_topic().name
        self._interval = interval
        self._invoker = invoker
        # Guarded by `_change`:
        self._closed: set[Reason] = set()  # why it wants no work
        self._silent = False
        self._said: bool | None = None  # whether it wanted work when it last had its turn
        self._worked_at = process_time()

    def stop(self, timeout: float = LEAVE) -> None:
        """Sends a last ping that wants no work. Blocks until it is sent, at most `timeout` seconds."""
        super().stop(timeout)

    def fall_silent(self) -> None:
        """No more pings, not even the last one: another process sends them for this invoker."""
        with self._change:
            self._silent = True

    @property
    def enabled(self) -> bool:
        """The state set by `/enable` and `/disable`."""
        return "disabled" not in self._closed

    def turn_away(self, reason: Reason, on: bool) -> bool:
        """Pings want no work while `on`. True if that changed the state."""
        with self._change:
            before = self._closed
            self._closed = before | {reason} if on else before - {reason}
            self._change.notify_all()
            return self._closed != before

    @property
    def closed_because(self) -> str | None:
        """Why pings want no work, or None."""
        if not self._thread.is_alive():
            return "stopped" if self._stopping else "starting"
        if self._stopping:
            return "stopping"
        return next((reason for reason in get_args(Reason) if reason in self._closed), None)

    # -- the pinger's thread

    @property
    def _open(self) -> bool:
        return not self._closed and not self._stopping

    def _has_news(self) -> bool:
        return self._stopping or self._open is not self._said

    def _run(self) -> None:
        while (producer := self._connected(**_PRODUCER)) is None:
            with self._change:
                if self._change.wait_for(lambda: self._stopping, self._interval):
                    return
        due = time.monotonic()
        said_no = False  # whether the last ping said that it wants no work
        try:
            while True:
                with self._change:
                    self._change.wait_for(self._has_news, due - time.monotonic())
                    enabled, stopping = self._open, self._stopping
                    silent = self._silent
                wanted = enabled or not said_no or self._kafka.fails(PINGING)
                if wanted and not silent and self._broker.may_send:
                    self._ping(producer, Ping(name=self._invoker, is_enabled=enabled))
                    said_no = not enabled
                self._said = enabled
                if stopping:
                    return
                due = max(due + self._interval, time.monotonic())
        finally:
            try:
                producer.close(timeout=2)
            except KafkaTimeoutError:  # Kafka is away: Controllers notice the silence
                self._broker.abandon(producer)

    def _ping(self, producer: KafkaProducer, ping: Ping) -> None:
        try:
            producer.send(self._topic, encode(ping)).add_callback(self._sent).add_errback(self._report_failure)
        except (KafkaError, OSError) as error:
            self._report_failure(error)

    def _sent(self, _: object) -> None:
        self._worked_at = process_time()
        self._report_working()

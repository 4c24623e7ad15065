"""The interface of a wire to a Mesos master.

A driver keeps one subscription alive: it subscribes, passes on the events, and subscribes again with back-off after
each loss, until it is closed. It does not process events. docs/scheduler-http-api.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from owmesos.errors import OwmesosError
from owmesos.mesos.messages import Call, Event, Subscribe

CALL_TIMEOUT = 75.0
"""Seconds after which any call has returned or raised: five heartbeats of Mesos's default 15 s."""


class CallFailed(OwmesosError):
    """The base of what `Driver.call` raises."""


class CallRefused(CallFailed):
    """The master refused the call, and did nothing. `status` is the HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the master refused the call ({status}): {reason}")
        self.status = status
        self.reason = reason


class NotSubscribed(CallFailed):
    """There was no subscription for the call. It was not sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the call was not sent: {reason}")
        self.reason = reason


class CallUnknown(CallFailed):
    """The call was sent without a usable answer: the master may have processed it or not."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"it is unknown whether the master received the call: {reason}")
        self.reason = reason


class Disconnected(Event, frozen=True):
    """The stream ended, was closed, or was silent for five heartbeat intervals. All its offers are void."""

    reason: str


class SubscribeRefused(Event, frozen=True):
    """A master answered SUBSCRIBE with 400, 401 or 403. The driver tries again, with back-off, until it is closed."""

    status: int
    reason: str


class SubscribeUnanswered(Event, frozen=True):
    """A SUBSCRIBE got no answer from a started master; the driver tries again. `unexpected`: something else answered,
    which may never be a master (a web server), or is one that is starting (404).
    """

    reason: str
    unexpected: bool


class Driver(Protocol):
    """One framework's connection to the leading master."""

    subscription: Subscribe
    """May be replaced at any time, for the next SUBSCRIBE. The driver adds the framework id that a master assigns."""

    @property
    def master(self) -> object | None:
        """The master that accepted the subscription, `str` of which is a URL; None while there is none."""

    def events(self) -> AsyncIterator[Event]:
        """Subscribes, yields what the master sends, and subscribes again after each loss, until `close`.

        Iterate it once. A loss is a Disconnected; nothing of a stream is yielded after it was closed.
        """

    async def call(self, call: Call, *, sending: Callable[[], None] | None = None) -> None:
        """Returns when the master has accepted `call` for processing.

        Calls are sent in order, but ACKNOWLEDGE may overtake. `sending` is called just before the first byte may be
        sent; if it raises, nothing is sent. Raises CallRefused, NotSubscribed or CallUnknown, after CALL_TIMEOUT at the
        latest, and what `sending` raises.
        """

    async def resubscribe(self, reason: str) -> None:
        """Closes the stream, if any; `events` yields Disconnected(reason), backs off and subscribes."""

    async def close(self) -> None:
        """Ends `events` and closes all connections, without TEARDOWN."""

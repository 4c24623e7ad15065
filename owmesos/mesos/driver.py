"""What every wire to a Mesos master fulfils, so that the framework process does not know which one it has.

A driver keeps one subscription alive: it subscribes, hands on the events, and subscribes again with back-off
after each loss, until it is closed. What to do about an event is not its business.
docs/scheduler-http-api.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from owmesos.errors import OwmesosError
from owmesos.mesos.messages import Call, Event, FrameworkInfo, OfferConstraints

CALL_TIMEOUT = 75.0
"""Seconds after which any call has returned or raised: five heartbeats of Mesos's default 15 s."""


class CallFailed(OwmesosError):
    """The root of what `Driver.call` raises."""


class CallRefused(CallFailed):
    """The master answered that it will not do it, and nothing was done. `status` is the HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the master refused the call ({status}): {reason}")
        self.status = status
        self.reason = reason


class NotSubscribed(CallFailed):
    """There is no subscription that the call could belong to. It was not sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the call was not sent: {reason}")
        self.reason = reason


class CallUnknown(CallFailed):
    """The call was sent and no usable answer came: it may or may not have been taken."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"it is not known whether the master took the call: {reason}")
        self.reason = reason


class Disconnected(Event, frozen=True):
    """The stream ended, was closed, or was silent for five heartbeat intervals. All its offers are void."""

    reason: str


class SubscribeRefused(Event, frozen=True):
    """SUBSCRIBE was answered 400, 401 or 403, or by what is no master (a web page). The driver tries again, with
    back-off, until it is closed.
    """

    status: int
    reason: str


@dataclass(frozen=True)
class Subscription:
    """What the next SUBSCRIBE says. The driver puts the framework id in once a master has given one."""

    framework_info: FrameworkInfo
    suppressed_roles: tuple[str, ...] = ()
    offer_constraints: OfferConstraints | None = None


class Driver(Protocol):
    """One framework's connection to whichever master leads."""

    subscription: Subscription
    """May be replaced at any time; it counts from the next SUBSCRIBE on."""

    def events(self) -> AsyncIterator[Event]:
        """Subscribes, yields what the master sends, and subscribes again after each loss, until `close`.

        To be iterated once. A loss is a Disconnected; what came of a stream after it was closed is never
        yielded.
        """
        ...

    async def call(self, call: Call) -> None:
        """Returns when the master has taken `call`: that is "for processing", not "done".

        Calls go out in the order in which they were made, but ACKNOWLEDGE may overtake. Raises CallRefused,
        NotSubscribed or CallUnknown, after CALL_TIMEOUT at the latest.
        """
        ...

    async def resubscribe(self, reason: str) -> None:
        """Closes the stream, if any; `events` yields Disconnected(reason), backs off and subscribes."""
        ...

    async def close(self) -> None:
        """Ends `events` and closes all connections, without TEARDOWN."""
        ...

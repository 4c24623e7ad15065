"""A wire that sends nothing while this process does not lead.

What waits is sent once the lease holds again; what was about to be sent when it ran out counts as not sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from owmesos.mesos.messages import Call, Event, Subscribe
from owmesos.mesos.wire.address import ServerAddress
from owmesos.mesos.wire.detector import Detector
from owmesos.mesos.wire.driver import Driver, NotSubscribed
from owmesos.system.lease import LAPSED, Lease


class LeasedDetector:
    """Names masters, for SUBSCRIBE and for the operator API, only while the lease holds."""

    def __init__(self, detector: Detector, lease: Lease) -> None:
        self._detector = detector
        self._lease = lease
        self.answered = detector.answered
        self.failed = detector.failed
        self.changed = detector.changed
        self.close = detector.close

    async def candidates(self) -> Sequence[ServerAddress]:
        while True:
            found = await self._detector.candidates()
            if self._lease.holds:
                return found
            await self._lease.held()


class LeasedDriver:
    """A `Driver` on another one, whose detector is a LeasedDetector."""

    def __init__(self, driver: Driver, lease: Lease) -> None:
        self._driver = driver
        self._lease = lease
        self.events: Callable[[], AsyncIterator[Event]] = driver.events
        self.resubscribe = driver.resubscribe
        self.close = driver.close

    @property
    def subscription(self) -> Subscribe:
        return self._driver.subscription

    @subscription.setter
    def subscription(self, subscription: Subscribe) -> None:
        self._driver.subscription = subscription

    @property
    def master(self) -> object | None:
        return self._driver.master

    async def call(self, call: Call, *, sending: Callable[[], None] | None = None) -> None:
        await self._lease.held()

        def about_to_send() -> None:
            if sending is not None:
                sending()
            if not self._lease.holds:
                raise NotSubscribed(LAPSED)

        await self._driver.call(call, sending=about_to_send)


def leased_detector(detector: Detector, lease: Lease | None) -> Detector:
    return LeasedDetector(detector, lease) if lease is not None else detector


def leased_driver(driver: Driver, lease: Lease | None) -> Driver:
    return LeasedDriver(driver, lease) if lease is not None else driver

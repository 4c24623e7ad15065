"""The second driver: the same subscription and the same calls, on pymesos.

For those who trust pymesos's wire, or whose site knows only it. What pymesos does not do (watchdog, back-off, several
masters, UPDATE_FRAMEWORK, SHUTDOWN, …) is done here, so that nothing above a driver knows which one it has. It speaks
neither TLS nor IPv6, and a record that is no JSON costs it the stream.
"""

from __future__ import annotations

from collections.abc import Callable

from owmesos.errors import InvalidInput
from owmesos.mesos.access import Access
from owmesos.mesos.address import Address, Masters, parse_master
from owmesos.mesos.backoff import Backoff
from owmesos.mesos.calls import CallChannel
from owmesos.mesos.detector import Detector, access_for, detector_for
from owmesos.mesos.driver import CALL_TIMEOUT, Subscription
from owmesos.mesos.messages import ID, Subscribe
from owmesos.mesos.pymesos_calls import PymesosCalls
from owmesos.mesos.pymesos_stream import PymesosStream
from owmesos.mesos.recordio import RECORD_LIMIT
from owmesos.mesos.stream import SubscribeFailed
from owmesos.mesos.subscriber import EventStream, SubscribingDriver

NO_TLS = "pymesos speaks no TLS: use the driver http"


class PymesosDriver(SubscribingDriver):
    """A `Driver` on pymesos. To be used within one event loop."""

    def __init__(
        self,
        detector: Detector,
        subscription: Subscription,
        access: Access | None = None,
        *,
        backoff: Backoff | None = None,
        call_timeout: float = CALL_TIMEOUT,
        record_limit: int = RECORD_LIMIT,
    ) -> None:
        super().__init__(detector, subscription, access, backoff=backoff, call_timeout=call_timeout)
        self._record_limit = record_limit

    async def _open_stream(self, address: Address, subscribe: Subscribe) -> PymesosStream:
        lacking = _lacking(address)
        if lacking is not None:
            raise SubscribeFailed(lacking)
        return await PymesosStream.open(address, self._access, subscribe, self._call_timeout, self._record_limit)

    def _open_channel(self, stream: EventStream, framework_id: ID) -> CallChannel:
        assert isinstance(stream, PymesosStream)
        return PymesosCalls(stream.address, stream.id, framework_id, self._access, self._call_timeout)


def pymesos_driver(master: str, access: Access) -> Callable[[Subscription], PymesosDriver]:
    """What `owmesos.Framework` takes as `driver`. `master`: `host:port[,…]` or `zk://…`.

    Raises InvalidInput, also where the masters speak what pymesos does not.
    """
    masters = parse_master(master, credentials_allowed=True)
    if isinstance(masters, Masters):
        for lacking in filter(None, map(_lacking, masters.addresses)):
            raise InvalidInput(f"{lacking}: use the driver http")
    access = access_for(masters, access)
    return lambda subscription: PymesosDriver(detector_for(masters), subscription, access)


def _lacking(address: Address) -> str | None:
    """What stands between pymesos and a master."""
    if address.scheme != "http":
        return f"{address}: pymesos speaks no TLS"
    return f"{address}: pymesos speaks no IPv6" if ":" in address.host else None

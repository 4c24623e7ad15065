"""The HTTP wire: the driver that owmesos runs on unless it is told otherwise."""

from __future__ import annotations

from collections.abc import Callable

from owmesos.mesos.access import Access
from owmesos.mesos.address import Address
from owmesos.mesos.backoff import Backoff
from owmesos.mesos.calls import CallChannel, HttpCalls
from owmesos.mesos.detector import Detector
from owmesos.mesos.driver import CALL_TIMEOUT, Subscription
from owmesos.mesos.event_reader import EventReader
from owmesos.mesos.messages import ID, Subscribe, encode_call
from owmesos.mesos.recordio import RECORD_LIMIT
from owmesos.mesos.stream import Stream
from owmesos.mesos.subscriber import EventStream, SubscribingDriver


class HttpDriver(SubscribingDriver):
    """A `Driver` on HTTP. To be used within one event loop."""

    def __init__(
        self,
        detector: Detector,
        subscription: Subscription,
        access: Access | None = None,
        *,
        backoff: Backoff | None = None,
        call_timeout: float = CALL_TIMEOUT,
        record_limit: int = RECORD_LIMIT,
        reader: Callable[[Address], EventReader] = EventReader,
    ) -> None:
        super().__init__(detector, subscription, access, backoff=backoff, call_timeout=call_timeout)
        self._record_limit = record_limit
        self._reader = reader

    async def _open_stream(self, address: Address, subscribe: Subscribe) -> Stream:
        body = encode_call(subscribe, None)
        reader = self._reader(address)
        return await Stream.open(
            address, self._access, body, self._call_timeout, limit=self._record_limit, reader=reader
        )

    def _open_channel(self, stream: EventStream, framework_id: ID) -> CallChannel:
        assert isinstance(stream, Stream)
        return HttpCalls(stream.address, stream.id, framework_id, self._access, self._call_timeout)

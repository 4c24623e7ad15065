"""The events of a master to a scheduler.

An event is decoded in two steps: first its type and the raw bytes of its body, then the body. So one malformed body
costs one event, an unknown type costs nothing, and a large OFFERS is decoded offer by offer.
Source: include/mesos/v1/scheduler/scheduler.proto (Event), docs/scheduler-http-api.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from owmesos.errors import NOT_READABLE, OwmesosError
from owmesos.mesos.messages.lenient import readable, unknown_fields
from owmesos.mesos.messages.offers import InverseOffer, Offer, OfferList, UnreadableOffer
from owmesos.mesos.messages.tasks import OperationStatus, TaskStatus
from owmesos.mesos.messages.values import ID, MasterInfo


class MalformedEvent(OwmesosError):
    """A record that is not an event, or one without what its type demands."""


class Event(msgspec.Struct, frozen=True):
    """The root of the events.

    Of a master's event `wire_type` is the JSON's type, see EVENTS, and `body` the name of the object with the fields.
    """

    wire_type: ClassVar[str]
    body: ClassVar[str | None]


class Subscribed(Event, frozen=True):
    """The first event of a stream. `master_info.id` changes with every start of a master."""

    framework_id: ID
    heartbeat_interval_seconds: float = 15.0
    master_info: MasterInfo | None = None


class Offers(Event, frozen=True):
    """All offers of one allocation, decoded whenever they are iterated; then `unreadable` has the malformed ones."""

    offers: Iterable[Offer]
    unreadable: Sequence[UnreadableOffer] = ()

    def parts(self, most: int) -> Iterator[Offers]:
        """The same offers in events of at most `most` each, as a master might have sent them."""
        if not isinstance(self.offers, OfferList):
            yield self
            return
        for part in self.offers.parts(most):
            yield Offers(part, part.unreadable)


class InverseOffers(Event, frozen=True):
    inverse_offers: list[InverseOffer] = []


class Rescind(Event, frozen=True):
    offer_id: ID


class RescindInverseOffer(Event, frozen=True):
    inverse_offer_id: ID


class Update(Event, frozen=True):
    status: TaskStatus


class UpdateOperationStatus(Event, frozen=True):
    status: OperationStatus


class MessageEvent(Event, frozen=True):
    """Data from an executor."""

    agent_id: ID
    executor_id: ID
    data: bytes


class Failure(Event, frozen=True):
    """An agent is gone, or (with `executor_id`) an executor has ended; `status` is its exit status, if known."""

    agent_id: ID | None = None
    executor_id: ID | None = None
    status: int | None = None


class Error(Event, frozen=True):
    """The subscription cannot continue; the stream ends after it."""

    message: str = "the master's reason cannot be read"


class Heartbeat(Event, frozen=True):
    pass


class UnknownEvent(Event, frozen=True):
    """An event of a type that owmesos does not know."""

    type: str


class _RawOffers(msgspec.Struct, gc=False):
    offers: list[msgspec.Raw] = []


class _RawOffersRecord(msgspec.Struct, gc=False):
    type: Literal["OFFERS"]
    offers: _RawOffers


EVENTS: dict[str, type[Event]] = {
    "SUBSCRIBED": Subscribed,
    "OFFERS": Offers,
    "INVERSE_OFFERS": InverseOffers,
    "RESCIND": Rescind,
    "RESCIND_INVERSE_OFFER": RescindInverseOffer,
    "UPDATE": Update,
    "UPDATE_OPERATION_STATUS": UpdateOperationStatus,
    "MESSAGE": MessageEvent,
    "FAILURE": Failure,
    "ERROR": Error,
    "HEARTBEAT": Heartbeat,
}
for _name, _kind in EVENTS.items():
    _kind.wire_type, _kind.body = _name, _name.lower() if _kind.__struct_fields__ else None
_name_decoder = msgspec.json.Decoder(str)
_record_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_offers_decoder = msgspec.json.Decoder(_RawOffers)
_offers_record_decoder = msgspec.json.Decoder(_RawOffersRecord)
_OFFERS = b'{"type":"OFFERS",'  # so begins one that is read through once less
_body_decoders: dict[type[Event], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in EVENTS.values() if kind is not Offers
}


def decode_event(record: bytes | bytearray | memoryview, report: Callable[[str], None]) -> Event:
    """The event in `record`.

    Of a malformed body the fields that can be read are used. `report` gets one line for each part that cannot; for
    offers without a readable id when the offers are iterated. `record` must not be changed afterwards: the offers are
    decoded from it. Raises MalformedEvent.
    """
    if record[: len(_OFFERS)] == _OFFERS:
        try:
            offers = OfferList(_offers_record_decoder.decode(record).offers.offers, report)
        except NOT_READABLE:
            pass  # said below
        else:
            return Offers(offers, offers.unreadable)
    try:
        name, kind, body = _opened(record)
    except NOT_READABLE as error:
        raise MalformedEvent(f"a record is not an event: {error}") from None
    if kind is None:
        return UnknownEvent(name)
    if kind is Heartbeat:
        return Heartbeat()
    if body is None:
        raise MalformedEvent(f"{name} lacks its {kind.body!r}")
    try:
        if kind is Offers:
            offers = OfferList(_offers_decoder.decode(body).offers, report)
            return Offers(offers, offers.unreadable)
        return _decoded(kind, body, report)
    except NOT_READABLE as error:
        raise MalformedEvent(f"{name} is malformed: {error}") from None


def _opened(record: bytes | bytearray | memoryview) -> tuple[str, type[Event] | None, msgspec.Raw | None]:
    """A record's type, the event of this type, and its body, if there are any. Raises one of NOT_READABLE."""
    fields = _record_decoder.decode(record)
    if "type" not in fields:
        raise msgspec.ValidationError("it has no type")
    name = _name_decoder.decode(fields["type"])
    kind = EVENTS.get(name)
    return name, kind, fields.get(kind.body or "") if kind is not None else None


def _decoded(kind: type[Event], body: msgspec.Raw, report: Callable[[str], None]) -> Event:
    """The event, or what can be read of a malformed one. Raises one of NOT_READABLE."""
    try:
        event: Event = _body_decoders[kind].decode(body)
    except NOT_READABLE:
        return readable(kind, body, report, kind.wire_type)
    return event


def unknown_in_event(record: bytes | bytearray | memoryview) -> list[str]:
    """The paths of the fields in `record` that owmesos does not read; none if it is not an event of a known type.

    Of a list only the first element is examined.
    """
    try:
        _, kind, body = _opened(record)
        if kind is None or body is None:
            return []
        if kind is Offers:
            offers = _offers_decoder.decode(body).offers
            found = unknown_fields(Offer, msgspec.json.decode(offers[0]), "offers.offers[]") if offers else []
        else:
            found = unknown_fields(kind, msgspec.json.decode(body), kind.wire_type.lower())
    except NOT_READABLE:
        return []
    return list(found)

"""Every event of a master to a scheduler, and how it is read.

An event is decoded in two steps: first its type and the raw bytes of its body, then the body. So one
malformed body costs one event, a type that is not known costs nothing, and a large OFFERS is decoded offer by
offer.
Source: include/mesos/v1/scheduler/scheduler.proto (Event), docs/scheduler-http-api.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import msgspec

from owmesos.errors import OwmesosError
from owmesos.mesos.messages.offers import InverseOffer, Offer, OfferList
from owmesos.mesos.messages.tasks import OperationStatus, TaskStatus
from owmesos.mesos.messages.unknown import unknown_fields
from owmesos.mesos.messages.values import ID, MasterInfo


class MalformedEvent(OwmesosError):
    """A record that is no event, or one without what its type demands."""


class Event(msgspec.Struct, frozen=True):
    """The root of the events. `body` is the name of the JSON object that holds the fields."""

    body: ClassVar[str | None] = None


class Subscribed(Event, frozen=True):
    """The first event of a stream. `master_info.id` tells one master's life from another's."""

    body = "subscribed"

    framework_id: ID
    heartbeat_interval_seconds: float = 15.0
    master_info: MasterInfo | None = None


class Offers(Event, frozen=True):
    """All the offers of one allocation. They may be gone through more than once, decoded each time."""

    body = "offers"

    offers: Iterable[Offer]


class InverseOffers(Event, frozen=True):
    body = "inverse_offers"

    inverse_offers: list[InverseOffer] = []


class Rescind(Event, frozen=True):
    body = "rescind"

    offer_id: ID


class RescindInverseOffer(Event, frozen=True):
    body = "rescind_inverse_offer"

    inverse_offer_id: ID


class Update(Event, frozen=True):
    body = "update"

    status: TaskStatus


class UpdateOperationStatus(Event, frozen=True):
    body = "update_operation_status"

    status: OperationStatus


class MessageEvent(Event, frozen=True):
    """Data from an executor."""

    body = "message"

    agent_id: ID
    executor_id: ID
    data: bytes


class Failure(Event, frozen=True):
    """An agent is gone, or (with `executor_id`) an executor ended, with exit status `status` if known."""

    body = "failure"

    agent_id: ID | None = None
    executor_id: ID | None = None
    status: int | None = None


class Error(Event, frozen=True):
    """The subscription cannot go on; the stream ends after it."""

    body = "error"

    message: str


class Heartbeat(Event, frozen=True):
    pass


class UnknownEvent(Event, frozen=True):
    """An event of a type that this version of owmesos has no name for."""

    type: str


_ABSENT = msgspec.Raw()


class _Envelope(msgspec.Struct, gc=False):
    """An event before its body is decoded."""

    type: str
    subscribed: msgspec.Raw = _ABSENT
    offers: msgspec.Raw = _ABSENT
    inverse_offers: msgspec.Raw = _ABSENT
    rescind: msgspec.Raw = _ABSENT
    rescind_inverse_offer: msgspec.Raw = _ABSENT
    update: msgspec.Raw = _ABSENT
    update_operation_status: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    failure: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _RawOffers(msgspec.Struct, gc=False):
    offers: list[msgspec.Raw] = []


_types: dict[str, type[Event]] = {
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
_envelope_decoder = msgspec.json.Decoder(_Envelope)
_offers_decoder = msgspec.json.Decoder(_RawOffers)
_body_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(kind) for name, kind in _types.items() if kind not in (Offers, Heartbeat)
}
_not_json = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_event(record: bytes | bytearray | memoryview, report: Callable[[str], None]) -> Event:
    """The event that `record` holds.

    `report` is told, in one line, of each malformed offer when the offers are gone through. `record` must not
    be changed afterwards: the offers are decoded from it. Raises MalformedEvent.
    """
    try:
        envelope = _envelope_decoder.decode(record)
    except _not_json as error:
        raise MalformedEvent(f"a record is no event: {error}") from None
    kind = _types.get(envelope.type)
    if kind is None:
        return UnknownEvent(envelope.type)
    if kind.body is None:
        return Heartbeat()
    body: msgspec.Raw = getattr(envelope, kind.body)
    if body is _ABSENT:
        raise MalformedEvent(f"{envelope.type} lacks its {kind.body!r}")
    try:
        if kind is Offers:
            return Offers(OfferList(_offers_decoder.decode(body).offers, report))
        event: Event = _body_decoders[envelope.type].decode(body)
    except _not_json as error:
        raise MalformedEvent(f"{envelope.type} is malformed: {error}") from None
    return event


def unknown_in_event(record: bytes | bytearray | memoryview) -> list[str]:
    """The paths of the fields in `record` that owmesos does not read, for one line in the log.

    Of a list the first element is looked at. A record that is no event, or of an unknown type, gives none.
    """
    try:
        envelope = _envelope_decoder.decode(record)
        kind = _types.get(envelope.type)
        if kind is None or kind.body is None:
            return []
        body: msgspec.Raw = getattr(envelope, kind.body)
        if body is _ABSENT:
            return []
        if kind is Offers:
            offers = _offers_decoder.decode(body).offers
            found = unknown_fields(Offer, msgspec.json.decode(offers[0]), "offers.offers[]") if offers else []
        else:
            found = unknown_fields(kind, msgspec.json.decode(body), kind.body)
    except _not_json:
        return []
    return list(found)

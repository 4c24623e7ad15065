"""The offer book: every offer in hand with the pieces that Mesos names, and the last one of every agent.

The ledger counts vectors; this book knows which offer ids stand behind them and what a TaskInfo must copy. No offer
id goes into two calls, and none is forgotten: each ends accepted, declined, rescinded or void.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache

import msgspec

from owmesos.core.constraints import Attributes, ranges_text, scalar_text, set_text
from owmesos.core.placement import Slot
from owmesos.errors import InvariantBroken
from owmesos.mesos.messages import Attribute, Offer
from owmesos.mesos.pieces import Pieces, pieces_of, total_of
from owmesos.resources import Resources

NO_ROLE = "*"  # the role of offers to a framework without MULTI_ROLE


class OfferState(str, Enum):
    OUTSTANDING = "outstanding"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    RESCINDED = "rescinded"
    VOID = "void"  # the connection that it came on is gone


class OfferRecord(msgspec.Struct, gc=False):
    """One offer. Times in seconds; `filter_s` is what its ACCEPT or DECLINE named."""

    offer_id: str
    slot: Slot
    hostname: str
    resources: Resources
    pieces: Pieces
    received_at: float
    state: OfferState = OfferState.OUTSTANDING
    reason: str | None = None
    filter_s: float | None = None
    launch_ids: tuple[str, ...] = ()
    ended_at: float | None = None


class OfferBook:
    """`outstanding` by offer id; `last` the latest ended one by agent id."""

    def __init__(self) -> None:
        self.outstanding: dict[str, OfferRecord] = {}
        self.last: dict[str, OfferRecord] = {}
        self._accepted: dict[str, OfferRecord] = {}  # those whose ACCEPT is not confirmed, for late RESCINDs

    def add(self, offer: Offer, role: str, now: float) -> OfferRecord:
        """The record of a new offer. Raises InvariantBroken when its id is in hand already."""
        offer_id = offer.id.value
        if offer_id in self.outstanding:
            raise InvariantBroken(f"offer {offer_id} came twice")
        pieces = pieces_of(offer.resources)
        record = OfferRecord(offer_id, Slot(offer.agent_id.value, role), offer.hostname, total_of(pieces), pieces, now)
        self.outstanding[offer_id] = record
        return record

    def end(
        self,
        offer_id: str,
        state: OfferState,
        now: float,
        *,
        reason: str | None = None,
        filter_s: float | None = None,
        launch_ids: tuple[str, ...] = (),
    ) -> OfferRecord | None:
        """The offer is not in hand any more; None when it was not."""
        record = self.outstanding.pop(offer_id, None)
        if record is None:
            return None
        record.state, record.reason, record.ended_at = state, reason, now
        record.filter_s, record.launch_ids = filter_s, launch_ids
        self.last[record.slot.agent_id] = record
        if state is OfferState.ACCEPTED:
            self._accepted[offer_id] = record
        else:
            record.pieces = ()
        return record

    def reopen(self, offer_id: str) -> OfferRecord | None:
        """The ACCEPT that held it was refused as a message, so it is ours again; None when it went meanwhile."""
        record = self._accepted.pop(offer_id, None)
        if record is None or record.state is not OfferState.ACCEPTED:
            return None
        record.state, record.reason, record.ended_at = OfferState.OUTSTANDING, None, None
        record.filter_s, record.launch_ids = None, ()
        self.outstanding[offer_id] = record
        if self.last.get(record.slot.agent_id) is record:
            del self.last[record.slot.agent_id]
        return record

    def accepted(self, offer_id: str) -> OfferRecord | None:
        """The offer, if it is in an ACCEPT that no update has confirmed yet."""
        return self._accepted.get(offer_id)

    def settled(self, offer_ids: Iterable[str]) -> None:
        """An update confirmed or refused their ACCEPT."""
        for offer_id in offer_ids:
            record = self._accepted.pop(offer_id, None)
            if record is not None:
                record.pieces = ()

    def void_all(self, now: float) -> None:
        """The connection is gone, and all offers with it."""
        for offer_id in list(self.outstanding):
            self.end(offer_id, OfferState.VOID, now, reason="disconnected")
        self.settled(list(self._accepted))

    def forget_agent(self, agent_id: str) -> None:
        self.last.pop(agent_id, None)


def role_of(offer: Offer) -> str:
    """The offer's allocation role."""
    if offer.allocation_info is None or offer.allocation_info.role is None:
        return NO_ROLE
    return offer.allocation_info.role


def address_of(offer: Offer) -> str:
    """Where the agent answers, `host:port`; empty where the offer does not say."""
    if offer.url is None:
        return ""
    address = offer.url.address
    return f"{address.ip or address.hostname or offer.hostname}:{address.port}"


def attributes_of(attributes: Iterable[Attribute]) -> Attributes:
    """Each attribute with the canonical text of its value. Equal ones are one object."""
    return _attributes(tuple([(attribute.name, _text(attribute)) for attribute in attributes]))


@lru_cache(maxsize=4096)
def _attributes(values: tuple[tuple[str, str], ...]) -> Attributes:
    return Attributes.of(values)


def _text(attribute: Attribute) -> str:
    if attribute.text is not None:
        return attribute.text.value
    if attribute.scalar is not None:
        return scalar_text(attribute.scalar.value)
    if attribute.ranges is not None:
        return ranges_text((r.begin, r.end) for r in attribute.ranges.range)
    return set_text(attribute.set.item) if attribute.set is not None else ""

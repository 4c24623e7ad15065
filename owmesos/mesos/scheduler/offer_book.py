"""The offer book: every offer in hand with the pieces that Mesos names, and the last one of every agent.

It tells the ledger what they hold together on each slot, and what was let go; it knows the offer ids, and what a
TaskInfo must copy. No offer id goes into two calls, and none is forgotten: each ends accepted, declined, rescinded or
void.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache

import msgspec

from owmesos.core.constraints import Attributes, ranges_text, scalar_text, set_text, shared_attributes
from owmesos.core.ledger import Ledger, Remembered
from owmesos.core.placement import Slot
from owmesos.errors import InvalidInput, InvariantBroken
from owmesos.mesos.messages import Attribute, Offer
from owmesos.mesos.offer_resources import TaggedResources, total_of
from owmesos.resources import Resources, total

MAX_ATTRIBUTES = 64 * 1024
"""Characters of all attributes of an agent."""
NO_ROLE = "*"  # the role of offers to a framework without MULTI_ROLE


class OfferState(str, Enum):
    OUTSTANDING = "outstanding"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    RESCINDED = "rescinded"
    VOID = "void"  # the connection that it came on is gone


class OfferRecord(msgspec.Struct, gc=False):
    """One offer. Times in seconds of the epoch."""

    offer_id: str
    slot: Slot
    hostname: str
    resources: Resources  # all that is usable of it
    pieces: TaggedResources  # the same as Mesos names it; empty once no ACCEPT can take it
    received_at: float
    state: OfferState = OfferState.OUTSTANDING
    reason: str | None = None  # why it is not in hand any more
    filter_s: float | None = None  # seconds that its ACCEPT or DECLINE named
    launch_ids: tuple[str, ...] = ()  # the launches in its ACCEPT
    ended_at: float | None = None  # when it was let go


class OfferBook:
    """`outstanding` by offer id; `last` the latest ended one by agent id."""

    def __init__(self, ledger: Ledger) -> None:
        self.outstanding: dict[str, OfferRecord] = {}
        self.last: dict[str, OfferRecord] = {}
        self._ledger = ledger
        self._by_slot: dict[Slot, dict[str, OfferRecord]] = {}
        self._accepted: dict[str, OfferRecord] = {}  # those whose ACCEPT is not confirmed, for late RESCINDs

    def on(self, slot: Slot) -> list[OfferRecord]:
        """The offers in hand on a slot."""
        return list(self._by_slot.get(slot, {}).values())

    def held(self, slot: Slot) -> Resources | None:
        """What the offers there hold together, or None without any."""
        mine = self._by_slot.get(slot)
        return total([record.resources for record in mine.values()]) if mine else None

    def add(self, offer: Offer, pieces: TaggedResources, now: float) -> None:
        """Add a new offer. Raises InvariantBroken if its id is in hand already."""
        offer_id = offer.id.value
        if offer_id in self.outstanding:
            raise InvariantBroken(f"offer {offer_id} came twice")
        agent = self._ledger.agent(offer.agent_id.value)
        slot = self._ledger.account_of(agent, role_of(offer)).slot
        record = OfferRecord(offer_id, slot, agent.hostname, total_of(pieces), pieces, now)
        self._ledger.offer(slot, self._put(record), now)

    def decline(self, offer: Offer, pieces: TaggedResources, now: float, filter_s: float, *, more: bool) -> OfferRecord:
        """Add a new offer that is declined, while none is in hand. `more`: its agent had one in the same event."""
        offer_id = offer.id.value
        ledger = self._ledger
        agent = ledger.agent(offer.agent_id.value)
        account = ledger.account_of(agent, role_of(offer))
        resources = total_of(pieces)
        record = self.last[agent.agent_id] = OfferRecord(
            offer_id, account.slot, agent.hostname, resources, (), now, OfferState.DECLINED, None, filter_s, (), now
        )
        ledger.remember_offer(agent, account, Remembered(resources, now, offer_id), more=more)
        return record

    def end(self, offer_id: str, state: OfferState, now: float, reason: str, filter_s: float | None = None) -> None:
        """End an offer in hand that is declined or rescinded. What was declined is remembered."""
        record = self._take(offer_id, state, now, reason, filter_s)
        record.pieces = ()
        self._ledger.hold(record.slot, self.held(record.slot))
        if state is OfferState.DECLINED:
            self._ledger.remember(record.slot, record.resources, now, offer_id)

    def accept(self, slot: Slot, taken: Resources, now: float, *, filter_s: float, launch_ids: tuple[str, ...]) -> None:
        """End all offers there by an ACCEPT: what they held beyond `taken` is one remembered piece."""
        held = self.held(slot)
        if held is None or not held.covers(taken):
            raise InvariantBroken(f"an ACCEPT on {slot} takes more than its offers hold")
        offers = self.on(slot)
        for record in offers:
            self._take(record.offer_id, OfferState.ACCEPTED, now, "launch", filter_s)
            record.launch_ids = launch_ids
            self._accepted[record.offer_id] = record
        self._ledger.hold(slot, None)
        self._ledger.remember(slot, held.minus(taken), now, offers[0].offer_id)

    def reopen(self, offer_id: str, source: str) -> None:
        """The ACCEPT that held it was refused as a message, so it is ours again, if it did not go meanwhile.

        `source` is the first offer of the ACCEPT: what it left is not to be counted on.
        """
        record = self._accepted.pop(offer_id, None)
        if record is None or record.state is not OfferState.ACCEPTED:
            return
        record.state, record.reason, record.ended_at = OfferState.OUTSTANDING, None, None
        record.filter_s, record.launch_ids = None, ()
        if self.last.get(record.slot.agent_id) is record:
            del self.last[record.slot.agent_id]
        self._ledger.forget_leftover(record.slot, source)
        self._ledger.hold(record.slot, self._put(record))

    def accepted(self, offer_id: str) -> OfferRecord | None:
        """The offer, if it is in an ACCEPT that no update has confirmed yet."""
        return self._accepted.get(offer_id)

    def settled(self, offer_ids: Iterable[str]) -> None:
        """Note that an update confirmed or refused the offers' ACCEPT."""
        for offer_id in offer_ids:
            record = self._accepted.pop(offer_id, None)
            if record is not None:
                record.pieces = ()

    def void_all(self, now: float) -> None:
        """Void all offers, since the connection is gone: nothing is known of any agent."""
        for offer_id in list(self.outstanding):
            self._take(offer_id, OfferState.VOID, now, "disconnected").pieces = ()
        self.settled(list(self._accepted))
        self._ledger.disconnect()

    def forget_agent(self, agent_id: str) -> None:
        self.last.pop(agent_id, None)

    def validate(self) -> None:
        """Raises InvariantBroken when the ledger counts something else than what is in hand."""
        for slot, account in self._ledger.accounts.items():
            if account.held != self.held(slot):
                raise InvariantBroken(f"the offers of {slot} are not what the ledger counts")

    def _put(self, record: OfferRecord) -> Resources:
        """Put an offer in hand. Returns what its slot holds."""
        self.outstanding[record.offer_id] = record
        mine = self._by_slot.setdefault(record.slot, {})
        mine[record.offer_id] = record
        return total([each.resources for each in mine.values()])

    def _take(
        self, offer_id: str, state: OfferState, now: float, reason: str, filter_s: float | None = None
    ) -> OfferRecord:
        """Take an offer out of those in hand."""
        record = self.outstanding.pop(offer_id)
        mine = self._by_slot[record.slot]
        del mine[offer_id]
        if not mine:
            del self._by_slot[record.slot]
        record.state, record.reason, record.ended_at = state, reason, now
        record.filter_s, record.launch_ids = filter_s, ()
        self.last[record.slot.agent_id] = record
        return record


def role_of(offer: Offer) -> str:
    role = offer.allocation_info.role if offer.allocation_info is not None else None
    return role if role is not None else NO_ROLE


def address_of(offer: Offer) -> str:
    """Where the agent answers, `host:port`; empty where the offer does not say."""
    if offer.url is None:
        return ""
    address = offer.url.address
    return f"{address.ip or address.hostname or offer.hostname}:{address.port}"


def attributes_of(attributes: Iterable[Attribute]) -> Attributes:
    """Each attribute with the canonical text of its value. Equal ones are one object. Raises InvalidInput."""
    return _attributes(tuple([(attribute.name, _text(attribute)) for attribute in attributes]))


@lru_cache(maxsize=4096)
def _attributes(values: tuple[tuple[str, str], ...]) -> Attributes:
    size = sum(len(name) + len(text) for name, text in values)
    if size > MAX_ATTRIBUTES:
        raise InvalidInput(f"its attributes have {size} characters, at most {MAX_ATTRIBUTES} are allowed")
    return shared_attributes(values)


def _text(attribute: Attribute) -> str:
    if attribute.text is not None:
        return attribute.text.value
    if attribute.scalar is not None:
        return scalar_text(attribute.scalar.value)
    if attribute.ranges is not None:
        return ranges_text((r.begin, r.end) for r in attribute.ranges.range)
    return set_text(attribute.set.item) if attribute.set is not None else ""

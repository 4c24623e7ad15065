"""Offers in hand, and what the ledger counts of them."""

from __future__ import annotations

import time

import pytest

from owmesos.core.ledger import Buffer, Ledger
from owmesos.core.placement import Slot
from owmesos.errors import InvariantBroken
from owmesos.mesos.messages import ID, Offer, Range, Ranges, Resource, Scalar
from owmesos.mesos.offer_resources import pieces_of
from owmesos.mesos.scheduler.offer_book import OfferBook, OfferState
from owmesos.resources import NOTHING, Resources

SLOT = Slot("S1", "*")
ROOM = Resources.of(cpus=4, mem=1000)
TAKEN = Resources.of(cpus=1, mem=200)


class Book:
    """An offer book on a ledger without a buffer."""

    def __init__(self) -> None:
        self.ledger = Ledger(Buffer(share=0.0))
        self.book = OfferBook(self.ledger)

    def add(self, offer_id: str, cpus: float, mem: float) -> None:
        resources = [Resource(name, "SCALAR", scalar=Scalar(value)) for name, value in (("cpus", cpus), ("mem", mem))]
        offer = Offer(ID(offer_id), ID("F"), ID("S1"), "host", resources=resources)
        self.book.add(offer, pieces_of(resources), 1.0)

    def accept(self, taken: Resources) -> None:
        self.book.accept(SLOT, taken, 2.0, filter_s=5.0, launch_ids=("L1",))


@pytest.fixture
def offers() -> Book:
    return Book()


def test_several_offers_of_an_agent_add_up(offers: Book) -> None:
    offers.add("O1", 4, 1000)
    offers.add("O2", 1, 256)
    assert offers.ledger.held(SLOT) == offers.ledger.available(SLOT) == ROOM.plus(Resources.of(cpus=1, mem=256))
    assert [record.offer_id for record in offers.book.on(SLOT)] == ["O1", "O2"]


def test_an_offer_does_not_come_twice(offers: Book) -> None:
    offers.add("O1", 4, 1000)
    with pytest.raises(InvariantBroken, match="O1"):
        offers.add("O1", 4, 1000)


def test_a_declined_offer_is_remembered_and_the_others_stay(offers: Book) -> None:
    offers.add("O1", 4, 1000)
    offers.add("O2", 1, 200)
    offers.book.end("O1", OfferState.DECLINED, 2.0, reason="nothing waits")
    assert offers.ledger.held(SLOT) == TAKEN
    assert offers.ledger.free(SLOT) == ROOM.plus(TAKEN)


def test_a_rescinded_offer_leaves_nothing(offers: Book) -> None:
    offers.add("O1", 4, 1000)
    offers.book.end("O1", OfferState.RESCINDED, 2.0, reason="rescinded")
    assert offers.ledger.free(SLOT) == NOTHING
    assert offers.book.on(SLOT) == []


def test_an_accept_leaves_one_piece_without_what_it_took(offers: Book) -> None:
    offers.add("O1", 4, 1000)
    offers.add("O2", 0, 24)
    offers.accept(TAKEN)
    assert offers.ledger.free(SLOT) == ROOM.plus(Resources.of(mem=24)).minus(TAKEN)
    assert len(offers.ledger.account(SLOT).remembered) == 1
    assert not offers.book.outstanding


def test_an_accept_that_takes_all_leaves_none(offers: Book) -> None:
    offers.add("O1", 4, 1000)
    offers.accept(ROOM)
    assert offers.ledger.account(SLOT).remembered == ()


def test_an_accept_takes_no_more_than_its_offers_hold(offers: Book) -> None:
    offers.add("O1", 1, 200)
    with pytest.raises(InvariantBroken, match="more than its offers hold"):
        offers.accept(ROOM)


def test_offers_that_were_not_spent_are_in_hand_again(offers: Book) -> None:
    offers.add("O1", 4, 1000)
    offers.accept(TAKEN)
    offers.book.reopen("O1", "O1")
    assert offers.ledger.held(SLOT) == offers.ledger.free(SLOT) == ROOM
    offers.book.validate()


def test_a_lost_connection_voids_all(offers: Book) -> None:
    offers.add("O1", 4, 1000)
    offers.book.void_all(2.0)
    assert offers.ledger.free(SLOT) == NOTHING
    assert offers.book.last["S1"].state is OfferState.VOID


def test_a_piece_that_was_lost_is_noticed(offers: Book) -> None:
    offers.add("O1", 4, 1000)
    offers.ledger.hold(SLOT, None)
    with pytest.raises(InvariantBroken):
        offers.book.validate()


def test_ports_in_many_resources_take_no_longer_than_in_one() -> None:
    """Their sets, joined one by one, took the square of their number: 85 s for 20,000."""
    ports = range(1, 60000, 3)
    offered = [Resource(name="ports", type="RANGES", ranges=Ranges([Range(port, port)])) for port in ports]
    started = time.process_time()
    ((_, found),) = pieces_of(offered)
    assert time.process_time() - started < 2.0
    assert list(found.ports) == list(ports)

"""Pods as a kind of room: whole, and counted by node, as Kubernetes counts them."""

from __future__ import annotations

import pytest

from owmesos.core.ledger import Buffer, Ledger
from owmesos.core.placement import Placement, Slot
from owmesos.errors import InvalidInput
from owmesos.resources import Ask, Resources

ONE = Ask.of(mem=64, pods=1)


def test_an_ask_fits_while_a_pod_is_left() -> None:
    assert ONE.fits(Resources.of(mem=64, pods=1))
    assert not ONE.fits(Resources.of(mem=64))


def test_room_that_owes_pods_hinders_only_who_asks_for_one() -> None:
    owing = Resources.of(mem=128, pods=1).minus(Resources.of(pods=3))
    assert owing.pods == -2
    assert Ask.of(mem=128).fits(owing)
    assert not ONE.fits(owing)
    assert owing.at_least_zero().pods == 0


def test_pods_are_added_and_taken_off() -> None:
    room = Resources.of(pods=110)
    assert room.minus(ONE.cut(Resources.of())).plus(Resources.of(pods=2)).pods == 111
    assert room.covers(Resources.of(pods=110))
    assert not room.covers(Resources.of(pods=111))
    assert ONE.plus(ONE).minus(ONE) == ONE
    assert bool(Resources.of(pods=1))


@pytest.mark.parametrize("pods", [-1, 0.5, 2**31])
def test_what_is_no_count_of_pods_is_rejected(pods: int) -> None:
    with pytest.raises(InvalidInput, match="pods must be"):
        Ask.of(pods=pods)
    with pytest.raises(InvalidInput, match="pods must be"):
        Resources.of(pods=pods)


def test_a_node_whose_pods_are_used_up_is_passed_over() -> None:
    placement = Placement()
    placement.set(Slot("full", "*"), Resources.of(mem=512))
    placement.set(Slot("open", "*"), Resources.of(mem=1024, pods=1))
    assert placement.find(ONE) == Slot("open", "*")
    assert placement.find(Ask.of(mem=64)) == Slot("full", "*")


def test_a_reserved_start_takes_its_pod() -> None:
    ledger, slot = Ledger(Buffer(share=0.0)), Slot("node", "*")
    ledger.offer(slot, Resources.of(mem=1024, pods=2), 0.0)
    assert ledger.available(slot).pods == 2
    ledger.reserve("a", slot, ONE, 0.0)
    assert ledger.available(slot).pods == 1
    ledger.reserve("b", slot, ONE, 0.0)
    assert not ONE.fits(ledger.available(slot))

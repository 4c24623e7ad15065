from __future__ import annotations

import pytest

from owmesos.core.ledger import Buffer, Ledger
from owmesos.core.node_stats import NodeState
from owmesos.core.placement import Slot
from owmesos.core.reservations import ReservationState
from owmesos.errors import InvariantBroken
from owmesos.resources import NOTHING, Ask, Resources

WEB, DB, OTHER = Slot("S1", "web"), Slot("S1", "db"), Slot("S2", "web")
ROOM = Resources.of(cpus=4, mem=1000, disk=100, ports=[(31000, 31009)])
TAKEN = Resources.of(cpus=1, mem=200, ports=[(31000, 31001)])
ASK = Ask.of(cpus=1, mem=200, ports=2)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Buffer(share=0.0))


def let_go(ledger: Ledger, slot: Slot, now: float, *, source: str = "O1") -> None:
    """All that is in hand on `slot` is declined."""
    held = ledger.account(slot).held
    assert held is not None
    ledger.hold(slot, None)
    ledger.remember(slot, held, now, source)


class TestPieces:
    def test_a_declined_offer_is_remembered_once(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 1.0)
        let_go(ledger, WEB, 2.0)
        assert ledger.held(WEB) == NOTHING
        assert ledger.available(WEB) == ROOM

    def test_offers_drop_what_was_remembered_of_the_agent_in_every_role(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 1.0)
        ledger.offer(OTHER, ROOM, 1.0)
        let_go(ledger, WEB, 1.0)
        let_go(ledger, OTHER, 1.0)
        ledger.offer(DB, TAKEN, 2.0)
        assert ledger.free(WEB) == NOTHING
        assert ledger.free(DB) == TAKEN
        assert ledger.free(OTHER) == ROOM

    def test_only_the_leftover_of_the_refused_accept_is_forgotten(self, ledger: Ledger) -> None:
        ledger.remember(WEB, ROOM, 2.0, "O1")
        ledger.remember(WEB, TAKEN, 2.0, "O2")
        ledger.forget_leftover(WEB, "O1")
        assert ledger.free(WEB) == TAKEN

    def test_silence_after_a_revive_drops_what_was_let_go_before_it(self, ledger: Ledger) -> None:
        for slot, when in ((WEB, 1.0), (OTHER, 3.0)):
            ledger.offer(slot, ROOM, 1.0)
            let_go(ledger, slot, when)
        ledger.silent_since(2.0)
        assert ledger.free(WEB) == NOTHING
        assert ledger.free(OTHER) == ROOM

    def test_silence_says_nothing_of_agents_that_were_not_asked(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 1.0)
        let_go(ledger, WEB, 1.0)
        ledger.silent_since(2.0, ["S2"])
        assert ledger.free(WEB) == ROOM

    def test_a_lost_agent_has_nothing(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 1.0)
        ledger.offer(DB, ROOM, 1.0)
        let_go(ledger, DB, 1.0)
        ledger.lose_agent("S1", 2.0)
        ledger.lose_agent("no such agent", 2.0)
        assert ledger.free(WEB) == ledger.free(DB) == NOTHING
        assert ledger.account(WEB).held is None
        assert ledger.stats(ledger.account(WEB)).state is NodeState.GONE

    def test_without_a_connection_the_cluster_is_unknown(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 1.0)
        ledger.offer(OTHER, ROOM, 1.0)
        let_go(ledger, OTHER, 1.0)
        ledger.disconnect()
        assert ledger.free(WEB) == ledger.free(OTHER) == NOTHING
        assert {ledger.stats(ledger.account(slot)).state for slot in (WEB, OTHER)} == {NodeState.UNKNOWN}

    def test_an_agent_at_anothers_address_takes_its_place(self, ledger: Ledger) -> None:
        assert ledger.moved_in(ledger.agent("S1"), "10.0.0.1:5051") is None
        assert ledger.moved_in(ledger.agent("S1"), "10.0.0.1:5051") is None
        assert ledger.moved_in(ledger.agent("S2"), "10.0.0.1:5051") == "S1"

    def test_how_old_the_numbers_are_is_known(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 7.0)
        assert ledger.stats(ledger.account(WEB)).state is NodeState.FRESH
        let_go(ledger, WEB, 9.0)
        stats = ledger.stats(ledger.account(WEB))
        assert (stats.state, stats.observed_at) == (NodeState.STALE, 7.0)

    def test_an_agent_of_which_nothing_was_seen_has_nothing(self) -> None:
        """Its total is known from elsewhere, and so is its buffer; but that owes nothing."""
        ledger = Ledger(Buffer())
        ledger.agent("S1").total = ROOM
        stats = ledger.stats(ledger.account(WEB))
        assert (stats.state, stats.free, stats.available) == (NodeState.UNKNOWN, NOTHING, NOTHING)


class TestReservations:
    def test_a_reserved_start_is_subtracted_once(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 1.0)
        ledger.reserve("L1", WEB, ASK, 1.0)
        ledger.reserve("L2", WEB, ASK, 1.0)
        available = ledger.available(WEB)
        assert (available.cpus, available.mem, len(available.ports)) == (2, 600, 6)
        assert ledger.held(WEB, but="L1") == ROOM.minus(TAKEN)

    def test_a_cut_start_is_listed_and_not_subtracted(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 1.0)
        ledger.reserve("L1", WEB, ASK, 1.0)
        ledger.cut("L1", TAKEN, "L1.1")
        ledger.hold(WEB, ROOM.minus(TAKEN))
        assert ledger.available(WEB) == ROOM.minus(TAKEN)
        found = ledger.reservations.by_launch.get("L1")
        assert found is not None
        assert (found.kind, found.state, found.task_id) == ("start", ReservationState.CUT, "L1.1")

    def test_a_released_start_gives_its_room_back(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 1.0)
        ledger.reserve("L1", WEB, ASK, 1.0)
        ledger.release("L1")
        assert ledger.available(WEB) == ROOM
        ledger.validate()

    def test_a_stop_is_listed_and_neither_subtracted_nor_credited(self, ledger: Ledger) -> None:
        ledger.offer(WEB, ROOM, 1.0)
        ledger.reservations.stopping("L1", WEB, ASK, TAKEN, "L1.1", 1.0)
        assert ledger.available(WEB) == ROOM
        assert [stop.launch_id for stop in ledger.reservations.stops_on("S1")] == ["L1"]
        ledger.release("L1")
        assert ledger.available(WEB) == ROOM
        assert not ledger.reservations.any_stops

    def test_a_start_that_is_stopped_is_one_reservation(self, ledger: Ledger) -> None:
        ledger.reserve("L1", WEB, ASK, 1.0)
        ledger.cut("L1", TAKEN, "L1.1")
        ledger.reservations.stopping("L1", WEB, ASK, TAKEN, "L1.1", 2.0)
        assert len(ledger.reservations.by_launch) == 1
        ledger.validate()

    def test_a_launch_is_reserved_once_and_cut_once(self, ledger: Ledger) -> None:
        ledger.reserve("L1", WEB, ASK, 1.0)
        with pytest.raises(InvariantBroken, match="twice"):
            ledger.reserve("L1", OTHER, ASK, 1.0)
        ledger.cut("L1", TAKEN, "L1.1")
        with pytest.raises(InvariantBroken, match="twice"):
            ledger.cut("L1", TAKEN, "L1.2")

    def test_what_nothing_confirms_is_overdue_and_stays_listed(self, ledger: Ledger) -> None:
        ledger.reserve("L1", WEB, ASK, 1.0)
        ledger.reservations.overdue("L1")
        found = ledger.reservations.by_launch.get("L1")
        assert found is not None
        assert found.state is ReservationState.RESERVED
        ledger.cut("L1", TAKEN, "L1.1")
        ledger.reservations.overdue("L1")
        assert (found.state, found.kind) == (ReservationState.OVERDUE, "start")


class TestBuffer:
    def test_it_is_kept_free_on_top_of_everything(self) -> None:
        ledger = Ledger(Buffer.of(mem=100, cpus=1, share=0.1))
        ledger.offer(WEB, ROOM, 1.0)
        assert ledger.available(WEB) == ledger.held(WEB) == ROOM.minus(Resources.of(cpus=1, mem=200))

    def test_the_share_is_of_the_total_where_that_is_known(self) -> None:
        ledger = Ledger(Buffer.of(share=0.1))
        ledger.offer(WEB, ROOM, 1.0)
        assert ledger.available(WEB).mem == 900
        ledger.agent("S1").total = Resources.of(cpus=8, mem=4000)
        assert ledger.available(WEB).mem == 600

    def test_else_of_the_most_that_was_ever_seen_free(self) -> None:
        ledger = Ledger(Buffer.of(share=0.1))
        ledger.offer(WEB, ROOM, 1.0)
        ledger.hold(WEB, None)
        ledger.offer(WEB, TAKEN, 2.0)
        assert ledger.available(WEB).mem == 100

    def test_a_debt_hinders_only_who_asks_for_that_kind(self) -> None:
        ledger = Ledger(Buffer.of(mem=2000, share=0))
        ledger.offer(WEB, ROOM, 1.0)
        available = ledger.available(WEB)
        assert available.mem == -1000
        assert not Ask.of(mem=1).fits(available)
        assert Ask.of(cpus=4, ports=1).fits(available)


class TestValidate:
    def test_a_wrong_sum_is_noticed(self, ledger: Ledger) -> None:
        ledger.reserve("L1", WEB, ASK, 1.0)
        ledger.reservations.by_launch["L1"].ask = Ask.of(mem=1)
        with pytest.raises(InvariantBroken, match="sum"):
            ledger.validate()

    def test_a_start_that_is_forgotten_on_one_side_is_noticed(self, ledger: Ledger) -> None:
        ledger.reserve("L1", WEB, ASK, 1.0)
        ledger.reservations.by_launch.clear()
        with pytest.raises(InvariantBroken, match="not cut"):
            ledger.validate()

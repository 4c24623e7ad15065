"""The random histories fail when any single rule is broken: each mutation here breaks one, and must be caught."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from owmesos.core.launches import LaunchRecord
from owmesos.core.ledger import Ledger, Remembered
from owmesos.core.lifecycle import State
from owmesos.core.placement import Placement
from owmesos.core.reservations import Reservations, ReservationState
from owmesos.mesos import matching, questions
from owmesos.mesos.books import Books
from owmesos.mesos.effects import Send
from owmesos.mesos.intake import Intake
from owmesos.mesos.kills import Kills
from owmesos.mesos.matching import Matching
from owmesos.mesos.messages import ID, Acknowledge, Decline, Filters, ReconcileTask, Suppress
from owmesos.mesos.questions import Questions
from owmesos.mesos.revival import Revival
from owmesos.mesos.statuses import Statuses
from owmesos.resources import Ask
from tests.mesos.test_scheduler_machine import SchedulerMachine
from tests.mutations import Mutations, nothing, wrap

mutation = Mutations()


# -- pieces


@mutation
def offers_do_not_drop_remembered_pieces(patch: pytest.MonkeyPatch) -> None:
    def offer(original: Any, ledger: Ledger, slot: Any, *args: Any) -> None:
        accounts = ledger.agents[slot.agent_id].accounts if slot.agent_id in ledger.agents else ()
        before = [(account, account.remembered) for account in accounts]
        original(ledger, slot, *args)
        for account, remembered in before:
            account.remembered = remembered

    wrap(patch, Ledger, "offer", offer)


@mutation
def a_stop_is_credited_before_its_room_is_seen(patch: pytest.MonkeyPatch) -> None:
    def over(original: Any, self: Statuses, record: LaunchRecord, *args: Any) -> None:
        original(self, record, *args)
        if record.kill_requested_at is not None and record.slot is not None and record.resources is not None:
            account = self._books.ledger.account(record.slot)
            account.remembered += (Remembered(record.resources, args[-2], "stop"),)
            self._books.ledger.mark(record.slot)

    wrap(patch, Statuses, "_over", over)


@mutation
def a_cut_start_is_still_subtracted(patch: pytest.MonkeyPatch) -> None:
    def uncut(original: Any, self: Reservations, slot: Any, but: str | None = None) -> Ask | None:
        total = original(self, slot, but) or Ask()
        for each in self.by_launch.values():
            if each.slot == slot and each.state is ReservationState.CUT and each.launch_id != but:
                total = total.plus(each.ask)
        return total

    wrap(patch, Reservations, "uncut", uncut)


@mutation
def an_uncut_start_is_not_subtracted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reservations, "uncut", nothing)


@mutation
def invalid_offers_keep_the_leftover(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "forget_leftover", nothing)


@mutation
def a_rescinded_offer_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intake, "rescind", nothing)


@mutation
def the_buffer_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "buffer_on", lambda self, agent: (0, 0))


@mutation
def a_lost_agent_keeps_its_pieces(patch: pytest.MonkeyPatch) -> None:
    def lose_agent(original: Any, ledger: Ledger, agent_id: str, now: float) -> None:
        accounts = ledger.agents[agent_id].accounts if agent_id in ledger.agents else ()
        before = [(account, account.remembered) for account in accounts]
        original(ledger, agent_id, now)
        for account, remembered in before:
            account.remembered = remembered

    wrap(patch, Ledger, "lose_agent", lose_agent)


@mutation
def a_lost_connection_keeps_remembered_pieces(patch: pytest.MonkeyPatch) -> None:
    def disconnect(original: Any, ledger: Ledger) -> None:
        before = [(account, account.remembered) for account in ledger.accounts.values()]
        original(ledger)
        for account, remembered in before:
            account.remembered = remembered

    wrap(patch, Ledger, "disconnect", disconnect)


@mutation
def a_declined_piece_is_not_remembered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "let_go", lambda self, offer_id, now: self._take(offer_id))


@mutation
def a_declined_piece_is_remembered_twice(patch: pytest.MonkeyPatch) -> None:
    def let_go(original: Any, ledger: Ledger, offer_id: str, now: float) -> None:
        account = ledger._offers[offer_id]
        original(ledger, offer_id, now)
        account.remembered += account.remembered[-1:]

    wrap(patch, Ledger, "let_go", let_go)


@mutation
def a_silent_agent_keeps_its_remembered_pieces(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "silent_since", nothing)


# -- offers


@mutation
def an_offer_is_leaked(patch: pytest.MonkeyPatch) -> None:
    def decline(original: Any, self: Matching, now: float) -> None:
        before = len(self._books.effects)
        original(self, now)
        del self._books.effects[before:]

    wrap(patch, Matching, "_decline", decline)


@mutation
def an_accepted_offer_is_declined_as_well(patch: pytest.MonkeyPatch) -> None:
    def accept(original: Any, self: Matching, slot: Any, records: Any, now: float) -> None:
        original(self, slot, records, now)
        self._books.send(Decline([ID(offer_id) for offer_id in records[0].offer_ids], Filters(1.0)))

    wrap(patch, Matching, "_accept", accept)


@mutation
def no_filter_is_named(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(matching, "Filters", nothing)


@mutation
def an_exact_fit_is_refused(patch: pytest.MonkeyPatch) -> None:
    def find(original: Any, self: Placement, ask: Ask, *args: Any, **named: Any) -> Any:
        larger = msgspec.structs.replace(ask, milli_mem=ask.milli_mem + 1)
        return original(self, larger, *args, **named)

    wrap(patch, Placement, "find", find)


@mutation
def an_agent_stays_set_aside(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Matching, "end_aside", nothing)


@mutation
def a_rescind_requeues_a_submitted_launch(patch: pytest.MonkeyPatch) -> None:
    def rescind(original: Any, self: Intake, event: Any, now: float) -> None:
        accepted = self._books.offers.accepted(event.offer_id.value)
        original(self, event, now)
        for launch_id in accepted.launch_ids if accepted is not None else ():
            if self._books.launches[launch_id].state is State.SUBMITTED:
                self._statuses.requeue(self._books.launches[launch_id], now, "rescinded")

    wrap(patch, Intake, "rescind", rescind)


@mutation
def a_promise_that_nothing_keeps_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Revival, "_refuse_promises", nothing)


# -- updates


@mutation
def an_update_is_acknowledged_before_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    def update(original: Any, self: Statuses, status: Any, now: float) -> None:
        original(self, status, now)
        effects = self._books.effects
        acks = [each for each in effects if isinstance(each, Send) and isinstance(each.call, Acknowledge)]
        effects[:] = acks + [each for each in effects if each not in acks]

    wrap(patch, Statuses, "update", update)


@mutation
def an_update_is_not_acknowledged(patch: pytest.MonkeyPatch) -> None:
    def update(original: Any, self: Statuses, status: Any, now: float) -> None:
        original(self, msgspec.structs.replace(status, uuid=None), now)

    wrap(patch, Statuses, "update", update)


@mutation
def an_update_without_uuid_is_acknowledged(patch: pytest.MonkeyPatch) -> None:
    def update(original: Any, self: Statuses, status: Any, now: float) -> None:
        original(self, msgspec.structs.replace(status, uuid=status.uuid or "none"), now)

    wrap(patch, Statuses, "update", update)


@mutation
def a_launch_that_ran_is_started_again(patch: pytest.MonkeyPatch) -> None:
    def lost(original: Any, self: Statuses, record: LaunchRecord, *args: Any) -> None:
        record.started_at = None
        original(self, record, *args)

    wrap(patch, Statuses, "_lost", lost)


@mutation
def an_intent_is_not_stored(patch: pytest.MonkeyPatch) -> None:
    def store(original: Any, self: Books, record: LaunchRecord) -> None:
        if record.state is not State.SUBMITTED:
            original(self, record)

    wrap(patch, Books, "store", store)


@mutation
def a_task_that_nobody_owns_lives_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kills, "stray", nothing)


@mutation
def a_question_does_not_name_the_agent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(questions, "_question", lambda record: ReconcileTask(ID(record.task_id)))


@mutation
def a_kill_is_never_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kills, "again", nothing)


@mutation
def a_launch_without_an_update_is_not_asked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Questions, "confirm", nothing)
    patch.setattr(Questions, "reconcile", nothing)


# -- ends


@mutation
def the_deadline_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Statuses, "deadline", nothing)


@mutation
def an_unreachable_task_is_waited_for_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Statuses, "unreachable_too_long", nothing)


@mutation
def an_ended_stop_never_closes(patch: pytest.MonkeyPatch) -> None:
    def release(original: Any, self: Reservations, launch_id: str) -> Any:
        found = self.by_launch.get(launch_id)
        return None if found is not None and found.ended_at is not None else original(self, launch_id)

    wrap(patch, Reservations, "release", release)


# -- REVIVE and SUPPRESS


@mutation
def a_terminal_update_brings_no_revive(patch: pytest.MonkeyPatch) -> None:
    def over(original: Any, self: Statuses, *args: Any) -> None:
        wanted = self._revival._wanted
        original(self, *args)
        self._revival._wanted = wanted

    wrap(patch, Statuses, "_over", over)


@mutation
def a_revive_takes_no_token(patch: pytest.MonkeyPatch) -> None:
    def revive(original: Any, self: Revival, now: float) -> None:
        self._tokens = self._books.settings.revive_burst
        original(self, now)

    wrap(patch, Revival, "_revive", revive)


@mutation
def a_revive_without_a_token_is_dropped(patch: pytest.MonkeyPatch) -> None:
    def revive(original: Any, self: Revival, now: float) -> None:
        original(self, now)
        self._wanted = False

    wrap(patch, Revival, "_revive", revive)


@mutation
def neighbours_are_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Revival, "again", nothing)


@mutation
def it_suppresses_while_something_waits(patch: pytest.MonkeyPatch) -> None:
    def run(original: Any, self: Revival, now: float) -> None:
        original(self, now)
        if self._books.connected and self._books.queue:
            self._books.send(Suppress())

    wrap(patch, Revival, "run", run)


@mutation
def it_is_never_suppressed(patch: pytest.MonkeyPatch) -> None:
    def run(original: Any, self: Revival, now: float) -> None:
        self.suppressed = True
        original(self, now)

    wrap(patch, Revival, "run", run)


# -- that they are caught


@pytest.mark.parametrize("name", mutation.chosen())
def test_the_random_histories_catch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.is_caught(name, SchedulerMachine, monkeypatch, most=1500)

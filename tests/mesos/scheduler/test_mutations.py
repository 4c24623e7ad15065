"""The random histories fail when any single rule is broken: each mutation here breaks one, and must be caught."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from owmesos.core.ledger import Ledger, Remembered
from owmesos.core.placement import Placement
from owmesos.core.reservations import Reservations, ReservationState
from owmesos.mesos.messages import ID, Acknowledge, Decline, Filters, ReconcileTask, Suppress
from owmesos.mesos.scheduler import matching, reconciliation, task_updates
from owmesos.mesos.scheduler.agents import Agents
from owmesos.mesos.scheduler.blame import RECONCILIATION
from owmesos.mesos.scheduler.effects import SendCall
from owmesos.mesos.scheduler.events import CallNotTaken
from owmesos.mesos.scheduler.kills import Kills
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State, Trigger
from owmesos.mesos.scheduler.matching import Matching
from owmesos.mesos.scheduler.reconciliation import Reconciliation
from owmesos.mesos.scheduler.revive import SuppressReviveHandler
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.state import SchedulerState
from owmesos.mesos.scheduler.task_updates import TaskUpdates
from owmesos.resources import Ask
from tests.mesos.scheduler.test_machine import SchedulerMachine, SmallOffersMachine, SmallSchedulerMachine
from tests.mutations import Mutations, nothing, wrap

mutation = Mutations()
HISTORIES = {SmallOffersMachine: 40, SmallSchedulerMachine: 80, SchedulerMachine: 1500}  # the cheap ones first


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
    def over(original: Any, self: TaskUpdates, record: LaunchRecord, *args: Any) -> None:
        original(self, record, *args)
        if record.kill_requested_at is not None and record.slot is not None and record.resources is not None:
            account = self._state.ledger.account(record.slot)
            account.remembered += (Remembered(record.resources, args[-2], "stop"),)
            self._state.ledger.mark(record.slot)

    wrap(patch, TaskUpdates, "_over", over)


@mutation
def a_cut_start_is_still_subtracted(patch: pytest.MonkeyPatch) -> None:
    def reserved_on(original: Any, self: Reservations, slot: Any, but: str | None = None) -> Ask | None:
        total = original(self, slot, but) or Ask()
        for each in self.by_launch.values():
            if each.slot == slot and each.state is ReservationState.CUT and each.launch_id != but:
                total = total.plus(each.ask)
        return total

    wrap(patch, Reservations, "reserved_on", reserved_on)


@mutation
def a_reserved_start_is_not_subtracted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reservations, "reserved_on", nothing)


@mutation
def invalid_offers_keep_the_leftover(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "forget_leftover", nothing)


@mutation
def a_rescinded_offer_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Agents, "rescind", nothing)


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
    patch.setattr(Ledger, "remember", nothing)


@mutation
def a_declined_piece_is_remembered_twice(patch: pytest.MonkeyPatch) -> None:
    def remember(original: Any, ledger: Ledger, slot: Any, *args: Any) -> None:
        original(ledger, slot, *args)
        ledger.account(slot).remembered += ledger.account(slot).remembered[-1:]

    wrap(patch, Ledger, "remember", remember)


@mutation
def a_silent_agent_keeps_its_remembered_pieces(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "silent_since", nothing)


# -- offers


@mutation
def an_offer_is_leaked(patch: pytest.MonkeyPatch) -> None:
    def decline(original: Any, self: Matching, now: float) -> None:
        before = len(self._state.effects)
        original(self, now)
        del self._state.effects[before:]

    wrap(patch, Matching, "_decline", decline)


@mutation
def an_accepted_offer_is_declined_as_well(patch: pytest.MonkeyPatch) -> None:
    def accept(original: Any, self: Matching, slot: Any, records: Any, now: float) -> None:
        original(self, slot, records, now)
        self._state.send(Decline([ID(offer_id) for offer_id in records[0].offer_ids], Filters(1.0)))

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
    def rescind(original: Any, self: Agents, event: Any, now: float) -> None:
        accepted = self._state.offers.accepted(event.offer_id.value)
        original(self, event, now)
        for launch_id in accepted.launch_ids if accepted is not None else ():
            if self._state.launches[launch_id].state is State.SUBMITTED:
                self._task_updates.requeue(self._state.launches[launch_id], now, "rescinded")

    wrap(patch, Agents, "rescind", rescind)


@mutation
def a_promise_that_nothing_keeps_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SuppressReviveHandler, "_refuse_reserved", nothing)


# -- updates


@mutation
def an_update_is_acknowledged_before_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    def update(original: Any, self: TaskUpdates, status: Any, now: float) -> None:
        original(self, status, now)
        effects = self._state.effects
        acks = [each for each in effects if isinstance(each, SendCall) and isinstance(each.call, Acknowledge)]
        effects[:] = acks + [each for each in effects if each not in acks]

    wrap(patch, TaskUpdates, "update", update)


@mutation
def an_update_is_not_acknowledged(patch: pytest.MonkeyPatch) -> None:
    def update(original: Any, self: TaskUpdates, status: Any, now: float) -> None:
        original(self, msgspec.structs.replace(status, uuid=None), now)

    wrap(patch, TaskUpdates, "update", update)


@mutation
def an_update_without_uuid_is_acknowledged(patch: pytest.MonkeyPatch) -> None:
    def update(original: Any, self: TaskUpdates, status: Any, now: float) -> None:
        original(self, msgspec.structs.replace(status, uuid=status.uuid or "none"), now)

    wrap(patch, TaskUpdates, "update", update)


@mutation
def a_launch_that_ran_is_started_again(patch: pytest.MonkeyPatch) -> None:
    def lost(original: Any, self: TaskUpdates, record: LaunchRecord, *args: Any) -> None:
        record.started_at = None
        original(self, record, *args)

    wrap(patch, TaskUpdates, "_lost", lost)


@mutation
def an_intent_is_not_stored(patch: pytest.MonkeyPatch) -> None:
    def store(original: Any, self: SchedulerState, record: LaunchRecord) -> None:
        if record.state is not State.SUBMITTED:
            original(self, record)

    wrap(patch, SchedulerState, "store", store)


@mutation
def a_task_that_nobody_owns_lives_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kills, "stray", nothing)


@mutation
def a_question_does_not_name_the_agent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconciliation, "_question", lambda record: ReconcileTask(ID(record.task_id)))


@mutation
def a_kill_is_never_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kills, "again", nothing)


@mutation
def a_launch_without_an_update_is_not_asked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reconciliation, "confirm", nothing)
    patch.setattr(Reconciliation, "reconcile", nothing)


# -- what may have run


@mutation
def an_accept_without_an_answer_counts_as_never_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CallNotTaken, "certain", True)


@mutation
def gone_as_an_answer_is_always_proof(patch: pytest.MonkeyPatch) -> None:
    def may_have_run(original: Any, self: TaskUpdates, record: LaunchRecord, status: Any) -> Any:
        answer = status.reason == RECONCILIATION and not record.delivered
        return None if answer else original(self, record, status)

    wrap(patch, TaskUpdates, "_may_have_run", may_have_run)


@mutation
def a_lost_task_counts_as_dropped(patch: pytest.MonkeyPatch) -> None:
    def may_have_run(original: Any, self: TaskUpdates, record: LaunchRecord, status: Any) -> Any:
        lost = status.state in ("TASK_LOST", "TASK_GONE_BY_OPERATOR") and not record.delivered
        return None if lost else original(self, record, status)

    wrap(patch, TaskUpdates, "_may_have_run", may_have_run)


@mutation
def that_an_executor_had_it_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def may_have_run(original: Any, self: TaskUpdates, record: LaunchRecord, status: Any) -> Any:
        return original(self, msgspec.structs.replace(record, delivered=False), status)

    wrap(patch, TaskUpdates, "_may_have_run", may_have_run)


@mutation
def that_an_executor_had_it_is_not_stored(patch: pytest.MonkeyPatch) -> None:
    def stored_form(original: Any, self: LaunchRecord) -> bytes:
        form: bytes = original(msgspec.structs.replace(self, delivered=False))
        return form

    wrap(patch, LaunchRecord, "stored_form", stored_form)


@mutation
def what_may_run_twice_is_not_started_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(task_updates, "LOST", "never")


@mutation
def what_was_given_up_lives_on(patch: pytest.MonkeyPatch) -> None:
    def late(original: Any, self: TaskUpdates, record: LaunchRecord, *args: Any) -> None:
        record.given_up = False
        original(self, record, *args)

    wrap(patch, TaskUpdates, "_late", late)


@mutation
def an_accept_that_may_have_been_sent_is_sent_again(patch: pytest.MonkeyPatch) -> None:
    def restore(original: Any, self: Scheduler, *args: Any, **named: Any) -> None:
        original(self, *args, **{**named, "sent_until": 0.0})

    wrap(patch, Scheduler, "restore", restore)


# -- ends


@mutation
def a_late_end_counts_as_a_failure(patch: pytest.MonkeyPatch) -> None:
    def over(original: Any, self: TaskUpdates, record: LaunchRecord, trigger: Any, *args: Any) -> None:
        original(self, record, Trigger.FAILED if record.overdue else trigger, *args)

    wrap(patch, TaskUpdates, "_over", over)


@mutation
def an_end_after_a_kill_counts_as_killed(patch: pytest.MonkeyPatch) -> None:
    def over(original: Any, self: TaskUpdates, record: LaunchRecord, trigger: Any, *args: Any) -> None:
        original(self, record, Trigger.KILLED if record.kill_requested_at is not None else trigger, *args)

    wrap(patch, TaskUpdates, "_over", over)


@mutation
def an_overdue_task_is_not_killed(patch: pytest.MonkeyPatch) -> None:
    def kill(original: Any, self: TaskUpdates, record: LaunchRecord, *args: Any) -> None:
        if not record.overdue:
            original(self, record, *args)

    wrap(patch, TaskUpdates, "kill", kill)


@mutation
def a_hung_executor_is_not_shut_down(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kills, "_shut_down", nothing)


@mutation
def an_executor_is_shut_down_at_once(patch: pytest.MonkeyPatch) -> None:
    def silent_for(original: Any, self: Kills, record: LaunchRecord, now: float) -> float:
        silent: float = original(self, record, now)
        return silent + self._state.settings.kill_escalate if silent < self._state.settings.kill_escalate else silent

    wrap(patch, Kills, "silent_for", silent_for)


@mutation
def a_kill_that_nobody_answers_never_ends(patch: pytest.MonkeyPatch) -> None:
    def kill_again(self: TaskUpdates, record: LaunchRecord, now: float) -> None:
        self._kills.again(record, now)

    patch.setattr(TaskUpdates, "kill_again", kill_again)


@mutation
def the_deadline_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TaskUpdates, "deadline", nothing)


@mutation
def an_unreachable_task_is_waited_for_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TaskUpdates, "unreachable_too_long", nothing)


@mutation
def an_ended_stop_never_closes(patch: pytest.MonkeyPatch) -> None:
    def release(original: Any, self: Reservations, launch_id: str) -> Any:
        found = self.by_launch.get(launch_id)
        return None if found is not None and found.ended_at is not None else original(self, launch_id)

    wrap(patch, Reservations, "release", release)


# -- REVIVE and SUPPRESS


@mutation
def a_terminal_update_brings_no_revive(patch: pytest.MonkeyPatch) -> None:
    def over(original: Any, self: TaskUpdates, *args: Any) -> None:
        wanted = self._revive._wanted
        original(self, *args)
        self._revive._wanted = wanted

    wrap(patch, TaskUpdates, "_over", over)


@mutation
def a_revive_takes_no_token(patch: pytest.MonkeyPatch) -> None:
    def revive(original: Any, self: SuppressReviveHandler, now: float) -> None:
        self._tokens = self._state.settings.revive_burst
        original(self, now)

    wrap(patch, SuppressReviveHandler, "_revive", revive)


@mutation
def a_revive_without_a_token_is_dropped(patch: pytest.MonkeyPatch) -> None:
    def revive(original: Any, self: SuppressReviveHandler, now: float) -> None:
        original(self, now)
        self._wanted = False

    wrap(patch, SuppressReviveHandler, "_revive", revive)


@mutation
def neighbours_are_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SuppressReviveHandler, "again", nothing)


@mutation
def it_suppresses_while_something_waits(patch: pytest.MonkeyPatch) -> None:
    def run(original: Any, self: SuppressReviveHandler, now: float) -> None:
        original(self, now)
        if self._state.connected and self._state.queue:
            self._state.send(Suppress())

    wrap(patch, SuppressReviveHandler, "run", run)


@mutation
def it_is_never_suppressed(patch: pytest.MonkeyPatch) -> None:
    def run(original: Any, self: SuppressReviveHandler, now: float) -> None:
        self.suppressed = True
        original(self, now)

    wrap(patch, SuppressReviveHandler, "run", run)


# -- that they are caught


@pytest.mark.parametrize("name", mutation)
def test_the_random_histories_catch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.is_caught(name, HISTORIES, monkeypatch)

"""Reconciliation: what is asked of the master because no update came, or none can be trusted.

After a subscription every live task is asked for, with back-off, until it has a fresh answer, always with its agent's
id, for without it the task of an unreachable agent is TASK_UNKNOWN (docs/reconciliation.md; measured). RECONCILE is
dropped in silence for seconds after a master's failover, so no question is asked only once.
"""

from __future__ import annotations

from collections.abc import Iterable

from owmesos.mesos.messages import ID, Reconcile, ReconcileTask
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.state import SchedulerState, SchedulerTimer

_ASK_AGAIN = 0.5  # seconds: sooner the answer to the last question may be under way


class Reconciliation:
    """Which launches are asked for, and when next."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        self._unanswered: dict[str, LaunchRecord] = {}  # without a fresh answer since the subscription
        self._pauses: dict[str, float] = {}  # launch id → its present pause between questions
        self._cut_off: dict[str, LaunchRecord] = {}  # UNREACHABLE
        self._pause = state.settings.reconcile_first
        self._asked_at = 0.0

    def subscribed(self, now: float) -> None:
        """Ask for every live task, with back-off until each has answered, and for those that we do not know."""
        state = self._state
        self._unanswered = dict(sorted(state.tasks.items()))
        self._pause = state.settings.reconcile_first
        self.reconcile(now)
        state.send(Reconcile())
        state.timers.set(SchedulerTimer.RECONCILE_ALL, now + state.settings.reconcile_implicit)

    def answered(self, record: LaunchRecord) -> None:
        """Note that an update came."""
        self._unanswered.pop(record.id, None)
        self._pauses.pop(record.id, None)

    def in_doubt(self, record: LaunchRecord) -> bool:
        """Whether a task of it may have done what the master could not tell us yet."""
        if record.state not in (State.SUBMITTED, State.STAGING):
            return False
        return not self._state.connected or record.id in self._unanswered

    def over(self, record: LaunchRecord) -> None:
        """Forget a launch of which there is nothing more to ask."""
        self.answered(record)
        self.back(record)
        self._state.timers.cancel((SchedulerTimer.CONFIRM, record.id))

    def reconcile(self, now: float) -> None:
        """Ask for all that have not answered, in one call."""
        state = self._state
        if not self._unanswered or not state.connected:
            return
        self._ask(self._unanswered.values())
        self._asked_at = now
        state.timers.set(SchedulerTimer.RECONCILE, now + self._pause)
        self._pause = min(state.settings.reconcile_most, self._pause * 2)

    def reconcile_all(self, now: float) -> None:
        """Implicit reconciliation, now and then, while there is anything to be wrong about."""
        if self._state.tasks and self._state.connected:
            self._state.send(Reconcile())
        self._state.timers.set(SchedulerTimer.RECONCILE_ALL, now + self._state.settings.reconcile_implicit)

    def confirm(self, record: LaunchRecord, now: float) -> None:
        """Ask for a launch that got no update in its time, again and again."""
        state = self._state
        if record.state not in (State.SUBMITTED, State.STAGING):
            return
        state.ledger.reservations.overdue(record.id)
        if state.connected:
            record.add_story_line(now, "no update came in time: reconciling")
        self._ask([record])
        pause = min(state.settings.confirm_most, self._pauses.get(record.id, state.settings.confirm_after) * 2)
        self._pauses[record.id] = pause
        state.timers.set((SchedulerTimer.CONFIRM, record.id), now + pause)

    def agents_offer(self, agent_ids: set[str], now: float) -> None:
        """They are registered. A master that was silent about their tasks after its failover can answer now, and no
        update may ever tell what became of those that were cut off."""
        asked = {key: record for key, record in self._cut_off.items() if record.agent_id in agent_ids}
        for launch_id in asked:
            self._state.timers.set((SchedulerTimer.ASK, launch_id), now + self._state.settings.unreachable_ask)
        if now >= self._asked_at + _ASK_AGAIN:
            asked |= {key: record for key, record in self._unanswered.items() if record.agent_id in agent_ids}
        self._ask(asked.values())

    # -- tasks of unreachable agents

    def cut_off(self, record: LaunchRecord, first: float) -> None:
        """From `first` on it is asked for every minute, until `back`."""
        self._cut_off[record.id] = record
        self._state.timers.cancel((SchedulerTimer.CONFIRM, record.id))
        self._state.timers.set((SchedulerTimer.ASK, record.id), first)

    def back(self, record: LaunchRecord) -> None:
        self._cut_off.pop(record.id, None)
        self._state.timers.cancel((SchedulerTimer.ASK, record.id))

    def ask(self, record: LaunchRecord, now: float) -> None:
        """What became of a task that was cut off."""
        self._ask([record])
        self._state.timers.set((SchedulerTimer.ASK, record.id), now + self._state.settings.unreachable_ask)

    def _ask(self, records: Iterable[LaunchRecord]) -> None:
        tasks = [_question(record) for record in records]
        if tasks and self._state.connected:
            self._state.send(Reconcile(tasks))


def _question(record: LaunchRecord) -> ReconcileTask:
    slot, _, _, task_id = record.attempt
    return ReconcileTask(ID(task_id), ID(slot.agent_id))

"""What becomes of tasks: the master's updates and what they mean for their launches.

An update with a uuid is acknowledged once its effect is stored, whatever it is; one without must not be
(docs/scheduler-http-api.md). TASK_DROPPED with REASON_INVALID_OFFERS is a matter for the queue, not a failure
(docs/task-state-reasons.md). UNREACHABLE and LOST may come back (mesos.proto, TaskState): an ended launch whose task
lives on gets a KILL. Of what was lost before it ran only TASK_DROPPED says that "the task's executor never started
running" (mesos.proto): after anything else the task may have run, and is started again only for an asker who allowed
that. GONE is also said of a task whose ACCEPT is still on its way to an agent that the master had given up meanwhile
(seen on Mesos 1.11.0).
"""

from __future__ import annotations

from owmesos.mesos.messages import Acknowledge, TaskStatus
from owmesos.mesos.scheduler.blame import INVALID_OFFERS, RECONCILIATION, Blame
from owmesos.mesos.scheduler.effects import ForgetRecord, LaunchRefused
from owmesos.mesos.scheduler.kills import LIVE_STATES, Kills
from owmesos.mesos.scheduler.launch import LOST, SAFE
from owmesos.mesos.scheduler.launches import MAX_LINE, LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State, Trigger
from owmesos.mesos.scheduler.reconciliation import Reconciliation
from owmesos.mesos.scheduler.revive import SuppressReviveHandler
from owmesos.mesos.scheduler.state import SchedulerState, SchedulerTimer
from owmesos.mesos.scheduler.status_words import UNHEALTHY, end_message, is_not_run, story_text

_ENDS = {
    "TASK_FINISHED": Trigger.FINISHED,
    "TASK_FAILED": Trigger.FAILED,
    "TASK_KILLED": Trigger.KILLED,
    "TASK_ERROR": Trigger.REFUSED,
}
_BY_EXECUTOR = frozenset({"TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"})
# Before it ever ran the launch may get another attempt after these; afterwards they are its end.
_LOSSES = frozenset({"TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNKNOWN"})
_OVER = frozenset({"TASK_DROPPED", "TASK_GONE"})  # those that say that no task is left (mesos.proto, TaskState)
DEADLINE = "DEADLINE"
NO_ANSWER = "NO_ANSWER"
START_REFUSED = "START_REFUSED"
ENDED_SHOWN = 10.0
"""Seconds that an ended launch is known at least: who asked for many can see what became of all."""


class TaskUpdates:
    """Decides on the state what updates and their absence mean."""

    def __init__(
        self, state: SchedulerState, revive: SuppressReviveHandler, reconciliation: Reconciliation, kills: Kills
    ) -> None:
        self._state = state
        self._revive = revive
        self._reconciliation = reconciliation
        self._kills = kills
        self.blame = Blame(state)
        self._ended: dict[str, None] = {}

    # -- updates

    def update(self, status: TaskStatus, now: float) -> None:
        """One UPDATE event. The acknowledgement comes after whatever it makes us store."""
        state = self._state
        task_id = status.task_id.value
        launch_id = state.launch_of(task_id)
        record = state.launches.get(launch_id or "")
        if launch_id in state.unreadable:
            state.note("debug", f"task {task_id} of launch {launch_id}, which is set aside: {story_text(status)}")
        elif record is None:
            self._kills.stray(status, now, "it belongs to no known launch")
        elif record.task_id != task_id or not record.state.live:
            self._late(record, status, now)
        else:
            self._current(record, status, now)
        if status.uuid is not None and status.agent_id is not None:
            state.send(Acknowledge(status.agent_id, status.task_id, status.uuid))

    def _current(self, record: LaunchRecord, status: TaskStatus, now: float) -> None:
        state, task_state = self._state, status.state
        self._reconciliation.answered(record)
        text = story_text(status)
        if task_state != "TASK_UNREACHABLE":
            state.offers.settled(record.offer_ids)
        if not record.delivered and (task_state in _BY_EXECUTOR or status.source == "SOURCE_EXECUTOR"):
            record.delivered = True
            state.store(record)
        if task_state == "TASK_RUNNING":
            self._running(record, status.healthy, now, text)
        elif task_state in LIVE_STATES:
            self._lives(record, now, text)
        elif task_state == "TASK_UNREACHABLE":
            self._unreachable(record, now, text)
        elif task_state in _ENDS:
            blamed = task_state == "TASK_FAILED" and not record.ran and record.kill_requested_at is None
            if blamed:
                self.blame.failed(record, text, now)
                if is_not_run(status) and record.resources is not None and record.resources.ports:
                    state.spread_ports(now)
            message = end_message(status, asked=record.kill_requested_at is not None)
            self._over(record, _ENDS[task_state], status.reason, message, now, text)
            if blamed:
                self._end_hopeless(record, now)
        elif task_state in _LOSSES:
            self._lost(record, status, now, text)
        else:
            record.add_story_line(now, text)  # whatever a later Mesos adds

    def _lives(self, record: LaunchRecord, now: float, text: str) -> None:
        """STAGING, STARTING or KILLING: what was cut off is back, also if that is not a step forward."""
        state = self._state
        if record.state not in (State.SUBMITTED, State.UNREACHABLE):
            record.add_story_line(now, text)
        elif record.observe(Trigger.RAN if record.ran else Trigger.STAGED, now, text):
            self._back(record, now)
            state.store(record)
        if not record.ran:
            state.timers.set((SchedulerTimer.CONFIRM, record.id), now + state.settings.confirm_most)

    def _running(self, record: LaunchRecord, healthy: bool | None, now: float, text: str) -> None:
        state = self._state
        if healthy is not None and not record.overdue:
            record.message = None if healthy else UNHEALTHY
        if record.state is State.RUNNING:
            record.add_story_line(now, text)
            if healthy is not None:
                state.store(record)
            return
        record.observe(Trigger.RAN, now, text)
        self._back(record, now)
        if record.started_at is None:
            record.started_at = now
            state.counts[record.managed].running_after.observe(now - record.submitted_at)
            self.blame.ran(record, now)
        reservation = state.ledger.reservations.by_launch.get(record.id)
        if reservation is not None and reservation.kind == "start":
            state.ledger.release(record.id)
        state.timers.cancel((SchedulerTimer.DEADLINE, record.id))
        state.timers.cancel((SchedulerTimer.CONFIRM, record.id))
        state.store(record)

    def _unreachable(self, record: LaunchRecord, now: float, text: str) -> None:
        state = self._state
        if record.state is State.UNREACHABLE:
            return
        record.observe(Trigger.CUT_OFF, now, text)
        record.unreachable_at = now
        state.lose_agent(record.attempt[0].agent_id, now)
        self._kills.over(record)
        self._reconciliation.cut_off(record, now + state.settings.unreachable_ask)
        state.timers.set((SchedulerTimer.UNREACHABLE, record.id), now + state.settings.unreachable_timeout)
        if not record.ran:
            state.timers.set((SchedulerTimer.DEADLINE, record.id), record.deadline_at)
        state.store(record)

    def _back(self, record: LaunchRecord, now: float) -> None:
        if record.unreachable_at is not None:
            record.unreachable_at = None
            self._reconciliation.back(record)
            self._state.timers.cancel((SchedulerTimer.UNREACHABLE, record.id))
            if record.kill_requested_at is not None:
                self._kills.again(record, now)  # those that were sent meanwhile reached nobody

    def _lost(self, record: LaunchRecord, status: TaskStatus, now: float, text: str) -> None:
        """DROPPED, GONE, LOST or UNKNOWN: another attempt if it surely did not run, or may run twice, else the end."""
        state, slot = self._state, record.attempt[0]
        if status.state == "TASK_GONE_BY_OPERATOR":
            state.lose_agent(slot.agent_id, now)
        if status.reason == INVALID_OFFERS and record.offer_ids:
            state.ledger.forget_leftover(slot, record.offer_ids[0])
        if record.ran or record.kill_requested_at is not None or record.overdue:
            asked = record.kill_requested_at is not None and not record.overdue
            trigger = Trigger.KILLED if asked and self._no_task_is_left(record, status) else Trigger.LOST
            record.given_up = True
            self._over(record, trigger, status.reason or status.state, status.message, now, text)
            return
        if self.blame.lost(record, status, text, now):
            message = self.blame.hopeless(record) or status.message
            self._over(record, Trigger.FAILED, status.reason, message, now, text)
            self._end_hopeless(record, now)
            return
        why = self._may_have_run(record, status)
        if why is None or record.managed or record.launch.retry == LOST:
            self.requeue(record, now, text)
            return
        record.given_up = True
        message = f"{status.message or status.state}: {why}, so it is not started again (retry is {SAFE}, not {LOST})"
        self._over(record, Trigger.LOST, status.reason or status.state, message, now, f"{text}: {why}")

    def _no_task_is_left(self, record: LaunchRecord, status: TaskStatus) -> bool:
        """Nor is one still on its way to the agent: a partitioned agent may say that it has no such task, and get the
        launch that was held up a moment later (seen on Mesos 1.11.0)."""
        arrived = record.ran or record.delivered
        return status.state in _OVER and (arrived or self._may_have_run(record, status) is None)

    def _may_have_run(self, record: LaunchRecord, status: TaskStatus) -> str | None:
        """Why a task that was lost before RUNNING may have run all the same; None when it certainly did not."""
        if record.delivered:
            return "an executor had its task"
        if status.state == "TASK_DROPPED" or status.reason == INVALID_OFFERS:
            return None
        if status.state == "TASK_GONE" and status.reason == RECONCILIATION and record.state is State.SUBMITTED:
            return "its ACCEPT may have arrived"
        return "nobody knows whether an executor had its task"

    def never_sent(self, record: LaunchRecord, now: float, text: str) -> None:
        """Its ACCEPT certainly did not arrive."""
        if record.kill_requested_at is not None:
            text = f"killed on request; {text}"
            self._over(record, Trigger.KILLED, "KILLED", text, now, text)
        else:
            self.requeue(record, now, text)

    def requeue(self, record: LaunchRecord, now: float, text: str) -> None:
        """The attempt is over without having run: back to the old place in the queue."""
        state = self._state
        if not record.observe(Trigger.REQUEUED, now, text):
            return
        self._leave(record)
        state.counts[record.managed].requeued += 1
        state.ledger.release(record.id)
        record.message = text[:MAX_LINE]
        record.queued_at = now
        record.unreachable_at = None
        record.delivered = False
        state.timers.set((SchedulerTimer.DEADLINE, record.id), record.deadline_at)
        state.queue.add(record)
        state.store(record)
        self._revive.want()
        if record.managed:
            state.emit(LaunchRefused(record.id, text))
            state.refused.append(record)

    def drop_refused(self, now: float) -> None:
        """Managed launches that were not placed are over: the pool decides again."""
        refused, self._state.refused = self._state.refused, []
        for record in refused:
            if record.state.waiting:
                record.given_up = record.attempts > 0  # dropped, it was said, and may come back all the same
                self.end(record, Trigger.KILLED, START_REFUSED, f"left to the pool: {record.message}", now)

    def _end_hopeless(self, failed: LaunchRecord, now: float) -> None:
        """Enough attempts of launches like the one that `failed`: those that wait end as well."""
        text = self.blame.hopeless(failed)
        if text is None:
            return
        for record in self._state.queue:
            if not record.managed and record.launch.start_key == failed.launch.start_key:
                self.end(record, Trigger.FAILED, failed.reason, text, now)

    def _over(
        self, record: LaunchRecord, trigger: Trigger, reason: str | None, message: str | None, now: float, text: str
    ) -> None:
        """The task ended: the launch ends as the master says, however late."""
        state = self._state
        if not record.observe(trigger, now, text):
            return
        if record.overdue and trigger is Trigger.KILLED:
            reason, message = DEADLINE, f"{record.message}; {_first_seen(record)}, and killed"
        elif record.kill_requested_at is not None and message is None and trigger is Trigger.KILLED:
            message = "killed on request"
        reservation = state.ledger.reservations.by_launch.get(record.id)
        if reservation is not None and reservation.kind == "stop" and state.anything_waits:
            reservation.ended_at = now
        else:
            state.ledger.release(record.id)
        self._ended_with(record, reason, message, now)
        if state.anything_waits:
            self._revive.want()

    def end(self, record: LaunchRecord, trigger: Trigger, reason: str | None, text: str, now: float) -> None:
        """We end the launch. A task of it that may still live is killed if it comes back."""
        record.given_up |= record.state.live
        record.step(trigger, now, text)
        self._state.ledger.release(record.id)
        self._ended_with(record, reason, text, now)

    def _ended_with(self, record: LaunchRecord, reason: str | None, message: str | None, now: float) -> None:
        state = self._state
        record.ended_at = now
        record.reason = reason[:MAX_LINE] if reason is not None else None
        record.message = message[:MAX_LINE] if message is not None else None
        self._leave(record)
        self._ended[record.id] = None
        state.counts[record.managed].ended[record.state] += 1
        state.store(record)
        if len(self._ended) > state.settings.keep_ended:
            state.timers.set_earliest(SchedulerTimer.FORGET_ENDED, now + ENDED_SHOWN)

    def forget_ended(self, now: float) -> None:
        """The last `keep_ended` stay known, and those that ended a moment ago."""
        state = self._state
        while len(self._ended) > state.settings.keep_ended:
            oldest = next(iter(self._ended))
            known_until = (state.launches[oldest].ended_at or 0.0) + ENDED_SHOWN
            if known_until > now:
                state.timers.set(SchedulerTimer.FORGET_ENDED, known_until)
                return
            del self._ended[oldest]
            state.ledger.release(oldest)
            del state.launches[oldest]
            state.emit(ForgetRecord(oldest))

    def _late(self, record: LaunchRecord, status: TaskStatus, now: float) -> None:
        """An update of an ended launch, or of an attempt that was given up."""
        end_seen = record.task_id == status.task_id.value and record.state.ended and not record.given_up
        lives = status.state in LIVE_STATES
        what = "came back after it was given up and is being killed" if lives and not end_seen else "ignored"
        record.add_story_line(now, f"{what}: {story_text(status)}")
        if not (lives and end_seen):
            self._kills.stray(status, now, f"launch {record.id} had given it up")

    def refused(self, record: LaunchRecord, text: str, now: float) -> None:
        """The master does not take the launch's task at all."""
        self._over(record, Trigger.REFUSED, "REFUSED", text, now, text)

    # -- after a restart

    def restore(self, record: LaunchRecord, now: float) -> None:
        """One that does not wait. If a task of it may run, it is counted, and asked for once we are subscribed."""
        if record.state.ended:
            self._ended[record.id] = None
            return
        state = self._state
        slot = record.attempt[0]
        state.meet(slot, record.hostname or slot.agent_id)
        state.task_lives(record)
        if record.kill_requested_at is not None:
            state.ledger.reservations.stopping(record.id, *record.attempt, record.kill_requested_at)
            state.timers.set((SchedulerTimer.KILL, record.id), now + state.settings.kill_repeat)
        elif not record.ran:
            state.ledger.reservations.restored(record.id, *record.attempt, now)
            state.timers.set((SchedulerTimer.CONFIRM, record.id), now + state.settings.confirm_after)
        if record.state is State.UNREACHABLE:
            self._reconciliation.cut_off(record, now)
            since = record.unreachable_at if record.unreachable_at is not None else now
            state.timers.set((SchedulerTimer.UNREACHABLE, record.id), since + state.settings.unreachable_timeout)

    # -- kills

    def kill(self, record: LaunchRecord, now: float, text: str) -> None:
        """Somebody wants the launch to end."""
        if record.state.waiting:
            self.end(record, Trigger.KILLED, "KILLED", text, now)
        elif record.state.live and record.kill_requested_at is None:
            record.kill_requested_at = now
            record.add_story_line(now, text)
            self._kills.begin(record, now)

    def kill_again(self, record: LaunchRecord, now: float) -> None:
        """The end that was asked for is not seen yet."""
        silent = self._kills.silent_for(record, now)
        if silent < self._state.settings.kill_give_up:
            self._kills.again(record, now)
            return
        wish = record.message if record.overdue else "killed on request"
        text = (
            f"{wish}; agent {record.agent_id} has answered neither KILL nor SHUTDOWN for {silent:.0f} s:"
            " its task may still run, and is killed when its agent reports it"
        )
        self._kills.leave(record, now)
        self.end(record, Trigger.LOST, NO_ANSWER, text, now)

    # -- what takes too long

    def unreachable_too_long(self, record: LaunchRecord, now: float) -> None:
        text = f"agent {record.agent_id} was unreachable for {self._state.settings.unreachable_timeout:.0f} s"
        self.end(record, Trigger.LOST, "UNREACHABLE", text, now)

    def deadline(self, record: LaunchRecord, now: float) -> None:
        """It bounds the time to RUNNING."""
        if record.ran:
            return
        latest = record.deadline_at + self._state.settings.confirm_after
        if self._reconciliation.in_doubt(record) and now < latest:
            self._state.timers.set((SchedulerTimer.DEADLINE, record.id), latest)
            return
        record.overdue = True
        where = f"its task on agent {record.agent_id} is {record.state.value}"
        why = self._state.explain(record).summary if record.state.waiting else where
        text = f"not seen running within {record.launch.deadline:g} s: {why}"
        if record.state.waiting or record.state is State.UNREACHABLE:
            self.end(record, Trigger.FAILED, DEADLINE if record.state.waiting else "UNREACHABLE", text, now)
        else:
            record.message = text
            if record.state is State.STAGING:  # SUBMITTED may be a call that was lost
                self.blame.failed(record, text, now)
            self.kill(record, now, text)

    def _leave(self, record: LaunchRecord) -> None:
        """It waits no more, and has no task any more."""
        self._state.queue.remove(record)
        self._state.task_over(record)
        for name in (SchedulerTimer.DEADLINE, SchedulerTimer.KILL, SchedulerTimer.UNREACHABLE):
            self._state.timers.cancel((name, record.id))
        self._kills.over(record)
        self._reconciliation.over(record)


def _first_seen(record: LaunchRecord) -> str:
    """Says when a launch was first seen running whose deadline has passed."""
    if record.started_at is None:
        return "it was never seen running"
    return f"it was first seen running {record.late or 0.0:.3g} s after its deadline"

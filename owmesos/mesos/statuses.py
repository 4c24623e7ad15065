"""What becomes of tasks: the master's updates and what they mean for their launches.

Rules and where they come from. An update with a uuid is acknowledged once its effect is stored, whatever it is; one
without must not be (docs/scheduler-http-api.md). TASK_DROPPED with REASON_INVALID_OFFERS is a matter for the queue, not
a failure (docs/task-state-reasons.md). UNREACHABLE may come back, and LOST may too (mesos.proto, TaskState): an ended
launch whose task lives on gets a KILL.
"""

from __future__ import annotations

from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State, Trigger
from owmesos.mesos.books import Books
from owmesos.mesos.effects import ForgetLaunch, StartRefused
from owmesos.mesos.kills import LIVE_STATES, Kills
from owmesos.mesos.messages import Acknowledge, TaskStatus
from owmesos.mesos.questions import Questions
from owmesos.mesos.revival import Revival

_ENDS = {
    "TASK_FINISHED": Trigger.FINISHED,
    "TASK_FAILED": Trigger.FAILED,
    "TASK_KILLED": Trigger.KILLED,
    "TASK_ERROR": Trigger.REFUSED,
}
# Before it ever ran the launch gets another attempt after these; afterwards they are its end.
_LOSSES = frozenset({"TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNKNOWN"})
INVALID_OFFERS = "REASON_INVALID_OFFERS"
RECONCILIATION = "REASON_RECONCILIATION"
DEADLINE = "DEADLINE"
START_REFUSED = "START_REFUSED"


class Statuses:
    """Decides on the books what updates and their absence mean."""

    def __init__(self, books: Books, revival: Revival, questions: Questions, kills: Kills) -> None:
        self._books = books
        self._revival = revival
        self._questions = questions
        self._kills = kills
        self._ended: dict[str, None] = {}

    # -- updates

    def update(self, status: TaskStatus, now: float) -> None:
        """One UPDATE event. The acknowledgement comes after whatever it makes us store."""
        books = self._books
        task_id = status.task_id.value
        launch_id = books.by_task.get(task_id)
        record = books.launches.get(launch_id) if launch_id is not None else None
        if record is None:
            self._kills.stray(status, now, "no launch of ours is known by it")
        elif record.task_id != task_id or not record.state.live:
            self._late(record, status, now)
        else:
            self._current(record, status, now)
        if status.uuid is not None and status.agent_id is not None:
            books.send(Acknowledge(status.agent_id, status.task_id, status.uuid))

    def _current(self, record: LaunchRecord, status: TaskStatus, now: float) -> None:
        books, state = self._books, status.state
        self._questions.answered(record)
        text = _text(status)
        if state != "TASK_UNREACHABLE":
            books.offers.settled(record.offer_ids)
        if state == "TASK_RUNNING":
            self._running(record, now, text)
        elif state in LIVE_STATES:
            self._lives(record, now, text)
        elif state == "TASK_UNREACHABLE":
            self._unreachable(record, now, text)
        elif state in _ENDS:
            if state == "TASK_FAILED" and not record.ran and record.kill_requested_at is None:
                self._failed_start(record, now)
            self._over(record, _ENDS[state], status.reason, status.message, now, text)
        elif state in _LOSSES:
            self._lost(record, status, now, text)
        else:
            record.tell(now, text)  # whatever a later Mesos adds

    def _lives(self, record: LaunchRecord, now: float, text: str) -> None:
        """STAGING, STARTING or KILLING: what was cut off is back, also if that is not a step forward."""
        books = self._books
        if record.state not in (State.SUBMITTED, State.UNREACHABLE):
            record.tell(now, text)
        elif record.observe(Trigger.RAN if record.ran else Trigger.STAGED, now, text):
            self._back(record, now)
            books.store(record)
        if not record.ran:
            books.timers.set(("confirm", record.id), now + books.settings.confirm_most)

    def _running(self, record: LaunchRecord, now: float, text: str) -> None:
        books = self._books
        if record.state is State.RUNNING:
            record.tell(now, text)
            return
        record.observe(Trigger.RAN, now, text)
        self._back(record, now)
        if record.started_at is None:
            record.started_at = now
            assert record.agent_id is not None
            books.backoff.started(record.agent_id)
            books.judge(books.ledger.agent(record.agent_id))
        reservation = books.ledger.reservations.get(record.id)
        if reservation is not None and reservation.kind == "start":
            books.ledger.release(record.id)
        books.timers.cancel(("deadline", record.id))
        books.timers.cancel(("confirm", record.id))
        books.store(record)

    def _unreachable(self, record: LaunchRecord, now: float, text: str) -> None:
        books = self._books
        if record.state is State.UNREACHABLE:
            return
        record.observe(Trigger.CUT_OFF, now, text)
        record.unreachable_at = now
        assert record.agent_id is not None
        books.lose_agent(record.agent_id, now)
        self._questions.cut_off(record, now + books.settings.unreachable_ask)
        books.timers.set(("unreachable", record.id), now + books.settings.unreachable_timeout)
        if not record.ran:
            books.timers.set(("deadline", record.id), record.deadline_at)
        books.store(record)

    def _back(self, record: LaunchRecord, now: float) -> None:
        if record.unreachable_at is not None:
            record.unreachable_at = None
            self._questions.back(record)
            self._books.timers.cancel(("unreachable", record.id))
            if record.kill_requested_at is not None:
                self._kills.again(record.id, now)  # those that were sent meanwhile reached nobody

    def _lost(self, record: LaunchRecord, status: TaskStatus, now: float, text: str) -> None:
        """DROPPED, GONE, LOST or UNKNOWN: another attempt if it never ran, else the end."""
        books = self._books
        invalid = status.reason == INVALID_OFFERS
        if status.state == "TASK_GONE_BY_OPERATOR" and record.agent_id is not None:
            books.lose_agent(record.agent_id, now)
        if record.slot is not None and record.offer_ids and invalid:
            books.ledger.forget_leftover(record.slot, record.offer_ids[0])
        if record.ran or record.kill_requested_at is not None or record.overdue:
            asked = record.kill_requested_at is not None
            trigger = Trigger.KILLED if asked and not record.overdue else Trigger.LOST
            record.given_up = True
            self._over(record, trigger, status.reason or status.state, status.message, now, text)
            return
        if not invalid and status.reason != RECONCILIATION:  # which may only say that our ACCEPT never came
            self._failed_start(record, now)
        self.requeue(record, now, text)

    def requeue(self, record: LaunchRecord, now: float, text: str) -> None:
        """The attempt is over without having run: back to the old place in the queue."""
        books = self._books
        if not record.observe(Trigger.REQUEUED, now, text):
            return
        self._cancel(record)
        books.ledger.release(record.id)
        books.task_over(record)
        record.message = text
        record.queued_at = now
        record.unreachable_at = None
        books.timers.set(("deadline", record.id), record.deadline_at)
        books.queue.add(record)
        books.store(record)
        self._revival.want()
        if record.managed:
            books.emit(StartRefused(record.id, text))
            books.refused.append(record)

    def drop_refused(self, now: float) -> None:
        """Managed launches that were not placed are over: the pool decides again."""
        refused, self._books.refused = self._books.refused, []
        for record in refused:
            if record.state.waiting:
                self._books.queue.remove(record)
                self._books.ledger.release(record.id)
                record.step(Trigger.KILLED, now, "left to the pool")
                record.given_up = record.attempts > 0  # dropped, it was said, and may come back all the same
                self.ended(record, START_REFUSED, record.message, now)

    def _failed_start(self, record: LaunchRecord, now: float) -> None:
        books = self._books
        assert record.agent_id is not None
        until = books.backoff.failed(record.agent_id, now)
        if until is not None:
            books.note(
                "warning",
                f"agent {record.agent_id} failed {books.settings.failed_starts} starts in a row:"
                f" it gets none for {until - now:.0f} s",
            )
            books.timers.set(("backoff", record.agent_id), until)
            books.judge(books.ledger.agent(record.agent_id))

    def _over(
        self,
        record: LaunchRecord,
        trigger: Trigger,
        reason: str | None,
        message: str | None,
        now: float,
        text: str,
    ) -> None:
        """The task ended: so does the launch."""
        books = self._books
        if record.overdue:
            trigger = Trigger.FAILED
            reason, message = DEADLINE, record.message
        elif record.kill_requested_at is not None and message is None:
            message = "killed on request"
        if not record.observe(trigger, now, text):
            return
        books.task_over(record)
        reservation = books.ledger.reservations.get(record.id)
        if reservation is not None and reservation.kind == "stop" and books.anything_waits:
            reservation.ended_at = now
        else:
            books.ledger.release(record.id)
        self.ended(record, reason, message, now)
        if books.anything_waits:
            self._revival.want()

    def ended(self, record: LaunchRecord, reason: str | None, message: str | None, now: float) -> None:
        """The launch is over, with or without a task. The last `keep_ended` stay known."""
        books = self._books
        record.ended_at, record.reason, record.message = now, reason, message
        self._cancel(record)
        self._ended[record.id] = None
        books.store(record)
        while len(self._ended) > books.settings.keep_ended:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            books.ledger.release(oldest)
            old = books.launches.pop(oldest)
            for attempt in range(1, old.attempts + 1):
                books.by_task.pop(f"{old.id}.{attempt}", None)
            books.emit(ForgetLaunch(oldest))

    def _late(self, record: LaunchRecord, status: TaskStatus, now: float) -> None:
        """An update of an ended launch, or of an attempt that was given up."""
        if status.state not in LIVE_STATES:
            record.tell(now, f"ignored: {_text(status)}")
            self._kills.stray(status, now, "")
            return
        if record.task_id == status.task_id.value and record.state.ended and not record.given_up:
            record.tell(now, f"ignored: {_text(status)}")  # its end was seen: this one is late
            return
        record.tell(now, f"came back after it was given up, and is killed: {_text(status)}")
        self._kills.stray(status, now, f"launch {record.id} gave it up")

    def refused(self, record: LaunchRecord, text: str, now: float) -> None:
        """The master does not take the launch's task at all."""
        self._over(record, Trigger.REFUSED, "REFUSED", text, now, text)

    def killed(self, record: LaunchRecord, text: str, now: float) -> None:
        """Its end was asked for, and there is no task of it."""
        self._over(record, Trigger.KILLED, "KILLED", text, now, text)

    # -- after a restart

    def restore_live(self, record: LaunchRecord, now: float) -> None:
        """A task of it may run: it is counted, and asked for once we are subscribed."""
        books = self._books
        assert record.slot is not None
        assert record.resources is not None
        assert record.task_id is not None
        books.meet(record.slot, record.hostname or record.slot.agent_id)
        books.task_lives(record)
        reservations = books.ledger.reservations
        slot, resources, task_id = record.slot, record.resources, record.task_id
        if record.kill_requested_at is not None:
            reservations.stopping(record.id, slot, record.ask, resources, task_id, record.kill_requested_at)
            books.timers.set(("kill", record.id), now + books.settings.kill_repeat)
        elif not record.ran:
            reservations.restored(record.id, slot, record.ask, resources, task_id, now)
            books.timers.set(("confirm", record.id), now + books.settings.confirm_after)
        if record.state is State.UNREACHABLE:
            self._questions.cut_off(record, now)
            since = record.unreachable_at if record.unreachable_at is not None else now
            books.timers.set(("unreachable", record.id), since + books.settings.unreachable_timeout)

    def restore_ended(self, record: LaunchRecord) -> None:
        self._ended[record.id] = None

    # -- kills

    def kill(self, record: LaunchRecord, now: float, text: str) -> None:
        """Somebody wants the launch to end."""
        books = self._books
        if record.state.waiting:
            books.queue.remove(record)
            books.ledger.release(record.id)
            record.step(Trigger.KILLED, now, text)
            self.ended(record, "KILLED", text, now)
        elif record.state.live and record.kill_requested_at is None:
            record.kill_requested_at = now
            record.tell(now, text)
            self._kills.begin(record, now)

    # -- what takes too long

    def unreachable_too_long(self, launch_id: str, now: float) -> None:
        books = self._books
        record = books.launches.get(launch_id)
        if record is not None and record.state is State.UNREACHABLE:
            text = f"agent {record.agent_id} was unreachable for {books.settings.unreachable_timeout:.0f} s"
            self._give_up(record, Trigger.LOST, "UNREACHABLE", text, now)

    def deadline(self, record: LaunchRecord, explanation: str, now: float) -> None:
        """The deadline bounds the time to RUNNING; `explanation` says why it was not met."""
        books = self._books
        if record.ran or record.state.ended:
            return
        text = f"not running after {record.launch.deadline:g} s: {explanation}"
        if record.state.waiting:
            books.queue.remove(record)
            books.ledger.release(record.id)
            record.step(Trigger.FAILED, now, text)
            self.ended(record, DEADLINE, text, now)
        elif record.state is State.UNREACHABLE:
            self._give_up(record, Trigger.FAILED, "UNREACHABLE", text, now)
        else:
            record.overdue, record.message = True, text
            self.kill(record, now, text)

    def _give_up(self, record: LaunchRecord, trigger: Trigger, reason: str, text: str, now: float) -> None:
        """The launch ends though its task may still live: it is killed if it comes back."""
        books = self._books
        record.step(trigger, now, text)
        record.given_up = True
        books.ledger.release(record.id)
        books.task_over(record)
        self.ended(record, reason, text, now)

    def _cancel(self, record: LaunchRecord) -> None:
        for name in ("deadline", "kill", "unreachable"):
            self._books.timers.cancel((name, record.id))
        self._questions.over(record)


def _text(status: TaskStatus) -> str:
    parts = [status.state, status.reason, status.message]
    return " ".join(part for part in parts if part)

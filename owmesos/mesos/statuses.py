"""What becomes of tasks: the master's updates, reconciliation, kills that are repeated until they are answered.

Rules and where they come from. An update with a uuid is acknowledged once its effect is stored, whatever it is; one
without must not be (docs/scheduler-http-api.md). TASK_DROPPED with REASON_INVALID_OFFERS is a matter for the queue, not
a failure (docs/task-state-reasons.md). After a subscription every live task is asked for, with back-off, until it has a
fresh answer, always with its agent's id, for without it the task of an unreachable agent is TASK_UNKNOWN
(docs/reconciliation.md; measured). KILL and RECONCILE are dropped in silence for seconds after a master's failover, so
both are repeated. UNREACHABLE may come back, and LOST may too: an ended launch whose task lives on gets a KILL.
"""

from __future__ import annotations

from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State, Trigger
from owmesos.mesos.books import Books
from owmesos.mesos.effects import ForgetLaunch, StartRefused
from owmesos.mesos.messages import (
    ID,
    Acknowledge,
    DurationInfo,
    Kill,
    KillPolicy,
    Reconcile,
    ReconcileTask,
    TaskStatus,
)
from owmesos.mesos.revival import Revival

LIVE_STATES = frozenset({"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"})
_ENDS = {
    "TASK_FINISHED": Trigger.FINISHED,
    "TASK_FAILED": Trigger.FAILED,
    "TASK_KILLED": Trigger.KILLED,
    "TASK_ERROR": Trigger.REFUSED,
}
# Before it ever ran the launch gets another attempt after these; afterwards they are its end.
_LOSSES = frozenset({"TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNKNOWN"})
INVALID_OFFERS = "REASON_INVALID_OFFERS"
DEADLINE = "DEADLINE"
START_REFUSED = "START_REFUSED"


class Statuses:
    """Decides on the books what updates and their absence mean."""

    def __init__(self, books: Books, revival: Revival) -> None:
        self._books = books
        self._revival = revival
        self._unanswered: set[str] = set()  # launches without a fresh answer since the subscription
        self._pauses: dict[str, float] = {}  # launch id → its present pause between reconciliations
        self._strays: dict[str, str | None] = {}  # tasks that no launch owns: task id → agent id
        self._cut_off: set[str] = set()  # launches that are UNREACHABLE
        self._ended: dict[str, None] = {}
        self._pause = books.settings.reconcile_first

    # -- updates

    def update(self, status: TaskStatus, now: float) -> None:
        """One UPDATE event. The acknowledgement comes after whatever it makes us store."""
        books = self._books
        task_id = status.task_id.value
        launch_id = books.by_task.get(task_id)
        record = books.launches.get(launch_id) if launch_id is not None else None
        if record is None:
            self._stray(task_id, status, now, "no launch of ours is known by it")
        elif record.task_id != task_id or not record.state.live:
            self._late(record, status, now)
        else:
            self._current(record, status, now)
        if status.uuid is not None and status.agent_id is not None:
            books.send(Acknowledge(status.agent_id, status.task_id, status.uuid))

    def _current(self, record: LaunchRecord, status: TaskStatus, now: float) -> None:
        books, state = self._books, status.state
        self._unanswered.discard(record.id)
        self._pauses.pop(record.id, None)
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
            self._back(record)
            books.store(record)
        if not record.ran:
            books.timers.set(("confirm", record.id), now + books.settings.confirm_most)

    def _running(self, record: LaunchRecord, now: float, text: str) -> None:
        books = self._books
        if record.state is State.RUNNING:
            record.tell(now, text)
            return
        record.observe(Trigger.RAN, now, text)
        self._back(record)
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
        self._cut_off.add(record.id)
        assert record.agent_id is not None
        books.lose_agent(record.agent_id, now)
        books.timers.cancel(("confirm", record.id))
        books.timers.set(("ask", record.id), now + books.settings.unreachable_ask)
        books.timers.set(("unreachable", record.id), now + books.settings.unreachable_timeout)
        if not record.ran:
            books.timers.set(("deadline", record.id), record.deadline_at)
        books.store(record)

    def _back(self, record: LaunchRecord) -> None:
        if record.unreachable_at is not None:
            record.unreachable_at = None
            self._cut_off.discard(record.id)
            self._books.timers.cancel(("ask", record.id))
            self._books.timers.cancel(("unreachable", record.id))

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
        if not invalid:
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
            self._strays.pop(status.task_id.value, None)
            self._books.timers.cancel(("stray", status.task_id.value))
            record.tell(now, f"ignored: {_text(status)}")
            return
        if record.task_id == status.task_id.value and record.state.ended and not record.given_up:
            record.tell(now, f"ignored: {_text(status)}")  # its end was seen: this one is late
            return
        record.tell(now, f"came back after it was given up, and is killed: {_text(status)}")
        self._stray(status.task_id.value, status, now, f"launch {record.id} gave it up")

    def _stray(self, task_id: str, status: TaskStatus, now: float, why: str) -> None:
        """A task that no launch owns must not run: nothing would ever stop it."""
        if status.state not in LIVE_STATES:
            self._strays.pop(task_id, None)
            self._books.timers.cancel(("stray", task_id))
            return
        if task_id not in self._strays:
            self._books.note("warning", f"task {task_id} is {status.state} but {why}: it is killed")
            self._strays[task_id] = status.agent_id.value if status.agent_id is not None else None
            self.kill_stray(task_id, now)

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
            self._cut_off.add(record.id)
            books.timers.set(("ask", record.id), now)
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
            assert record.slot is not None
            assert record.resources is not None
            assert record.task_id is not None
            books.ledger.reservations.stopping(
                record.id, record.slot, record.ask, record.resources, record.task_id, now
            )
            books.store(record)
            self.kill_again(record.id, now)

    def kill_again(self, launch_id: str, now: float) -> None:
        """KILL, and again later until the end is seen."""
        books = self._books
        record = books.launches.get(launch_id)
        if record is None or not record.state.live or record.task_id is None:
            return
        if books.connected:
            policy = None
            if record.launch.kill_grace is not None:
                policy = KillPolicy(DurationInfo(round(record.launch.kill_grace * 1e9)))
            agent = ID(record.agent_id) if record.agent_id is not None else None
            books.send(Kill(ID(record.task_id), agent, policy))
        cut_off = record.state is State.UNREACHABLE
        pause = books.settings.unreachable_ask if cut_off else books.settings.kill_repeat
        books.timers.set(("kill", launch_id), now + pause)

    def kill_stray(self, task_id: str, now: float) -> None:
        if task_id not in self._strays:
            return
        agent_id = self._strays[task_id]
        if self._books.connected:
            self._books.send(Kill(ID(task_id), ID(agent_id) if agent_id is not None else None))
        self._books.timers.set(("stray", task_id), now + self._books.settings.kill_repeat)

    # -- what does not come

    def subscribed(self, now: float) -> None:
        """Ask for every live task, with back-off until each has answered, and for those that we do not know."""
        books = self._books
        self._unanswered = {record.id for record in books.live()}
        self._pause = books.settings.reconcile_first
        self.reconcile(now)
        books.send(Reconcile())
        books.timers.set("reconcile all", now + books.settings.reconcile_implicit)
        for record in books.live():
            if record.kill_requested_at is not None:
                self.kill_again(record.id, now)

    def reconcile(self, now: float) -> None:
        books = self._books
        records = [books.launches[i] for i in sorted(self._unanswered) if i in books.tasks]
        if not records or not books.connected:
            return
        books.send(Reconcile([_question(record) for record in records]))
        books.timers.set("reconcile", now + self._pause)
        self._pause = min(books.settings.reconcile_most, self._pause * 2)

    def reconcile_all(self, now: float) -> None:
        """Implicit reconciliation, now and then, while there is anything to be wrong about."""
        if self._books.tasks and self._books.connected:
            self._books.send(Reconcile())
        self._books.timers.set("reconcile all", now + self._books.settings.reconcile_implicit)

    def confirm(self, launch_id: str, now: float) -> None:
        """A launch got no update in its time: it is asked for, again and again."""
        books = self._books
        record = books.launches.get(launch_id)
        if record is None or record.state not in (State.SUBMITTED, State.STAGING):
            return
        books.ledger.reservations.overdue(launch_id)
        if books.connected:
            record.tell(now, "no update came in time: reconciling")
            books.send(Reconcile([_question(record)]))
        pause = min(books.settings.confirm_most, self._pauses.get(launch_id, books.settings.confirm_after) * 2)
        self._pauses[launch_id] = pause
        books.timers.set(("confirm", launch_id), now + pause)

    def ask(self, launch_id: str, now: float) -> None:
        """A task of an unreachable agent is asked for every minute."""
        books = self._books
        record = books.launches.get(launch_id)
        if record is None or record.state is not State.UNREACHABLE:
            return
        if books.connected:
            books.send(Reconcile([_question(record)]))
        books.timers.set(("ask", launch_id), now + books.settings.unreachable_ask)

    @property
    def any_cut_off(self) -> bool:
        return bool(self._cut_off)

    def agent_offers(self, agent_id: str, now: float) -> None:
        """An agent that was cut off sends offers again: what became of its tasks? No update may ever tell."""
        for launch_id in sorted(self._cut_off):
            if self._books.tasks[launch_id][0].agent_id == agent_id:
                self.ask(launch_id, now)

    def unreachable_too_long(self, launch_id: str, now: float) -> None:
        books = self._books
        record = books.launches.get(launch_id)
        if record is not None and record.state is State.UNREACHABLE:
            text = f"agent {record.agent_id} was unreachable for {books.settings.unreachable_timeout:.0f} s"
            self._give_up(record, Trigger.LOST, "UNREACHABLE", text, now)

    def deadline(self, launch_id: str, explanation: str, now: float) -> None:
        """The deadline bounds the time to RUNNING; `explanation` says why it was not met."""
        books = self._books
        record = books.launches.get(launch_id)
        if record is None or record.ran or record.state.ended:
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
        for name in ("deadline", "confirm", "kill", "ask", "unreachable"):
            self._books.timers.cancel((name, record.id))
        self._unanswered.discard(record.id)
        self._cut_off.discard(record.id)
        self._pauses.pop(record.id, None)


def _question(record: LaunchRecord) -> ReconcileTask:
    assert record.task_id is not None
    return ReconcileTask(ID(record.task_id), ID(record.agent_id) if record.agent_id is not None else None)


def _text(status: TaskStatus) -> str:
    parts = [status.state, status.reason, status.message]
    return " ".join(part for part in parts if part)

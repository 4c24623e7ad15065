"""Reconciliation: what is asked of the master because no update came, or none can be trusted.

After a subscription every live task is asked for, with back-off, until it has a fresh answer, always with its agent's
id, for without it the task of an unreachable agent is TASK_UNKNOWN (docs/reconciliation.md; measured). RECONCILE is
dropped in silence for seconds after a master's failover, so no question is asked only once.
"""

from __future__ import annotations

from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State
from owmesos.mesos.books import Books
from owmesos.mesos.messages import ID, Reconcile, ReconcileTask


class Questions:
    """Which launches are asked for, and when next."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._unanswered: set[str] = set()  # launches without a fresh answer since the subscription
        self._pauses: dict[str, float] = {}  # launch id → its present pause between questions
        self._cut_off: set[str] = set()  # launches that are UNREACHABLE
        self._pause = books.settings.reconcile_first

    def subscribed(self, now: float) -> None:
        """Ask for every live task, with back-off until each has answered, and for those that we do not know."""
        books = self._books
        self._unanswered = {record.id for record in books.live()}
        self._pause = books.settings.reconcile_first
        self.reconcile(now)
        books.send(Reconcile())
        books.timers.set("reconcile all", now + books.settings.reconcile_implicit)

    def answered(self, record: LaunchRecord) -> None:
        """An update came."""
        self._unanswered.discard(record.id)
        self._pauses.pop(record.id, None)

    def over(self, record: LaunchRecord) -> None:
        """There is nothing more to ask."""
        self.answered(record)
        self.back(record)
        self._books.timers.cancel(("confirm", record.id))

    def reconcile(self, now: float) -> None:
        """All that have not answered, in one call."""
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

    # -- tasks of unreachable agents

    def cut_off(self, record: LaunchRecord, first: float) -> None:
        """From `first` on it is asked for every minute, until `back`."""
        self._cut_off.add(record.id)
        self._books.timers.cancel(("confirm", record.id))
        self._books.timers.set(("ask", record.id), first)

    def back(self, record: LaunchRecord) -> None:
        self._cut_off.discard(record.id)
        self._books.timers.cancel(("ask", record.id))

    @property
    def any_cut_off(self) -> bool:
        return bool(self._cut_off)

    def agent_offers(self, agent_id: str, now: float) -> None:
        """An agent that was cut off sends offers again: what became of its tasks? No update may ever tell."""
        for launch_id in sorted(self._cut_off):
            if self._books.tasks[launch_id][0].agent_id == agent_id:
                self.ask(launch_id, now)

    def ask(self, launch_id: str, now: float) -> None:
        books = self._books
        record = books.launches.get(launch_id)
        if record is None or record.state is not State.UNREACHABLE:
            return
        if books.connected:
            books.send(Reconcile([_question(record)]))
        books.timers.set(("ask", launch_id), now + books.settings.unreachable_ask)


def _question(record: LaunchRecord) -> ReconcileTask:
    assert record.task_id is not None
    return ReconcileTask(ID(record.task_id), ID(record.agent_id) if record.agent_id is not None else None)

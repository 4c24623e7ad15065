"""KILL, again and again until the end is seen: it is best effort, and dropped in silence after a master's failover.

Killed are the tasks whose end was asked for, and *strays*: tasks that live though no launch owns them, which nothing
else would ever stop. A launch that was given up leaves one when its agent comes back.
"""

from __future__ import annotations

from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State
from owmesos.mesos.books import Books
from owmesos.mesos.messages import ID, DurationInfo, Kill, KillPolicy, TaskStatus

LIVE_STATES = frozenset({"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"})


class Kills:
    """What is being killed."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._strays: dict[str, str | None] = {}  # task id → agent id

    def subscribed(self, now: float) -> None:
        """What was asked for before may have been lost with the stream."""
        for record in self._books.live():
            if record.kill_requested_at is not None:
                self.again(record.id, now)

    def begin(self, record: LaunchRecord, now: float) -> None:
        """The launch's task is to end: its start, if it is one, becomes a stop."""
        assert record.slot is not None
        assert record.resources is not None
        assert record.task_id is not None
        self._books.ledger.reservations.stopping(
            record.id, record.slot, record.ask, record.resources, record.task_id, now
        )
        self._books.store(record)
        self.again(record.id, now)

    def again(self, launch_id: str, now: float) -> None:
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

    # -- strays

    def stray(self, status: TaskStatus, now: float, why: str) -> None:
        """A status of a task that no launch owns: killed if it lives, forgotten if it does not."""
        task_id = status.task_id.value
        if status.state not in LIVE_STATES:
            self._strays.pop(task_id, None)
            self._books.timers.cancel(("stray", task_id))
        elif task_id not in self._strays:
            self._books.note("warning", f"task {task_id} is {status.state} but {why}: it is killed")
            self._strays[task_id] = status.agent_id.value if status.agent_id is not None else None
            self.stray_again(task_id, now)

    def stray_again(self, task_id: str, now: float) -> None:
        if task_id not in self._strays:
            return
        agent_id = self._strays[task_id]
        if self._books.connected:
            self._books.send(Kill(ID(task_id), ID(agent_id) if agent_id is not None else None))
        self._books.timers.set(("stray", task_id), now + self._books.settings.kill_repeat)

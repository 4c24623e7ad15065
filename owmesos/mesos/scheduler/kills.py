"""KILL, again and again until the end is seen: it is best effort, and dropped in silence after a master's failover.

An executor that hangs does not hear it. SHUTDOWN reaches its agent, which destroys the container when the executor does
not end by itself (scheduler.proto, Shutdown). An agent that does not answer that either is given up by `TaskUpdates`.

Killed are the tasks whose end was asked for, and *strays*: tasks that live though no launch owns them, which nothing
else would ever stop. A launch that was given up leaves one when its agent comes back.
"""

from __future__ import annotations

from owmesos.mesos.messages import ID, Kill, Shutdown, TaskStatus
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.state import SchedulerState, SchedulerTimer
from owmesos.mesos.scheduler.task_info import kill_grace, kill_policy, own_executor

LIVE_STATES = frozenset({"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"})


class Kills:
    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        self._strays: dict[str, tuple[str | None, float]] = {}  # task id → agent id, and the pause until the next KILL
        self._asked_at: dict[str, float] = {}  # launch id → the first KILL on this subscription that had an agent

    def subscribed(self, now: float) -> None:
        """Ask again: what was asked for before may have been lost with the stream."""
        self._asked_at.clear()
        for record in self._state.tasks.values():
            if record.kill_requested_at is not None:
                self.again(record, now)

    def begin(self, record: LaunchRecord, now: float) -> None:
        """Begin to end the launch's task: its start, if it is one, becomes a stop."""
        self._state.ledger.reservations.stopping(record.id, *record.attempt, now)
        self._state.store(record)
        self.again(record, now)

    def again(self, record: LaunchRecord, now: float) -> None:
        """Send KILL, and again later until the end is seen."""
        state = self._state
        cut_off = record.state is State.UNREACHABLE
        if state.connected:
            slot, _, _, task_id = record.attempt
            state.send(Kill(ID(task_id), ID(slot.agent_id), kill_policy(record.launch)))
            if not cut_off:
                self._asked_at.setdefault(record.id, now)
                if self.silent_for(record, now) >= state.settings.kill_escalate:
                    self._shut_down(record, now)
        pause = state.settings.unreachable_ask if cut_off else state.settings.kill_repeat
        state.timers.set((SchedulerTimer.KILL, record.id), now + pause)

    def silent_for(self, record: LaunchRecord, now: float) -> float:
        """Seconds since the first KILL beyond the grace period; 0 if no KILL could be sent."""
        asked_at = self._asked_at.get(record.id)
        if asked_at is None or not self._state.connected:
            return 0.0
        return max(0.0, now - asked_at - kill_grace(record.template))

    def over(self, record: LaunchRecord) -> None:
        """Count KILL as unanswered no more: the task has ended, or its agent cannot be reached."""
        self._asked_at.pop(record.id, None)

    def _shut_down(self, record: LaunchRecord, now: float) -> None:
        """Send SHUTDOWN, unless another launch's task has the same executor: that would end with it."""
        (agent_id, _), _, _, task_id = record.attempt
        executor_id = own_executor(record.template)
        if executor_id is not None and any(
            other is not record and other.agent_id == agent_id and own_executor(other.template) == executor_id
            for other in self._state.tasks.values()
        ):
            return
        record.add_story_line(now, f"agent {agent_id} does not answer KILL: SHUTDOWN of the executor")
        self._state.send(Shutdown(ID(executor_id or task_id), ID(agent_id)))

    # -- strays

    def leave(self, record: LaunchRecord, now: float) -> None:
        """Take the task of a launch that ends without it for a stray from now on."""
        slot, _, _, task_id = record.attempt
        self._strays[task_id] = slot.agent_id, self._state.settings.kill_repeat
        self._state.timers.set((SchedulerTimer.STRAY, task_id), now + self._state.settings.kill_repeat)

    def stray(self, status: TaskStatus, now: float, why: str) -> None:
        """Kill a task that no launch owns, if its status says that it lives; else forget it."""
        task_id = status.task_id.value
        if status.state not in LIVE_STATES:
            self._strays.pop(task_id, None)
            self._state.timers.cancel((SchedulerTimer.STRAY, task_id))
        elif task_id not in self._strays or self._strays[task_id][1] > self._state.settings.kill_repeat:
            self._state.note("warning", f"task {task_id} is {status.state} but {why}: it is killed")
            agent_id = status.agent_id.value if status.agent_id is not None else None
            self._strays[task_id] = agent_id, self._state.settings.kill_repeat
            self.stray_again(task_id, now)

    def stray_again(self, task_id: str, now: float) -> None:
        agent_id, pause = self._strays[task_id]
        if self._state.connected:
            self._state.send(Kill(ID(task_id), ID(agent_id) if agent_id is not None else None))
        self._strays[task_id] = agent_id, min(2 * pause, self._state.settings.reconcile_implicit)
        self._state.timers.set((SchedulerTimer.STRAY, task_id), now + pause)

"""Feeds the outcome of starts to the back-off, and applies what it decides to launches and agents: whose fault it is
(`Blame`), and which agents a launch avoids because of it (`Trials`).

A task that FAILED before it ran, or was dropped because its executor could not be made (REASON_EXECUTOR_TERMINATED, as
with an unknown user), may be the launch's fault or the agent's. One that the agent or the master dropped for the
agent's sake (it was cut off, restarted, removed) is an outage (docs/task-state-reasons.md; the v1 API says AGENT where
v0 says SLAVE). INVALID_OFFERS is nobody's fault, and an answer to RECONCILE may only say that our ACCEPT never came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Set

from owmesos.core.backoff import Avoided
from owmesos.core.start_faults import Fault
from owmesos.mesos.messages import TaskStatus
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.state import SchedulerState, SchedulerTimer

INVALID_OFFERS = "REASON_INVALID_OFFERS"
RECONCILIATION = "REASON_RECONCILIATION"
_OF_THE_TASK = frozenset(
    {
        "REASON_CONTAINER_LAUNCH_FAILED",
        "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
        "REASON_EXECUTOR_TERMINATED",
        "REASON_IO_SWITCHBOARD_EXITED",
    }
)


class Blame:
    """Reports starts to the state's `backoff`, and applies the faults that it finds."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state

    def ran(self, record: LaunchRecord, now: float) -> None:
        """Its task runs for the first time."""
        state, agent_id = self._state, record.attempt[0].agent_id
        self._apply(state.backoff.ran(agent_id, record.launch.start_key, now))
        state.timers.cancel((SchedulerTimer.BACKOFF, agent_id))
        state.judge(state.ledger.agent(agent_id))

    def failed(self, record: LaunchRecord, why: str, now: float) -> None:
        """Its task ended, or takes too long, and never ran."""
        agent_id, key = record.attempt[0].agent_id, record.launch.start_key
        faults = self._state.backoff.failed(agent_id, key, _begun(record, now), now, why)
        for fault in faults:
            record.add_story_line(now, fault.reason)
        self._apply(faults)
        self.wake(key, now)

    def wake(self, key: Hashable, now: float) -> None:
        """Set the timer of launches with this key to when they may next be tried where they may not be tried now."""
        wakes_at = self._state.backoff.wakes_at(key, now)
        if wakes_at is not None:
            self._state.timers.set((SchedulerTimer.LAUNCH_BACKOFF, key), wakes_at)

    def unusable(self, record: LaunchRecord, why: str, now: float) -> None:
        """Its container runs and cannot be used."""
        if record.agent_id is not None:
            self._apply(self._state.backoff.unusable(record.agent_id, now, why))

    def lost(self, record: LaunchRecord, status: TaskStatus, text: str, now: float) -> bool:
        """Its task was lost before it ran. True when there is no other attempt: the pool makes its own."""
        if status.reason in (INVALID_OFFERS, RECONCILIATION):
            return False
        if status.state not in ("TASK_DROPPED", "TASK_LOST") or status.reason not in _OF_THE_TASK:
            self._apply(self._state.backoff.outage(record.attempt[0].agent_id, _begun(record, now), now, text))
            return False
        self.failed(record, text, now)
        return record.managed or self.hopeless(record) is not None

    def hopeless(self, record: LaunchRecord) -> str | None:
        """Why no attempts are left for launches like it; None if there are, and for the pool, which decides itself."""
        backoff, key = self._state.backoff, record.launch.start_key
        fault = backoff.at_fault(key) if not record.managed and backoff.exhausted(key) else None
        return fault.reason if fault is not None else None

    def pause_over(self, agent_id: str) -> None:
        state = self._state
        state.backoff.pause_over(agent_id)
        agent = state.ledger.agents.get(agent_id)
        if agent is not None:
            state.judge(agent)

    def _apply(self, faults: Iterable[Fault]) -> None:
        state = self._state
        for fault in faults:
            state.note("warning", fault.text)
            if fault.agent_id is not None:
                state.timers.set((SchedulerTimer.BACKOFF, fault.agent_id), fault.until)
                state.judge(state.ledger.agent(fault.agent_id))


def _begun(record: LaunchRecord, now: float) -> float:
    return record.accepted_at if record.accepted_at is not None else now


class Trials:
    """Which agents a launch avoids in one pass over the queue; none while the back-off is `calm`.

    A suspect is tried few at a time: one start of a launch that failed and did not run since, a bounded number of
    starts on an agent where several launches failed. So starts that are under way are counted, those that this pass
    reserves included; but none for longer than `trial` seconds, for it may hang until its deadline.
    """

    def __init__(self, state: SchedulerState, now: float) -> None:
        self._state = state
        self._now = now
        self._of_launch: Counter[Hashable] = Counter()
        self._on_agent: Counter[str] = Counter()
        self._where: dict[str, str] = {}
        self._since = now
        self._held_back = False
        self._calm = state.backoff.calm
        if self._calm:
            return
        since = now - state.settings.trial
        for reservation in state.ledger.reservations.by_launch.values():
            if reservation.kind == "start" and reservation.since > since:
                self.begins(state.launches[reservation.launch_id], reservation.slot.agent_id)
                self._since = min(self._since, reservation.since)

    @property
    def again_at(self) -> float | None:
        """When a start is no longer counted that holds others back; None when none does."""
        return self._since + self._state.settings.trial if self._held_back else None

    def lets_through(self, record: LaunchRecord) -> bool:
        """Nothing is tried, or the launch is the pool's, which decides for itself."""
        return self._calm or record.managed

    def begins(self, record: LaunchRecord, agent_id: str) -> None:
        """A start of the launch was reserved on the agent."""
        if self._calm:
            return
        self.ends(record)
        self._where[record.id] = agent_id
        self._of_launch[record.launch.start_key] += 1
        self._on_agent[agent_id] += 1

    def ends(self, record: LaunchRecord) -> None:
        """Its reservation was taken back."""
        agent_id = self._where.pop(record.id, None)
        if agent_id is not None:
            self._of_launch[record.launch.start_key] -= 1
            self._on_agent[agent_id] -= 1

    def suspects(self, record: LaunchRecord) -> bool:
        """It may find no room where another launch of its shape does."""
        if self.lets_through(record):
            return False
        backoff, key = self._state.backoff, record.launch.start_key
        return backoff.suspected(key) or backoff.avoided(key, self._now) != Avoided()

    def rests(self, record: LaunchRecord) -> bool:
        """It gets no start now, wherever there is room."""
        if self.lets_through(record):
            return False
        backoff, key = self._state.backoff, record.launch.start_key
        if not backoff.suspected(key):
            return False
        others = self._of_launch[key] - (record.id in self._where)
        self._held_back |= others > 0
        return others > 0 or backoff.launch_pause(key, self._now) is not None

    def avoids(self, record: LaunchRecord) -> Avoided:
        """Where it failed, and where it is tried first because of that."""
        if self.lets_through(record):
            return Avoided()
        return self._state.backoff.avoided(record.launch.start_key, self._now)

    def full(self, record: LaunchRecord) -> Set[str]:
        """Doubted agents with as many starts under way as they get."""
        if self.lets_through(record):
            return frozenset()
        backoff, own = self._state.backoff, self._where.get(record.id)
        full = set()
        for agent_id in backoff.doubted():
            most = backoff.most_starts(agent_id)
            if most is not None and self._on_agent[agent_id] - (agent_id == own) >= most:
                full.add(agent_id)
        self._held_back |= bool(full)
        return full

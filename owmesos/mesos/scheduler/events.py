"""What the scheduler is told beside the master's own events (`owmesos.mesos.messages`) and the driver's.

Everything that can happen to it is an event, so that a run can be written down and played again.
"""

from __future__ import annotations

import msgspec

from owmesos.core.placement import Slot
from owmesos.mesos.messages import Call, Event
from owmesos.mesos.scheduler.launch import Launch
from owmesos.resources import Resources


class Submit(Event, frozen=True):
    """A new launch. `launch_id` and `template` (the TaskInfo's JSON, see `task_info.template`) come from the shell.

    With `slot` the pool has decided on it: the room is reserved there already, under the launch's id.
    """

    launch_id: str
    launch: Launch
    template: str
    slot: Slot | None = None


class Submits(Event, frozen=True):
    """Several new launches in one step: the state is looked at once for all of them.

    With `more` others of the same request follow at once: they are asked for by one REVIVE.
    """

    submits: tuple[Submit, ...]
    more: bool = False


class PoolWaits(Event, frozen=True):
    """Whether the pool waits for room, and the agent whose offers are to be held for it meanwhile."""

    waiting: bool
    hold: str | None = None


class PortTaken(Event, frozen=True):
    """The task of this launch does not listen at its port: perhaps another process of the agent does."""

    launch_id: str
    reason: str


class Served(Event, frozen=True):
    """The task of this launch could be used for the first time."""

    launch_id: str


class KillLaunches(Event, frozen=True):
    """One or several in one step, all of them known. The end of one makes no room for another."""

    launch_ids: tuple[str, ...]


class CallNotTaken(Event, frozen=True):
    """A call was not taken. `status` is the master's answer (it did nothing), or None without one; then the call was
    not even sent, or (`sent`) nobody knows what became of it.
    """

    call: Call
    status: int | None
    reason: str
    sent: bool = True

    @property
    def certain(self) -> bool:
        """The master did nothing of it."""
        return self.status is not None or not self.sent


class AgentSeen(msgspec.Struct, frozen=True):
    """One agent in GET_AGENTS, with what it has in all that is not reserved for others."""

    agent_id: str
    hostname: str
    total: Resources


class AgentsSeen(Event, frozen=True):
    """The answer to `AskAgents`; `agents` is None when the operator API is unavailable (`reason`).

    `unusable`: the ids of agents of which the master says what cannot be, and what is wrong.
    """

    agents: tuple[AgentSeen, ...] | None
    reason: str | None = None
    unusable: tuple[tuple[str, str], ...] = ()


class Tick(Event, frozen=True):
    """Time has passed."""

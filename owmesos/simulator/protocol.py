"""What agents and their master say to each other. Ours, not Mesos's: no scheduler ever sees it."""

from __future__ import annotations

import msgspec

from owmesos.mesos.messages import Attribute, DomainInfo, FrameworkInfo, TaskInfo, TaskStatus
from owmesos.simulator.pieces import Pieces


class Message(msgspec.Struct, frozen=True):
    """The root."""


class AgentDescription(msgspec.Struct, frozen=True):
    """What an agent is, as its operator started it."""

    name: str
    hostname: str
    ip: str
    port: int
    total: Pieces
    attributes: tuple[Attribute, ...] = ()
    domain: DomainInfo | None = None


class KnownTask(msgspec.Struct, frozen=True):
    """A task as its agent knows it: `state` is the latest, `status` the last that was reported."""

    framework_id: str
    info: TaskInfo
    role: str
    pieces: Pieces
    state: str
    status: TaskStatus | None


# -- from an agent, or about it


class Register(Message, frozen=True):
    """A first registration (`agent_id` None), or a return with all that the agent has."""

    description: AgentDescription
    agent_id: str | None = None
    tasks: tuple[KnownTask, ...] = ()
    frameworks: tuple[FrameworkInfo, ...] = ()
    reservations: Pieces | None = None


class StatusUpdate(Message, frozen=True):
    """`latest` is the state that the task has by now, though `status` may be an older one."""

    agent_id: str
    framework_id: str
    status: TaskStatus
    latest: str


class AgentLost(Message, frozen=True):
    """The connection to an agent was reset: its process has ended."""

    agent_id: str


class AgentSilent(Message, frozen=True):
    """From now on the agent answers no ping."""

    agent_id: str


class AgentAnswers(Message, frozen=True):
    """It answers again, before it was given up."""

    agent_id: str


# -- from the master


class Registered(Message, frozen=True):
    """`unknown` are tasks that the master has for this agent, and the agent did not name."""

    agent_id: str
    unknown: tuple[tuple[str, str], ...] = ()


class Leave(Message, frozen=True):
    """Shut down: gone for good, or under maintenance."""


class RunTask(Message, frozen=True):
    framework: FrameworkInfo
    info: TaskInfo
    role: str
    pieces: Pieces


class KillTask(Message, frozen=True):
    """`grace` in seconds, or as the task says."""

    framework_id: str
    task_id: str
    grace: float | None = None


class AcknowledgeUpdate(Message, frozen=True):
    framework_id: str
    task_id: str
    uuid: str


class FrameworkBack(Message, frozen=True):
    """It subscribed again: what it did not acknowledge is sent anew."""

    framework_id: str


class EndFramework(Message, frozen=True):
    framework_id: str


class Drain(Message, frozen=True):
    """Kill everything, within `grace` seconds each if that is less than the tasks' own."""

    grace: float | None
    mark_gone: bool


class Undrain(Message, frozen=True):
    """Reactivated."""


class Reserved(Message, frozen=True):
    """The agent's total, after reservations were made or undone."""

    total: Pieces

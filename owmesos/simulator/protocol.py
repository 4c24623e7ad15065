"""The messages between agents and their master. They are not Mesos's: no scheduler sees them."""

from __future__ import annotations

import msgspec

from owmesos.mesos import messages
from owmesos.simulator.pieces import Pieces

VERSION = "1.11.0"
VERSION_INFO = {"version": VERSION, "build_user": "owmesos simulator"}
TERMINAL = frozenset(
    {
        "TASK_FINISHED",
        "TASK_FAILED",
        "TASK_KILLED",
        "TASK_ERROR",
        "TASK_LOST",
        "TASK_DROPPED",
        "TASK_GONE",
        "TASK_GONE_BY_OPERATOR",
    }
)


def time_info(seconds: float) -> messages.TimeInfo:
    return messages.TimeInfo(round(seconds * 1e9))


def grace_of(policy: messages.KillPolicy | None) -> float | None:
    """Seconds."""
    if policy is None or policy.grace_period is None:
        return None
    return policy.grace_period.nanoseconds / 1e9


class NotValid(Exception):
    """A call, or a part of it, with Mesos's text."""


class WireMessage(msgspec.Struct, frozen=True):
    """The root."""


class AgentDescription(msgspec.Struct, frozen=True):
    """What an agent is, as its operator started it."""

    name: str
    hostname: str
    ip: str
    port: int
    total: Pieces
    attributes: tuple[messages.Attribute, ...] = ()
    domain: messages.DomainInfo | None = None

    @property
    def machine(self) -> tuple[str, str]:
        return self.hostname, self.ip

    @property
    def url(self) -> messages.URL:
        return messages.URL("http", messages.Address(self.port, self.hostname, self.ip), "/slave(1)")


class KnownTask(msgspec.Struct, frozen=True):
    """A task as its agent knows it: `state` is the latest, `status` the last that was reported."""

    framework_id: str
    info: messages.TaskInfo
    role: str
    pieces: Pieces
    state: str
    status: messages.TaskStatus | None


# -- from an agent


class Register(WireMessage, frozen=True):
    """A first registration (`agent_id` None), or a return with all that the agent has."""

    description: AgentDescription
    agent_id: str | None = None
    tasks: tuple[KnownTask, ...] = ()
    frameworks: tuple[messages.FrameworkInfo, ...] = ()
    reservations: Pieces | None = None


class StatusUpdate(WireMessage, frozen=True):
    """`latest` is the state that the task has by now, though `status` may be an older one."""

    agent_id: str
    framework_id: str
    status: messages.TaskStatus
    latest: str


# -- from the master


class Registered(WireMessage, frozen=True):
    """`unknown` are tasks that the master has for this agent, and the agent did not name."""

    agent_id: str
    unknown: tuple[tuple[str, str], ...] = ()


class Leave(WireMessage, frozen=True):
    """Shut down: gone for good, or under maintenance."""


class RunTask(WireMessage, frozen=True):
    framework: messages.FrameworkInfo
    info: messages.TaskInfo
    role: str
    pieces: Pieces


class KillTask(WireMessage, frozen=True):
    """`grace` in seconds, or as the task says; commands obey only their own."""

    framework_id: str
    task_id: str
    grace: float | None = None


class ShutDownExecutor(WireMessage, frozen=True):
    framework_id: str
    executor_id: str


class AcknowledgeUpdate(WireMessage, frozen=True):
    framework_id: str
    task_id: str
    uuid: str


class FrameworkBack(WireMessage, frozen=True):
    """It subscribed again: what it did not acknowledge is sent anew."""

    framework_id: str


class EndFramework(WireMessage, frozen=True):
    framework_id: str


class Drain(WireMessage, frozen=True):
    """Kill everything, within `grace` seconds each if that is less than the tasks' own."""

    grace: float | None
    mark_gone: bool


class Undrain(WireMessage, frozen=True):
    """Reactivated."""


class Reserved(WireMessage, frozen=True):
    """The agent's total, after reservations were made or undone."""

    total: Pieces

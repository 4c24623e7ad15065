"""What a master keeps about agents, frameworks, tasks and offers, and its registry, which outlives it: plain records,
changed by the parts that decide."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from owmesos.mesos import messages
from owmesos.resources import MILLI, SCALARS, Resources
from owmesos.simulator.agenda import AgendaEntry
from owmesos.simulator.master.constraints import Constraint
from owmesos.simulator.pieces import Pieces
from owmesos.simulator.protocol import TERMINAL, AgentDescription, Drain


class Allocated:
    """Scalars in thousandths that go up and down: cpus, mem, disk, gpus."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values = [0, 0, 0, 0]

    def add(self, resources: Resources, sign: int = 1) -> None:
        values = self.values
        values[0] += sign * resources.milli_cpus
        values[1] += sign * resources.milli_mem
        values[2] += sign * resources.milli_disk
        values[3] += sign * resources.milli_gpus

    def __getitem__(self, name: str) -> int:
        return self.values[SCALARS.index(name)]

    def share_of(self, whole: Allocated) -> float:
        """The dominant share."""
        return max((mine / all_ for mine, all_ in zip(self.values, whole.values, strict=True) if all_), default=0.0)


@dataclass(slots=True, eq=False)
class AgentRecord:
    """A registered agent. `available` is what is neither used nor offered."""

    id: str
    description: AgentDescription
    total: Pieces
    available: Pieces
    registered_at: float
    reregistered_at: float | None = None
    connected: bool = True
    deactivated: bool = False
    draining: Drain | None = None
    drained: bool = False
    tasks: dict[tuple[str, str], TaskRecord] = field(default_factory=dict)
    offers: dict[str, MasterOffer] = field(default_factory=dict)
    inverse_offers: dict[str, InverseOfferRecord] = field(default_factory=dict)
    giving_up: AgendaEntry | None = None

    @property
    def active(self) -> bool:
        return self.connected and not self.deactivated


@dataclass(slots=True, eq=False)
class TaskRecord:
    """A task as the master knows it: `state` is the latest it heard of, `status_state` the last it forwarded."""

    framework_id: str
    info: messages.TaskInfo
    role: str
    pieces: Pieces
    agent_id: str
    state: str = "TASK_STAGING"
    status_state: str | None = None
    status_uuid: str | None = None
    statuses: list[messages.TaskStatus] = field(default_factory=list)
    freed: bool = False
    unreachable_at: float | None = None

    @property
    def id(self) -> str:
        return self.info.task_id.value

    @property
    def told_state(self) -> str:
        return self.status_state or self.state

    @property
    def over(self) -> bool:
        return self.state in TERMINAL


@dataclass(slots=True, eq=False)
class MasterOffer:
    id: str
    framework: FrameworkRecord
    agent: AgentRecord
    role: str
    pieces: Pieces
    timeout: AgendaEntry | None = None


@dataclass(slots=True, eq=False)
class InverseOfferRecord:
    offer: messages.InverseOffer
    framework: FrameworkRecord
    agent: AgentRecord


class Filter(msgspec.Struct, frozen=True, gc=False):
    until: float
    pieces: Pieces


@dataclass(slots=True, eq=False)
class FrameworkRecord:
    """`stream` is the subscription's id while it is connected, or was connected last."""

    id: str
    info: messages.FrameworkInfo
    registered_at: float
    completed: deque[TaskRecord]
    stream: str = ""
    connected: bool = False
    recovered: bool = False
    reregistered_at: float | None = None
    unregistered_at: float | None = None
    suppressed: set[str] = field(default_factory=set)
    offer_constraints: messages.OfferConstraints | None = None
    constraints: dict[str, Constraint] = field(default_factory=dict)
    filters: dict[tuple[str, str], list[Filter]] = field(default_factory=dict)  # by role and agent
    inverse_filters: dict[str, float] = field(default_factory=dict)  # until, by agent
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    offers: dict[str, MasterOffer] = field(default_factory=dict)
    unreachable: OrderedDict[str, TaskRecord] = field(default_factory=OrderedDict)
    allocated: dict[str, Allocated] = field(default_factory=dict)  # used and offered, by role
    removal: AgendaEntry | None = None
    heartbeat: AgendaEntry | None = None
    capabilities: frozenset[str] = frozenset()
    roles: tuple[str, ...] = ()

    def describe(self, info: messages.FrameworkInfo) -> None:
        self.info = msgspec.structs.replace(info, id=messages.ID(self.id))
        self.capabilities = frozenset(each.type for each in info.capabilities if each.type)
        self.roles = tuple(info.roles) if self.can("MULTI_ROLE") else (info.role or "*",)

    def can(self, capability: str) -> bool:
        return capability in self.capabilities

    def lost_or(self, state: str) -> str:
        """`state`, or what frameworks that know nothing of partitions are told in its place."""
        return state if self.can("PARTITION_AWARE") else "TASK_LOST"

    def minimum_of(self, role: str) -> list[dict[str, int]]:
        """Its own min_allocatable_resources for a role: thousandths by name; any one of them is enough."""
        wanted = self.info.offer_filters.get(role)
        if wanted is None or wanted.min_allocatable_resources is None:
            return []
        return [
            {name: round(scalar.value * MILLI) for name, scalar in each.quantities.items()}
            for each in wanted.min_allocatable_resources.quantities
        ]


@dataclass(slots=True)
class Quota:
    """Thousandths by resource name; an absent limit is none."""

    guarantees: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Registry:
    """Agents by id: those admitted, those that became unreachable (with the time), those gone for good."""

    admitted: dict[str, AgentDescription] = field(default_factory=dict)
    unreachable: dict[str, float] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    draining: dict[str, Drain] = field(default_factory=dict)
    deactivated: set[str] = field(default_factory=set)
    quotas: dict[str, Quota] = field(default_factory=dict)
    schedule: list[dict[str, Any]] = field(default_factory=list)
    machines: dict[tuple[str, str], messages.Unavailability] = field(default_factory=dict)  # by hostname and ip
    down: set[tuple[str, str]] = field(default_factory=set)

# ruff: noqa: RUF012  (msgspec gives each instance a copy of its own)
"""The answers of a master's operator API, as far as owmesos reads them.

Sources: include/mesos/v1/master/master.proto, docs/operator-http-api.md.
"""

from __future__ import annotations

from typing import Any

from owmesos.mesos.messages.frameworks import FrameworkInfo
from owmesos.mesos.messages.offers import Offer
from owmesos.mesos.messages.tasks import TaskStatus
from owmesos.mesos.messages.values import (
    ID,
    Attribute,
    Capability,
    DomainInfo,
    DurationInfo,
    Labels,
    MasterInfo,
    Resource,
    Scalar,
    TimeInfo,
    Unavailability,
    Value,
)


class AgentInfo(Value, frozen=True):
    hostname: str
    id: ID | None = None
    port: int | None = None
    resources: list[Resource] = []
    attributes: list[Attribute] = []
    domain: DomainInfo | None = None
    checkpoint: bool = False


class DrainConfig(Value, frozen=True):
    max_grace_period: DurationInfo | None = None
    mark_gone: bool = False


class DrainInfo(Value, frozen=True):
    """`state` is DRAINING or DRAINED."""

    state: str
    config: DrainConfig | None = None


class ListedAgent(Value, frozen=True):
    """A registered agent. `allocated_resources` are those of tasks, `offered_resources` those of outstanding offers."""

    agent_info: AgentInfo
    active: bool = True
    deactivated: bool = False
    version: str | None = None
    pid: str | None = None
    registered_time: TimeInfo | None = None
    reregistered_time: TimeInfo | None = None
    total_resources: list[Resource] = []
    allocated_resources: list[Resource] = []
    offered_resources: list[Resource] = []
    capabilities: list[Capability] = []
    drain_info: DrainInfo | None = None
    estimated_drain_start_time: TimeInfo | None = None


class GetAgents(Value, frozen=True):
    """`recovered_agents` are known from before the master's start and have not registered again yet."""

    agents: list[ListedAgent] = []
    recovered_agents: list[AgentInfo] = []


class Task(Value, frozen=True):
    """`state` is the latest that the master knows."""

    name: str
    task_id: ID
    framework_id: ID
    agent_id: ID
    state: str
    executor_id: ID | None = None
    resources: list[Resource] = []
    statuses: list[TaskStatus] = []
    status_update_state: str | None = None
    status_update_uuid: str | None = None
    labels: Labels | None = None
    user: str | None = None


class GetTasks(Value, frozen=True):
    pending_tasks: list[Task] = []
    tasks: list[Task] = []
    unreachable_tasks: list[Task] = []
    completed_tasks: list[Task] = []
    orphan_tasks: list[Task] = []


class ListedFramework(Value, frozen=True):
    framework_info: FrameworkInfo
    active: bool = False
    connected: bool = False
    recovered: bool = False
    registered_time: TimeInfo | None = None
    reregistered_time: TimeInfo | None = None
    unregistered_time: TimeInfo | None = None
    offers: list[Offer] = []
    allocated_resources: list[Resource] = []
    offered_resources: list[Resource] = []
    offer_constraints: dict[str, Any] | None = None


class GetFrameworks(Value, frozen=True):
    frameworks: list[ListedFramework] = []
    completed_frameworks: list[ListedFramework] = []
    recovered_frameworks: list[ID] = []


class ListedRole(Value, frozen=True):
    """`resources` is what all of its frameworks use together."""

    name: str
    weight: float = 1.0
    frameworks: list[ID] = []
    resources: list[Resource] = []


class GetRoles(Value, frozen=True):
    roles: list[ListedRole] = []


class Metric(Value, frozen=True):
    name: str
    value: float | None = None


class GetMetrics(Value, frozen=True):
    metrics: list[Metric] = []


class VersionInfo(Value, frozen=True):
    version: str
    build_date: str | None = None
    build_time: float | None = None  # seconds since the epoch
    build_user: str | None = None
    git_sha: str | None = None
    git_branch: str | None = None
    git_tag: str | None = None


class GetVersion(Value, frozen=True):
    version_info: VersionInfo


class GetHealth(Value, frozen=True):
    healthy: bool = False


class Flag(Value, frozen=True):
    name: str
    value: str | None = None


class GetFlags(Value, frozen=True):
    flags: list[Flag] = []


class GetMaster(Value, frozen=True):
    master_info: MasterInfo
    start_time: float | None = None  # seconds since the epoch
    elected_time: float | None = None


class MachineID(Value, frozen=True):
    """The schedule holds for an agent only if both are as the agent gave them."""

    hostname: str | None = None
    ip: str | None = None


class MaintenanceWindow(Value, frozen=True):
    machine_ids: list[MachineID]
    unavailability: Unavailability


class MaintenanceSchedule(Value, frozen=True):
    windows: list[MaintenanceWindow] = []


class QuotaConfig(Value, frozen=True):
    """By resource name. An absent guarantee is zero, an absent limit is none."""

    role: str
    guarantees: dict[str, Scalar] = {}
    limits: dict[str, Scalar] = {}

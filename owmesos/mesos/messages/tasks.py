"""Tasks, and the statuses that come back. `bytes` is base64 in the JSON.

A description is not frozen, because the `task_info` hook of a launch edits it before it is sent.
Sources: include/mesos/v1/mesos.proto, docs/task-state-reasons.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from owmesos.mesos.messages.values import ID, DurationInfo, Labels, Parameter, Resource, Scalar, TimeInfo


class Description(msgspec.Struct, omit_defaults=True, gc=False):
    """The root of what describes a task."""


class Secret(Description):
    """Either a `reference` (name, key) into a secret store or a `value` (data in base64)."""

    type: str | None = None
    reference: dict[str, Any] | None = None
    value: dict[str, Any] | None = None


class Variable(Description):
    name: str
    value: str | None = None
    type: str | None = None
    secret: Secret | None = None


class Environment(Description):
    variables: list[Variable] = []


class URI(Description):
    """A file to be fetched into the sandbox before the task starts."""

    value: str
    executable: bool | None = None
    extract: bool = True
    cache: bool | None = None
    output_file: str | None = None


class CommandInfo(Description):
    """With `shell` the `value` is a command line for /bin/sh, else a program; `arguments` begin with its name."""

    uris: list[URI] = []
    environment: Environment | None = None
    shell: bool = True
    value: str | None = None
    arguments: list[str] = []
    user: str | None = None


class DockerImage(Description):
    name: str
    credential: dict[str, Any] | None = None
    config: Secret | None = None


class Image(Description):
    type: str
    docker: DockerImage | None = None
    appc: dict[str, Any] | None = None
    cached: bool = True


class PortMapping(Description):
    host_port: int
    container_port: int
    protocol: str | None = None


class DockerInfo(Description):
    """The Docker containerizer's part of ContainerInfo; `network` is HOST, BRIDGE, NONE or USER."""

    image: str
    network: str | None = None
    port_mappings: list[PortMapping] = []
    privileged: bool = False
    parameters: list[Parameter] = []
    force_pull_image: bool | None = None
    volume_driver: str | None = None


class MesosInfo(Description):
    """The Mesos containerizer's part of ContainerInfo."""

    image: Image | None = None


class IPAddress(Description):
    protocol: str | None = None
    ip_address: str | None = None


class NetworkInfo(Description):
    ip_addresses: list[IPAddress] = []
    name: str | None = None
    groups: list[str] = []
    labels: Labels | None = None
    port_mappings: list[PortMapping] = []


class Volume(Description):
    """`mode` is RW or RO."""

    mode: str
    container_path: str
    host_path: str | None = None
    image: Image | None = None
    source: dict[str, Any] | None = None


class ContainerInfo(Description):
    """`type` is DOCKER or MESOS."""

    type: str
    volumes: list[Volume] = []
    hostname: str | None = None
    docker: DockerInfo | None = None
    mesos: MesosInfo | None = None
    network_infos: list[NetworkInfo] = []
    linux_info: dict[str, Any] | None = None
    rlimit_info: dict[str, Any] | None = None
    tty_info: dict[str, Any] | None = None


class KillPolicy(Description):
    """How long a task may take to end after TERM before it gets KILL."""

    grace_period: DurationInfo | None = None


class HTTPCheckInfo(Description):
    port: int
    protocol: str | None = None
    scheme: str | None = None
    path: str | None = None
    statuses: list[int] = []


class TCPCheckInfo(Description):
    port: int
    protocol: str | None = None


class HealthCheck(Description):
    """`type` is COMMAND, HTTP or TCP. Absent fields have Mesos's defaults."""

    type: str | None = None
    command: CommandInfo | None = None
    http: HTTPCheckInfo | None = None
    tcp: TCPCheckInfo | None = None
    delay_seconds: float | None = None
    interval_seconds: float | None = None
    timeout_seconds: float | None = None
    consecutive_failures: int | None = None
    grace_period_seconds: float | None = None


class Port(Description):
    number: int
    name: str | None = None
    protocol: str | None = None
    visibility: str | None = None
    labels: Labels | None = None


class DiscoveryPorts(Description):
    ports: list[Port] = []


class DiscoveryInfo(Description):
    """`visibility` is FRAMEWORK, CLUSTER or EXTERNAL."""

    visibility: str
    name: str | None = None
    environment: str | None = None
    location: str | None = None
    version: str | None = None
    ports: DiscoveryPorts | None = None
    labels: Labels | None = None


class ExecutorInfo(Description):
    executor_id: ID
    command: CommandInfo | None = None
    type: str | None = None
    framework_id: ID | None = None
    container: ContainerInfo | None = None
    resources: list[Resource] = []
    name: str | None = None
    source: str | None = None
    data: bytes | None = None
    discovery: DiscoveryInfo | None = None
    shutdown_grace_period: DurationInfo | None = None
    labels: Labels | None = None


class TaskInfo(Description):
    """It has either a `command` or an `executor`. `limits` is by resource name."""

    name: str
    task_id: ID
    agent_id: ID
    resources: list[Resource] = []
    executor: ExecutorInfo | None = None
    command: CommandInfo | None = None
    container: ContainerInfo | None = None
    health_check: HealthCheck | None = None
    check: dict[str, Any] | None = None
    kill_policy: KillPolicy | None = None
    data: bytes | None = None
    labels: Labels | None = None
    discovery: DiscoveryInfo | None = None
    max_completion_time: DurationInfo | None = None
    limits: dict[str, Scalar] = {}


class TaskGroupInfo(Description):
    tasks: list[TaskInfo]


class ContainerID(Description):
    value: str
    parent: ContainerID | None = None


class ContainerStatus(Description):
    container_id: ContainerID | None = None
    network_infos: list[NetworkInfo] = []
    cgroup_info: dict[str, Any] | None = None
    executor_pid: int | None = None


class TaskStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """Acknowledge it if, and only if, it has a `uuid`. `timestamp` is in seconds since the epoch."""

    task_id: ID
    state: str
    message: str | None = None
    source: str | None = None
    reason: str | None = None
    data: bytes | None = None
    agent_id: ID | None = None
    executor_id: ID | None = None
    timestamp: float | None = None
    uuid: str | None = None
    healthy: bool | None = None
    unreachable_time: TimeInfo | None = None
    labels: Labels | None = None
    container_status: ContainerStatus | None = None
    check_status: dict[str, Any] | None = None
    limitation: dict[str, Any] | None = None


class OperationStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """The status of an operation that was given an id. Acknowledge it if it has a `uuid`."""

    state: str
    operation_id: ID | None = None
    message: str | None = None
    converted_resources: list[Resource] = []
    uuid: dict[str, Any] | None = None
    agent_id: ID | None = None
    resource_provider_id: ID | None = None

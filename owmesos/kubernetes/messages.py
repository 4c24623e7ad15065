"""The objects of Kubernetes's API, v1, as far as owmesos reads them. Fields that nobody reads are skipped in decoding.

Source: Kubernetes's API reference (core/v1). Quantities stay texts, see `owmesos.kubernetes.quantities`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class ApiObject(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    """The root: lower camel case in JSON, unknown fields ignored.

    None is in a cycle, so the garbage collector need not look at them: with 50,000 pods that is half of the time that
    decoding them takes.
    """


class OwnAnnotations(ApiObject, frozen=True):
    """Those that we write: others may be long, and are many."""

    made_by: str = msgspec.field(default="", name="owmesos/made-by")


class ObjectMeta(ApiObject, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Mapping[str, str] = {}
    annotations: OwnAnnotations = OwnAnnotations()
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


class LeaseAnnotations(ApiObject, frozen=True):
    """Those that we write."""

    admin: str = msgspec.field(default="", name="owmesos/admin")
    waiting: str = msgspec.field(default="", name="owmesos/waiting")


class LeaseMeta(ApiObject, frozen=True):
    resource_version: str = ""
    annotations: LeaseAnnotations | None = None


class LeaseSpec(ApiObject, frozen=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    renew_time: str | None = None


class LeaseObject(ApiObject, frozen=True):
    """A Lease of coordination.k8s.io/v1, by which processes elect one that leads."""

    metadata: LeaseMeta
    spec: LeaseSpec = LeaseSpec()


# -- nodes


class Taint(ApiObject, frozen=True):
    key: str
    value: str = ""
    effect: str = ""  # NoSchedule, PreferNoSchedule, NoExecute


class Condition(ApiObject, frozen=True):
    """A condition of a node or a pod."""

    type: str
    status: str = "Unknown"  # True, False, Unknown
    reason: str = ""
    message: str = ""


class NodeAddress(ApiObject, frozen=True):
    type: str
    address: str


class NodeSpec(ApiObject, frozen=True):
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeStatus(ApiObject, frozen=True):
    allocatable: Mapping[str, str] = {}
    conditions: tuple[Condition, ...] = ()
    addresses: tuple[NodeAddress, ...] = ()


class Node(ApiObject, frozen=True):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


# -- pods


class ResourceRequirements(ApiObject, frozen=True):
    requests: Mapping[str, str] = {}
    limits: Mapping[str, str] = {}


class PodContainer(ApiObject, frozen=True):
    name: str = ""
    image: str = ""
    resources: ResourceRequirements = ResourceRequirements()
    restart_policy: str | None = None  # Always: an init container that is a sidecar


class NodeSelectorRequirement(ApiObject, frozen=True):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class NodeSelectorTerm(ApiObject, frozen=True):
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(ApiObject, frozen=True):
    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class NodeAffinity(ApiObject, frozen=True):
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class Affinity(ApiObject, frozen=True):
    node_affinity: NodeAffinity | None = None


class SchedulingGate(ApiObject, frozen=True):
    """While a pod has one, no scheduler looks at it."""

    name: str = ""


class PodSpec(ApiObject, frozen=True):
    node_name: str = ""
    scheduler_name: str = ""
    scheduling_gates: tuple[SchedulingGate, ...] = ()
    affinity: Affinity | None = None
    containers: tuple[PodContainer, ...] = ()
    init_containers: tuple[PodContainer, ...] = ()
    overhead: Mapping[str, str] = {}
    resources: ResourceRequirements | None = None  # of the whole pod


class StateWaiting(ApiObject, frozen=True):
    reason: str = ""
    message: str = ""


class StateRunning(ApiObject, frozen=True):
    started_at: str | None = None


class StateTerminated(ApiObject, frozen=True):
    exit_code: int = 0
    signal: int | None = None
    reason: str = ""
    message: str = ""


class PodContainerState(ApiObject, frozen=True):
    """One of them is set."""

    waiting: StateWaiting | None = None
    running: StateRunning | None = None
    terminated: StateTerminated | None = None


class PodContainerStatus(ApiObject, frozen=True):
    name: str = ""
    ready: bool = False
    state: PodContainerState = PodContainerState()
    last_state: PodContainerState = PodContainerState()
    allocated_resources: Mapping[str, str] = {}  # while it is resized in place
    resources: ResourceRequirements | None = None


class PodStatus(ApiObject, frozen=True):
    phase: str = ""  # Pending, Running, Succeeded, Failed, Unknown
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[PodContainerStatus, ...] = ()
    init_container_statuses: tuple[PodContainerStatus, ...] = ()
    allocated_resources: Mapping[str, str] = {}  # of the pod as a whole, while it is resized in place
    resources: ResourceRequirements | None = None  # the same


class Pod(ApiObject, frozen=True):
    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

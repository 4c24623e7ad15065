"""What a pod's status says: whether it was placed, started, failed to start or ended, and why.

Sources: Kubernetes's API reference (PodStatus, ContainerState), the kubelet's reasons (in pkg/kubelet:
container/sync_result.go, images/types.go, lifecycle/predicate.go), and what was measured in a real cluster.
"""

from __future__ import annotations

from owmesos.core.pool.events import StopCause
from owmesos.kubernetes.messages import Condition, Pod, PodContainerStatus, StateTerminated
from owmesos.kubernetes.pod_template import ACTION

_CANNOT_START = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreStartHookError",
        "PostStartHookError",
        "CrashLoopBackOff",
    }
)
"""Why a container waits when it will not start by itself soon."""

_NOT_ADMITTED = frozenset(
    {
        "UnexpectedAdmissionError",
        "NodeAffinity",
        "NodeName",
        "NodePorts",
        "NodeUnschedulable",
        "TaintToleration",
        "InvalidNodeInfo",
        "PodOSNotSupported",
        "PodOSSelectorNodeLabelDoesNotMatch",
        "AppArmor",
        "SysctlForbidden",
        "TopologyAffinityError",
        "NodeShutdown",
        "Preempting",
    }
)
"""Reasons for which a kubelet rejects a pod, so that it never runs. Those for lack of room begin with OutOf."""

_LOST_REASONS = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Terminated", "Shutdown", "Preempting", "Unknown"})

_OVER_ITS_OWN_LIMIT = (
    "exceeded its local ephemeral storage limit",
    "ephemeral local storage usage exceeds the total limit of containers",
    "Usage of EmptyDir volume",
)
"""What the kubelet says when it evicts a pod for what the pod itself has written (its eviction/helpers.go)."""


def condition(pod: Pod, kind: str) -> Condition | None:
    return next((each for each in pod.status.conditions if each.type == kind), None)


def is_ready(pod: Pod) -> bool:
    """It runs and can be reached. Without a probe a pod is Ready as soon as its containers run."""
    found = condition(pod, "Ready")
    return found is not None and found.status == "True" and bool(pod.status.pod_ip)


def has_ended(pod: Pod) -> bool:
    """Its phase is terminal: it holds no room and never runs again."""
    return pod.status.phase in ("Succeeded", "Failed")


def unschedulable(pod: Pod) -> str | None:
    """What kube-scheduler said, when it found no room."""
    found = condition(pod, "PodScheduled")
    if found is None or found.status != "False" or found.reason != "Unschedulable":
        return None
    return found.message or found.reason


def was_not_admitted(pod: Pod) -> bool:
    """The kubelet rejected it, so that nothing of it ever ran."""
    status = pod.status
    rejected = status.reason.startswith("OutOf") or status.reason in _NOT_ADMITTED
    return status.phase == "Failed" and rejected and not any(map(_has_run, status.container_statuses))


def is_for_room(pod: Pod) -> bool:
    """Whether a pod that was not admitted lacked room: then the node is not at fault."""
    return pod.status.reason.startswith("OutOf")


def start_error(pod: Pod) -> str | None:
    """Why its container does not start, as far as the kubelet says that it cannot."""
    status = _ours(pod)
    waiting = status.state.waiting if status is not None else None
    if waiting is None or waiting.reason not in _CANNOT_START:
        return None
    return f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason


def progress(pod: Pod | None) -> str:
    """How far a start has come."""
    if pod is None:
        return "the API server has not shown its pod"
    if not pod.spec.node_name:
        gates = ", ".join(gate.name for gate in pod.spec.scheduling_gates)
        if gates:
            return f"its pod is Pending: it waits until somebody removes its scheduling gates ({gates})"
        return f"its pod is Pending: {unschedulable(pod) or 'kube-scheduler has not bound it'}"
    status = _ours(pod)
    waiting = status.state.waiting if status is not None else None
    return f"its container waits: {waiting.reason}" if waiting is not None else "its container is not ready"


def terminated(pod: Pod) -> StateTerminated | None:
    """The end of its container, which is shown up to a second before the pod's terminal phase."""
    status = _ours(pod)
    return status.state.terminated if status is not None else None


def disruption(pod: Pod) -> str | None:
    """Why the cluster ends it: an eviction, a preemption, a taint of its node."""
    found = condition(pod, "DisruptionTarget")
    if found is None or found.status != "True":
        return None
    return f"{found.reason}: {found.message}" if found.message else found.reason


def end_of(pod: Pod) -> tuple[StopCause, str]:
    """Why a container that ran has ended, by the last that was seen of its pod."""
    end = terminated(pod)
    if end is not None and end.reason == "OOMKilled":
        return StopCause.OUT_OF_MEMORY, f"OOMKilled: {end.message}" if end.message else "OOMKilled"
    disrupted = disruption(pod)
    if disrupted is not None:
        return StopCause.LOST, disrupted
    status = pod.status
    if status.reason == "Evicted" and any(said in status.message for said in _OVER_ITS_OWN_LIMIT):
        return StopCause.ENDED, f"Evicted: {status.message.strip()}"
    if status.reason in _LOST_REASONS or status.phase == "Unknown":
        return StopCause.LOST, f"{status.reason or status.phase}: {status.message}" if status.message else status.reason
    if end is not None and end.reason == "ContainerStatusUnknown":
        return StopCause.LOST, "the kubelet does not know how its container ended"
    if end is not None:
        how = f"was killed by signal {end.signal}" if end.signal else f"exited with {end.exit_code}"
        said = ": ".join(each for each in (end.reason, end.message) if each and each not in ("Error", "Completed"))
        return StopCause.ENDED, f"its container {how}" + (f" ({said})" if said else "")
    return StopCause.ENDED, status.message or status.reason or f"its pod is {status.phase}"


def _ours(pod: Pod) -> PodContainerStatus | None:
    return next((each for each in pod.status.container_statuses if each.name == ACTION), None)


def _has_run(status: PodContainerStatus) -> bool:
    states = (status.state, status.last_state)
    return any(each.running is not None or each.terminated is not None for each in states)

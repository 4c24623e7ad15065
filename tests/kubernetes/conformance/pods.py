"""The pods that cases post, and what they look for in a watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from owmesos.kubernetes.messages import Condition, Pod
from tests.kubernetes.conformance.cluster import Seen

Found = Callable[[Seen], bool]
_LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def pod(
    name: str,
    cpus: float = 0.1,
    memory: str = "64Mi",
    *,
    on: str | None = None,
    node_name: str | None = None,
    image: str = "own:1",
    grace: int = 2,
    limits: dict[str, str] | None = None,
    tolerates_loss: int | None = None,
    runtime_class: str | None = None,
) -> dict[str, Any]:
    """`on`: pinned by required node affinity; `node_name`: bound by itself. `tolerates_loss`: seconds."""
    resources = {"requests": {"cpu": str(cpus), "memory": memory}, "limits": limits or {}}
    spec: dict[str, Any] = {
        "containers": [{"name": "main", "image": image, "resources": resources}],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace,
    }
    if on is not None:
        fields = [{"key": "metadata.name", "operator": "In", "values": [on]}]
        terms = {"nodeSelectorTerms": [{"matchFields": fields}]}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    if node_name is not None:
        spec["nodeName"] = node_name
    if runtime_class is not None:
        spec["runtimeClassName"] = runtime_class
    if tolerates_loss is not None:
        tolerated = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": tolerates_loss}
        spec["tolerations"] = [{"key": key, **tolerated} for key in _LOST]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def about(name: str, holds: Callable[[Pod], bool]) -> Found:
    """An event of that pod, of which this holds, while it is there."""
    return lambda seen: (
        seen.pod is not None and seen.pod.metadata.name == name and seen.type != "DELETED" and holds(seen.pod)
    )


def in_phase(name: str, phase: str) -> Found:
    return about(name, lambda pod: pod.status.phase == phase)


def ready(name: str) -> Found:
    return about(name, is_ready)


def unschedulable(name: str) -> Found:
    return about(name, lambda pod: condition(pod, "PodScheduled").reason == "Unschedulable")


def terminating(name: str) -> Found:
    return about(name, lambda pod: pod.metadata.deletion_timestamp is not None)


def terminated(name: str) -> Found:
    """Its container, whatever the pod's phase."""
    return about(name, lambda pod: any(each.state.terminated is not None for each in pod.status.container_statuses))


def waiting(name: str, *reasons: str) -> Found:
    def waits(pod: Pod) -> bool:
        states = [each.state.waiting for each in pod.status.container_statuses]
        return any(state is not None and state.reason in reasons for state in states)

    return about(name, waits)


def deleted(name: str) -> Found:
    return lambda seen: seen.type == "DELETED" and seen.pod is not None and seen.pod.metadata.name == name


def either(one: Found, other: Found) -> Found:
    return lambda seen: one(seen) or other(seen)


def condition(pod: Pod, kind: str) -> Condition:
    """Unknown if the pod has none of this type."""
    return next((each for each in pod.status.conditions if each.type == kind), Condition(kind))


def is_ready(pod: Pod) -> bool:
    return condition(pod, "Ready").status == "True"


def pod_of(seen: Seen) -> Pod:
    assert seen.pod is not None
    return seen.pod

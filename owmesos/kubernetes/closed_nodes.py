"""Why a node gets no containers, whatever it has free: each reason has a word of its own, which `explain` shows.

Source: Kubernetes's documentation, *Node Conditions* and *Taints and Tolerations*. The node controllers write most
conditions as taints too; those have their condition's word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from owmesos.core.explanation import Exclusion
from owmesos.kubernetes.messages import Node, Taint

_OF_CONDITIONS: Mapping[str, Exclusion] = {
    "NetworkUnavailable": "no_network",
    "MemoryPressure": "memory_pressure",
    "DiskPressure": "disk_pressure",
    "PIDPressure": "pid_pressure",
}
_OF_TAINTS: Mapping[str, Exclusion] = {
    "node.kubernetes.io/unschedulable": "cordoned",
    "node.kubernetes.io/not-ready": "not_ready",
    "node.kubernetes.io/unreachable": "not_ready",
    "node.kubernetes.io/network-unavailable": "no_network",
    "node.kubernetes.io/memory-pressure": "memory_pressure",
    "node.kubernetes.io/disk-pressure": "disk_pressure",
    "node.kubernetes.io/pid-pressure": "pid_pressure",
}
_HINDERS = ("NoSchedule", "NoExecute")

Toleration = Mapping[str, Any]
"""As in a Pod."""


def why_closed(node: Node, selector: Mapping[str, str], tolerations: Iterable[Toleration] = ()) -> Exclusion | None:
    """`selector`: labels that the node must have; `tolerations`: those of the pod template."""
    labels = node.metadata.labels
    if any(labels.get(name) != value for name, value in selector.items()):
        return "unselected"
    conditions = {each.type: each.status for each in node.status.conditions}
    if conditions.get("Ready") != "True":
        return "not_ready"
    if node.spec.unschedulable:
        return "cordoned"
    for name, word in _OF_CONDITIONS.items():
        if conditions.get(name) == "True":
            return word
    for taint in node.spec.taints:
        if taint.effect in _HINDERS and not any(tolerates(each, taint) for each in tolerations):
            return _OF_TAINTS.get(taint.key, "tainted")
    return None


def is_lost(node: Node) -> bool:
    """Its kubelet is silent, so nobody knows what runs there. One that says itself that it is not ready is not lost."""
    return any(each.type == "Ready" and each.status == "Unknown" for each in node.status.conditions)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Operators that are not known here tolerate nothing."""
    if toleration.get("effect") not in (None, "", taint.effect):
        return False
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if operator == "Exists":
        return key in ("", taint.key)
    return operator == "Equal" and key == taint.key and (toleration.get("value") or "") == taint.value

"""Nodes and pods as an API server would send them, in few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from owmesos.kubernetes.messages import Condition, Node, Pod, Taint

NAMESPACE = "actions"
LABELS = {"app": "owmesos", "owmesos/invoker": "invoker0", "owmesos/incarnation": "1"}


def node(
    name: str = "n1",
    *,
    cpu: str = "4",
    memory: str = "1Gi",
    pods: str = "110",
    labels: Mapping[str, str] | None = None,
    ready: str = "True",
    conditions: Mapping[str, str] | None = None,
    unschedulable: bool = False,
    taints: tuple[Taint, ...] = (),
    **allocatable: str,
) -> Node:
    """`conditions`: further ones, with their statuses."""
    states = {"Ready": ready, **(conditions or {})}
    return msgspec.convert(
        {
            "metadata": {"name": name, "labels": labels or {}},
            "spec": {"unschedulable": unschedulable, "taints": msgspec.to_builtins(taints)},
            "status": {
                "allocatable": {"cpu": cpu, "memory": memory, "pods": pods, **allocatable},
                "conditions": [{"type": kind, "status": status} for kind, status in states.items()],
            },
        },
        Node,
    )


def container(name: str = "c", **requests: str) -> dict[str, Any]:
    return {"name": name, "resources": {"requests": requests}}


def pod(
    name: str = "stranger",
    *,
    on: str = "n1",
    uid: str | None = None,
    namespace: str = "other",
    phase: str = "Running",
    containers: list[dict[str, Any]] | None = None,
    labels: Mapping[str, str] | None = None,
    version: int = 1,
    deleting: bool = False,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    **requests: str,
) -> Pod:
    """One container with `requests`, if no `containers` are given."""
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid or f"uid-{name}",
                "resourceVersion": str(version),
                "labels": dict(labels or {}),
                "deletionTimestamp": "2026-11-29T12:00:00Z" if deleting else None,
            },
            "spec": {"nodeName": on, "containers": containers or [container(**requests)], **(spec or {})},
            "status": {"phase": phase, **(status or {})},
        },
        Pod,
    )


def changed(before: Pod, *, version: int | None = None, **status: Any) -> Pod:
    """A later state. `on`, `phase`, `deleting`, `ip`; `conditions` by kind: status, or (status, reason, message);
    `state`: of its container."""
    fields = msgspec.to_builtins(before)
    metadata, spec, shown = fields["metadata"], fields["spec"], fields["status"]
    number = version if version is not None else int(metadata["resourceVersion"] or 0) + 1
    metadata["resourceVersion"] = str(number)
    if status.pop("deleting", False):
        metadata["deletionTimestamp"] = "2026-11-29T12:00:00Z"
    if "on" in status:
        spec["nodeName"] = status.pop("on")
    if "ip" in status:
        shown["podIP"] = status.pop("ip")
    if "conditions" in status:
        kept = {each["type"]: each for each in shown["conditions"]}
        for kind, what in status.pop("conditions").items():
            state, reason, message = (what, "", "") if isinstance(what, str) else what
            kept[kind] = msgspec.to_builtins(Condition(type=kind, status=state, reason=reason, message=message))
        shown["conditions"] = list(kept.values())
    if "state" in status:
        shown["containerStatuses"] = [{"name": "user-action", "state": status.pop("state")}]
    shown.update(status)
    return msgspec.convert(fields, Pod)

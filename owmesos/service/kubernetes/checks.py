"""Whether owmesos may do on a cluster what it needs, before it begins: rights, the namespace, credentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from owmesos.errors import OwmesosError
from owmesos.kubernetes.pod_manifest import altered, altered_text, own_annotations, own_labels, placed_by_admission
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire.api_client import ApiClient, Right
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed

_FINAL = ("CertificateInvalid", "NoCredentials", "NotFound", "Unauthorized")
"""Why a request failed where another would, too."""
_PROBE = "owmesos-check"


class ClusterNotUsable(OwmesosError):
    """The cluster does not let owmesos work, and the text says what to change."""


async def check(api: ApiClient, namespace: str) -> list[str]:
    """Lines of what may hinder it. Raises ClusterNotUsable for what does; ApiRequestFailed if nobody answers."""
    try:
        missing = await api.missing_rights(namespace)
        if missing:
            raise ClusterNotUsable(missing_text(missing, namespace))
        return await dry_run(api, namespace)
    except ApiRequestFailed as error:
        if error.failure.reason in _FINAL:
            raise ClusterNotUsable(str(error)) from None
        raise


def missing_text(missing: Sequence[Right], namespace: str) -> str:
    """Which rules of RBAC are missing."""
    rules = [
        f"{right} ({f'a Role in namespace {namespace}' if right.namespaced else 'a ClusterRole'})" for right in missing
    ]
    return f"RBAC does not allow owmesos to {', '.join(rules)}: see deploy/kubernetes/rbac.yaml"


async def dry_run(api: ApiClient, namespace: str) -> list[str]:
    """A pod that is checked like ours, and not stored: lines of what is wrong with it, which may be right with ours.

    Raises ApiRequestFailed.
    """
    settings = KubernetesSettings(namespace=namespace, invoker=_PROBE, incarnation=_PROBE)
    try:
        made = await api.post_pod(namespace, _probe(settings), dry_run=True)
    except ApiRequestFailed as error:
        if error.failure.reason in _FINAL or error.failure.status == 0 or error.failure.wants_pause:
            raise
        return [f"a pod like a container's would be rejected in namespace {namespace}: {error}"]
    changed = altered(_PROBE, made, settings) or placed_by_admission(made)
    found = [f"a pod like a container's would fail: {altered_text(changed)}"] if changed is not None else []
    if made.spec.scheduling_gates:
        gates = ", ".join(gate.name for gate in made.spec.scheduling_gates)
        found.append(f"a pod like a container's gets scheduling gates ({gates}): it starts once somebody removes them")
    return found


def _probe(settings: KubernetesSettings) -> dict[str, Any]:
    resources = {"cpu": "10m", "memory": "32Mi"}
    container = {
        "name": "user-action",
        "image": "busybox",
        "resources": {"requests": resources, "limits": {"memory": resources["memory"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": _PROBE,
            "namespace": settings.namespace,
            "labels": own_labels(settings),
            "annotations": own_annotations(settings),
        },
        "spec": {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]},
    }

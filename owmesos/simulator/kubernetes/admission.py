"""What the API server checks of a pod that is posted, and what it fills in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from owmesos.simulator.kubernetes.objects import Document
from owmesos.simulator.kubernetes.requests import Amounts, WrongQuantity, amounts

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_RESTART = ("Always", "OnFailure", "Never")
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"


class ApiAnswer(NamedTuple):
    """`body` is an object, a list or a Status. `retry_after` in seconds."""

    status: int
    body: Document
    retry_after: float | None = None

    @property
    def done(self) -> bool:
        return self.status < 300


def failure(status: int, reason: str, message: str) -> ApiAnswer:
    return ApiAnswer(
        status,
        {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message},
    )


def problem_of(pod: Mapping[str, Any], namespace: str) -> ApiAnswer | None:
    """Why it is not taken, None for a right one."""
    metadata, spec = pod.get("metadata"), pod.get("spec")
    if not isinstance(metadata, Mapping) or not isinstance(spec, Mapping):
        return failure(400, "BadRequest", "the body is not a Pod: metadata and spec are missing")
    if metadata.get("namespace", namespace) != namespace:
        return failure(
            400, "BadRequest", f"the namespace of the object ({metadata['namespace']}) is not that of the request"
        )
    name = metadata.get("name", "")
    try:
        wrong = _wrong_fields(name, metadata, spec)
    except WrongQuantity as error:
        return failure(400, "BadRequest", f"Pod in version v1 cannot be handled: {error}")
    if wrong:
        return failure(422, "Invalid", f'Pod "{name}" is invalid: {"; ".join(wrong)}')
    return None


def problem_of_lease(name: str, spec: Mapping[str, Any]) -> ApiAnswer | None:
    """Why a Lease is not taken, None for a right one."""
    wrong = []
    if len(name) > 253 or not _NAME.fullmatch(name):
        wrong.append(f"metadata.name: Invalid value: {name!r}: a lowercase RFC 1123 subdomain is needed")
    for field, least in (("leaseDurationSeconds", 1), ("leaseTransitions", 0)):
        if spec.get(field) is not None and spec[field] < least:
            wrong.append(f"spec.{field}: Invalid value: {spec[field]}: must be at least {least}")
    if wrong:
        return failure(422, "Invalid", f'Lease.coordination.k8s.io "{name}" is invalid: {"; ".join(wrong)}')
    return None


def _wrong_fields(name: str, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    wrong = []
    if len(name) > 253 or not _NAME.fullmatch(name):
        wrong.append(f"metadata.name: Invalid value: {name!r}: a lowercase RFC 1123 subdomain is needed")
    for key, value in metadata.get("labels", {}).items():
        if len(value) > 63 or not _LABEL.fullmatch(value):
            wrong.append(f"metadata.labels: Invalid value: {value!r} of {key}")
    if not spec.get("containers"):
        wrong.append("spec.containers: Required value")
    if spec.get("restartPolicy", "Always") not in _RESTART:
        wrong.append(f"spec.restartPolicy: Unsupported value: {spec['restartPolicy']!r}")
    for number, container in enumerate(spec.get("containers", ())):
        wrong += _wrong_container(f"spec.containers[{number}]", container)
    amounts(spec.get("overhead", {}))
    return wrong


def _wrong_container(path: str, container: Mapping[str, Any]) -> list[str]:
    wrong = []
    if not container.get("name"):
        wrong.append(f"{path}.name: Required value")
    if not container.get("image"):
        wrong.append(f"{path}.image: Required value")
    resources = container.get("resources", {})
    limits = amounts(resources.get("limits", {}))
    for resource, asked in amounts(resources.get("requests", {})).items():
        if asked < 0:
            wrong.append(f"{path}.resources.requests[{resource}]: must be greater than or equal to 0")
        if asked > limits.get(resource, asked):
            wrong.append(f"{path}.resources.requests: must be less than or equal to {resource} limit")
    return wrong


def with_overhead(pod: Document, classes: Mapping[str, Mapping[str, str]]) -> Document | ApiAnswer:
    """That of its runtime class, among `classes`, or why it is denied."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    given, of_class = spec.get("overhead", {}), spec.get("runtimeClassName")
    if of_class is not None and of_class not in classes:
        return _denied(name, f'RuntimeClass "{of_class}" not found')
    overhead = classes[of_class] if of_class is not None else {}
    if given and not overhead:
        return _denied(name, "Pod Overhead set without corresponding RuntimeClass defined Overhead")
    if given and amounts(given) != amounts(overhead):
        return _denied(name, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    return {**pod, "spec": {**spec, "overhead": dict(overhead)}} if overhead else pod


def _denied(name: str, why: str) -> ApiAnswer:
    return failure(403, "Forbidden", f'pods "{name}" is forbidden: pod rejected: {why}')


def quota_exceeded(name: str, asked: Amounts, used: Amounts, limits: Amounts) -> ApiAnswer | None:
    over = [each for each in limits if used.get(each, 0) + asked.get(each, 0) > limits[each]]
    if not over:
        return None
    told = "; ".join(
        ", ".join(
            f"{word}: {each}={of.get(each, 0) / 1000:g}"
            for word, of in (("requested", asked), ("used", used), ("limited", limits))
        )
        for each in over
    )
    return failure(403, "Forbidden", f'pods "{name}" is forbidden: exceeded quota: {told}')


def with_defaults(spec: Mapping[str, Any], toleration: int) -> Document:
    """`toleration`: seconds that a pod stays on a node that is not ready, where it does not say."""
    full: Document = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler",
        "priority": 0,
        **spec,
    }
    full["containers"] = [_container(each) for each in spec["containers"]]
    tolerations = list(spec.get("tolerations", ()))
    for key in (NOT_READY, UNREACHABLE):
        if not any(each.get("key", key) == key and each.get("effect") in (None, "NoExecute") for each in tolerations):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": toleration}
            )
    full["tolerations"] = tolerations
    return full


def _container(container: Mapping[str, Any]) -> Document:
    """A limit is the request where none is given."""
    resources = container.get("resources", {})
    if not resources.get("limits"):
        return dict(container)
    requests = {**resources["limits"], **resources.get("requests", {})}
    return {**container, "resources": {**resources, "requests": requests}}

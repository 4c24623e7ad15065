"""The operator's pod template: a Pod whose fields are merged under ours, and which fields it may not have.

A template may add what owmesos has no opinion on: annotations, labels, tolerations, volumes, a service account, a
runtime class, preferred affinity, the security context. What decides where a pod runs, what it takes there and how
it ends is owmesos's: with other values the room would be counted wrongly, so a template with them is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from owmesos.core.texts import shortened
from owmesos.errors import InvalidInput

ACTION = "user-action"
"""The name of the container that is ours, as in OpenWhisk, so that a template for its own factory can be taken over."""

_TOP = {"apiVersion", "kind", "metadata", "spec"}
_NAMED = "owmesos sets it"
_WHERE = "owmesos chooses the node; use --node-selector or constraints to narrow the choice"
_ROOM = "its room would not be counted"
_SPEC: Mapping[str, str] = {
    "nodeName": _WHERE,
    "nodeSelector": "use --node-selector, so that owmesos looks at the same nodes",
    "schedulerName": "only kube-scheduler's default profile is known to check a node's room",
    "schedulingGates": "a pod that waits for a gate keeps its room reserved in vain",
    "restartPolicy": "it is Never: a container that ended has lost its activation's state",
    "terminationGracePeriodSeconds": "it comes from the kill grace period, at least 1 second",
    "activeDeadlineSeconds": "owmesos ends containers",
    "initContainers": _ROOM,
    "ephemeralContainers": _ROOM,
    "resources": _ROOM,
    "overhead": _ROOM,
    "resourceClaims": _ROOM,
    "automountServiceAccountToken": "it is false: actions must not speak for the cluster",
    "hostNetwork": "containers of one node would meet at one port",
}
_CONTAINER: Mapping[str, str] = {
    "image": "it is the action's kind's or the action's own",
    "command": "owmesos sets it",
    "args": "owmesos sets it",
    "resources": "they come from the action's memory limit",
    "ports": "owmesos sets them",
    "restartPolicy": "it is Never: a container that ended has lost its activation's state",
    "readinessProbe": "it would delay each cold start by its period; owmesos sees for itself when it can be used",
    "startupProbe": "it would delay each cold start by its period; owmesos sees for itself when it can be used",
}


def check_template(template: Mapping[str, Any]) -> None:
    """Raises InvalidInput, which names the field that a template may not have, and why."""
    _mapping("", template)
    try:
        msgspec.json.encode(template)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:  # YAML has loops, sets, half characters
        raise _wrong("the document", f"it cannot be written as JSON: {shortened(str(error))}") from None
    _only(template, _TOP, "")
    for name, wanted in (("apiVersion", "v1"), ("kind", "Pod")):
        if template.get(name, wanted) != wanted:
            raise _wrong(name, f"it must be {wanted}, not {template[name]!r:.80}")
    metadata = _mapping("metadata", template.get("metadata"))
    _only(metadata, {"labels", "annotations"}, "metadata.")
    for label in _mapping("metadata.labels", metadata.get("labels")):
        if label == "app" or str(label).startswith("owmesos/"):
            raise _wrong(f"metadata.labels.{label}", _NAMED)
    for annotation in _mapping("metadata.annotations", metadata.get("annotations")):
        if str(annotation).startswith("owmesos/"):
            raise _wrong(f"metadata.annotations.{annotation}", _NAMED)
    spec = _mapping("spec", template.get("spec"))
    _none_of(spec, _SPEC, "spec.")
    affinity = _mapping("spec.affinity", spec.get("affinity"))
    node = _mapping("spec.affinity.nodeAffinity", affinity.get("nodeAffinity"))
    _none_of(node, {"requiredDuringSchedulingIgnoredDuringExecution": _WHERE}, "spec.affinity.nodeAffinity.")
    for toleration in _list("spec.tolerations", spec.get("tolerations")):
        _mapping("spec.tolerations", toleration)
    containers = _list("spec.containers", spec.get("containers"))
    for container in containers:
        _check_container(_mapping("spec.containers", container))
    if len(containers) > 1:
        raise _wrong("spec.containers", f"it has {len(containers)} containers; only {ACTION!r} is possible: {_ROOM}")


def _check_container(container: Mapping[str, Any]) -> None:
    if container.get("name") != ACTION:
        name = container.get("name")
        raise _wrong("spec.containers", f"the container must be named {ACTION!r}, not {name!r:.80}: of others {_ROOM}")
    _none_of(container, _CONTAINER, f"spec.containers[{ACTION}].")
    for variable in _list(f"spec.containers[{ACTION}].env", container.get("env")):
        _mapping(f"spec.containers[{ACTION}].env", variable)


def merged(template: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """`ours` over `template`: mappings are merged, lists of named objects by name, other lists one after the other."""
    result = dict(template)
    for name, value in ours.items():
        below = template.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[name] = merged(below, value)
        elif isinstance(value, list) and isinstance(below, list):
            result[name] = _merged_lists(below, value)
        else:
            result[name] = value
    return result


def _merged_lists(template: list[Any], ours: list[Any]) -> list[Any]:
    named = {each["name"]: each for each in ours if isinstance(each, Mapping) and "name" in each}
    kept: list[Any] = []
    for each in template:
        name = each.get("name") if isinstance(each, Mapping) else None
        kept.append(merged(each, named.pop(name)) if isinstance(name, str) and name in named else each)
    return kept + [each for each in ours if not (isinstance(each, Mapping) and "name" in each) or each["name"] in named]


def _only(given: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    for name in given:
        if name not in known:
            raise _wrong(f"{path}{name}", f"only {', '.join(sorted(known))} can be set here")


def _none_of(given: Mapping[str, Any], refused: Mapping[str, str], path: str) -> None:
    for name in given:
        if name in refused:
            raise _wrong(f"{path}{name}", refused[name])


def _mapping(path: str, value: Any) -> Mapping[str, Any]:
    """An empty field is one without fields."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(path or "the document", f"it must be a mapping, not {shortened(repr(value))}")
    return value


def _list(path: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(path, f"it must be a list, not {shortened(repr(value))}")
    return value


def _wrong(path: str, why: str) -> InvalidInput:
    return InvalidInput(f"the pod template cannot be used: {path}: {why}")

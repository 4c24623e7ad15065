"""Where a pod may go: node affinity, node selector, taints, cordon and requests, as kube-scheduler filters nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from owmesos.simulator.kubernetes.objects import Document
from owmesos.simulator.kubernetes.requests import Amounts, amounts, lacking

UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
NO_MATCH = "node(s) didn't match Pod's node affinity/selector"
CORDONED = "node(s) were unschedulable"


def pinned_to(pod: Mapping[str, Any]) -> str | None:
    """The only node that its affinity lets it go to, by `metadata.name`; None where there may be more."""
    terms = _required_terms(pod)
    if len(terms) != 1:
        return None
    for field in terms[0].get("matchFields", ()):
        if field["key"] == "metadata.name" and field["operator"] == "In" and len(field["values"]) == 1:
            name: str = field["values"][0]
            return name
    return None


def matches(pod: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Its node selector, and one of the terms of its required affinity."""
    labels = node["metadata"].get("labels", {})
    if not pod["spec"].get("nodeSelector", {}).items() <= labels.items():
        return False
    terms = _required_terms(pod)
    return not terms or any(_term_matches(term, node, labels) for term in terms)


def _required_terms(pod: Mapping[str, Any]) -> list[Document]:
    required = (
        pod["spec"]
        .get("affinity", {})
        .get("nodeAffinity", {})
        .get("requiredDuringSchedulingIgnoredDuringExecution", {})
    )
    terms: list[Document] = required.get("nodeSelectorTerms", [])
    return terms


def _term_matches(term: Mapping[str, Any], node: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """An empty term matches nothing."""
    fields, expressions = term.get("matchFields", ()), term.get("matchExpressions", ())
    if not fields and not expressions:
        return False
    names = {"metadata.name": node["metadata"]["name"]}
    return all(_holds(each, names) for each in fields) and all(_holds(each, labels) for each in expressions)


def _holds(requirement: Mapping[str, Any], of: Mapping[str, str]) -> bool:
    key, operator, values = requirement["key"], requirement["operator"], requirement.get("values", ())
    if operator == "In":
        return of.get(key) in values
    if operator == "NotIn":
        return of.get(key) not in values
    if operator == "Exists":
        return key in of
    if operator == "DoesNotExist":
        return key not in of
    number = of.get(key, "")
    if not number.lstrip("-").isdigit():
        return False
    return int(number) > int(values[0]) if operator == "Gt" else int(number) < int(values[0])


def toleration_of(pod: Mapping[str, Any], taint: Mapping[str, Any]) -> Document | None:
    """The first of the pod's tolerations that tolerates the taint."""
    for each in pod["spec"].get("tolerations", ()):
        if each.get("effect") not in (None, "", taint["effect"]):
            continue
        if not each.get("key"):
            if each.get("operator") == "Exists":
                return dict(each)
            continue
        same_value = each.get("value", "") == taint.get("value", "")
        if each["key"] == taint["key"] and (each.get("operator") == "Exists" or same_value):
            return dict(each)
    return None


def untolerated(pod: Mapping[str, Any], node: Mapping[str, Any], effects: Iterable[str]) -> Document | None:
    """The first such taint of the node that the pod does not tolerate."""
    for taint in node["spec"].get("taints", ()):
        if taint["effect"] in effects and toleration_of(pod, taint) is None:
            found: Document = taint
            return found
    return None


def allocatable(node: Mapping[str, Any]) -> Amounts:
    return amounts(node["status"].get("allocatable", {}))


def why_not(pod: Mapping[str, Any], node: Mapping[str, Any], asked: Amounts, free: Amounts) -> list[str]:
    """Why kube-scheduler does not choose the node, in its words; empty where it may."""
    if not matches(pod, node):
        return [NO_MATCH]
    cordon = {"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}
    if node["spec"].get("unschedulable") and toleration_of(pod, cordon) is None:
        return [CORDONED]
    taint = untolerated(pod, node, ("NoSchedule", "NoExecute"))
    if taint is not None:
        return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
    return ["Too many pods" if name == "pods" else f"Insufficient {name}" for name in lacking(asked, free)]

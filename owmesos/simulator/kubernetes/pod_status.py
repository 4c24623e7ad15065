"""The status that a kubelet writes of a pod, from what its containers do."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from owmesos.simulator.kubernetes.objects import Document, condition
from owmesos.simulator.kubernetes.requests import PODS, Amounts, quantities_of

SIGKILLED = 128 + signal.SIGKILL


def admitted(asked: Amounts) -> Document:
    """The sums of the whole pod, overhead among them."""
    sums = quantities_of({name: amount for name, amount in asked.items() if name != PODS})
    return {"allocatedResources": sums, "resources": {"requests": sums}} if sums else {}


def running(pod: Mapping[str, Any], *, ready: bool, since: str, ip: str, restarts: int) -> Document:
    return {
        "phase": "Running",
        "podIP": ip,
        "startTime": since,
        "conditions": _conditions(ready),
        "containerStatuses": _statuses(pod, {"running": {"startedAt": since}}, ready=ready, restarts=restarts),
    }


def waiting(pod: Mapping[str, Any], reason: str, message: str, *, restarts: int = 0) -> Document:
    """No container runs, but one may begin: the phase stays what it is."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "conditions": _conditions(False, "ContainersNotReady"),
        "containerStatuses": _statuses(pod, state, ready=False, restarts=restarts),
    }


def terminated(pod: Mapping[str, Any], code: int, reason: str, message: str = "", *, restarts: int = 0) -> Document:
    """All have ended; the phase follows later."""
    state: Document = {"exitCode": code, "reason": reason}
    if message:
        state["message"] = message
    return {
        "conditions": _conditions(False, "PodFailed" if code else "PodCompleted"),
        "containerStatuses": _statuses(pod, {"terminated": state}, ready=False, restarts=restarts),
    }


def reason_of(code: int, *, oom: bool) -> str:
    return "OOMKilled" if oom else "Error" if code else "Completed"


def _statuses(pod: Mapping[str, Any], state: Document, *, ready: bool, restarts: int) -> list[Document]:
    made = []
    for each in pod["spec"]["containers"]:
        status = {"name": each["name"], "image": each["image"], "ready": ready, "restartCount": restarts}
        made.append({**status, "started": "running" in state, "state": state, "lastState": {}})
    return made


def _conditions(ready: bool, reason: str = "") -> list[Document]:
    return [
        condition("Initialized", True),
        condition("ContainersReady", ready, reason),
        condition("Ready", ready, reason),
    ]

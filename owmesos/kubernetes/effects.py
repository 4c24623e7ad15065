"""What the factory wants done, in order. What its pool wants of the invoker comes among these, see `InvokerEvent`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from owmesos.core.node_stats import NodeStatsUpdate


class KubernetesEffect(msgspec.Struct, frozen=True):
    """The root of the effects."""


class PostPod(KubernetesEffect, frozen=True):
    """Create it in our namespace. Answered by PodCreated or PostRejected."""

    name: str
    body: Mapping[str, Any]  # a Pod as JSON


class WithdrawPost(KubernetesEffect, frozen=True):
    """If its PostPod was not sent yet, it is not sent any more, and PostRejected answers it."""

    name: str


class DeletePod(KubernetesEffect, frozen=True):
    """Only that one with this `uid`, where it is known. `grace`: seconds, at least 1."""

    name: str
    uid: str | None
    grace: int


class NodeStatsChanged(KubernetesEffect, frozen=True):
    update: NodeStatsUpdate


class Relist(KubernetesEffect, frozen=True):
    """Drop the watches, list nodes and pods anew."""

    reason: str


class LogNote(KubernetesEffect, frozen=True):
    """A line for the log."""

    level: Literal["debug", "info", "warning"]
    text: str

"""What the factory hears of the cluster. Frozen, so that a run can be recorded and replayed."""

from __future__ import annotations

import re

import msgspec

from owmesos.kubernetes.messages import Node, Pod

TOO_MANY = 429  # HTTP's Too Many Requests
USUAL_PAUSE = 1.0  # seconds; as API Priority and Fairness wants it
_DENIAL = re.compile(r"^admission webhook \"|olicy '[^']*' with binding '[^']*' denied request")


class ApiFailure(msgspec.Struct, frozen=True):
    """Why a request was not done. `status` is HTTP's, 0 if no answer came; `certain`: it certainly had no effect."""

    status: int
    reason: str  # as in a Status object: AlreadyExists, Conflict, Forbidden, NotFound, …
    message: str
    certain: bool
    retry_after: float | None = None  # seconds

    @property
    def wants_pause(self) -> bool:
        """The API server has too much to do, of all clients' or of ours (API Priority and Fairness)."""
        return not self.denied and (self.status == TOO_MANY or (self.status == 503 and self.retry_after is not None))

    @property
    def pause(self) -> float:
        """Seconds to leave the API server alone, where it wants that."""
        return self.retry_after or USUAL_PAUSE

    @property
    def denied(self) -> bool:
        return is_denial(self.message)


def is_denial(message: str) -> bool:
    """Of an admission webhook or policy, which chooses status and reason: they do not mean what they mean when the API
    server itself says them. The texts are those of k8s.io/apiserver, admission/plugin/webhook/errors and
    admission/plugin/policy."""
    return _DENIAL.search(message) is not None


class KubernetesEvent(msgspec.Struct, frozen=True):
    """The root of the events."""


class NodesListed(KubernetesEvent, frozen=True):
    """All nodes there are: others are gone."""

    nodes: tuple[Node, ...]


class NodeSeen(KubernetesEvent, frozen=True):
    """It was added or modified."""

    node: Node


class NodeDeleted(KubernetesEvent, frozen=True):
    name: str


class PodsListed(KubernetesEvent, frozen=True):
    """All pods of all namespaces there are: others are gone, unless they were created after `resource_version`."""

    pods: tuple[Pod, ...]
    resource_version: str = ""


class PodSeen(KubernetesEvent, frozen=True):
    """It was added or modified."""

    pod: Pod


class PodCreated(PodSeen, frozen=True):
    """The answer to a PostPod, which may come before or after the watch shows the pod. `name` is the one asked for."""

    name: str


class PodDeleted(KubernetesEvent, frozen=True):
    """It does not exist any more; `pod` is its last state."""

    pod: Pod


class ApiDisconnected(KubernetesEvent, frozen=True):
    """The API server is not heard any more: what is known of the cluster is old. The next lists end it."""

    reason: str


class PostRejected(KubernetesEvent, frozen=True):
    """A PostPod was answered with an error, or with nothing."""

    name: str
    failure: ApiFailure


class DeleteRejected(KubernetesEvent, frozen=True):
    """A DeletePod was answered with an error; also with 404: the watch may have shown the end already."""

    name: str
    failure: ApiFailure


class KubernetesTick(KubernetesEvent, frozen=True):
    """Time has passed."""

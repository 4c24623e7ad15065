"""What every node has free: its allocatable less the requests of all pods that hold room there, ours and strangers'.

A pod holds room from its binding to its terminal phase, while it is terminating too: only then does the kubelet admit
another in its place (measured: `OutOfcpu` at the deletionTimestamp, admitted at Failed). The sums are kept, and changed
by each event, so that none of them costs more on a large cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from owmesos.errors import InvalidInput, InvariantBroken
from owmesos.kubernetes.messages import Node, Pod
from owmesos.kubernetes.pod_requests import GPUS, pod_request
from owmesos.kubernetes.pod_status import has_ended
from owmesos.kubernetes.quantities import count_down, milli_down, milli_mb_down
from owmesos.resources import NO_PORTS, NOTHING, Resources


def allocatable(quantities: Mapping[str, str]) -> Resources:
    """What a node can give to pods. A quantity that cannot be read counts as nothing."""
    cpus, mem = _there(milli_down, quantities.get("cpu")), _there(milli_mb_down, quantities.get("memory"))
    disk, pods = _there(milli_mb_down, quantities.get("ephemeral-storage")), _there(count_down, quantities.get("pods"))
    gpus = sum(_there(milli_down, quantities.get(name)) for name in GPUS)
    return Resources(cpus, mem, disk, gpus, NO_PORTS, pods)


def _there(parse: Callable[[str], int], text: str | None) -> int:
    try:
        return parse(text) if text is not None else 0
    except InvalidInput:
        return 0


class NodeSums:
    """By node name. Pods of a node that is not known are kept: it may be shown later."""

    def __init__(self, is_anothers: Callable[[Pod], bool] = lambda pod: False) -> None:
        """`is_anothers` says whether a pod is that of another invoker on this cluster."""
        self._is_anothers = is_anothers
        self._allocatable: dict[str, tuple[Mapping[str, str], Resources]] = {}
        self._used: dict[str, Resources] = {}  # of nodes with pods
        self._pods: dict[str, tuple[str, Resources]] = {}  # by uid: where each pod holds what

    # -- what is seen

    def node(self, node: Node) -> bool:
        """It is there. Whether what it has changed."""
        name, quantities = node.metadata.name, node.status.allocatable
        before = self._allocatable.get(name)
        if before is not None and before[0] == quantities:
            return False
        self._allocatable[name] = (quantities, allocatable(quantities))
        return True

    def node_gone(self, name: str) -> bool:
        """Whether it was known."""
        return self._allocatable.pop(name, None) is not None

    def pod(self, pod: Pod) -> tuple[str, ...]:
        """It is there. The nodes whose sums changed."""
        uid, node = pod.metadata.uid, pod.spec.node_name or self._claimed(pod)
        if not node or has_ended(pod):
            return self.pod_gone(uid)
        request = pod_request(pod)
        before = self._pods.get(uid)
        if before is None:
            self._add(uid, node, request)
            return (node,)
        if before[0] == node and before[1] == request:
            return ()
        self.pod_gone(uid)
        self._add(uid, node, request)
        return (before[0], node) if before[0] != node else (node,)

    def pod_gone(self, uid: str) -> tuple[str, ...]:
        """The nodes whose sums changed."""
        before = self._pods.pop(uid, None)
        if before is None:
            return ()
        node, request = before
        left = self._used[node].minus(request)
        if left:
            self._used[node] = left
        else:
            del self._used[node]
        return (node,)

    def replace_pods(self, pods: Iterable[Pod]) -> None:
        """There are these pods and no others."""
        self._pods.clear()
        self._used.clear()
        for pod in pods:
            node = pod.spec.node_name or self._claimed(pod)
            if node and not has_ended(pod):
                self.pod_gone(pod.metadata.uid)  # a list of several pages may have it twice
                self._add(pod.metadata.uid, node, pod_request(pod))

    def _claimed(self, pod: Pod) -> str:
        """The node that another invoker's pod waits for: it has the room first. Empty for all other pods."""
        affinity = pod.spec.affinity
        if affinity is None or not self._is_anothers(pod) or affinity.node_affinity is None:
            return ""
        required = affinity.node_affinity.required_during_scheduling_ignored_during_execution
        fields = [field for term in required.node_selector_terms for field in term.match_fields] if required else []
        return fields[0].values[0] if len(fields) == 1 and len(fields[0].values) == 1 else ""

    def _add(self, uid: str, node: str, request: Resources) -> None:
        self._pods[uid] = (node, request)
        used = self._used.get(node)
        self._used[node] = request if used is None else used.plus(request)

    # -- what is free

    def __contains__(self, name: object) -> bool:
        return name in self._allocatable

    def __iter__(self) -> Iterator[str]:
        return iter(self._allocatable)

    def total(self, name: str) -> Resources:
        """Its allocatable; nothing for a node that is not known."""
        known = self._allocatable.get(name)
        return known[1] if known is not None else NOTHING

    def free(self, name: str) -> Resources:
        """A debt is negative."""
        used = self._used.get(name)
        return self.total(name) if used is None else self.total(name).minus(used)

    def held_by(self, uid: str) -> tuple[str, Resources] | None:
        """The node whose sum contains the pod, and what it takes there."""
        return self._pods.get(uid)

    def validate(self) -> None:
        """Raises InvariantBroken when a sum is not the sum."""
        sums: dict[str, Resources] = {}
        for node, request in self._pods.values():
            sums[node] = sums.get(node, NOTHING).plus(request)
        if sums != self._used:
            raise InvariantBroken(f"the requests on the nodes sum to {sums}, the book says {self._used}")

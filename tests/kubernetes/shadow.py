"""What was known of the cluster when a pod was posted, counted anew: whether there was room for it, as far as known.

Independent of the factory's own books: it reads the events that the factory was given, by the simulator's rules.
"""

from __future__ import annotations

from typing import Any

import msgspec

from owmesos.core.pool.events import StartContainer
from owmesos.kubernetes import effects, events
from owmesos.kubernetes.messages import Node, Pod
from owmesos.kubernetes.pod_manifest import pod_name
from owmesos.simulator.kubernetes.node_fit import pinned_to
from owmesos.simulator.kubernetes.requests import Amounts, add, amounts, lacking, pod_requests

_OVER = ("Succeeded", "Failed")


class Shadow:
    """What one incarnation's pods may do. `posted`: pods that it asked for, without a known end, by node."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._nodes: dict[str, Amounts] = {}
        self._pods: dict[str, tuple[str, str, Amounts]] = {}  # that hold room, by uid: name, node, requests
        self.posted: dict[str, tuple[str, Amounts]] = {}
        self.starts: dict[str, StartContainer] = {}  # by pod name, for what they were decided to come after
        self._seen: dict[str, str] = {}  # pods of our namespace, name → uid
        self._unsure: set[str] = set()  # names of pods that may exist: a request for them got no answer
        self._versions: dict[str, int] = {}  # by uid

    def event(self, event: Any) -> None:
        if isinstance(event, events.NodesListed):
            self._nodes = {each.metadata.name: _allocatable(each) for each in event.nodes}
        elif isinstance(event, events.NodeSeen):
            self._nodes[event.node.metadata.name] = _allocatable(event.node)
        elif isinstance(event, events.NodeDeleted):
            self._nodes.pop(event.name, None)
        elif isinstance(event, events.PodsListed):
            self._listed(event)
        elif isinstance(event, events.PodSeen):
            self._pod(event.pod)
        elif isinstance(event, events.PodDeleted):
            self._gone(event.pod)
        elif isinstance(event, events.PostRejected):
            if not event.failure.certain:
                self._unsure.add(event.name)
            elif event.name not in self._unsure:
                self.posted.pop(event.name, None)

    def _listed(self, event: events.PodsListed) -> None:
        """Those that were seen, and are not in it, are gone, unless they are newer; those that may exist do not."""
        self._pods.clear()
        there = {pod.metadata.uid for pod in event.pods}
        for name in self._unsure - {pod.metadata.name for pod in event.pods}:
            self.posted.pop(name, None)
        for name, uid in self._seen.items():
            if uid not in there and self._versions[uid] <= int(event.resource_version):
                self.posted.pop(name, None)
        for pod in event.pods:
            self._pod(pod)

    def _pod(self, pod: Pod) -> None:
        """Not an older state than is known: the answer to a POST may be late."""
        metadata = pod.metadata
        version = int(metadata.resource_version)
        if version < self._versions.get(metadata.uid, 0):
            return
        self._versions[metadata.uid] = version
        if metadata.namespace == self._namespace:
            self._seen[metadata.name] = metadata.uid
        self._pods.pop(metadata.uid, None)
        if pod.status.phase in _OVER:
            self._forget(pod)
        elif pod.spec.node_name:
            document = msgspec.to_builtins(pod)
            self._pods[metadata.uid] = (metadata.name, pod.spec.node_name, pod_requests(document))
            if metadata.namespace == self._namespace:
                self.posted.pop(metadata.name, None)

    def _gone(self, pod: Pod) -> None:
        self._versions[pod.metadata.uid] = int(pod.metadata.resource_version)
        self._pods.pop(pod.metadata.uid, None)
        self._forget(pod)

    def _forget(self, pod: Pod) -> None:
        if pod.metadata.namespace == self._namespace:
            self.posted.pop(pod.metadata.name, None)

    def post(self, effect: effects.PostPod, start: StartContainer | None) -> None:
        """Raises AssertionError where there was no room for it, as far as was known. What it was decided to come after
        is not counted."""
        document: dict[str, Any] = dict(effect.body)
        node, asked = pinned_to(document), pod_requests(document)
        assert node is not None, f"{effect.name} is pinned to no node"
        if effect.name in self.posted:
            return  # asked for again: the first request had no answer
        leaving = {pod_name(each) for each in start.after} if start is not None else set()
        free = dict(self._nodes.get(node, {}))
        for name, where, held in self._pods.values():
            if where == node and name not in leaving:
                add(free, held, -1)
        for name, (where, held) in self.posted.items():
            if where == node and name not in leaving:
                add(free, held, -1)
        short = lacking(asked, free)
        assert not short, f"{effect.name} was posted to {node}, where {free} is left of {short} for {asked}"
        self.posted[effect.name] = (node, asked)


def _allocatable(node: Node) -> Amounts:
    return amounts(node.status.allocatable)

"""Events between the thread that reads and the event loop that decides. Neither waits for the other.

While the consumer is slow, an object's newer event replaces the one that waits: then memory is bounded by what there is
in the cluster, and the consumer catches up with the present instead of the past. What a list makes old is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from owmesos.kubernetes.events import (
    ApiDisconnected,
    KubernetesEvent,
    NodeDeleted,
    NodeSeen,
    NodesListed,
    PodDeleted,
    PodSeen,
    PodsListed,
)

COALESCE_AFTER = 1000  # waiting events
_NODES, _PODS = "node", "pod"
_Key = tuple[str, str]


class EventQueue:
    """In the order of the objects' last events. Used from two threads."""

    def __init__(self, coalesce_after: int = COALESCE_AFTER) -> None:
        self._coalesce_after = coalesce_after
        self._lock = Lock()
        self._waiting: dict[int, KubernetesEvent] = {}  # by number
        self._newest: dict[_Key, int] = {}  # the number of each object's newest event that waits
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, events: Iterable[KubernetesEvent]) -> bool:
        """Whether the consumer has to be woken: there was nothing to take before."""
        with self._lock:
            was_empty = not self._waiting
            for event in events:
                self._put(event)
            return was_empty and bool(self._waiting)

    def take(self, most: int) -> tuple[list[KubernetesEvent], bool]:
        """The first events, at most so many, and whether there are more."""
        with self._lock:
            numbers = list(self._waiting)[:most] if len(self._waiting) <= most else self._first(most)
            taken = [self._waiting.pop(number) for number in numbers]
            if not self._waiting:
                self._newest.clear()
            return taken, bool(self._waiting)

    def _first(self, most: int) -> list[int]:
        iterator = iter(self._waiting)
        return [next(iterator) for _ in range(most)]

    def _put(self, event: KubernetesEvent) -> None:
        self._number += 1
        if isinstance(event, (NodesListed, PodsListed)):
            self._drop(_NODES if isinstance(event, NodesListed) else _PODS)
        key = _key(event)
        if key is not None:
            if len(self._waiting) >= self._coalesce_after:
                self._waiting.pop(self._newest.get(key, 0), None)
            self._newest[key] = self._number
        self._waiting[self._number] = event

    def _drop(self, what: str) -> None:
        """What waits of nodes, or of pods."""
        kinds = (NodesListed, NodeSeen, NodeDeleted) if what == _NODES else (PodsListed, PodSeen, PodDeleted)
        self._waiting = {number: event for number, event in self._waiting.items() if not isinstance(event, kinds)}
        self._newest = {key: number for key, number in self._newest.items() if key[0] != what}


def _key(event: KubernetesEvent) -> _Key | None:
    """Whose event it is. A pod that is posted again under its name is another, a node is not."""
    if isinstance(event, (PodSeen, PodDeleted)):
        return (_PODS, event.pod.metadata.uid)
    if isinstance(event, NodeSeen):
        return (_NODES, event.node.metadata.name)
    if isinstance(event, NodeDeleted):
        return (_NODES, event.name)
    if isinstance(event, ApiDisconnected):
        return ("disconnected", "")
    return None

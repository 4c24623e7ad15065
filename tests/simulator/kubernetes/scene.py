"""A simulated cluster, a watch of its pods, and the pods that tests post."""

from __future__ import annotations

from typing import Any

from owmesos.simulator.kubernetes.behaviours import PodBehaviour, from_command
from owmesos.simulator.kubernetes.kubelet import PodBehaviours
from owmesos.simulator.kubernetes.objects import Document
from owmesos.simulator.kubernetes.store import ObjectChange
from owmesos.simulator.kubernetes.world import KubernetesWorld, NodeDescription, several

ONE_CPU = {"cpu": "1", "memory": "1Gi", "pods": "110"}
DEAF = ["sh", "-c", "trap '' TERM; sleep 1000"]


class Scene:
    """`seen`: each change of a pod that the watch showed, with its time since the beginning."""

    def __init__(
        self,
        nodes: int | list[NodeDescription] = 1,
        *,
        allocatable: dict[str, str] | None = None,
        behaviour: PodBehaviour | None = None,
    ) -> None:
        behaviours: PodBehaviours = from_command if behaviour is None else lambda _: behaviour
        described = several(nodes, allocatable or ONE_CPU) if isinstance(nodes, int) else nodes
        self.world = KubernetesWorld(described, behaviour_of=behaviours)
        self.api = self.world.api
        self.began = self.world.now
        self.seen: list[tuple[float, ObjectChange | None]] = []
        self.watch = self.api.watch("Pod", lambda change: self.seen.append((self.world.now - self.began, change)))
        self.world.run(0.01)
        self.seen.clear()

    def post(
        self,
        name: str,
        cpu: str = "600m",
        *,
        on: str | None = None,
        node_name: str | None = None,
        command: list[str] | None = None,
        **spec: Any,
    ) -> None:
        """Pinned to `on`, or bound to `node_name`, if they are given."""
        container: Document = {"name": "main", "image": "own:1", "resources": {"requests": {"cpu": cpu}}}
        if command is not None:
            container["command"] = command
        if on is not None:
            spec["affinity"] = pinned(on)
        if node_name is not None:
            spec["nodeName"] = node_name
        answer = self.world.post(name, {}, containers=[container], **spec)
        assert answer.status == 201, answer

    def pod(self, name: str) -> Document:
        return self.api.pods["default", name]

    def status(self, name: str) -> Document:
        status: Document = self.pod(name)["status"]
        return status

    def condition(self, name: str, kind: str) -> Document:
        found: Document = next((each for each in self.status(name).get("conditions", ()) if each["type"] == kind), {})
        return found

    def state(self, name: str) -> Document:
        state: Document = self.status(name)["containerStatuses"][0]["state"]
        return state

    def when(self, name: str, kind: str = "MODIFIED", **status: Any) -> float:
        """When the watch first showed the pod so, in seconds."""
        for at, change in self.seen:
            if change is None or change.type != kind or change.object["metadata"].get("name") != name:
                continue
            if all(change.object["status"].get(field) == value for field, value in status.items()):
                return at
        raise AssertionError(f"{name} was never seen {kind} with {status}")

    def where(self, name: str) -> str:
        node: str = self.pod(name)["spec"].get("nodeName", "")
        return node


def pinned(node: str) -> Document:
    fields = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    required = {"nodeSelectorTerms": [{"matchFields": fields}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}

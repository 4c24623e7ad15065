"""A cluster of Kubernetes by the agenda's time: its parts, what may happen to them, and what is true of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from owmesos.errors import OwmesosError
from owmesos.simulator.agenda import Agenda
from owmesos.simulator.kubernetes import pod_logs
from owmesos.simulator.kubernetes.admission import ApiAnswer, failure
from owmesos.simulator.kubernetes.api_server import ApiServer
from owmesos.simulator.kubernetes.behaviours import from_command
from owmesos.simulator.kubernetes.kubelet import Kubelet, PodBehaviours, PodWork
from owmesos.simulator.kubernetes.node_controllers import NodeControllers, cordoned, ready, with_taint, without_taint
from owmesos.simulator.kubernetes.node_fit import allocatable
from owmesos.simulator.kubernetes.objects import (
    Document,
    PodKey,
    changed,
    condition,
    is_over,
    node_of,
    with_conditions,
)
from owmesos.simulator.kubernetes.requests import Amounts, add, lacking, pod_requests
from owmesos.simulator.kubernetes.scheduler import KubeScheduler
from owmesos.simulator.kubernetes.settings import ControlPlaneSettings
from owmesos.simulator.kubernetes.store import ObjectChange

START = 1_700_000_000.0
"""When virtual time begins, in seconds of the epoch."""

_PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
}


class UnknownNode(OwmesosError):
    """The simulated cluster has no node, or no kubelet, of that name."""


@dataclass(frozen=True)
class NodeDescription:
    """What a node registers with."""

    name: str
    allocatable: Mapping[str, str] = field(
        default_factory=lambda: {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi", "pods": "110"}
    )
    labels: Mapping[str, str] = field(default_factory=dict)


def several(count: int, allocatable: Mapping[str, str] | None = None) -> list[NodeDescription]:
    """So many of one kind: node1, node2, …"""
    names = [f"node{number}" for number in range(1, count + 1)]
    return [NodeDescription(name) if allocatable is None else NodeDescription(name, allocatable) for name in names]


class KubernetesWorld:
    """`api` takes requests. Everything else happens in `run`, by the agenda."""

    def __init__(
        self,
        nodes: int | Sequence[NodeDescription] = 3,
        *,
        settings: ControlPlaneSettings | None = None,
        seed: int = 0,
        now: float = START,
        behaviour_of: PodBehaviours = from_command,
        namespaces: tuple[str, ...] = ("default",),
    ) -> None:
        self.agenda = Agenda(now)
        self.chance = random.Random(seed)
        self.settings = settings or ControlPlaneSettings()
        self.api = ApiServer(self.agenda, self.settings, namespaces)
        self.scheduler = KubeScheduler(self.api, self.settings, self.chance)
        self.controllers = NodeControllers(self.api, self.settings)
        self.kubelets: dict[str, Kubelet] = {}
        self._behaviour_of = behaviour_of
        self._registered: dict[str, Document] = {}  # what each kubelet says of its node at first
        self._numbers = 0
        self.api.store.listeners.append(self._tell_kubelet)
        for each in several(nodes) if isinstance(nodes, int) else nodes:
            self.add_node(each)
        self.run(0.1)

    # -- time

    @property
    def now(self) -> float:
        return self.agenda.now

    def run(self, seconds: float) -> None:
        """Everything that is due within so long."""
        until = self.agenda.now + seconds
        while self.agenda.step(until):
            pass

    def step(self, until: float) -> bool:
        """The next thing that is due by then. False if there is none: it is `until` now."""
        return self.agenda.step(until)

    # -- nodes

    def add_node(self, description: NodeDescription) -> None:
        """A machine with a kubelet that is ready at once."""
        name, number = description.name, self._numbers + 1
        self._numbers = number
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **description.labels}
        net = f"10.{number >> 8 & 255}.{number & 255}."
        kubelet = Kubelet(name, self.api, self.settings, self.chance, self._behaviour_of, net)
        self.kubelets[name] = kubelet
        addresses: list[Document] = [
            {"type": "InternalIP", "address": f"{net}255"},
            {"type": "Hostname", "address": name},
        ]
        pressures = [condition(each, False, f"KubeletHasNo{each}") for each in _PRESSURE]
        status = {
            "allocatable": dict(description.allocatable),
            "addresses": addresses,
            "conditions": [*pressures, condition("Ready", True, "KubeletReady")],
        }
        self._registered[name] = {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}
        self.api.add_node(self._registered[name])

    def remove_node(self, name: str) -> None:
        """Its object is deleted, and its machine is gone: what is written of its pods goes after a while."""
        self.power_off(name)
        self.delete_node(name)
        del self.kubelets[name]

    def delete_node(self, name: str) -> None:
        """Its object alone. A kubelet that is brought back registers again."""
        self._kubelet(name)
        self.controllers.heard(name)
        self.api.remove_node(name)

    def cut_off(self, name: str) -> None:
        """The kubelet is not heard any more. Its pods go on."""
        self._kubelet(name).connected = False
        self.controllers.silent(name)

    def power_off(self, name: str) -> None:
        """The machine stops, with all its processes."""
        kubelet = self._kubelet(name)
        if kubelet.connected:
            self.controllers.silent(name)
        kubelet.power_off()

    def bring_back(self, name: str) -> None:
        """The kubelet of a node that was cut off, or switched off, is heard again; the node is soon ready."""
        kubelet = self._kubelet(name)
        if kubelet.connected:
            return
        self.controllers.heard(name)
        if self.api.node(name) is None:
            self.api.add_node(self._registered[name])
        kubelet.reconnect()
        self.agenda.after(self.settings.node_back_takes, self._is_back, name)

    def _is_back(self, name: str) -> None:
        if name in self.kubelets and self.kubelets[name].connected:
            self.api.change_node(name, partial(ready, status=True, reason="KubeletReady"))

    def not_ready(self, name: str) -> None:
        """The kubelet says that it is not: its container runtime is down, or its network. `bring_back` does not end
        it, `is_ready` does."""
        self.api.change_node(name, partial(ready, status=False, reason="KubeletNotReady"))

    def is_ready(self, name: str) -> None:
        self.api.change_node(name, partial(ready, status=True, reason="KubeletReady"))

    def cordon(self, name: str, on: bool = True) -> None:
        self.api.change_node(name, partial(cordoned, on=on))

    def drain(self, name: str) -> None:
        """Cordoned, and every pod on it is asked to go by the eviction API."""
        self.cordon(name)
        for (namespace, pod_name), pod in list(self.api.pods.items()):
            if node_of(pod) == name and not is_over(pod):
                self.api.evict_pod(namespace, pod_name)

    def taint(self, name: str, key: str, effect: str, value: str = "") -> None:
        self.api.change_node(name, lambda node: with_taint(node, key, effect, value))

    def untaint(self, name: str, key: str) -> None:
        self.api.change_node(name, lambda node: without_taint(node, key))

    def pressure(self, name: str, kind: str = "MemoryPressure", on: bool = True) -> None:
        """The kubelet is short of something: it says so, and the node is tainted."""

        def change(node: Document) -> Document:
            told = condition(kind, on, f"KubeletHas{'' if on else 'No'}{kind}")
            node = changed(node, conditions=with_conditions(node, told))
            key = _PRESSURE[kind]
            return with_taint(node, key, "NoSchedule") if on else without_taint(node, key)

        self.api.change_node(name, change)

    def resize_node(self, name: str, allocatable: Mapping[str, str]) -> None:
        """It has so much from now on, whatever its pods hold."""
        self.api.change_node(
            name, lambda node: changed(node, allocatable={**node["status"]["allocatable"], **allocatable})
        )

    # -- pods

    def post(self, name: str, requests: Mapping[str, str], *, namespace: str = "default", **spec: object) -> ApiAnswer:
        """A pod of somebody: one container that runs until it is stopped, unless `spec` says something else."""
        container = {"name": "main", "image": "registry.k8s.io/pause", "resources": {"requests": dict(requests)}}
        body = {"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [container], **spec}}
        return self.api.post_pod(namespace, body)

    def end_containers(self, key: PodKey, code: int = 1, *, oom: bool = False) -> bool:
        """They end by themselves, or by the kernel for want of memory. False if none runs."""
        work = self._work(key)
        if work is None or not work.lives:
            return False
        self.kubelets[node_of(work.pod)].end(work, 137 if oom else code, oom=oom)
        return True

    def log(
        self, key: PodKey, *, since: str = "", timestamps: bool = False, limit_bytes: int | None = None
    ) -> ApiAnswer | str:
        """`since` is a time in RFC 3339. The answer says why there is none."""
        pod, work = self.api.pod(key), self._work(key)
        if pod is None:
            return failure(404, "NotFound", f'pods "{key[1]}" not found')
        if not node_of(pod):
            return ""
        if work is None or not work.since:
            return failure(400, "BadRequest", f'container in pod "{key[1]}" is waiting to start')
        return pod_logs.read(work.lines, since=since, timestamps=timestamps, limit_bytes=limit_bytes)

    def evict_under_pressure(self, key: PodKey) -> bool:
        """By its kubelet. False if none has it."""
        work = self._work(key)
        if work is None:
            return False
        self.kubelets[node_of(work.pod)].evict(work, "The node was low on resource: memory.")
        return True

    def _work(self, key: PodKey) -> PodWork | None:
        pod = self.api.pod(key)
        kubelet = self.kubelets.get(node_of(pod)) if pod is not None else None
        return None if kubelet is None or pod is None else kubelet.works.get(pod["metadata"]["uid"])

    def _tell_kubelet(self, change: ObjectChange) -> None:
        if change.kind == "Pod" and node_of(change.object):
            kubelet = self.kubelets.get(node_of(change.object))
            if kubelet is not None:
                self.agenda.after(
                    self.settings.watch_takes, partial(kubelet.hear, change.object, deleted=change.type == "DELETED")
                )

    def _kubelet(self, name: str) -> Kubelet:
        if name not in self.kubelets:
            raise UnknownNode(f"unknown node {name!r}: use one of {', '.join(self.kubelets) or 'none'}")
        return self.kubelets[name]

    # -- what is true

    def free(self, name: str) -> Amounts:
        """What the node can give, less all that pods hold there which are bound and not over."""
        node = self.api.node(name)
        left = {} if node is None else allocatable(node)
        for pod in self.api.pods.values():
            if node_of(pod) == name and not is_over(pod):
                add(left, pod_requests(pod), -1)
        return left

    def overcommitted(self) -> dict[str, list[str]]:
        """Nodes whose living processes request more than there is, and of what."""
        found = {}
        for name, kubelet in self.kubelets.items():
            node = self.api.node(name)
            short = lacking(kubelet.living(), {} if node is None else allocatable(node))
            if short:
                found[name] = short
        return found

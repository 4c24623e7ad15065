"""kube-controller-manager, as far as it is about nodes: which are not ready, what taints do, pods without a node."""

from __future__ import annotations

from functools import partial

from owmesos.simulator.agenda import AgendaEntry, cancel
from owmesos.simulator.kubernetes.admission import NOT_READY, UNREACHABLE
from owmesos.simulator.kubernetes.api_server import DISRUPTION, ApiServer
from owmesos.simulator.kubernetes.node_fit import UNSCHEDULABLE_TAINT, toleration_of
from owmesos.simulator.kubernetes.objects import (
    Document,
    changed,
    condition,
    is_deleted,
    is_over,
    key_of,
    node_of,
    uid_of,
    with_conditions,
)
from owmesos.simulator.kubernetes.settings import ControlPlaneSettings
from owmesos.simulator.kubernetes.store import ObjectChange

NO_EXECUTE = "NoExecute"


def with_taint(node: Document, key: str, effect: str, value: str = "") -> Document:
    return changed(
        without_taint(node, key, effect), spec={"taints": [*_taints(node, key, effect), _taint(key, effect, value)]}
    )


def without_taint(node: Document, key: str, effect: str | None = None) -> Document:
    """Every one of this key, or that of one effect."""
    return changed(node, spec={"taints": _taints(node, key, effect) or None})


def _taint(key: str, effect: str, value: str) -> Document:
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


def _taints(node: Document, key: str, effect: str | None) -> list[Document]:
    """All the others."""
    old: list[Document] = node["spec"].get("taints", [])
    return [each for each in old if each["key"] != key or effect not in (None, each["effect"])]


def ready(node: Document, status: bool | None, reason: str) -> Document:
    """Its condition Ready, and the taints that go with it. `status` None is Unknown: the kubelet is silent."""
    for key in (NOT_READY, UNREACHABLE):
        node = without_taint(node, key)
    if status is not True:
        key = NOT_READY if status is False else UNREACHABLE
        node = with_taint(with_taint(node, key, "NoSchedule"), key, NO_EXECUTE)
    return changed(node, conditions=with_conditions(node, condition("Ready", status, reason)))


def cordoned(node: Document, on: bool) -> Document:
    node = changed(node, spec={"unschedulable": on or None})
    if on:
        return with_taint(node, UNSCHEDULABLE_TAINT, "NoSchedule")
    return without_taint(node, UNSCHEDULABLE_TAINT)


class NodeControllers:
    """Told by the world when a kubelet falls silent and when it is heard again."""

    def __init__(self, api: ApiServer, settings: ControlPlaneSettings) -> None:
        self._api = api
        self._agenda = api.store.agenda
        self._settings = settings
        self._silence: dict[str, AgendaEntry] = {}
        self._evictions: dict[str, tuple[float, AgendaEntry]] = {}  # uid → when
        self._tainted_at: dict[tuple[str, str], float] = {}  # node and key of a NoExecute taint → since when
        self._gone_at: dict[str, float] = {}  # nodes that are gone, and had pods
        self._collecting = False
        api.store.follow(self._hear)

    # -- kubelets

    def silent(self, name: str) -> None:
        self.heard(name)
        self._silence[name] = self._agenda.after(self._settings.node_monitor_grace, self._lose, name)

    def heard(self, name: str) -> None:
        cancel(self._silence.pop(name, None))

    def _lose(self, name: str) -> None:
        self._api.change_node(name, partial(ready, status=None, reason="NodeStatusUnknown"))
        for pod in self._pods_on(name):
            unready = condition("Ready", False, "NodeNotReady")
            self._api.change_pod(pod, conditions=with_conditions(pod, unready))

    # -- taints

    def _hear(self, change: ObjectChange) -> None:
        if change.kind == "Node":
            name = change.object["metadata"]["name"]
            if change.type == "DELETED":
                self._node_gone(name)
            else:
                self._gone_at.pop(name, None)
                self._note_taints(change.object)
                for pod in self._pods_on(name):
                    self._judge(pod, change.object)
            return
        pod = change.object
        if change.type == "DELETED" or is_deleted(pod) or is_over(pod):
            self._spare(uid_of(pod))
            return
        node = self._api.node(node_of(pod)) if node_of(pod) else None
        if node is not None:
            self._judge(pod, node)
        elif node_of(pod):
            self._node_gone(node_of(pod))

    def _note_taints(self, node: Document) -> None:
        name = node["metadata"]["name"]
        now = {each["key"] for each in node["spec"].get("taints", ()) if each["effect"] == NO_EXECUTE}
        for known in [key for key in self._tainted_at if key[0] == name and key[1] not in now]:
            del self._tainted_at[known]
        for key in now:
            self._tainted_at.setdefault((name, key), self._agenda.now)

    def _judge(self, pod: Document, node: Document) -> None:
        """How long it may stay there with the node's taints."""
        uid, due = uid_of(pod), None
        for taint in node["spec"].get("taints", ()):
            if taint["effect"] != NO_EXECUTE or is_over(pod) or is_deleted(pod):
                continue
            toleration = toleration_of(pod, taint)
            seconds = 0 if toleration is None else toleration.get("tolerationSeconds")
            if seconds is not None:
                since = self._tainted_at.get((node["metadata"]["name"], taint["key"]), self._agenda.now)
                ends = since + max(0, seconds) + self._settings.taint_takes
                due = ends if due is None else min(due, ends)
        planned = self._evictions.get(uid)
        if due is None:
            self._spare(uid)
        elif planned is None or planned[0] != due:
            self._spare(uid)
            self._evictions[uid] = (due, self._agenda.at(due, self._evict, uid, key_of(pod)))

    def _spare(self, uid: str) -> None:
        planned = self._evictions.pop(uid, None)
        if planned is not None:
            planned[1].cancel()

    def _evict(self, uid: str, key: tuple[str, str]) -> None:
        del self._evictions[uid]
        if self._api.pod(key, uid) is not None:
            why = condition(
                DISRUPTION, True, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"
            )
            self._api.delete_pod(*key, uid=uid, why=why)

    # -- pods of nodes that are gone

    def _node_gone(self, name: str) -> None:
        self._gone_at.setdefault(name, self._agenda.now)
        if not self._collecting:
            self._collecting = True
            self._agenda.after(self._settings.gc_period, self._collect)

    def _collect(self) -> None:
        due = self._agenda.now - self._settings.gc_quarantine
        for name in [name for name, since in self._gone_at.items() if since <= due]:
            del self._gone_at[name]
            for pod in self._pods_on(name):
                self._remove(pod)
        self._collecting = bool(self._gone_at)
        if self._collecting:
            self._agenda.after(self._settings.gc_period, self._collect)

    def _remove(self, pod: Document) -> None:
        """Failed first, so that whoever waits for its end sees one."""
        why = condition(DISRUPTION, True, "DeletionByPodGC", "PodGC: node no longer exists")
        if not is_over(pod):
            self._api.change_pod(pod, phase="Failed", conditions=with_conditions(pod, why))
        self._api.delete_pod(*key_of(pod), uid=uid_of(pod), grace=0)

    def _pods_on(self, name: str) -> list[Document]:
        return [pod for pod in self._api.pods.values() if node_of(pod) == name]

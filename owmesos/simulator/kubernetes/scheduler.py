"""kube-scheduler: one pod after the other, by priority and time; those that fit nowhere wait until room comes.

It counts a pod from its decision until the pod's phase is terminal or the pod is gone.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

from owmesos.simulator.agenda import AgendaEntry
from owmesos.simulator.kubernetes.api_server import DISRUPTION, ApiServer
from owmesos.simulator.kubernetes.node_fit import NO_MATCH, allocatable, pinned_to, why_not
from owmesos.simulator.kubernetes.objects import (
    Document,
    condition,
    is_deleted,
    is_over,
    key_of,
    node_of,
    uid_of,
    with_conditions,
)
from owmesos.simulator.kubernetes.requests import Amounts, add, pod_requests
from owmesos.simulator.kubernetes.settings import ControlPlaneSettings
from owmesos.simulator.kubernetes.store import ObjectChange

NAME = "default-scheduler"


@dataclass(slots=True)
class NodeView:
    """A node as the scheduler sees it. `pods` are bound there, or about to be: their requests and priorities by uid."""

    node: Document | None = None  # None: pods name it, and it is not there
    room: Amounts = field(default_factory=dict)  # all that is allocatable
    used: Amounts = field(default_factory=dict)
    pods: dict[str, tuple[Amounts, Document]] = field(default_factory=dict)

    def free(self) -> Amounts:
        left = dict(self.room)
        add(left, self.used, -1)
        return left


class KubeScheduler:
    """`unschedulable` are the uids of pods that wait for room, the oldest attempt first."""

    def __init__(self, api: ApiServer, settings: ControlPlaneSettings, chance: random.Random) -> None:
        self._api = api
        self._agenda = api.store.agenda
        self._settings = settings
        self._chance = chance
        self._views: dict[str, NodeView] = {}
        self._where: dict[str, str] = {}  # uid → node
        self._pending: dict[str, tuple[Document, Amounts]] = {}  # not yet bound, by uid
        self._queue: list[tuple[int, int, str]] = []  # a heap: the highest priority first, then the oldest
        self._queued: set[str] = set()
        self.unschedulable: dict[str, None] = {}
        self._nominated: dict[str, str] = {}  # uid of one that preempts → its node
        self._number = 0
        self._working: AgendaEntry | None = None
        api.store.follow(self._hear)

    # -- what it hears

    def _hear(self, change: ObjectChange) -> None:
        if change.kind == "Node":
            self._hear_node(change)
        elif change.type == "DELETED" or is_over(change.object):
            self._forget(uid_of(change.object))
        elif node_of(change.object):
            self._count(change.object, node_of(change.object))
        elif uid_of(change.object) not in self._where:
            self._hear_pending(change)

    def _hear_node(self, change: ObjectChange) -> None:
        name = change.object["metadata"]["name"]
        view = self._views.setdefault(name, NodeView())
        view.node = None if change.type == "DELETED" else change.object
        view.room = {} if view.node is None else allocatable(view.node)
        if view.node is not None:
            self._wake(name)

    def _hear_pending(self, change: ObjectChange) -> None:
        pod = change.object
        if pod["spec"]["schedulerName"] != NAME or pod["spec"].get("schedulingGates"):
            return
        uid = uid_of(pod)
        known = uid in self._pending
        self._pending[uid] = (pod, pod_requests(pod))
        if not known:
            self._enqueue(uid)

    def _count(self, pod: Document, name: str) -> None:
        """It holds its requests there. What is resized counts anew."""
        uid = uid_of(pod)
        self._drop_pending(uid)
        asked = pod_requests(pod)
        view = self._views.setdefault(name, NodeView())
        before = view.pods.get(uid)
        if before is not None:
            if before[0] == asked:
                view.pods[uid] = (asked, pod)
                return
            add(view.used, before[0], -1)
        add(view.used, asked)
        view.pods[uid] = (asked, pod)
        self._where[uid] = name
        if before is not None:
            self._wake_soon(name)

    def _forget(self, uid: str) -> None:
        self._drop_pending(uid)
        name = self._where.pop(uid, None)
        if name is not None:
            view = self._views[name]
            add(view.used, view.pods.pop(uid)[0], -1)
            self._wake_soon(name)

    def _drop_pending(self, uid: str) -> None:
        self._pending.pop(uid, None)
        self.unschedulable.pop(uid, None)
        self._queued.discard(uid)
        self._nominated.pop(uid, None)

    def free(self, name: str) -> Amounts:
        """What it takes to be free on a node, whatever the node's state."""
        return self._views[name].free() if name in self._views else {}

    # -- its queue

    def _enqueue(self, uid: str) -> None:
        if uid in self._queued:
            return
        self._number += 1
        priority = self._pending[uid][0]["spec"]["priority"]
        heapq.heappush(self._queue, (-priority, self._number, uid))
        self._queued.add(uid)
        if self._working is None:
            self._working = self._agenda.after(self._settings.schedule_takes, self._work)

    def _wake_soon(self, name: str) -> None:
        if self.unschedulable:
            self._agenda.after(self._settings.requeue_takes - self._settings.watch_takes, self._wake, name)

    def _wake(self, name: str) -> None:
        """Those that would fit there now are tried again. Kubernetes's back-off is not waited for: its queue is empty
        otherwise, and then it is not waited for either."""
        view = self._views.get(name)
        if view is None or view.node is None:
            return
        free = view.free()
        for uid in list(self.unschedulable):
            pod, asked = self._pending[uid]
            if not why_not(pod, view.node, asked, free):
                self._enqueue(uid)

    def _work(self) -> None:
        self._working = None
        while self._queue:
            _, _, uid = heapq.heappop(self._queue)
            if uid in self._queued:
                self._queued.discard(uid)
                self._attempt(uid)
                break
        if self._queue:
            self._working = self._agenda.after(self._settings.schedule_takes, self._work)

    # -- its decision

    def _attempt(self, uid: str) -> None:
        pod, asked = self._pending[uid]
        if is_deleted(pod):
            return
        fitting, reasons = self._filter(pod, asked)
        if fitting:
            name = self._best(fitting)
            self._nominated.pop(uid, None)
            self._count(pod, name)
            self._agenda.after(self._settings.bind_takes, self._bind, uid, key_of(pod), name)
            return
        self.unschedulable.pop(uid, None)
        self.unschedulable[uid] = None
        self._refuse(pod, self._preempt(pod, asked), reasons)

    def _filter(self, pod: Document, asked: Amounts) -> tuple[list[str], Counter[str]]:
        pinned = pinned_to(pod)
        names = list(self._views) if pinned is None else [pinned] if pinned in self._views else []
        fitting: list[str] = []
        reasons: Counter[str] = Counter()
        for name in names:
            view = self._views[name]
            if view.node is None:
                continue
            why = why_not(pod, view.node, asked, self._left(name, pod))
            if why:
                reasons.update(why)
            else:
                fitting.append(name)
        there = sum(view.node is not None for view in self._views.values())
        if pinned is not None and there > len(names):
            reasons[NO_MATCH] += there - len(names)
        return fitting, reasons

    def _left(self, name: str, pod: Document) -> Amounts:
        """What is free for it: room that others preempted is theirs, unless their priority is lower."""
        free = self._views[name].free()
        for uid, where in self._nominated.items():
            other, asked = self._pending[uid]
            if where == name and uid != uid_of(pod) and other["spec"]["priority"] >= pod["spec"]["priority"]:
                add(free, asked, -1)
        return free

    def _best(self, names: list[str]) -> str:
        """The least allocated; one of them by chance."""
        if len(names) == 1:
            return names[0]
        scores = {name: self._score(self._views[name]) for name in names}
        most = max(scores.values())
        return self._chance.choice([name for name, score in scores.items() if score == most])

    def _score(self, view: NodeView) -> int:
        """Hundredths that are free, of cpu and memory alike."""
        parts = [100 * (room - view.used.get(n, 0)) // room for n, room in view.room.items() if n in ("cpu", "memory")]
        return sum(parts)

    def _bind(self, uid: str, key: tuple[str, str], name: str) -> None:
        if self._api.pod(key, uid) is not None:
            self._api.bind_pod(*key, name)

    def _refuse(self, pod: Document, nominated: str | None, reasons: Counter[str]) -> None:
        current = self._api.pod(key_of(pod), uid_of(pod))
        if current is None:
            return
        there = sum(view.node is not None for view in self._views.values())
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
        message = f"0/{there} nodes are available: {listed}." if there else "no nodes available to schedule pods"
        refused = condition("PodScheduled", False, "Unschedulable", message)
        conditions = with_conditions(current, refused)
        status = current["status"]
        if status.get("conditions") != conditions or status.get("nominatedNodeName") != nominated:
            self._api.change_pod(current, conditions=conditions, nominatedNodeName=nominated)

    # -- preemption

    def _preempt(self, pod: Document, asked: Amounts) -> str | None:
        """The node where pods of lower priority are deleted for it: the one where the fewest are."""
        uid, priority = uid_of(pod), pod["spec"]["priority"]
        if uid in self._nominated:
            return self._nominated[uid]
        if pod["spec"].get("preemptionPolicy") == "Never":
            return None
        pinned = pinned_to(pod)
        found: dict[str, list[Document]] = {}
        for name in self._views if pinned is None else (pinned,):
            victims = self._victims(name, pod, asked, priority)
            if victims:
                found[name] = victims
        if not found:
            return None
        name = min(found, key=lambda each: len(found[each]))
        self._nominated[uid] = name
        why = condition(DISRUPTION, True, "PreemptionByScheduler", f"{NAME}: preempting to accommodate a pod")
        for victim in found[name]:
            self._api.delete_pod(*key_of(victim), uid=uid_of(victim), why=why)
        return name

    def _victims(self, name: str, pod: Document, asked: Amounts, priority: int) -> list[Document]:
        """Those of lower priority that have to go; as many as possible are spared, the highest priority first."""
        view = self._views.get(name)
        if view is None or view.node is None:
            return []
        lower = [each for each in view.pods.values() if each[1]["spec"]["priority"] < priority]
        free = view.free()
        for held, _ in lower:
            add(free, held)
        if not lower or why_not(pod, view.node, asked, free):
            return []
        victims = []
        for held, each in sorted(lower, key=lambda entry: -entry[1]["spec"]["priority"]):
            add(free, held, -1)
            if why_not(pod, view.node, asked, free):
                add(free, held)
                victims.append(each)
        return [each for each in victims if not is_deleted(each)]

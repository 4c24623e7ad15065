"""kube-apiserver: what clients ask of it, and what the cluster's own parts change in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from owmesos.simulator.agenda import Agenda
from owmesos.simulator.kubernetes.admission import (
    ApiAnswer,
    failure,
    problem_of,
    problem_of_lease,
    quota_exceeded,
    with_defaults,
    with_overhead,
)
from owmesos.simulator.kubernetes.objects import (
    Document,
    PodKey,
    changed,
    condition,
    is_deleted,
    is_over,
    key_of,
    node_of,
    timestamp,
    uid_of,
    with_conditions,
    with_metadata,
)
from owmesos.simulator.kubernetes.requests import Amounts, add, amounts, pod_requests
from owmesos.simulator.kubernetes.settings import ControlPlaneSettings
from owmesos.simulator.kubernetes.store import Kind, ObjectChange, ObjectStore, Sink, Watch

Admission = Callable[[Document], "Document | ApiAnswer"]
DISRUPTION = "DisruptionTarget"
_LEASES = "leases.coordination.k8s.io"


class _Page(NamedTuple):
    """What is left of a list."""

    kind: Kind
    version: str
    items: list[Document]


class ApiServer:
    """Requests are answered at once: how long one takes is its sender's matter."""

    def __init__(
        self, agenda: Agenda, settings: ControlPlaneSettings, namespaces: tuple[str, ...] = ("default",)
    ) -> None:
        self.store = ObjectStore(agenda, settings)
        self.namespaces = set(namespaces)
        self.quotas: dict[str, Amounts] = {}
        self.runtime_classes: dict[str, Mapping[str, str]] = {}
        """The overhead of each by its name."""
        self.webhooks: list[Admission] = []
        """Asked of each pod that is posted: what it becomes, or why it is denied."""
        self._agenda = agenda
        self._settings = settings
        self._uids = 0
        self._pages: dict[str, _Page] = {}

    @property
    def pods(self) -> dict[PodKey, Document]:
        return self.store.objects["Pod"]

    @property
    def nodes(self) -> dict[str, Document]:
        """By name."""
        return {name: node for (_, name), node in self.store.objects["Node"].items()}

    def node(self, name: str) -> Document | None:
        return self.store.objects["Node"].get(("", name))

    def pod(self, key: PodKey, uid: str | None = None) -> Document | None:
        """With `uid` only that one, not another of the same name."""
        found = self.pods.get(key)
        return found if found is not None and uid in (None, uid_of(found)) else None

    # -- requests: reading

    def get_pod(self, namespace: str, name: str) -> ApiAnswer:
        pod = self.pod((namespace, name))
        return _not_found("pods", name) if pod is None else ApiAnswer(200, pod)

    def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        limit: int | None = None,
    ) -> ApiAnswer:
        """All of the kind, or those in `namespace`, or with these `labels`; with the version to watch from. With a
        `limit` the answer may name the token of the next `page`."""
        items = [
            each
            for key, each in self.store.objects[kind].items()
            if namespace in (None, key[0])
            and (not labels or labels.items() <= each["metadata"].get("labels", {}).items())
        ]
        return self._page(_Page(kind, str(self.store.version), items), limit)

    def page(self, token: str, *, limit: int | None = None) -> ApiAnswer:
        """The list goes on, as of the version at which it began."""
        page = self._pages.pop(token, None)
        if page is None:
            return failure(410, "Expired", "The provided continue parameter is too old: list again")
        return self._page(page, limit)

    def _page(self, page: _Page, limit: int | None) -> ApiAnswer:
        metadata = {"resourceVersion": page.version}
        items, rest = page.items, page.items[limit:] if limit else []
        if rest:
            metadata["continue"] = token = f"{page.version}-{len(rest)}"
            self._pages[token] = _Page(page.kind, page.version, rest)
            items = items[:limit]
        return ApiAnswer(200, {"kind": f"{page.kind}List", "metadata": metadata, "items": items})

    def watch(
        self,
        kind: Kind,
        sink: Sink,
        version: str | None = None,
        namespace: str | None = None,
        *,
        bookmarks: bool = True,
        initial: bool = True,
    ) -> Watch:
        """From `version` on; without one it begins with all that there is. `initial`: a bookmark ends that."""
        watch = Watch(self.store, kind, sink, namespace, bookmarks=bookmarks)
        if version is None:
            for each in self.list(kind, namespace).body["items"]:
                watch.add(ObjectChange("ADDED", kind, each, self.store.version))
            if initial:
                watch.bookmark(initial=True)
            return watch
        missed = self.store.since(int(version))
        if missed is None:
            watch.expire()
            return watch
        for change in missed:
            watch.add(change)
        return watch

    # -- requests: pods

    def post_pod(self, namespace: str, body: Mapping[str, Any]) -> ApiAnswer:
        if namespace not in self.namespaces:
            return failure(404, "NotFound", f'namespaces "{namespace}" not found')
        problem = problem_of(body, namespace)
        if problem is not None:
            return problem
        name = body["metadata"]["name"]
        if (namespace, name) in self.pods:
            return failure(409, "AlreadyExists", f'pods "{name}" already exists')
        pod: Document = {
            **body,
            "metadata": {**body["metadata"], **self._identity(), "namespace": namespace},
            "spec": with_defaults(body["spec"], self._settings.default_toleration),
            "status": {"phase": "Pending"},
        }
        of_class: Admission = partial(with_overhead, classes=self.runtime_classes)
        for admit in (of_class, *self.webhooks):
            admitted = admit(pod)
            if isinstance(admitted, ApiAnswer):
                return admitted
            pod = admitted
        if pod["spec"].get("schedulingGates"):
            blocked = condition(
                "PodScheduled", False, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"
            )
            pod = {**pod, "status": {**pod["status"], "conditions": [blocked]}}
        if namespace in self.quotas:
            exceeded = quota_exceeded(
                name, pod_requests(pod, by_sums=False), self._used(namespace), self.quotas[namespace]
            )
            if exceeded is not None:
                return exceeded
        return ApiAnswer(201, self.store.put("Pod", pod))

    def delete_pod(
        self,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        grace: int | None = None,
        why: Document | None = None,
    ) -> ApiAnswer:
        """`grace` in seconds, the pod's own if None. `why` is the condition that says so."""
        pod = self.pod((namespace, name))
        if pod is None:
            return _not_found("pods", name)
        if uid not in (None, uid_of(pod)):
            return failure(
                409, "Conflict", f"Precondition failed: UID in precondition: {uid}, in object: {uid_of(pod)}"
            )
        if grace is None:
            grace = pod["spec"]["terminationGracePeriodSeconds"]
        if is_over(pod) or not node_of(pod):
            grace = 0
        if grace < 0:
            grace = 1
        if why is not None:
            pod = self.change_pod(pod, conditions=with_conditions(pod, why))
        if grace == 0:
            self.store.remove("Pod", key_of(pod))
            return ApiAnswer(200, pod)
        if is_deleted(pod) and grace >= pod["metadata"]["deletionGracePeriodSeconds"]:
            return ApiAnswer(200, pod)
        due = timestamp(self._agenda.now + grace)
        marked = with_metadata(pod, deletionTimestamp=due, deletionGracePeriodSeconds=grace)
        return ApiAnswer(200, self.store.put("Pod", marked))

    def bind_pod(self, namespace: str, name: str, node: str) -> ApiAnswer:
        """POST of a binding: nobody asks whether the node has room, or exists."""
        pod = self.pod((namespace, name))
        if pod is None:
            return _not_found("pods", name)
        if node_of(pod) or is_deleted(pod):
            why = f"pod {name} is already assigned to node {node_of(pod)!r}" if node_of(pod) else "it is being deleted"
            return failure(409, "Conflict", f'Operation cannot be fulfilled on pods/binding "{name}": {why}')
        conditions = with_conditions(pod, condition("PodScheduled", True))
        self.change_pod(pod, spec={"nodeName": node}, conditions=conditions, nominatedNodeName=None)
        return ApiAnswer(201, {"kind": "Status", "status": "Success"})

    def evict_pod(self, namespace: str, name: str) -> ApiAnswer:
        """What `kubectl drain` asks for. No PodDisruptionBudget is simulated: it is always allowed."""
        why = condition(DISRUPTION, True, "EvictionByEvictionAPI", "Eviction API: evicting")
        answer = self.delete_pod(namespace, name, why=why)
        return ApiAnswer(201, {"kind": "Status", "status": "Success"}) if answer.done else answer

    # -- requests: leases

    def get_lease(self, namespace: str, name: str) -> ApiAnswer:
        lease = self.store.objects["Lease"].get((namespace, name))
        return _not_found(_LEASES, name) if lease is None else ApiAnswer(200, lease)

    def post_lease(self, namespace: str, body: Mapping[str, Any]) -> ApiAnswer:
        if namespace not in self.namespaces:
            return failure(404, "NotFound", f'namespaces "{namespace}" not found')
        name = body["metadata"]["name"]
        problem = problem_of_lease(name, body.get("spec", {}))
        if problem is not None:
            return problem
        if (namespace, name) in self.store.objects["Lease"]:
            return failure(409, "AlreadyExists", f'{_LEASES} "{name}" already exists')
        metadata = {**body["metadata"], **self._identity(), "namespace": namespace}
        return ApiAnswer(201, self.store.put("Lease", {**body, "metadata": metadata}))

    def put_lease(self, namespace: str, name: str, body: Mapping[str, Any]) -> ApiAnswer:
        """Of the version that it names. One without `uid` makes a Lease that is not there."""
        lease = self.store.objects["Lease"].get((namespace, name))
        uid, version = (body["metadata"].get(field) for field in ("uid", "resourceVersion"))
        there = uid_of(lease) if lease is not None else ""
        if uid not in (None, there):
            return _conflict(name, f"Precondition failed: UID in precondition: {uid}, UID in object meta: {there}")
        if lease is None:
            return self.post_lease(namespace, body)
        if version is None:
            told = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            return failure(422, "Invalid", f'{_LEASES} "{name}" is invalid: {told}')
        if version != lease["metadata"]["resourceVersion"]:
            return _conflict(name, "the object has been modified; please apply your changes to the latest version")
        return problem_of_lease(name, body.get("spec", {})) or ApiAnswer(200, self.store.put("Lease", dict(body)))

    def delete_lease(self, namespace: str, name: str) -> ApiAnswer:
        if (namespace, name) not in self.store.objects["Lease"]:
            return _not_found(_LEASES, name)
        self.store.remove("Lease", (namespace, name))
        return ApiAnswer(200, {"kind": "Status", "status": "Success"})

    # -- what befalls it

    def restart(self) -> None:
        """Watches end, and nothing can be resumed from before it: neither they nor lists."""
        for watch in list(self.store.watches):
            watch.cut()
        self.store.compact()
        self._pages.clear()

    # -- what the cluster's own parts do

    def change_pod(self, pod: Document, *, spec: Mapping[str, Any] | None = None, **status: Any) -> Document:
        return self.store.put("Pod", changed(pod, spec=spec, **status))

    def add_node(self, body: Mapping[str, Any]) -> Document:
        return self.store.put("Node", {**body, "metadata": {**body["metadata"], **self._identity()}})

    def change_node(self, name: str, change: Callable[[Document], Document]) -> None:
        """Nothing happens to one that is gone, or that does not change."""
        node = self.node(name)
        if node is not None:
            new = change(node)
            if new != node:
                self.store.put("Node", new)

    def remove_node(self, name: str) -> None:
        self.store.remove("Node", ("", name))

    def _identity(self) -> Document:
        self._uids += 1
        uid = f"00000000-0000-4000-8000-{self._uids:012x}"
        return {"uid": uid, "creationTimestamp": timestamp(self._agenda.now)}

    def _used(self, namespace: str) -> Amounts:
        used: Amounts = {}
        for key, pod in self.pods.items():
            if key[0] == namespace and not is_over(pod):
                add(used, pod_requests(pod, by_sums=False))
        return used

    def set_quota(self, namespace: str, limits: Mapping[str, str] | None) -> None:
        """`limits` as `{"pods": "10", "memory": "4Gi"}`; None takes the quota away."""
        if limits is None:
            self.quotas.pop(namespace, None)
        else:
            self.quotas[namespace] = amounts(limits)


def _conflict(name: str, why: str) -> ApiAnswer:
    return failure(409, "Conflict", f'Operation cannot be fulfilled on {_LEASES} "{name}": {why}')


def _not_found(what: str, name: str) -> ApiAnswer:
    return failure(404, "NotFound", f'{what} "{name}" not found')

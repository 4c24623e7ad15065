"""What comes from Kubernetes, and the files that say how to reach it."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import yaml

from owmesos.cli.kubernetes import _template
from owmesos.core.listings import reservations
from owmesos.errors import InvalidInput
from owmesos.kubernetes import events, leases, quantities
from owmesos.kubernetes.messages import LeaseObject, Node, Pod
from owmesos.kubernetes.pod_template import check_template, merged
from owmesos.kubernetes.wire.access import ClusterAccess, Credential, FixedCredentials
from owmesos.kubernetes.wire.api_errors import _message, retry_after_of
from owmesos.kubernetes.wire.decoding import NODES, PODS, Bookmark, ResourceKind, Status, WatchChange, status_in
from owmesos.kubernetes.wire.exec_plugin import API_VERSIONS, ExecCredentials, ExecPlugin, _ExecCredential
from owmesos.kubernetes.wire.kubeconfig import Kubeconfig
from owmesos.kubernetes.wire.lease_client import stored_lease
from owmesos.service.kubernetes.pod_streams import _second_of
from owmesos.storage.election import TimePassed
from owmesos.storage.lease_candidate import seen_lease
from owmesos.storage.lease_election import LeaseElection, LeaseSeen
from owmesos.system.certificates import not_after
from tests.fuzz.target import LONGEST_YAML, file_of, sample, target
from tests.kubernetes.factories import Driven
from tests.kubernetes.objects import LABELS, NAMESPACE, node, pod


def _ignore(reason: str) -> None:
    """What a reader reports."""


def _objects(kind: type, *objects: Any) -> list[Any]:
    return [sample(kind, 9), *map(msgspec.to_builtins, objects)]


_NODES = _objects(Node, node(conditions={"MemoryPressure": "False"}, labels={"zone": "z1"}))
_OURS = pod("a-1", namespace=NAMESPACE, labels=LABELS, cpu="100m", memory="256Mi", status={"podIP": "10.0.0.7"})
_PODS = _objects(Pod, pod(cpu="1", memory="1Gi"), _OURS)


def _lines(objects: list[Any]) -> list[Any]:
    return [
        *({"type": change, "object": each} for each in objects for change in ("ADDED", "MODIFIED", "DELETED")),
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}},
        {"type": "ERROR", "object": sample(Status) | {"kind": "Status", "code": 410}},
    ]


def _watched(kind: ResourceKind[Any], line: bytes) -> None:
    """A factory with a pod of its own that runs goes on after any line."""
    change = kind.change(line, _ignore)
    if not isinstance(change, WatchChange):
        assert change is None or isinstance(change, Bookmark) or change.status is not None
        return
    driven = Driven.connected(node())
    driven.started()
    event = kind.deleted(change.object) if change.type == "DELETED" else kind.seen(change.object)
    driven.handle(event)
    driven.run()
    driven.after(100.0)
    reservations(driven.factory.state.ledger, driven.now)
    driven.handle(events.NodesListed((node(),)))
    driven.handle(events.PodsListed(()))


@target("kubernetes-nodes", *_lines(_NODES))
def kubernetes_nodes(data: bytes) -> None:
    _watched(NODES, data)


@target("kubernetes-pods", *_lines(_PODS))
def kubernetes_pods(data: bytes) -> None:
    _watched(PODS, data)


_LEASE = sample(LeaseObject) | {"kind": "Lease"}
_HOLDERS = ("", "0123abcd process 7 on a", "4567cdef process 7 on b", "postgres-0")


@target("kubernetes-leases", *(_LEASE | {"spec": _LEASE["spec"] | {"holderIdentity": each}} for each in _HOLDERS))
def kubernetes_leases(data: bytes) -> None:
    """A candidate goes on after any Lease, and what it writes into it can be read."""
    found = stored_lease(data)
    decides, now = LeaseElection(_HOLDERS[1]), "2026-01-02T03:04:05.678901Z"
    for second in range(9):
        decides.handle(TimePassed(), second)
        decides.handle(LeaseSeen(seen_lease(found)), second)
    taken = leases.taken(found.document, _HOLDERS[1], "http://h:1", 4, now)
    for changed in (taken, leases.kept(taken, now), leases.released(taken, now), leases.announced(taken, "b")):
        seen_lease(stored_lease(msgspec.json.encode(changed)))


_META = {"resourceVersion": "5", "continue": "token", "remainingItemCount": 3}


@target("kubernetes-lists", {"metadata": _META, "items": _PODS}, {"metadata": _META, "items": _NODES})
def kubernetes_lists(data: bytes) -> None:
    for kind in (NODES, PODS):
        page = kind.page(data, _ignore)
        driven = Driven.connected(node())
        driven.handle(kind.listed(tuple(page.items or ())))
        driven.run()


_ACCESS = ClusterAccess(server="https://h", credentials=FixedCredentials(Credential(), "none"), source="here")
_RBAC = 'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "n"'


@target(
    "kubernetes-errors",
    sample(Status) | {"kind": "Status", "message": _RBAC},
    {"kind": "Status", "reason": "NotFound", "details": {"kind": "namespaces", "name": "n"}},
    *("<html>", "Wed, 21 Oct 2026 07:28:00 GMT", "120", "2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05+05:30"),
)
def kubernetes_errors(data: bytes) -> None:
    said = status_in(data)
    for status in (401, 403, 404, 429, 500):
        _message(status, said, data, _ACCESS, Credential())
    retry_after_of(None, said)
    retry_after_of(data.decode("latin-1"), said)
    _second_of(data)


_PEM = b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n"
_DER = bytes.fromhex("30283026a003020102020101300030003018170d3236303130313030303030305a170d3336303130313030303030305a")


@target("certificates", _PEM % base64.encodebytes(_DER), _DER)
def certificates(data: bytes) -> None:
    not_after(data)
    not_after(_PEM % base64.encodebytes(data))


@target("exec-credentials", sample(_ExecCredential) | {"kind": "ExecCredential", "apiVersion": API_VERSIONS[0]})
def exec_credentials(data: bytes) -> None:
    credentials = ExecCredentials(ExecPlugin(API_VERSIONS[0], "nothing"))
    credentials._known, credentials._expires = credentials._read(data)
    credentials.current()


_KUBECONFIG = {
    "current-context": "here",
    "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
    "clusters": [
        {
            "name": "c",
            "cluster": {
                "server": "https://10.0.0.1:6443",
                "tls-server-name": "h",
                "proxy-url": "http://p:1",
                "certificate-authority-data": base64.b64encode(_PEM % base64.encodebytes(_DER)).decode(),
            },
        }
    ],
}
_EXEC = {
    "command": "sh",
    "apiVersion": API_VERSIONS[0],
    "args": ["a"],
    "env": [{"name": "A", "value": "b"}],
    "installHint": "h",
    "provideClusterInfo": True,
    "interactiveMode": "Never",
}
_USERS: list[Any] = [
    {"token": "secret"},
    {"tokenFile": "token"},
    {"exec": _EXEC},
    {"client-certificate-data": "YQ==", "client-key-data": "YQ=="},
    {"client-certificate": "a", "client-key": "b"},
    {"username": "u", "password": "p", "as": "x", "as-groups": ["g"]},
]
_KUBECONFIGS = [{**_KUBECONFIG, "users": [{"name": "u", "user": user}]} for user in _USERS]


@target("kubeconfig", *_KUBECONFIGS, yaml.safe_dump(_KUBECONFIGS[2]), "a: 2026-11-29", "a: &x [*x]")
def kubeconfig(data: bytes) -> None:
    file = Path("/nonexistent/config")
    found = Kubeconfig((file,))
    found.add(data[:LONGEST_YAML].decode(errors="replace"), file)
    access = found.access()
    access.credentials.current()


_TEMPLATE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
    "spec": {
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "serviceAccountName": "s",
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "containers": [{"name": "user-action", "env": [{"name": "A", "value": "b"}], "volumeMounts": []}],
    },
}


@target("pod-templates", _TEMPLATE, yaml.safe_dump(_TEMPLATE), "a: 2001-13-45", "&a [*a]")
def pod_templates(data: bytes) -> None:
    """What is accepted has no part in where a pod goes and what it takes there, and can be sent."""
    template = _template(file_of(data[:LONGEST_YAML], "template.yaml"))
    check_template(template)
    msgspec.json.encode(merged(template, {"metadata": {"labels": {"app": "owmesos"}}, "spec": {"containers": []}}))
    driven = Driven.connected(node(), template=template)
    msgspec.json.encode(driven.run())


@target("quantities", *("100m", "1Gi", "1e3", "0.5", "+1.5E2", "12345678901234567890Ki", ".5", "1n"))
def quantity_texts(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for parse in ("milli_up", "milli_down", "milli_mb_up", "milli_mb_down", "count_down"):
        with suppress(InvalidInput):
            assert getattr(quantities, parse)(text) >= 0

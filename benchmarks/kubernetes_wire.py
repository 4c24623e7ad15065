"""Kubernetes's API server from our side: lists of 5,000 nodes and 50,000 pods, and changes, from TLS to typed objects.

A server in another process has nodes of 4 KB and pods of 5 KB as JSON, managedFields included, as a real one sends
them, and serves lists in pages of 500 and watches. Each way runs in a fresh process: ours, that is the wire as owmesos
runs it; aiohttp and `json` with the plain dicts kept; and lightkube, where it is installed. CPU is that of the whole
process from before the first request, so TLS and HTTP are in it, and peak is the most that was ever resident (VmHWM),
Python and all imports included. An event is one change of a pod in a watch, up to the typed event in the queue of the
consumer.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import trustme
from aiohttp import web

from benchmarks.memory import resident
from benchmarks.row import Row

NODES, PODS, EVENTS = 5_000, 50_000, 20_000
LIST_TARGET_S, PEAK_TARGET_MB, EVENT_TARGET_US = 4.0, 400.0, 100.0
_PAGE = 500


class Server(NamedTuple):
    """Where it is, and the PEM of its authority."""

    url: str
    authority: str


class Measured(NamedTuple):
    list_s: float
    peak_mb: float
    event_us: float


def run(quick: bool = False) -> list[Row]:
    nodes, pods, events = (500, 5_000, 5_000) if quick else (NODES, PODS, EVENTS)
    ways: dict[str, Callable[[Server, int, Connection], None]] = {"ours": _ours, "aiohttp + json, dicts": _plain}
    if find_spec("lightkube") is not None:
        ways["lightkube"] = _lightkube
    context = multiprocessing.get_context("spawn")
    ready, tell = context.Pipe(duplex=False)
    server = context.Process(target=_serve, args=(nodes, pods, events, tell), daemon=True)
    server.start()
    address = Server(*ready.recv())
    found = {}
    for name, way in ways.items():
        results, answer = context.Pipe(duplex=False)
        process = context.Process(target=way, args=(address, events, answer))
        process.start()
        answer.close()  # so that the end of the process ends the wait for it
        counted, measured = results.recv()
        process.join()
        assert counted == (nodes, pods), counted
        found[name] = Measured(*measured)
    server.terminate()
    server.join()
    return _rows(found, f"{nodes:,} nodes and {pods:,} pods", quick)


def _rows(found: dict[str, Measured], what: str, quick: bool) -> list[Row]:
    ours = found.pop("ours")
    measures = (
        (f"list of {what}, CPU", "s", ours.list_s, LIST_TARGET_S),
        (f"list of {what}, peak", "MB", ours.peak_mb, PEAK_TARGET_MB),
        ("a change of a pod, CPU", "µs", ours.event_us, EVENT_TARGET_US),
    )
    rows = []
    for name, other in found.items():
        for number, (label, unit, value, target) in enumerate(measures):
            rows.append(
                Row(
                    name=label,
                    ours=value,
                    unit=unit,
                    against=name,
                    other=other[number],
                    target=f"{target:g} {unit}",
                    met=None if quick else value <= target,
                )
            )
    return rows


# -- the ways, each in a process of its own


def _ours(server: Server, events: int, answer: Connection) -> None:
    from owmesos.kubernetes.events import KubernetesEvent, NodesListed, PodSeen, PodsListed
    from owmesos.kubernetes.wire.access import ClusterAccess, Credential, FixedCredentials
    from owmesos.kubernetes.wire.cluster_watch import ClusterWatch

    access = ClusterAccess(
        server.url, FixedCredentials(Credential(), "none"), "the benchmark", authority=lambda: server.authority
    )
    nodes: list[Any] = []
    pods: list[Any] = []
    seen = 0

    async def follow() -> None:
        listed, changed = asyncio.Event(), asyncio.Event()

        def deliver(batch: Sequence[KubernetesEvent]) -> None:
            nonlocal seen
            for event in batch:
                if isinstance(event, NodesListed):
                    nodes.extend(event.nodes)
                elif isinstance(event, PodsListed):
                    pods.extend(event.pods)
                elif isinstance(event, PodSeen):
                    seen += 1
            if nodes and pods:
                listed.set()
            if seen == events:
                changed.set()

        begun = time.process_time()
        watch = ClusterWatch(access, deliver)
        watch.start()
        await listed.wait()
        spent, peak = time.process_time() - begun, resident("VmHWM")
        begun = time.process_time()
        await changed.wait()
        each = (time.process_time() - begun) / events * 1e6
        answer.send(((len(nodes), len(pods)), (spent, peak, each)))
        await watch.close()

    asyncio.run(follow())


def _plain(server: Server, events: int, answer: Connection) -> None:
    import aiohttp

    async def listed(session: aiohttp.ClientSession, kind: str) -> list[Any]:
        found: list[Any] = []
        token = ""
        while True:
            query = {"limit": str(_PAGE), "continue": token}
            async with session.get(f"{server.url}/api/v1/{kind}", params=query) as response:
                page = json.loads(await response.read())
            found += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return found

    async def follow() -> None:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=server.authority))
        async with aiohttp.ClientSession(connector=connector, headers={"Accept-Encoding": "identity"}) as session:
            begun = time.process_time()
            nodes, pods = await listed(session, "nodes"), await listed(session, "pods")
            spent, peak = time.process_time() - begun, resident("VmHWM")
            begun = time.process_time()
            seen = 0
            limits = aiohttp.ClientTimeout(total=None)
            query = {"watch": "true", "resourceVersion": "1"}
            async with session.get(f"{server.url}/api/v1/pods", params=query, timeout=limits) as response:
                rest = b""
                while seen < events:
                    lines = (rest + await response.content.readany()).split(b"\n")
                    rest = lines.pop()
                    seen += sum(json.loads(line)["type"] == "MODIFIED" for line in lines)
            each = (time.process_time() - begun) / events * 1e6
        answer.send(((len(nodes), len(pods)), (spent, peak, each)))

    asyncio.run(follow())


def _lightkube(server: Server, events: int, answer: Connection) -> None:
    import lightkube  # type: ignore[import-not-found, unused-ignore]
    from lightkube.config.kubeconfig import KubeConfig  # type: ignore[import-not-found, unused-ignore]
    from lightkube.resources.core_v1 import Node, Pod  # type: ignore[import-not-found, unused-ignore]

    with tempfile.NamedTemporaryFile("w", suffix=".pem") as authority:
        authority.write(server.authority)
        authority.flush()
        cluster = {"server": server.url, "certificate-authority": authority.name}
        config = KubeConfig.from_dict(
            {
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": "none"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "c",
            }
        )
        client = lightkube.Client(config)
        begun = time.process_time()
        nodes = list(client.list(Node, chunk_size=_PAGE))
        pods = list(client.list(Pod, namespace="*", chunk_size=_PAGE))
        spent, peak = time.process_time() - begun, resident("VmHWM")
        begun = time.process_time()
        watch = client.watch(Pod, namespace="*", resource_version="1")
        for _ in range(events):
            next(watch)
        each = (time.process_time() - begun) / events * 1e6
    answer.send(((len(nodes), len(pods)), (spent, peak, each)))


# -- the server, in a process of its own


def _serve(nodes: int, pods: int, events: int, tell: Connection) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    objects = {
        "nodes": [json.dumps(node(number)) for number in range(nodes)],
        "pods": [json.dumps(pod(number, nodes)) for number in range(pods)],
    }
    changes = "".join(
        f'{{"type":"MODIFIED","object":{objects["pods"][number % pods]}}}\n' for number in range(events)
    ).encode()

    async def answer(request: web.Request) -> web.StreamResponse:
        kind = request.path.rsplit("/", 1)[1]
        if request.query.get("watch") == "true":
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            await asyncio.sleep(0.3)  # until the list has been measured
            for start in range(0, len(changes) if kind == "pods" else 0, 64 * 1024):
                await response.write(changes[start : start + 64 * 1024])
            await asyncio.Event().wait()
        first = int(request.query.get("continue") or 0)
        after = first + int(request.query["limit"])
        more = f',"continue":"{after}"' if after < len(objects[kind]) else ""
        items = ",".join(objects[kind][first:after])
        text = f'{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"1"{more}}},"items":[{items}]}}'
        return web.Response(text=text, content_type="application/json")

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/api/v1/{kind}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        tell.send((f"https://127.0.0.1:{runner.addresses[0][1]}", authority.cert_pem.bytes().decode()))
        await asyncio.Event().wait()

    asyncio.run(serve())


def node(number: int) -> dict[str, Any]:
    """As a kubelet reports it."""
    amounts = {"cpu": "31850m", "ephemeral-storage": "94477937300", "memory": "128573476Ki", "pods": "110"}
    images = [
        {"names": [f"registry.example.org/library/image-{each}@sha256:{each:064x}"], "sizeBytes": 10**8 + each}
        for each in range(10)
    ]
    conditions = [
        {
            "type": kind,
            "status": "False" if kind != "Ready" else "True",
            "lastHeartbeatTime": "2026-11-29T10:00:00Z",
            "lastTransitionTime": "2026-11-01T10:00:00Z",
            "reason": f"KubeletHas{kind}",
            "message": f"kubelet reports {kind}",
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    return {
        "metadata": {
            "name": f"node-{number:05}",
            "uid": f"5af7ad2b-9c8e-4a66-8a3c-{number:012x}",
            "resourceVersion": str(1000 + number),
            "creationTimestamp": "2026-11-01T10:00:00Z",
            "labels": {
                "kubernetes.io/hostname": f"node-{number:05}",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": f"zone-{number % 3}",
                "node.kubernetes.io/instance-type": "m6.8xlarge",
            },
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
            "managedFields": [_managed("kubelet", 12)],
        },
        "spec": {"podCIDR": "10.1.0.0/24", "providerID": f"cloud:///{number}"},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": conditions,
            "addresses": [{"type": "InternalIP", "address": f"10.{number >> 8 & 255}.{number & 255}.1"}],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": f"7af7ad2b-9c8e-4a66-8a3c-{number:012x}",
                "containerRuntimeVersion": "containerd://2.2.0",
                "kernelVersion": "6.12.0",
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.37.2",
                "machineID": f"{number:032x}",
                "operatingSystem": "linux",
                "osImage": "Debian GNU/Linux 13",
                "systemUUID": f"8af7ad2b-9c8e-4a66-8a3c-{number:012x}",
            },
            "images": images,
        },
    }


def pod(number: int, nodes: int) -> dict[str, Any]:
    """One that runs, of a Deployment."""
    name = f"service-{number // 10}-7d9c5b6f4-{number:05x}"
    amounts = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}}
    image = f"registry.example.org/team/service-{number // 10}:1.{number % 10}.0"
    container = {
        "name": "main",
        "image": image,
        "resources": amounts,
        "env": [{"name": f"VARIABLE_{each}", "value": f"value-{each}"} for each in range(12)],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10},
        "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        "imagePullPolicy": "IfNotPresent",
    }
    state = {
        "name": "main",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "image": image,
        "imageID": f"registry.example.org/team@sha256:{number:064x}",
        "containerID": f"containerd://{number:064x}",
        "state": {"running": {"startedAt": "2026-11-29T10:00:00Z"}},
        "lastState": {},
        "resources": amounts,
        "allocatedResources": amounts["requests"],
    }
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-11-29T10:00:00Z"}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    return {
        "metadata": {
            "name": name,
            "namespace": f"team-{number % 50}",
            "uid": f"6af7ad2b-9c8e-4a66-8a3c-{number:012x}",
            "resourceVersion": str(100_000 + number),
            "creationTimestamp": "2026-11-29T10:00:00Z",
            "labels": {"app": f"service-{number // 10}", "pod-template-hash": "7d9c5b6f4"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": name[:-6],
                    "uid": f"9af7ad2b-9c8e-4a66-8a3c-{number // 10:012x}",
                    "controller": True,
                }
            ],
            "managedFields": [_managed("kube-controller-manager", 18), _managed("kubelet", 18)],
        },
        "spec": {
            "nodeName": f"node-{number % nodes:05}",
            "containers": [container],
            "volumes": [
                {"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
            ],
            "serviceAccountName": "default",
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
                for key in ("not-ready", "unreachable")
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "qosClass": "Burstable",
            "conditions": conditions,
            "containerStatuses": [state],
        },
    }


def _managed(manager: str, fields: int) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-11-29T10:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {f"f:field-number-{each}": {"f:value": {}} for each in range(fields)}},
    }

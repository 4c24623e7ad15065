"""A real Kubernetes: the API by HTTP, faults by ending processes."""

from __future__ import annotations

import asyncio
import gc
import json
import shlex
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import aiohttp
import msgspec

from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.messages import Node, Pod
from tests.kubernetes.conformance.cluster import ApiError, Page, Program, Seen
from tests.servers.kubernetes.cluster import KubernetesCluster
from tests.waiting import eventually_async

_MERGE = "application/merge-patch+json"
_END = "k8s.io/initial-events-end"


class RealWatch:
    """See `cluster.Watch`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.seen: list[Seen] = []
        self._response = response
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        unread = b""
        try:
            async for chunk in self._response.content.iter_any():
                *lines, unread = (unread + chunk).split(b"\n")
                self.seen += map(_seen, lines)
                self._changed.set()
        except aiohttp.ClientError:
            pass  # that is how it ends where the API server dies
        finally:
            self._changed.set()

    async def until(self, found: Callable[[Seen], bool], timeout: float = 90.0) -> Seen:
        deadline = time.monotonic() + timeout
        while True:
            self._changed.clear()
            hit = next(filter(found, self.seen), None)
            if hit is not None:
                return hit
            assert not self._reader.done(), f"the watch has ended: {self.seen}"
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), deadline - time.monotonic())
            assert time.monotonic() < deadline, f"not seen within {timeout} s: {self.seen}"

    async def ended(self, timeout: float = 90.0) -> None:
        await eventually_async(self._reader.done, timeout, what="the watch has ended")

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


class RealKubernetes:
    """See `cluster.Cluster`."""

    def __init__(self, cluster: KubernetesCluster, namespace: str, session: aiohttp.ClientSession) -> None:
        self.nodes = tuple(cluster.nodes)
        self._cluster = cluster
        self._session = session
        self._namespace = namespace
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    # -- the API

    async def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        content: str = "application/json",
        query: Mapping[str, object] | None = None,
    ) -> bytes:
        """Raises ApiError."""
        parameters = {name: str(value) for name, value in (query or {}).items() if value is not None}
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content}
        async with self._session.request(method, path, data=data, headers=headers, params=parameters) as response:
            answer = await response.read()
            if response.status >= 400:
                raise ApiError(_failure(json.loads(answer)))
            return answer

    async def post(self, pod: Mapping[str, Any], program: Program = Program()) -> Pod:  # noqa: B008 - it is frozen
        containers = [{**each, "command": command_of(program)} for each in pod["spec"]["containers"]]
        body = {**pod, "spec": {**pod["spec"], "containers": containers}}
        return msgspec.json.decode(await self._ask("POST", self._pods, body), type=Pod)

    async def bind(self, name: str, node: str) -> None:
        body = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
        await self._ask("POST", f"{self._pods}/{name}/binding", body)

    async def get(self, name: str) -> Pod:
        return msgspec.json.decode(await self._ask("GET", f"{self._pods}/{name}"), type=Pod)

    async def list(self, *, limit: int | None = None, more: str = "") -> Page:
        answer = await self._ask("GET", self._pods, query={"limit": limit, "continue": more or None})
        metadata = json.loads(answer)["metadata"]
        pods = msgspec.json.decode(answer, type=_PodList).items
        return Page(pods, metadata["resourceVersion"], metadata.get("continue", ""))

    async def delete(self, name: str, *, uid: str | None = None, grace: int | None = None) -> None:
        body: dict[str, Any] = {} if uid is None else {"preconditions": {"uid": uid}}
        await self._ask(
            "DELETE", f"{self._pods}/{name}", body if grace is None else {**body, "gracePeriodSeconds": grace}
        )

    async def evict(self, name: str) -> None:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        await self._ask("POST", f"{self._pods}/{name}/eviction", body)

    async def log(
        self, name: str, *, since: str | None = None, timestamps: bool = False, limit_bytes: int | None = None
    ) -> str:
        options: dict[str, object] = {
            "sinceTime": since,
            "timestamps": "true" if timestamps else None,
            "limitBytes": limit_bytes,
        }
        return (await self._ask("GET", f"{self._pods}/{name}/log", query=options)).decode()

    @asynccontextmanager
    async def watch(
        self, since: str = "", *, bookmarks: bool = False, initial: bool = False
    ) -> AsyncIterator[RealWatch]:
        query = {"watch": "true", "resourceVersion": since, "allowWatchBookmarks": str(bookmarks or initial).lower()}
        if initial:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._pods, params=query, timeout=timeout) as response:
            if response.status >= 400:
                raise ApiError(_failure(await response.json()))
            watch = RealWatch(response)
            try:
                yield watch
            finally:
                await watch.close()

    async def node(self, name: str) -> Node:
        return msgspec.json.decode(await self._ask("GET", f"/api/v1/nodes/{name}"), type=Node)

    async def cordon(self, node: str, unschedulable: bool = True) -> None:
        await self._ask("PATCH", f"/api/v1/nodes/{node}", {"spec": {"unschedulable": unschedulable}}, _MERGE)

    @asynccontextmanager
    async def runtime_class(self, overhead: Mapping[str, str]) -> AsyncIterator[str]:
        """Of the namespace's name, because it is in none."""
        classes = "/apis/node.k8s.io/v1/runtimeclasses"
        body = {"metadata": {"name": self._namespace}, "handler": "heavy", "overhead": {"podFixed": dict(overhead)}}
        await self._ask("POST", classes, body)
        try:
            yield self._namespace
        finally:
            await self._ask("DELETE", f"{classes}/{self._namespace}")

    async def get_lease(self, name: str) -> dict[str, Any]:
        return _document(await self._ask("GET", f"{self._leases}/{name}"))

    async def post_lease(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        return _document(await self._ask("POST", self._leases, lease))

    async def put_lease(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        return _document(await self._ask("PUT", f"{self._leases}/{lease['metadata']['name']}", lease))

    async def delete_lease(self, name: str) -> None:
        await self._ask("DELETE", f"{self._leases}/{name}")

    # -- what befalls it

    async def kill_node(self, name: str) -> None:
        await asyncio.to_thread(self._cluster.kill_node, name)

    async def start_node(self, name: str) -> None:
        await asyncio.to_thread(self._cluster.start_node, name)

    async def delete_node(self, name: str) -> None:
        await self._ask("DELETE", f"/api/v1/nodes/{name}")

    async def restart_api_server(self) -> None:
        await asyncio.to_thread(self._cluster.kill_api_server)
        await asyncio.to_thread(self._cluster.start_api_server)


class _PodList(msgspec.Struct):
    items: tuple[Pod, ...]


@asynccontextmanager
async def real_kubernetes(cluster: KubernetesCluster, namespace: str) -> AsyncIterator[RealKubernetes]:
    """For a case; afterwards all its nodes are there again."""
    async with AsyncExitStack() as stack:
        headers = {"Authorization": f"Bearer {cluster.token}"}
        connector = aiohttp.TCPConnector(ssl=cluster.ssl_context(), limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(cluster.url, headers=headers, connector=connector)
        )
        real = RealKubernetes(cluster, namespace, session)
        yield real
        gc.collect()  # what the case left open is not a later one's fault
        await asyncio.to_thread(cluster.up)
        for node in real.nodes:
            if (await real.node(node)).spec.unschedulable:
                await real.cordon(node, False)


def _document(answer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer)
    return found


def command_of(program: Program) -> list[str]:
    """What runs in a container on a real node, where `sh` and its like are."""
    lines = ["trap '' TERM"] if program.ignores_sigterm else []
    lines += [f"printf '%s\\n' {shlex.quote(line)}" for line in program.stdout]
    lines += [f"printf '%s\\n' {shlex.quote(line)} >&2" for line in program.stderr]
    if program.exceeds_memory:
        lines.append("exec tail /dev/zero")  # it looks for the last line
    elif program.ends_after is None:
        lines.append("exec sleep 1000")
    else:
        lines += [f"sleep {program.ends_after}", f"exit {program.exit_code}"]
    return ["sh", "-c", "; ".join(lines)]


def _seen(line: bytes) -> Seen:
    event = json.loads(line)
    metadata = event["object"].get("metadata", {})
    return Seen(
        type=event["type"],
        at=time.monotonic(),
        resource_version=metadata.get("resourceVersion", ""),
        pod=None if event["type"] in ("BOOKMARK", "ERROR") else msgspec.convert(event["object"], Pod),
        failure=_failure(event["object"]) if event["type"] == "ERROR" else None,
        initial_events_end=metadata.get("annotations", {}).get(_END) == "true",
    )


def _failure(status: Mapping[str, Any]) -> ApiFailure:
    return ApiFailure(status["code"], status.get("reason", ""), status.get("message", ""), certain=True)

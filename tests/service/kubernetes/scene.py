"""A process on a fake API server, whose nodes do as the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from owmesos.core.container_factory import ContainerSpec, InvokerEvent, PoolRecipe
from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.core.pool.events import Run, StartContainer
from owmesos.core.pool.pool import Pool
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire.access import ClusterAccess, Credential, FixedCredentials
from owmesos.service.kubernetes.process import KubernetesProcess
from tests.fakes.api_server import FakeApiServer, node
from tests.waiting import eventually_async

READY = [{"type": "Ready", "status": "True"}]


def fake_node(name: str, *, memory: str = "2Gi", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    made = node(name)
    made["metadata"]["labels"] = labels or {}
    made["spec"] = spec
    made["status"] = {"allocatable": {"cpu": "4", "memory": memory, "pods": "110"}, "conditions": READY}
    return made


def _spec(start: StartContainer) -> ContainerSpec:
    return ContainerSpec(name="c", ask=start.ask, command="sleep 3600", deadline=60.0)


RECIPE = PoolRecipe(Pool, _spec)


class Scene:
    def __init__(self, server: FakeApiServer, process: KubernetesProcess) -> None:
        self.server = server
        self.process = process
        self.heard: list[InvokerEvent] = []

    def run(self, run_id: str, *, memory: int = 256) -> None:
        action = PoolAction("hello", "0.0.1", ContainerShape("python:3", memory))
        self.process.host.observe(Run(run_id, action, "guest"))

    @property
    def pods(self) -> dict[str, dict[str, Any]]:
        """By name."""
        return {each["metadata"]["name"]: each for each in self.server.objects["pods"].values()}

    async def posted(self, count: int = 1) -> list[str]:
        """Waits for so many pods."""
        await eventually_async(lambda: len(self.pods) == count)
        return sorted(self.pods)

    def bind(self, name: str, node_name: str) -> None:
        """As kube-scheduler does."""
        pod = self.pods[name]
        pod["spec"]["nodeName"] = node_name
        pod["status"] = {"phase": "Pending"}
        self.server.put("pods", pod)

    def ready(self, name: str) -> None:
        """Its container listens."""
        pod = self.pods[name]
        statuses = [{"name": "user-action", "ready": True, "state": {"running": {}}}]
        pod["status"] = {"phase": "Running", "podIP": "10.0.0.1", "conditions": READY, "containerStatuses": statuses}
        self.server.put("pods", pod)

    async def running(self) -> str:
        """One container, of one run."""
        self.run("r1")
        (name,) = await self.posted()
        self.bind(name, "n1")
        self.ready(name)
        await eventually_async(lambda: any(type(each).__name__ == "Dispatch" for each in self.heard))
        return name


def access_to(server: FakeApiServer) -> ClusterAccess:
    return ClusterAccess(server.url, FixedCredentials(Credential(token="t"), "the test's token"), "the test")


@asynccontextmanager
async def scene(*nodes: dict[str, Any], **more: Any) -> AsyncIterator[Scene]:
    """Its nodes are known, and the process has made its checks: no answer that a test prepares is for these.

    `more`: of its KubernetesSettings.
    """
    server = await FakeApiServer(None).start()
    for each in nodes or (fake_node("n1"), fake_node("n2")):
        server.put("nodes", each)
    try:
        process = KubernetesProcess(access_to(server), RECIPE, KubernetesSettings(invoker="i", incarnation="1", **more))
        async with process:
            found = Scene(server, process)
            process.host.pool_listeners.append(found.heard.append)
            await eventually_async(lambda: process.health()["subscribed"])
            await eventually_async(lambda: server.asked("dryRun=All") >= 1)
            yield found
    finally:
        await server.stop()

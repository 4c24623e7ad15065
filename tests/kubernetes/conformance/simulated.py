"""The simulated Kubernetes, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.messages import Node, Pod
from owmesos.simulator.kubernetes.admission import ApiAnswer
from owmesos.simulator.kubernetes.behaviours import PodBehaviour
from owmesos.simulator.kubernetes.objects import Document
from owmesos.simulator.kubernetes.store import INITIAL_EVENTS_END, ObjectChange
from owmesos.simulator.kubernetes.world import KubernetesWorld, several
from tests.kubernetes.conformance.cluster import CPUS, MEMORY, PODS, ApiError, Page, Program, Seen

NAMESPACE = "default"


class SimulatedWatch:
    """See `cluster.Watch`."""

    def __init__(self, cluster: SimulatedKubernetes) -> None:
        self.seen: list[Seen] = []
        self._cluster = cluster
        self._over = False

    def take(self, change: ObjectChange | None) -> None:
        if change is None:
            self._over = True
            return
        metadata = change.object.get("metadata", {})
        self.seen.append(
            Seen(
                type=change.type,  # type: ignore[arg-type]
                at=self._cluster.now(),
                resource_version=metadata.get("resourceVersion", ""),
                pod=None if change.type in ("BOOKMARK", "ERROR") else msgspec.convert(change.object, Pod),
                failure=_failure(change.object) if change.type == "ERROR" else None,
                initial_events_end=metadata.get("annotations", {}).get(INITIAL_EVENTS_END) == "true",
            )
        )

    async def until(self, found: Callable[[Seen], bool], timeout: float = 30.0) -> Seen:
        hit = self._cluster.pass_until(lambda: next(filter(found, self.seen), None), timeout, over=lambda: self._over)
        assert hit is not None, f"not seen within {timeout} s: {self.seen}"
        return hit

    async def ended(self, timeout: float = 30.0) -> None:
        assert self._cluster.pass_until(lambda: self._over or None, timeout), f"it did not end within {timeout} s"


class SimulatedKubernetes:
    """See `cluster.Cluster`."""

    def __init__(self, seed: int = 0) -> None:
        allocatable = {"cpu": str(CPUS), "memory": MEMORY, "pods": str(PODS), "ephemeral-storage": "20Gi"}
        self._programs: dict[str, Program] = {}
        self.world = KubernetesWorld(several(3, allocatable), seed=seed, behaviour_of=self._behaviour)
        self.nodes = tuple(self.world.kubelets)

    def _behaviour(self, pod: Document) -> PodBehaviour:
        program = self._programs.get(pod["metadata"]["name"], Program())
        image = pod["spec"]["containers"][0]["image"]
        return PodBehaviour(
            duration=0.1 if program.exceeds_memory else program.ends_after,
            code=137 if program.exceeds_memory else program.exit_code,
            oom=program.exceeds_memory,
            image_error=f'failed to pull "{image}": no such host' if ".invalid/" in image else None,
            obeys_after=None if program.ignores_sigterm else PodBehaviour.obeys_after,
            lines=(*program.stdout, *program.stderr),
        )

    def pass_until(self, found: Callable[[], Any], timeout: float, over: Callable[[], bool] = lambda: False) -> Any:
        """Time passes until it is not None; None at the timeout, or when it is over."""
        until = self.now() + timeout
        while True:
            hit = found()
            if hit is not None or over() or not self.world.step(until):
                return hit

    def now(self) -> float:
        return self.world.now

    async def sleep(self, seconds: float) -> None:
        self.world.run(seconds)

    # -- the API

    def _asked(self, answer: ApiAnswer) -> Document:
        """A request takes a while, and raises ApiError."""
        self.world.run(self.world.settings.answer_takes)
        if not answer.done:
            raise ApiError(_failure(answer.body))
        return answer.body

    async def post(self, pod: Mapping[str, Any], program: Program = Program()) -> Pod:  # noqa: B008 - it is frozen
        name = pod.get("metadata", {}).get("name", "")
        if ("default", name) not in self.world.api.pods:
            self._programs[name] = program
        return msgspec.convert(self._asked(self.world.api.post_pod(NAMESPACE, pod)), Pod)

    async def bind(self, name: str, node: str) -> None:
        self._asked(self.world.api.bind_pod(NAMESPACE, name, node))

    async def get(self, name: str) -> Pod:
        return msgspec.convert(self._asked(self.world.api.get_pod(NAMESPACE, name)), Pod)

    async def list(self, *, limit: int | None = None, more: str = "") -> Page:
        api = self.world.api
        body = self._asked(api.page(more, limit=limit) if more else api.list("Pod", NAMESPACE, limit=limit))
        metadata = body["metadata"]
        pods = msgspec.convert(body["items"], tuple[Pod, ...])
        return Page(pods, metadata["resourceVersion"], metadata.get("continue", ""))

    async def delete(self, name: str, *, uid: str | None = None, grace: int | None = None) -> None:
        self._asked(self.world.api.delete_pod(NAMESPACE, name, uid=uid, grace=grace))

    async def evict(self, name: str) -> None:
        self._asked(self.world.api.evict_pod(NAMESPACE, name))

    async def log(
        self, name: str, *, since: str | None = None, timestamps: bool = False, limit_bytes: int | None = None
    ) -> str:
        found = self.world.log((NAMESPACE, name), since=since or "", timestamps=timestamps, limit_bytes=limit_bytes)
        if isinstance(found, ApiAnswer):
            raise ApiError(_failure(found.body))
        return found

    @asynccontextmanager
    async def watch(
        self, since: str = "", *, bookmarks: bool = False, initial: bool = False
    ) -> AsyncIterator[SimulatedWatch]:
        mine = SimulatedWatch(self)
        version = since if since and not initial else None
        watch = self.world.api.watch("Pod", mine.take, version, NAMESPACE, bookmarks=bookmarks, initial=initial)
        try:
            yield mine
        finally:
            watch.close()

    async def node(self, name: str) -> Node:
        found = self.world.api.node(name)
        if found is None:
            raise ApiError(ApiFailure(404, "NotFound", f'nodes "{name}" not found', True))
        return msgspec.convert(found, Node)

    async def cordon(self, node: str, unschedulable: bool = True) -> None:
        self.world.cordon(node, unschedulable)
        self.world.run(self.world.settings.answer_takes)

    @asynccontextmanager
    async def runtime_class(self, overhead: Mapping[str, str]) -> AsyncIterator[str]:
        self.world.api.runtime_classes["heavy"] = overhead
        yield "heavy"

    async def get_lease(self, name: str) -> dict[str, Any]:
        return self._asked(self.world.api.get_lease(NAMESPACE, name))

    async def post_lease(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        return self._asked(self.world.api.post_lease(NAMESPACE, lease))

    async def put_lease(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        return self._asked(self.world.api.put_lease(NAMESPACE, lease["metadata"]["name"], lease))

    async def delete_lease(self, name: str) -> None:
        self._asked(self.world.api.delete_lease(NAMESPACE, name))

    # -- what befalls it

    async def kill_node(self, name: str) -> None:
        self.world.power_off(name)

    async def start_node(self, name: str) -> None:
        self.world.bring_back(name)
        self.world.run(2 * self.world.settings.node_back_takes)

    async def delete_node(self, name: str) -> None:
        self.world.delete_node(name)
        self.world.run(self.world.settings.answer_takes)

    async def restart_api_server(self) -> None:
        self.world.api.restart()
        self.world.run(1.0)


def _failure(status: Mapping[str, Any]) -> ApiFailure:
    return ApiFailure(status["code"], status["reason"], status["message"], certain=True)

"""A factory with a pool whose runs a test gives, and the pods that its effects ask for."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from owmesos.core.capacity import Capacity
from owmesos.core.container_factory import ContainerSpec, PoolRecipe
from owmesos.core.ledger import Buffer
from owmesos.core.node_stats import NodeStats
from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.core.pool.events import Dispatch, Run, StartContainer
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.settings import PoolSettings
from owmesos.kubernetes import events
from owmesos.kubernetes.effects import DeletePod, PostPod
from owmesos.kubernetes.factory import FactoryEffect, KubernetesFactory
from owmesos.kubernetes.messages import Node, Pod
from owmesos.kubernetes.settings import KubernetesSettings
from tests.kubernetes.objects import NAMESPACE, changed, node

Kind = TypeVar("Kind")
SETTINGS = KubernetesSettings(namespace=NAMESPACE, invoker="invoker0", incarnation="1", buffer=Buffer(share=0.0))


def spec_of(start: StartContainer) -> ContainerSpec:
    return ContainerSpec(
        name=start.container_id, ask=start.ask, image="nodejs:20", port=8080, deadline=60.0, kill_grace=2.0
    )


class Driven:
    """A factory at a time of its own. Each call returns the effects of the step, which `effects` collects too."""

    def __init__(
        self, settings: KubernetesSettings = SETTINGS, pool: PoolSettings | None = None, **changes: Any
    ) -> None:
        decided = pool or PoolSettings()

        def build(capacity: Capacity) -> Pool:
            return Pool(capacity, decided, prefix="a-")

        self.settings = msgspec.structs.replace(settings, **changes)
        self.factory = KubernetesFactory.of(PoolRecipe(build, spec_of), self.settings)
        self.now = 1000.0
        self.effects: list[FactoryEffect] = []
        self._version = 100
        self._runs = 0

    @classmethod
    def connected(cls, *nodes: Node, pods: tuple[Pod, ...] = (), **settings: Any) -> Driven:
        """Everything was listed: `nodes` (one of 1 GB, if none is given), and `pods`."""
        driven = cls(**settings)
        driven.handle(events.NodesListed(nodes or (node(),)))
        driven.handle(events.PodsListed(pods))
        return driven

    # -- events

    def handle(self, event: Any) -> list[FactoryEffect]:
        step = self.factory.handle(event, self.now)
        self.factory.validate()
        self.effects += step
        return step

    def seen(self, pod: Pod) -> list[FactoryEffect]:
        return self.handle(events.PodSeen(pod))

    def after(self, seconds: float) -> list[FactoryEffect]:
        """Time passes, with a tick at each time that something is due."""
        until, step = self.now + seconds, []
        while (due := self.factory.next_wake()) is not None and due <= until:
            self.now = max(self.now, due)
            step += self.handle(events.KubernetesTick())
        self.now = until
        return step + self.handle(events.KubernetesTick())

    def run(self, memory: int = 256, kind: str = "nodejs:20", image: str | None = None) -> list[FactoryEffect]:
        """One more activation, of an action of its own."""
        self._runs += 1
        action = PoolAction(f"guest/a{self._runs}", "0.0.1", ContainerShape(kind, memory, image))
        return self.handle(Run(f"r{self._runs}", action, "guest"))

    def started(self, memory: int = 256) -> Pod:
        """A run whose container has started: its pod."""
        (post,) = of(self.run(memory), PostPod)
        pod = self.bound(post)
        self.seen(pod)
        ready = changed(pod, phase="Running", ip="10.0.0.7", conditions={"Ready": "True"}, state={"running": {}})
        self.seen(ready)
        return ready

    # -- pods

    def created(self, post: PostPod) -> Pod:
        """As the API server answers the POST."""
        self._version += 10
        metadata = {**post.body["metadata"], "uid": f"uid-{post.name}", "resourceVersion": str(self._version)}
        return msgspec.convert({**post.body, "metadata": metadata, "status": {"phase": "Pending"}}, Pod)

    def bound(self, post: PostPod) -> Pod:
        return changed(self.created(post), on=pinned_to(post), conditions={"PodScheduled": "True"})

    # -- what was asked for

    def posts(self) -> list[PostPod]:
        return of(self.effects, PostPod)

    def deletes(self) -> list[DeletePod]:
        return of(self.effects, DeletePod)

    def dispatched(self) -> list[Dispatch]:
        return of(self.effects, Dispatch)

    def available(self, name: str = "n1") -> float:
        """MB that a start may take."""
        return self.nodes()[name].available.mem

    def nodes(self) -> dict[str, NodeStats]:
        state = self.factory.state
        return {account.slot.agent_id: state.stats(account) for account in state.ledger.accounts.values()}


def of(effects: list[Any], kind: type[Kind]) -> list[Kind]:
    return [each for each in effects if isinstance(each, kind)]


def pinned_to(post: PostPod) -> str:
    required = post.body["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    return str(term["matchFields"][0]["values"][0])

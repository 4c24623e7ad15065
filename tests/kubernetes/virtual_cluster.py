"""A pool and its factory on a simulated Kubernetes, with runs that last as long as a test says.

After each event all that must hold of the books is checked, and at each pod that is posted that there was room for it
as far as was known (tests/kubernetes/shadow.py). What must hold of the cluster is checked in `check`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from owmesos.core.capacity import Capacity
from owmesos.core.container_factory import ContainerSpec, PoolRecipe
from owmesos.core.ledger import Buffer
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.prewarm import PrewarmSetting
from owmesos.core.pool.settings import PoolSettings
from owmesos.kubernetes import effects
from owmesos.kubernetes.factory import KubernetesFactory
from owmesos.kubernetes.pod_manifest import INVOKER, pod_name
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.simulator.kubernetes.behaviours import PodBehaviour, from_command
from owmesos.simulator.kubernetes.objects import Document, is_over, node_of, uid_of
from owmesos.simulator.kubernetes.store import ObjectChange
from owmesos.simulator.kubernetes.world import KubernetesWorld, NodeDescription
from owmesos.simulator.world import Fate
from owmesos.testing.virtual_factory import VirtualFactory
from tests.core.pool.invariants import check_pool
from tests.kubernetes.shadow import Shadow

NAMESPACE, OTHERS = "functions", "others"
INVOKER_LABEL = "invoker0"
INIT_TAKES = 0.1


class WatchedPool(Pool):
    """Its starts are kept, for the shadow."""

    starts: dict[str, pool_events.StartContainer]

    def handle(self, event: object, now: float) -> list[pool_events.PoolEffect]:
        wanted = super().handle(event, now)
        for effect in wanted:
            if isinstance(effect, pool_events.StartContainer):
                self.starts[pod_name(effect.container_id)] = effect
        return wanted


class VirtualKubernetes:
    """`nodes` by memory in MB; each has 8 cpus and takes 20 pods.

    `behaviours` are those of our next pods, then `behaviour` is. `given`: run → container; `ended`: run → why it
    failed, or None.
    """

    def __init__(
        self,
        nodes: dict[str, int],
        *,
        pool: PoolSettings | None = None,
        prewarm: tuple[PrewarmSetting, ...] = (),
        buffer: Buffer | None = None,
        seed: int = 0,
    ) -> None:
        self.behaviour = PodBehaviour()
        self.behaviours: list[PodBehaviour] = []
        self.missing: set[str] = set()  # images
        self.fates: list[Fate] = []  # of the next requests
        self.given: dict[str, str] = {}
        self.ended: dict[str, str | None] = {}
        self.created: dict[str, str] = {}  # our pods that ever were, by name: uid
        self._started: set[str] = set()  # containers that were told to have started, and to have stopped
        self._stopped: set[str] = set()
        self.broken = False
        self.resized: set[str] = set()  # nodes that may have less than they gave away
        self._pool_settings = msgspec.structs.replace(pool or PoolSettings(), ports=0, pods=1)
        self._prewarm = prewarm
        self._settings = KubernetesSettings(
            namespace=NAMESPACE, invoker=INVOKER_LABEL, incarnation="0", buffer=buffer or Buffer(share=0.0)
        )
        self._incarnation = 0
        self._runs = 0
        self._lasts: dict[str, float | None] = {}
        self._incarnation_of: dict[str, int] = {}  # run → the incarnation of the process that it came to
        self.shadow = Shadow(NAMESPACE)
        described = [_described(name, memory) for name, memory in nodes.items()]
        self.world = KubernetesWorld(
            described, seed=seed, behaviour_of=self._behaviour_of, namespaces=(NAMESPACE, OTHERS)
        )
        self.world.api.store.listeners.append(self._changed)
        self.driven = VirtualFactory(self.world, self._make, namespace=NAMESPACE, on_effect=self._effect, seed=seed)
        self.driven.fate_of = lambda request: self.fates.pop(0) if self.fates else Fate.TAKEN
        self.driven.listeners.append(self._told)
        self.driven.observers.append(self._observe)
        self.driven.watch_effects.append(self._wanted)

    @property
    def factory(self) -> KubernetesFactory:
        return self.driven.decisions

    @property
    def pool(self) -> Pool:
        return self.factory.pool

    @property
    def now(self) -> float:
        return self.world.now

    # -- the process

    def _make(self) -> KubernetesFactory:
        self._incarnation += 1
        prefix = f"a{self._incarnation}-"

        def build(capacity: Capacity) -> Pool:
            pool = WatchedPool(capacity, self._pool_settings, self._prewarm, prefix=prefix)
            pool.starts = self.shadow.starts
            return pool

        self.shadow = Shadow(NAMESPACE)
        settings = msgspec.structs.replace(self._settings, incarnation=str(self._incarnation))
        return KubernetesFactory.of(PoolRecipe(build, self._spec), settings)

    def crash(self) -> None:
        """kill -9: all runs are lost with it, and its pods are orphans."""
        for run_id, incarnation in self._incarnation_of.items():
            if incarnation == self._incarnation and run_id not in self.ended:
                self.ended[run_id] = "the process was killed"
        self.driven.crash()

    @staticmethod
    def _spec(start: pool_events.StartContainer) -> ContainerSpec:
        image = start.shape.image or "python:3"
        return ContainerSpec(name=start.container_id, ask=start.ask, image=image, deadline=60.0, kill_grace=2.0)

    def _behaviour_of(self, pod: Document) -> PodBehaviour:
        if pod["metadata"]["namespace"] != NAMESPACE:
            return from_command(pod)
        if pod["spec"]["containers"][0]["image"] in self.missing:
            return PodBehaviour(image_error="there is no such image")
        return self.behaviours.pop(0) if self.behaviours else self.behaviour

    # -- runs

    def run(
        self,
        name: str = "a",
        memory: int = 256,
        *,
        kind: str = "python:3",
        image: str | None = None,
        concurrency: int = 1,
        lasts: float | None = None,
    ) -> str:
        """An activation comes; its id. It lasts for `lasts` seconds, or until `done`."""
        self._runs += 1
        run_id = f"r{self._runs}"
        self._lasts[run_id], self._incarnation_of[run_id] = lasts, self._incarnation
        action = PoolAction(name, "0.0.1", ContainerShape(kind, memory, image), concurrency, 60.0)
        self.send(pool_events.Run(run_id, action, "guest"))
        return run_id

    def done(self, run_id: str, *, reuse: bool = True) -> None:
        self.ended[run_id] = None
        self.send(pool_events.RunDone(self.given[run_id], run_id, reuse))

    def cancel(self, run_id: str) -> None:
        if run_id in self.pool.state.buffer.by_id:
            self.ended[run_id] = "cancelled"
        self.send(pool_events.CancelRun(run_id))

    def send(self, event: Any) -> None:
        self.driven.handle(event)

    def wait(self, seconds: float) -> None:
        self.world.run(seconds)
        self.check()

    # -- what happens

    def join(self, name: str, memory: int) -> None:
        self.world.add_node(_described(name, memory))

    def neighbour(
        self, name: str, memory: int, *, on: str | None = None, by_name: bool = False, priority: int = 0
    ) -> None:
        """A pod of somebody else, which stays until it is deleted."""
        requests = {"cpu": "10m", "memory": f"{memory}Mi"}
        spec: Document = {"priority": priority, "terminationGracePeriodSeconds": 1}
        if on is not None and by_name:
            spec["nodeName"] = on
        elif on is not None:
            spec["nodeSelector"] = {"kubernetes.io/hostname": on}
        self.world.post(name, requests, namespace=OTHERS, **spec)

    def neighbours_leave(self) -> None:
        for namespace, name in list(self.world.api.pods):
            if namespace == OTHERS:
                self.world.api.delete_pod(namespace, name)

    def our_pods(self, *, bound: bool = False) -> list[Document]:
        """Ours that are not over."""
        return [
            pod
            for (namespace, _), pod in self.world.api.pods.items()
            if namespace == NAMESPACE and not is_over(pod) and (not bound or node_of(pod))
        ]

    # -- within

    def _changed(self, change: ObjectChange) -> None:
        """No name of ours is ever given to two pods: so nothing starts twice."""
        if change.kind == "Pod" and change.type == "ADDED" and INVOKER in change.object["metadata"].get("labels", {}):
            name = change.object["metadata"]["name"]
            assert name not in self.created, f"{name} was started twice"
            self.created[name] = uid_of(change.object)

    def _told(self, event: Any) -> None:
        self.shadow.event(event)

    def _observe(self, event: Any) -> None:
        """After each event."""
        self.broken = True
        self.factory.validate()
        check_pool(self.pool)
        self.broken = False

    def _wanted(self, effect: Any) -> None:
        if isinstance(effect, effects.PostPod):
            self.shadow.post(effect, self.shadow.starts.get(effect.name))
        elif isinstance(effect, effects.DeletePod):
            assert effect.grace >= 1, "a grace of 0"

    def _effect(self, effect: Any) -> None:
        if isinstance(effect, pool_events.Dispatch):
            self._dispatched(effect)
        elif isinstance(effect, pool_events.RunFailed):
            assert effect.run_id not in self.ended, f"{effect.run_id} ended twice"
            self.ended[effect.run_id] = effect.message
        elif isinstance(effect, pool_events.ContainerStarted):
            assert effect.container_id not in self._started | self._stopped, f"{effect.container_id} starts again"
            self._started.add(effect.container_id)
        elif isinstance(effect, pool_events.ContainerStopped):
            assert effect.container_id not in self._stopped, f"{effect.container_id} stops again"
            self._stopped.add(effect.container_id)
            for run_id, container_id in list(self.given.items()):
                if container_id == effect.container_id and run_id not in self.ended:
                    self.ended[run_id] = effect.reason
                    self.send(pool_events.RunDone(container_id, run_id, reuse=False))

    def _dispatched(self, effect: pool_events.Dispatch) -> None:
        run_id, incarnation = effect.run_id, self._incarnation
        assert run_id not in self.ended, f"{run_id} is over, and is given away"
        assert effect.container_id in self._started - self._stopped, f"{run_id} is given to {effect.container_id}"
        self.given[run_id] = effect.container_id
        agenda = self.world.agenda
        if effect.initialize:
            agenda.after(INIT_TAKES, self._if_alive, incarnation, run_id, pool_events.Initialized(effect.container_id))
        lasts = self._lasts[run_id]
        if lasts is not None:
            agenda.after(INIT_TAKES + lasts, self._over, incarnation, effect)

    def _if_alive(self, incarnation: int, run_id: str, event: Any) -> None:
        if incarnation == self._incarnation and run_id not in self.ended:
            self.send(event)

    def _over(self, incarnation: int, effect: pool_events.Dispatch) -> None:
        if (
            incarnation == self._incarnation
            and effect.run_id not in self.ended
            and self.given[effect.run_id] == effect.container_id
        ):
            self.done(effect.run_id)

    # -- what must hold

    def check(self) -> None:
        """Of the cluster, and of the runs."""
        self.broken = True
        over = {name: short for name, short in self.world.overcommitted().items() if name not in self.resized}
        assert not over, f"nodes are overcommitted: {over}"
        state = self.pool.state
        for run_id, incarnation in self._incarnation_of.items():
            if incarnation == self._incarnation:
                places = (run_id in state.buffer.by_id) + (run_id in state.running) + (run_id in self.ended)
                assert places == 1, f"{run_id} is {'lost' if not places else 'in two places'}"
        self.broken = False

    def check_quiet(self) -> None:
        """Nothing is under way: the books say what is true."""
        self.check()
        self.broken = True
        known = {pod_name(container.id) for container in self.pool.containers}
        there = {pod["metadata"]["name"] for pod in self.our_pods()}
        assert known == there, f"containers without pods: {known - there}; pods without: {there - known}"
        state = self.factory.state
        assert not state.orphans, f"orphans are left: {state.orphans}"
        assert not state.ledger.reservations.by_launch, "reservations are left"
        assert set(state.records) == there
        for name in self.world.kubelets:
            free, true = state.free(name), self.world.free(name)
            mine = (free.milli_mem, free.pods)
            assert mine == (true.get("memory", 0) >> 20, true.get("pods", 0) // 1000), f"{name}: {mine}, {true}"
        self.broken = False


def _described(name: str, memory: int) -> NodeDescription:
    return NodeDescription(name, {"cpu": "8", "memory": f"{memory}Mi", "pods": "20", "ephemeral-storage": "20Gi"})


def living_nodes(world: KubernetesWorld) -> Iterable[str]:
    return [name for name, kubelet in world.kubelets.items() if kubelet.connected]

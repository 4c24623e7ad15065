"""One run on Kubernetes: one setting, on one workload and one cluster, with several invokers, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from benchmarks.overprovisioning.node_meter import NodeMeter
from benchmarks.overprovisioning.openwhisk_on_kubernetes import RUN_TIMEOUT, OpenWhiskInvoker
from owmesos.core.capacity import Capacity
from owmesos.core.container_factory import ContainerSpec, PoolRecipe
from owmesos.core.ledger import Buffer
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.settings import PoolSettings
from owmesos.kubernetes.factory import KubernetesFactory
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.resources import MILLI, Ask
from owmesos.simulator.kubernetes.behaviours import PodBehaviour, from_command
from owmesos.simulator.kubernetes.node_fit import allocatable
from owmesos.simulator.kubernetes.objects import Document, is_deleted, is_over, node_of, uid_of
from owmesos.simulator.kubernetes.requests import Amounts, add, pod_requests
from owmesos.simulator.kubernetes.store import ObjectChange
from owmesos.simulator.kubernetes.world import KubernetesWorld, NodeDescription
from owmesos.sizing.meter import MARGIN, OFFER_WAIT, Outcome, WatchedPool
from owmesos.sizing.runs import CONTAINER_TAKES, STOP_TAKES, Arrivals, InvokerRuns
from owmesos.sizing.surroundings import AGENT_CPUS, AGENT_MB, FOREIGN, Change, Foreign, Surroundings
from owmesos.sizing.trial import DRAIN, Setting, happen_around, repeat
from owmesos.sizing.user_memory import SETTINGS as FIXED_SETTINGS
from owmesos.sizing.user_memory import UserMemory
from owmesos.sizing.workload import TIMEOUT, Function, Invocation
from owmesos.testing.virtual_factory import VirtualFactory

INVOKERS = 3
NAMESPACE, OTHERS = "default", "others"
NODE_REMOVED = 60.0  # seconds from a machine's death to its node's removal by the cloud: NotReady comes after 50
PENDING_AT_MOST = 60.0  # seconds, of a neighbour's pod
_MIB = 1024 * 1024 * 1000  # thousandths of a byte


class KubernetesBooks:
    """What kube-scheduler counts, as long as a node is there. Room of our pods that stop counts as free."""

    offer_wait = OFFER_WAIT + MARGIN

    def __init__(self, world: KubernetesWorld, dead: set[str]) -> None:
        self._world = world
        self._dead = dead
        self._stopping: dict[str, tuple[str, Amounts]] = {}  # ours, by uid: node, requests
        world.api.store.listeners.append(self._hear)

    def _hear(self, change: ObjectChange) -> None:
        pod = change.object
        if change.kind == "Pod" and pod["metadata"]["namespace"] == NAMESPACE:
            if change.type == "DELETED" or is_over(pod):
                self._stopping.pop(uid_of(pod), None)
            elif is_deleted(pod):
                self._stopping[uid_of(pod)] = (node_of(pod), pod_requests(pod))

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        self._world.agenda.after(seconds, action, *args)

    def free(self, leaving: tuple[str, ...] = ()) -> dict[str, Ask]:
        stopping = dict(self._stopping)
        for container_id in leaving:
            pod = self._world.api.pod((NAMESPACE, container_id))
            if pod is not None and node_of(pod) and not is_over(pod):
                stopping[uid_of(pod)] = (node_of(pod), pod_requests(pod))
        left = {name: self._world.scheduler.free(name) for name in self._world.api.nodes}
        for node, held in stopping.values():
            if node in left:
                add(left[node], held)
        return {
            name: Ask(free.get("cpu", 0), free.get("memory", 0) * MILLI // _MIB, 0, 0, 0, free.get("pods", 0) // MILLI)
            for name, free in left.items()
        }

    def memory(self) -> tuple[int, int, int]:
        total = held = foreign = 0
        for name, node in self._world.api.nodes.items():
            if name not in self._dead:
                total += allocatable(node)["memory"] // _MIB
        for (namespace, _), pod in self._world.api.pods.items():
            if node_of(pod) and not is_over(pod) and node_of(pod) not in self._dead:
                mine = pod_requests(pod)["memory"] // _MIB
                held, foreign = (held + mine, foreign) if namespace == NAMESPACE else (held, foreign + mine)
        return total, foreign, held


@dataclass
class Invoker:
    """Its pool, and what is done for it."""

    pool: Pool
    runs: InvokerRuns


class KubernetesTrial:
    """Three invokers of the setting on one cluster."""

    def __init__(
        self,
        setting: Setting,
        functions: Sequence[Function],
        activations: list[Invocation],
        around: Surroundings,
        seed: int,
    ) -> None:
        self._setting = setting
        self._functions = functions
        self._activations = activations
        self._around = around
        self._dead: set[str] = set()  # nodes whose machines do not run
        self._machines: dict[str, str] = {}  # machine → its node
        self._nodes = 0
        self._foreign_pods = 0
        self.outcome = Outcome()
        self.world = KubernetesWorld([], seed=seed, behaviour_of=_behaviour, namespaces=(NAMESPACE, OTHERS))
        for machine in around.machines:
            if machine.name not in around.absent:
                self._join(machine.name)
        self._books = KubernetesBooks(self.world, self._dead)
        self._pinned = setting.user_memory is None
        self.meter = NodeMeter(
            self._books, self._waits_for_room, pinned=self._pinned, dead=self._dead, outcome=self.outcome
        )
        self._bound: set[str] = set()  # our pods
        self._created: set[str] = set()  # the same
        self.world.api.store.listeners.append(self._hear)
        self.invokers: list[Invoker] = []
        for number in range(INVOKERS):
            self.invokers.append(self._ours(number) if self._pinned else self._openwhisk(number))
        self.world.run(10.0)
        self.start = self.world.now

    def _openwhisk(self, number: int) -> Invoker:
        memory = UserMemory(self._user_memory // INVOKERS)
        pool = WatchedPool(memory.capacity, structs.replace(FIXED_SETTINGS, ports=0, pods=1), prefix=f"w{number}-")
        pool.meter = self.meter
        factory = OpenWhiskInvoker(self.world, pool, memory, _pod)
        runs = self._runs(factory.handle, factory.where)
        factory.on_effect = runs.effect
        return Invoker(pool, runs)

    def _ours(self, number: int) -> Invoker:
        where: dict[str, str] = {}
        settings = KubernetesSettings(
            namespace=NAMESPACE, invoker=f"invoker{number}", buffer=Buffer(share=self._setting.buffer)
        )

        def build(capacity: Capacity) -> Pool:
            pool = WatchedPool(capacity, PoolSettings(ports=0, pods=1), prefix=f"o{number}-")
            pool.meter = self.meter
            return pool

        factory = KubernetesFactory.of(PoolRecipe(build, _spec), settings)
        driven = VirtualFactory(self.world, lambda: factory, namespace=NAMESPACE, seed=number)
        runs = self._runs(driven.handle, where)

        def effect(wanted: object) -> None:
            if isinstance(wanted, pool_events.ContainerStarted):
                where[wanted.container_id] = wanted.slot.agent_id
            runs.effect(wanted)

        driven.on_effect = effect
        return Invoker(factory.pool, runs)

    @property
    def _user_memory(self) -> int:
        """MB, of all invokers together."""
        memory = self._setting.memory_on(self._around)
        assert memory is not None
        return memory

    def _runs(self, tell: Callable[[pool_events.PoolEvent], None], where: dict[str, str]) -> InvokerRuns:
        def is_there(container_id: str) -> bool:
            return where.get(container_id) not in self._dead

        return InvokerRuns(self.world.agenda, self._functions, self._activations, self.outcome, tell, is_there)

    def _hear(self, change: ObjectChange) -> None:
        """When kube-scheduler binds a pod of ours: also to a dead node, as long as that counts as ready."""
        pod = change.object
        if change.kind == "Pod" and pod["metadata"]["namespace"] == NAMESPACE:
            name = pod["metadata"]["name"]
            self._created.add(name)
            if node_of(pod) and name not in self._bound:
                self._bound.add(name)
                self.meter.placed(name, node_of(pod))

    def _waits_for_room(self, container_id: str) -> bool:
        if not any(container_id in each.pool.containers.starting for each in self.invokers):
            return False
        pod = self.world.api.pod((NAMESPACE, container_id))
        if pod is None:  # one that was taken back waits no more, though its pool has not heard of the end yet
            return container_id not in self._created
        return not node_of(pod)

    # -- the run

    def run(self, seconds: float) -> Outcome:
        """All of it: arrivals for `seconds`, and then until nothing waits."""
        agenda = self.world.agenda
        happen_around(self._around, agenda, self.start, self._change, self._foreign)
        Arrivals(agenda, self.start, self._activations, self._arrive)
        repeat(agenda, 1.0, self.start + seconds, self._sample)
        self.world.run(seconds)
        until = self.world.now + DRAIN + 2 * TIMEOUT
        while any(each.runs.waiting for each in self.invokers) and self.world.step(until):
            pass
        return self.outcome

    def _arrive(self, activation: Invocation) -> None:
        self._invoker_for(activation).runs.arrive(activation)

    def _invoker_for(self, activation: Invocation) -> Invoker:
        """The action's home invoker; with a user-memory the next one that has some left, as OpenWhisk's Controller."""
        home = activation.function % INVOKERS
        if self._pinned:
            return self.invokers[home]
        memory = self._functions[activation.function].action.shape.memory
        inorder = [self.invokers[(home + step) % INVOKERS] for step in range(INVOKERS)]
        share = self._user_memory // INVOKERS
        return next((each for each in inorder if each.runs.load + memory <= share), inorder[0])

    def _sample(self) -> None:
        busy = sum(each.runs.busy for each in self.invokers)
        waiting = sum(len(each.pool.state.buffer) for each in self.invokers)
        self.meter.sample(self.world.now - self.start, busy, waiting)

    # -- what happens around

    def _join(self, machine: str) -> None:
        """With a node of its own, as a machine in a cloud has a new name each time."""
        self._nodes += 1
        name = self._machines[machine] = f"{machine}-{self._nodes}"
        described = {"cpu": str(AGENT_CPUS), "memory": f"{AGENT_MB}Mi", "pods": "110"}
        self.world.add_node(NodeDescription(name, described))

    def _change(self, change: Change) -> None:
        """Removed by its operator, or dead: then the cloud removes its node when that is not ready any more."""
        if change.up:
            self._join(change.name)
            return
        name = self._machines.pop(change.name)
        self._dead.add(name)
        if change.removed:
            self.world.remove_node(name)
        else:
            self.world.power_off(name)
            self.world.agenda.after(NODE_REMOVED, self.world.remove_node, name)
        for each in self.invokers:
            each.runs.break_off()

    def _foreign(self, task: Foreign) -> None:
        self._foreign_pods += 1
        name = f"{FOREIGN}-{self._foreign_pods}"
        requests = {"cpu": f"{1000 * task.mem // AGENT_MB}m", "memory": f"{task.mem}Mi"}
        container = {"name": "main", "image": "own:1", "resources": {"requests": requests}}
        container["command"] = ["sleep", f"{task.seconds:.3f}"]
        body = {"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [container]}}
        answer = self.world.api.post_pod(OTHERS, body)
        assert answer.done, answer.body
        self.world.agenda.after(PENDING_AT_MOST, self._give_up, name)

    def _give_up(self, name: str) -> None:
        pod = self.world.api.pod((OTHERS, name))
        if pod is not None and not node_of(pod):
            self.world.api.delete_pod(OTHERS, name)


def _pod(start: pool_events.StartContainer) -> Document:
    """As OpenWhisk's WhiskPodBuilder makes it, with the cpus that our pods ask for, too."""
    amounts = {"cpu": f"{start.ask.milli_cpus}m", "memory": f"{start.ask.milli_mem // MILLI}Mi"}
    container = {"name": "user-action", "image": "own:1", "resources": {"requests": amounts, "limits": amounts}}
    return {"metadata": {"name": start.container_id}, "spec": {"restartPolicy": "Always", "containers": [container]}}


def _spec(start: pool_events.StartContainer) -> ContainerSpec:
    return ContainerSpec(
        name=start.container_id, ask=start.ask, image="own:1", deadline=RUN_TIMEOUT, kill_grace=2 * STOP_TAKES
    )


def _behaviour(pod: Document) -> PodBehaviour:
    if pod["metadata"]["namespace"] == OTHERS:
        return from_command(pod)
    return PodBehaviour(starts_after=CONTAINER_TAKES, obeys_after=STOP_TAKES)

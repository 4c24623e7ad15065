"""Random histories of one factory and one cluster: whatever happens, what must hold is held after every event.

Neighbours that take and free room, nodes that are cordoned, tainted, lost or gone, watches that are cut, stall or
expire, answers that are late or never come, quotas, evictions, images that are not there, and kill -9 come in any
order. Then all is well again: every run must end, and then the books say what is true of the cluster.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from owmesos.core.ledger import Buffer
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.prewarm import PrewarmSetting
from owmesos.core.pool.settings import PoolSettings
from owmesos.simulator.kubernetes.behaviours import PodBehaviour
from owmesos.simulator.kubernetes.objects import is_over
from owmesos.simulator.world import Fate
from tests.examples import examples
from tests.kubernetes.virtual_cluster import NAMESPACE, OTHERS, VirtualKubernetes

PREWARMS = st.sampled_from([(), (), (PrewarmSetting(ContainerShape("python:3", 256), 1),)])
POOLS = st.sampled_from(
    [
        PoolSettings(),
        PoolSettings(idle_grace=1.0, drain_after=1.0),
        PoolSettings(max_starts=3, max_starts_on_agent=2, idle_timeout=60.0),
    ]
)
BEHAVIOURS = {
    "usual": PodBehaviour(),
    "slow": PodBehaviour(starts_after=3.0),
    "too slow": PodBehaviour(starts_after=70.0),
    "ready later": PodBehaviour(ready_after=2.0),
    "exits at once": PodBehaviour(duration=0.0, code=1),
    "exits before it is ready": PodBehaviour(ready_after=5.0, duration=1.0, code=3),
    "out of memory": PodBehaviour(duration=10.0, code=137, oom=True),
    "ignores TERM": PodBehaviour(obeys_after=None),
    "stops slowly": PodBehaviour(obeys_after=0.5, stop_code=0),
}
NAMES = st.sampled_from([*BEHAVIOURS, "usual", "usual"])
TIMES = st.sampled_from([0.0, 0.002, 0.01, 0.05, 0.3, 1.0, 2.5, 7.0])
LASTS = st.sampled_from([0.1, 0.5, 3.0, 30.0])
ANY = st.integers(0, 11)  # one of whatever there is
LEFT = 900.0  # seconds in which all must have ended: nodes come back, quotas and back-offs end, runs wait at most 170


class FactoryMachine(RuleBasedStateMachine):
    """The rules only act; what must hold is checked by the cluster (tests/kubernetes/virtual_cluster.py)."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster: VirtualKubernetes | None = None

    @initialize(
        sizes=st.lists(st.sampled_from([256, 512, 768, 1024]), min_size=1, max_size=3),
        pool=POOLS,
        prewarm=PREWARMS,
        buffer=st.sampled_from([0.0, 0.0, 0.1]),
        seed=st.integers(0, 5),
        known=st.sampled_from([True, True, False]),
    )
    def begin(
        self,
        sizes: list[int],
        pool: PoolSettings,
        prewarm: tuple[PrewarmSetting, ...],
        buffer: float,
        seed: int,
        known: bool,
    ) -> None:
        nodes = {f"n{number}": size for number, size in enumerate(sizes)}
        self.joined, self.neighbours = len(sizes), 0
        self.cluster = VirtualKubernetes(nodes, pool=pool, prewarm=prewarm, buffer=Buffer(share=buffer), seed=seed)
        if known:
            self.cluster.wait(0.1)

    def _node(self, any_: int) -> str | None:
        """One that is there, in whatever state."""
        names = [name for name in self.cluster.world.kubelets if self.cluster.world.api.node(name) is not None]
        return names[any_ % len(names)] if names else None

    def _ours(self, any_: int, *, bound: bool = False) -> tuple[str, str] | None:
        pods = self.cluster.our_pods(bound=bound)
        return (NAMESPACE, pods[any_ % len(pods)]["metadata"]["name"]) if pods else None

    # -- runs

    @rule(
        name=st.sampled_from(["a", "b", "c"]),
        memory=st.sampled_from([128, 256, 256, 512]),
        kind=st.sampled_from(["python:3", "python:3", "nodejs:20"]),
        concurrency=st.sampled_from([1, 1, 3]),
        count=st.sampled_from([1, 1, 2, 5]),
        lasts=LASTS,
    )
    def runs(self, name: str, memory: int, kind: str, concurrency: int, count: int, lasts: float) -> None:
        for _ in range(count):
            named = f"{name}{memory}{kind}{concurrency}"
            self.cluster.run(named, memory, kind=kind, concurrency=concurrency, lasts=lasts)

    @rule(count=st.sampled_from([1, 3]), memory=st.sampled_from([128, 256]), lasts=LASTS)
    def runs_of_an_image(self, count: int, memory: int, lasts: float) -> None:
        for _ in range(count):
            self.cluster.run(f"own{memory}", memory, kind="blackbox", image="own:1", lasts=lasts)

    @rule(missing=st.booleans())
    def image(self, missing: bool) -> None:
        self.cluster.missing = {"own:1"} if missing else set()

    @rule(any_=ANY)
    def cancel(self, any_: int) -> None:
        """Also one that has a container, which goes on."""
        runs = [*self.cluster.pool.state.buffer.by_id, *self.cluster.pool.state.running]
        if runs:
            self.cluster.cancel(runs[any_ % len(runs)])

    @rule(any_=ANY)
    def run_ends_badly(self, any_: int) -> None:
        running = list(self.cluster.pool.state.running)
        if running:
            self.cluster.done(running[any_ % len(running)], reuse=False)

    # -- time

    @rule(seconds=TIMES)
    def wait(self, seconds: float) -> None:
        self.cluster.wait(seconds)

    @rule(seconds=TIMES)
    def wait_again(self, seconds: float) -> None:
        self.cluster.wait(seconds)

    @rule(seconds=st.sampled_from([20.0, 65.0, 200.0]))
    def wait_long(self, seconds: float) -> None:
        self.cluster.wait(seconds)

    # -- pods

    @rule(behaviours=st.lists(NAMES, min_size=1, max_size=3))
    def next_pods(self, behaviours: list[str]) -> None:
        self.cluster.behaviours = [BEHAVIOURS[each] for each in behaviours]

    @rule(behaviour=NAMES)
    def all_pods(self, behaviour: str) -> None:
        self.cluster.behaviour = BEHAVIOURS[behaviour]

    @rule(any_=ANY, how=st.sampled_from(["exit", "oom", "pressure"]))
    def container_dies(self, any_: int, how: str) -> None:
        key = self._ours(any_, bound=True)
        if key is not None and how == "pressure":
            self.cluster.world.evict_under_pressure(key)
        elif key is not None:
            self.cluster.world.end_containers(key, oom=how == "oom")

    @rule(any_=ANY, evicted=st.booleans(), grace=st.sampled_from([None, 1, 30]))
    def somebody_deletes_ours(self, any_: int, evicted: bool, grace: int | None) -> None:
        key = self._ours(any_)
        if key is None:
            return
        if evicted:
            self.cluster.world.api.evict_pod(*key)
        else:
            self.cluster.world.api.delete_pod(*key, grace=grace)

    # -- neighbours

    @rule(
        memory=st.sampled_from([64, 128, 256, 512, 1024]),
        any_=ANY,
        how=st.sampled_from(["anywhere", "anywhere", "there", "by name"]),
        priority=st.sampled_from([0, 0, 10]),
    )
    def neighbour_comes(self, memory: int, any_: int, how: str, priority: int) -> None:
        self.neighbours += 1
        on = None if how == "anywhere" else self._node(any_)
        self.cluster.neighbour(f"p{self.neighbours}", memory, on=on, by_name=how == "by name", priority=priority)

    @rule(any_=ANY)
    def neighbour_leaves(self, any_: int) -> None:
        api = self.cluster.world.api
        names = [name for (namespace, name), pod in api.pods.items() if namespace == OTHERS and not is_over(pod)]
        if names:
            api.delete_pod(OTHERS, names[any_ % len(names)])

    @rule()
    def neighbours_take_all(self) -> None:
        for name in list(self.cluster.world.kubelets):
            free = self.cluster.world.free(name).get("memory", 0) >> 20
            if free >= 1000:
                self.neighbours += 1
                self.cluster.neighbour(f"p{self.neighbours}", free // 1000, on=name)

    # -- nodes

    @precondition(lambda self: len(self.cluster.world.kubelets) < 4)
    @rule(memory=st.sampled_from([256, 512, 1024]))
    def node_joins(self, memory: int) -> None:
        self.cluster.join(f"n{self.joined}", memory)
        self.joined += 1

    @rule(any_=ANY, what=st.sampled_from(["cordon", "uncordon", "drain", "NoSchedule", "NoExecute", "untaint"]))
    def operator_acts(self, any_: int, what: str) -> None:
        name, world = self._node(any_), self.cluster.world
        if name is None:
            return
        if what in ("cordon", "uncordon"):
            world.cordon(name, what == "cordon")
        elif what == "drain":
            world.drain(name)
        elif what == "untaint":
            world.untaint(name, "repair")
        else:
            world.taint(name, "repair", what)

    @rule(any_=ANY, what=st.sampled_from(["cut off", "power off", "back", "back", "gone", "deleted"]))
    def node_is_lost(self, any_: int, what: str) -> None:
        name, world = self._node(any_), self.cluster.world
        if name is None:
            return
        if what == "cut off":
            world.cut_off(name)
        elif what == "power off":
            world.power_off(name)
        elif what == "back":
            world.bring_back(name)
        elif what == "gone" and len(world.kubelets) > 1:
            world.remove_node(name)

    @rule(any_=ANY, ready=st.booleans(), pressure=st.booleans())
    def node_says(self, any_: int, ready: bool, pressure: bool) -> None:
        name, world = self._node(any_), self.cluster.world
        if name is not None and world.kubelets[name].connected:
            (world.is_ready if ready else world.not_ready)(name)
            world.pressure(name, on=pressure)

    @rule(any_=ANY, memory=st.sampled_from([128, 512, 2048]))
    def node_is_resized(self, any_: int, memory: int) -> None:
        name = self._node(any_)
        if name is not None:
            self.cluster.resized.add(name)
            self.cluster.world.resize_node(name, {"memory": f"{memory}Mi"})

    # -- the API server

    @rule(any_=ANY, what=st.sampled_from(["cut", "stall", "expire", "compact", "restart"]))
    def watch_breaks(self, any_: int, what: str) -> None:
        watches, api = self.cluster.driven.open_watches, self.cluster.world.api
        if what == "restart":
            api.restart()
        elif what == "compact":
            api.store.compact()
        elif watches:
            watch = watches[any_ % len(watches)]
            if what == "stall":
                watch.stall(3.0)
            elif what == "cut":
                watch.cut()
            else:
                watch.expire()

    @rule(found=st.booleans(), seconds=st.sampled_from([0.0, 1.0, 7.0]))
    def api_server_is_lost(self, found: bool, seconds: float) -> None:
        self.cluster.driven.lose_api_server()
        self.cluster.wait(seconds)
        if found:
            self.cluster.driven.find_api_server()

    @rule()
    def api_server_is_found(self) -> None:
        self.cluster.driven.find_api_server()

    @rule(fates=st.lists(st.sampled_from([Fate.LOST, Fate.UNANSWERED, Fate.TAKEN]), min_size=1, max_size=3))
    def next_requests(self, fates: list[Fate]) -> None:
        self.cluster.fates = fates

    @rule(seconds=st.sampled_from([0.0, 1.0, 20.0, 70.0]), retry_after=st.sampled_from([1.0, 7.0, 60.0]))
    def api_server_is_busy(self, seconds: float, retry_after: float) -> None:
        self.cluster.driven.throttle(seconds, retry_after)

    @rule(seconds=st.sampled_from([0.0, 0.1, 2.0]))
    def answers_are_late(self, seconds: float) -> None:
        self.cluster.driven.slow_answers = seconds

    @rule(pods=st.sampled_from([None, "1", "3"]))
    def quota(self, pods: str | None) -> None:
        self.cluster.world.api.set_quota(NAMESPACE, None if pods is None else {"pods": pods})

    @rule()
    def crash(self) -> None:
        self.cluster.crash()

    # -- the end

    def teardown(self) -> None:
        if self.cluster is None or self.cluster.broken:
            return
        cluster = self.cluster
        heal(cluster)
        cluster.wait(LEFT)
        assert list(cluster.pool.state.buffer.by_id) == [], "runs wait for ever"
        assert cluster.pool.state.running == {}
        cluster.check_quiet()
        late = [cluster.run(f"late{memory}", memory, lasts=1.0) for memory in (128, 512, 1024, 256)]
        cluster.wait(60.0)
        for run_id in late:
            assert cluster.ended.get(run_id, "not yet") is None, f"{run_id}: {cluster.ended.get(run_id)}"


def heal(cluster: VirtualKubernetes) -> None:
    """No neighbours, no faults, and one node that could hold anything."""
    world = cluster.world
    cluster.behaviour, cluster.behaviours, cluster.fates, cluster.missing = PodBehaviour(), [], [], set()
    cluster.driven.slow_answers = 0.0
    cluster.driven.find_api_server()
    cluster.driven.throttle(0.0, 0.0)
    world.api.set_quota(NAMESPACE, None)
    cluster.neighbours_leave()
    for name in list(world.kubelets):
        world.bring_back(name)
        world.cordon(name, False)
        world.untaint(name, "repair")
        world.pressure(name, on=False)
    world.run(5.0)
    for name in world.kubelets:
        world.is_ready(name)
    cluster.join("healer", 1300)


TestFactory = FactoryMachine.TestCase
TestFactory.settings = settings(
    max_examples=examples(300), stateful_step_count=40, derandomize=True, database=None, deadline=None
)
TestFactory.pytestmark = [pytest.mark.timeout(1800)]

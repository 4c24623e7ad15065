"""What one decision of the container pool takes, in time of the processor; medians, and the 99th percentile.

Warm: a run comes whose action has an idle container, with 100 to 10,000 containers known; the answer is the container
that it is given to. "Ended" is the word that the run is over. The other is what today's invoker does: it looks at every
container for one of the same action and namespace with room, and here it is given its loop in Python, which is all
that is measured of it. Ours looks into the same few dictionaries however many containers there are; with 10,000 of them
what it needs is no longer in the processor's cache.

Cold: a run comes for which there is neither. With room, the answer is the start, its room reserved on one of 10,000
agents. With none, it is the agent that is set aside and what to stop there (one container, or four small ones), and
then, when NodeStats shows the room, the start: both together are the cold decision with the eviction included.
"Blocked" is what a warm run costs while a head waits for room.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

from benchmarks.row import Row, rows_of
from owmesos.core.capacity import Capacity
from owmesos.core.ledger import Buffer, Ledger
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.placement import Slot
from owmesos.core.pool.containers import Container, ContainerShape, ContainerState, PoolAction
from owmesos.core.pool.events import (
    ContainerStarted,
    ContainerStopped,
    Dispatch,
    Initialized,
    PoolEffect,
    Run,
    RunDone,
    StartContainer,
    StopContainer,
)
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.settings import PoolSettings
from owmesos.resources import Resources

SIZES = (100, 1_000, 10_000)
AGENTS = 10_000
WARM_TARGET_US = 20.0
COLD_TARGET_US = 200.0
GROWTH_TARGET = 2.0
SCAN = "a scan of all containers"
PORTS = [(31000, 31099)]


class Cluster:
    """A pool on `agents` agents, each with room for `each` containers of `memory` MB, all of them idle and warm."""

    def __init__(self, agents: int, each: int = 1, *, memory: int = 256, spare: int = 0) -> None:
        self.now = 1_000.0
        self.room = each * memory + spare
        self.memory = memory
        self.ledger = Ledger(Buffer(share=0.0))
        capacity = Capacity(self.ledger)
        capacity.known = True
        most = 10**9  # neither throttles nor time-outs are what is measured
        settings = PoolSettings(max_starts=most, max_starts_on_agent=most, idle_timeout=most, max_wait=most)
        self.pool = Pool(capacity, settings)
        self.used: dict[str, int] = {}
        self.runs = 0
        for number in range(agents):
            agent = self.ledger.agent(f"5f7ad2b1-9c8e-4a66-8a3c-2f0d6c4b7e1a-S{number}")
            capacity.describe(agent)
            self.used[agent.agent_id] = 0
            self.offer(agent.agent_id)
        for number in range(agents * each):
            self.warm(f"action{number % max(1, agents * each // 10)}", memory)
        self.now += 60.0

    def offer(self, agent_id: str) -> NodeStatsUpdate:
        """What the agent has free, as an offer that is let go at once."""
        slot = Slot(agent_id, "*")
        room = Resources.of(cpus=64, mem=max(0, self.room - self.used[agent_id]), ports=PORTS)
        self.ledger.offer(slot, room, self.now)
        self.ledger.hold(slot, None)
        self.ledger.remember(slot, room, self.now, "offer")
        return NodeStatsUpdate((self.ledger.stats(self.ledger.account(slot)),))

    def run(self, name: str, memory: int) -> Run:
        self.runs += 1
        return Run(
            f"run{self.runs}", PoolAction(name, "0.0.1", ContainerShape("python:3", memory), digest=bytes(16)), "guest"
        )

    def start(self, effects: list[PoolEffect]) -> list[PoolEffect]:
        """The start among `effects` is carried out, and its container is up."""
        (start,) = (effect for effect in effects if isinstance(effect, StartContainer))
        self.ledger.cut(start.container_id, Resources(start.ask.milli_cpus, start.ask.milli_mem), start.container_id)
        self.ledger.release(start.container_id)
        self.used[start.slot.agent_id] += start.shape.memory
        self.offer(start.slot.agent_id)
        return self.pool.handle(ContainerStarted(start.container_id, start.slot, "address"), self.now)

    def end(self, run_id: str, container_id: str) -> None:
        self.pool.handle(Initialized(container_id), self.now)
        self.pool.handle(RunDone(container_id, run_id), self.now)

    def warm(self, name: str, memory: int) -> None:
        """A container of its own for the action, idle."""
        run = self.run(f"{name}-{self.runs}", memory)
        given = self.start(self.pool.handle(run, self.now))[0]
        assert isinstance(given, Dispatch)
        self.end(run.run_id, given.container_id)

    def stopped(self, stop: StopContainer) -> str:
        """The container is gone. Its agent."""
        container = self.pool.containers.by_id[stop.container_id]
        self.used[container.slot.agent_id] -= container.shape.memory
        self.pool.handle(ContainerStopped(stop.container_id, "stopped"), self.now)
        return container.slot.agent_id


def timed(do: Callable[[], list[PoolEffect]]) -> tuple[float, list[PoolEffect]]:
    """Microseconds of the processor, and what came out."""
    begin = time.process_time_ns()
    effects = do()
    return (time.process_time_ns() - begin) / 1e3, effects


def warm_us(cluster: Cluster, rounds: int) -> tuple[list[float], list[float]]:
    """The cost of each warm run, and of its end."""
    keys = [each.key for each in cluster.pool.containers if each.key is not None and each.idle]
    runs, ends = [], []
    for number in range(rounds):
        key = keys[number * 7919 % len(keys)]
        run = cluster.run(key.name, cluster.memory)
        took, effects = timed(lambda run=run: cluster.pool.handle(run, cluster.now))  # type: ignore[misc]
        runs.append(took)
        given = effects[0]
        assert isinstance(given, Dispatch)
        done = RunDone(given.container_id, run.run_id)
        ends.append(timed(lambda done=done: cluster.pool.handle(done, cluster.now))[0])  # type: ignore[misc]
    return runs, ends


def scan_us(cluster: Cluster, rounds: int) -> list[float]:
    """The same questions to a loop over all containers."""
    containers = list(cluster.pool.containers)
    keys = [each.key for each in containers if each.key is not None]
    times = []
    for number in range(rounds):
        key = keys[number * 7919 % len(keys)]
        begin = time.process_time_ns()
        found = scan(containers, key)
        times.append((time.process_time_ns() - begin) / 1e3)
        assert found is not None
        assert found.key == key
    return times


def scan(containers: list[Container], key: object) -> Container | None:
    """ContainerPool.schedule: the first warm one of the action and namespace with room."""
    for each in containers:
        if each.state is ContainerState.WARM and each.active < each.concurrency and each.key == key:
            return each
    return None


def cold_us(cluster: Cluster, rounds: int) -> list[float]:
    """A run for which there is room: its start is decided."""
    times = []
    for _ in range(rounds):
        run = cluster.run(f"new{cluster.runs}", cluster.memory)
        took, effects = timed(lambda run=run: cluster.pool.handle(run, cluster.now))  # type: ignore[misc]
        times.append(took)
        given = cluster.start(effects)[0]
        assert isinstance(given, Dispatch)
        cluster.end(run.run_id, given.container_id)
    return times


def eviction_us(cluster: Cluster, rounds: int, memory: int, *, ends: bool = True) -> tuple[list[float], list[float]]:
    """A run for which room is made: of deciding what to stop, and of that and the start when the room is seen.

    If it never `ends` its container is not a victim of a later one.
    """
    evictions, both = [], []
    for _ in range(rounds):
        cluster.now += 60.0
        run = cluster.run(f"new{cluster.runs}", memory)
        took, effects = timed(lambda run=run: cluster.pool.handle(run, cluster.now))  # type: ignore[misc]
        evictions.append(took)
        agents = {cluster.stopped(effect) for effect in effects if isinstance(effect, StopContainer)}
        assert len(agents) == 1
        update = cluster.offer(agents.pop())
        more, effects = timed(lambda update=update: cluster.pool.handle(update, cluster.now))  # type: ignore[misc]
        both.append(took + more)
        given = cluster.start(effects)[0]
        assert isinstance(given, Dispatch)
        if ends:
            cluster.end(run.run_id, given.container_id)
    return evictions, both


def run(quick: bool = False) -> list[Row]:
    """Under a minute; quick: a tenth of the rounds and of the agents, no verdict on targets."""
    rounds = 200 if quick else 2_000
    sizes = SIZES[:2] if quick else SIZES
    agents = AGENTS // 10 if quick else AGENTS
    rows: list[Row] = []
    medians: dict[int, float] = {}
    for size in sizes:
        cluster = Cluster(size)
        gc.collect()
        warm_us(cluster, rounds // 10)
        times, ends = warm_us(cluster, rounds)
        medians[size] = statistics.median(times)
        scanned = statistics.median(scan_us(cluster, rounds // 10))
        judged = size == SIZES[-1]
        rows += _rows(f"warm run, {size:,} containers", times, judged, quick, WARM_TARGET_US, scanned)
        rows += _rows(f"a run ended, {size:,} containers", ends, False, quick, WARM_TARGET_US)
    rows.append(_growth(medians, quick=quick))
    return rows + _cold_rows(agents, rounds, quick)


def _cold_rows(agents: int, rounds: int, quick: bool) -> list[Row]:
    rows: list[Row] = []
    name = f"{agents:,} agents and containers"
    roomy = Cluster(agents, spare=256)
    gc.collect()
    rows += _rows(f"cold with room, {name}", cold_us(roomy, rounds // 2), True, quick, COLD_TARGET_US)
    full = Cluster(agents)
    eviction_us(full, 10, 256)
    gc.collect()
    evictions, both = eviction_us(full, rounds // 2, 256)
    rows += _rows(f"what to stop: 1 container, {name}", evictions, False, quick, COLD_TARGET_US)
    rows += _rows(f"cold with eviction of 1, {name}", both, True, quick, COLD_TARGET_US)
    small = Cluster(agents // 4, 4, memory=64)
    eviction_us(small, 10, 256, ends=False)
    gc.collect()
    _, both = eviction_us(small, rounds // 10, 256, ends=False)
    name_of_small = f"{agents // 4:,} agents, {agents:,} containers"
    rows += _rows(f"cold with eviction of 4, {name_of_small}", both, True, quick, COLD_TARGET_US)
    full.pool.handle(full.run("too large", 10_000), full.now)
    rows += _rows(f"warm run while a head is blocked, {name}", warm_us(full, rounds)[0], True, quick, WARM_TARGET_US)
    return rows


def _rows(
    name: str, times: list[float], judged: bool, quick: bool, target: float, scanned: float | None = None
) -> list[Row]:
    return rows_of(name, times, "µs", target, judged=judged, quick=quick, against=SCAN, other=scanned)


def _growth(medians: dict[int, float], *, quick: bool) -> Row:
    smallest, largest = min(medians), max(medians)
    growth = medians[largest] / medians[smallest]
    return Row(
        name=f"warm run, {largest:,} containers over {smallest:,}",
        ours=growth,
        unit="times",
        target=f"{GROWTH_TARGET:g} times",
        met=growth <= GROWTH_TARGET if not quick else None,
    )

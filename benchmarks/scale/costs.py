"""What one thing costs on so many agents, containers or launches, in time of the processor."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass

from benchmarks import memory, pool, simulator
from benchmarks.clusters import ROLE, offers_event
from benchmarks.placement import LAUNCHES, Cluster, times_ms
from owmesos.core.placement import Strategy
from owmesos.mesos.messages import ID, Subscribed, decode_event
from owmesos.mesos.scheduler.events import Submit, Submits
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings, framework_info
from owmesos.mesos.scheduler.task_info import template

SHAPES = 10  # of the launches that wait
KNOWN_AGENTS = 100  # while launches wait
EACH_RUNS = 2  # launches on each agent, in virtual time


@dataclass(frozen=True)
class Cost:
    """`of`: what there are so many of."""

    name: str
    of: str
    unit: str
    value: float


def _scheduler() -> Scheduler:
    scheduler = Scheduler(Settings(refuse_oversized=False), framework_info(name="bench", user="bench", roles=(ROLE,)))
    scheduler.handle(Subscribed(ID("bench")), 0.0)
    return scheduler


def offers(size: int, rounds: int) -> list[Cost]:
    """An OFFERS event of all agents, and one of a single agent when all are known."""
    scheduler = _scheduler()
    now = 1.0
    times, single = [], []
    for number in range(max(1, rounds // 4)):
        record = offers_event(size, number, first_offer=number * size)
        times.append(_ms(scheduler, record, now) / 1e3)
        now += 10.0
    for number in range(rounds * 4):
        record = offers_event(1, number, first_offer=(rounds + number) * size)
        single.append(_ms(scheduler, record, now) * 1e3)
        now += 1.0
    return [
        Cost("OFFERS of all agents to NodeStats", "agents", "s", statistics.median(times)),
        Cost("OFFERS of one agent to NodeStats", "agents", "µs", statistics.median(single)),
    ]


def _ms(scheduler: Scheduler, record: bytes, now: float) -> float:
    begin = time.process_time_ns()
    scheduler.handle(decode_event(record, print), now)
    return (time.process_time_ns() - begin) / 1e6


def known_agents(size: int, rounds: int) -> list[Cost]:
    """Memory of a process that knows them."""
    del rounds
    known, steady, peak, _ = memory.known(size)
    assert known == size
    return [
        Cost("memory of the process", "agents", "MB", steady),
        Cost("memory of the process, peak", "agents", "MB", peak),
    ]


def placed(size: int, rounds: int) -> list[Cost]:
    """A launch with a port and an attribute finds its agent."""
    times, _ = times_ms(Cluster.of(size, 1.0, Strategy.PACK), rounds)
    return [Cost("a launch finds its agent", "agents", "µs", statistics.median(times) / LAUNCHES * 1e3)]


def pooled(size: int, rounds: int) -> list[Cost]:
    """The pool's decisions, a container on each agent."""
    cluster = pool.Cluster(size, spare=256)
    gc.collect()
    pool.warm_us(cluster, rounds)
    runs, _ = pool.warm_us(cluster, rounds * 20)
    colds = pool.cold_us(cluster, min(rounds * 10, size // 2))
    cluster = pool.Cluster(size)
    gc.collect()
    _, evictions = pool.eviction_us(cluster, min(rounds * 10, size // 2), 256)
    return [
        Cost("a warm run gets its container", "containers", "µs", statistics.median(runs)),
        Cost("a cold run gets a start, with room", "containers", "µs", statistics.median(colds)),
        Cost("a cold run gets a start, with an eviction", "containers", "µs", statistics.median(evictions)),
    ]


def waiting(size: int, rounds: int) -> list[Cost]:
    """Launches that wait, since they fit nowhere: to take them, and what an agent's OFFERS cost meanwhile."""
    scheduler = _scheduler()
    scheduler.handle(decode_event(offers_event(KNOWN_AGENTS), print), 1.0)
    submits = []
    for number in range(size):
        launch = Launch(command="true", cpus=1, mem=1_000_000 + number % SHAPES)
        submits.append(Submit(f"launch-{number}", launch, template(launch)))
    gc.collect()
    begin = time.process_time()
    scheduler.handle(Submits(tuple(submits)), 2.0)
    took = time.process_time() - begin
    single = []
    for number in range(rounds):
        record = offers_event(1, number, first_offer=(1 + number) * KNOWN_AGENTS)
        single.append(_ms(scheduler, record, 3.0 + number) * 1e3)
    return [
        Cost("a launch is taken up, and waits", "launches", "µs", took / size * 1e6),
        Cost("OFFERS of one agent while they wait", "launches", "µs", statistics.median(single)),
    ]


def run_through(size: int, rounds: int) -> list[Cost]:
    """From nothing to all of them running in virtual time: the simulated master and agents are in it."""
    del rounds
    launches = size * EACH_RUNS
    begin = time.process_time()
    _, running = simulator.in_virtual_time(launches, size)
    seconds = time.process_time() - begin
    assert running == launches
    return [Cost("a launch from nothing to RUNNING, with the simulator", "agents", "µs", seconds / launches * 1e6)]


COSTS = (offers, known_agents, placed, pooled, waiting, run_through)

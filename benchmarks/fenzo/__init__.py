"""200 tasks placed at once, each with memory, cpus, one port and an attribute: ours, and Netflix's Fenzo 1.0.1 (JVM).

Fenzo is the scheduling library of Netflix's frameworks on Mesos. It runs in a JVM of its own, with as many threads as
there are cores, and is asked round by round beside ours, with the same agents, tasks and racks (half of them match; the
agents are those of `placement`, with cpus uniform). Before it counts, it has run until its rounds no longer get faster,
for ten seconds at least: its JIT is warm. A round is what a batch of launches costs while offers of all agents are
known: the offers that the last round used are made again, then all tasks find an agent. Ours takes the best fit by
memory. Fenzo does so with its memoryBinPacker ("pack"), or takes the first agent that fits ("any"), its fastest.
Times are by the clock; "of the processor" sums the threads. Every placement of both is checked: the agent has the rack,
the room and the port. Fenzo needs a JDK and Maven, which fetches it by the user's own settings.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.placement import CONSTRAINTS, LAUNCHES, Cluster, asks_of
from benchmarks.row import Row
from owmesos.core.placement import Slot, Strategy
from owmesos.resources import MILLI, Ask, Resources
from tests.servers.maven import jars
from tests.servers.process import ServerMissing, need

ARTIFACTS = ("com.netflix.fenzo:fenzo-core:1.0.1", "org.slf4j:slf4j-nop:1.7.36")
SOURCE = Path(__file__).with_name("Matching.java")
SIZES = (1_000, 10_000)
STRATEGIES = ("pack", "any")
RACKS = tuple(f"r{number}" for number in range(10) if CONSTRAINTS[0].matches("", {"rack": (f"r{number}",)}))
ROUNDS, QUICK_ROUNDS = 20, 3
WARM_UP, MOST_WARM_UP = 10.0, 120.0  # seconds
_WINDOW = 5  # rounds
_STILL_FASTER = 0.95


@dataclass(frozen=True)
class Placed:
    """Where a task went."""

    agent_id: str
    port: int


@dataclass
class Rounds:
    """Times in ms, by the clock and of the processor, and how many tasks and agents the last round had."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    tasks: int = 0
    agents: int = 0

    def add(self, clock: float, processor: float, placed: Sequence[Placed | None]) -> None:
        self.clock.append(clock)
        self.processor.append(processor)
        there = [each for each in placed if each is not None]
        self.tasks, self.agents = len(there), len({each.agent_id for each in there})


def check(cluster: Cluster, asks: Sequence[Ask], placed: Sequence[Placed | None]) -> None:
    """Raises AssertionError if a task is where it may not be, or has what the agent does not have any more."""
    slots = {slot.agent_id: slot for slot in cluster.rooms}
    rooms = dict(cluster.rooms)
    for ask, each in zip(asks, placed, strict=True):
        if each is None:
            continue
        slot = slots[each.agent_id]
        if not all(constraint.matches(*cluster.described[each.agent_id]) for constraint in CONSTRAINTS):
            raise AssertionError(f"{each.agent_id} does not have the rack")
        if not ask.fits(rooms[slot]):
            raise AssertionError(f"{each.agent_id} does not have the room")
        if each.port not in rooms[slot].ports:
            raise AssertionError(f"{each.agent_id} does not have the port {each.port}")
        rooms[slot] = rooms[slot].minus(_cut(ask, rooms[slot], each.port))


def _cut(ask: Ask, room: Resources, port: int) -> Resources:
    cut = ask.cut(room)
    return Resources(cut.milli_cpus, cut.milli_mem, cut.milli_disk, cut.milli_gpus, type(room.ports).of([(port, port)]))


class Ours:
    """The index, warm."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._before = dict(cluster.rooms)
        self._used: list[Slot] = []
        cluster.restore(self._before)

    def round(self, asks: Sequence[Ask]) -> tuple[float, float, list[Placed | None]]:
        """Times in ms, and the answers."""
        cluster, placement, rooms = self._cluster, self._cluster.placement, dict(self._before)
        cuts: list[tuple[Slot, Resources] | None] = []
        used_before, before = time.process_time(), time.perf_counter()
        for slot in self._used:
            placement.set(slot, rooms[slot])
        for ask in asks:
            found = cluster.find(ask)
            if found is None:
                cuts.append(None)
                continue
            room = rooms[found]
            cut = ask.cut(room)
            rooms[found] = left = room.minus(cut)
            placement.set(found, left)
            cuts.append((found, cut))
        clock, processor = time.perf_counter() - before, time.process_time() - used_before
        self._used = list({each[0] for each in cuts if each is not None})
        placed = [None if each is None else Placed(each[0].agent_id, next(iter(each[1].ports))) for each in cuts]
        return clock * 1e3, processor * 1e3, placed


class Fenzo:
    """A JVM that is told of the agents once."""

    def __init__(self, process: subprocess.Popen[str], cluster: Cluster) -> None:
        self._process = process
        self._tell([str(len(cluster.rooms)), *(_agent(slot, room, cluster) for slot, room in cluster.rooms.items())])

    def _tell(self, lines: list[str]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n".join(lines) + "\n")
        self._process.stdin.flush()

    def round(self, asks: Sequence[Ask]) -> tuple[float, float, list[Placed | None]]:
        """Times in ms, and the answers."""
        self._tell([str(len(asks)), *(f"{ask.milli_cpus / MILLI} {ask.milli_mem / MILLI}" for ask in asks)])
        clock, processor = (int(each) / 1e6 for each in self._line().split())
        return clock, processor, [_placed(self._line()) for _ in asks]

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"Fenzo's JVM ended with {self._process.wait()}; it says why above")
        return line.strip()

    def warm_up(self, asks_of_round: Callable[[int], list[Ask]], least: float) -> int:
        """Runs rounds until they no longer get faster. How many they were."""
        began, times = time.perf_counter(), list[float]()
        while True:
            times.append(self.round(asks_of_round(len(times)))[0])
            took, last = time.perf_counter() - began, times[-_WINDOW:]
            earlier = times[-2 * _WINDOW : -_WINDOW]
            steady = len(earlier) == _WINDOW and median(last) > _STILL_FASTER * median(earlier)
            if took > least and (steady or took > MOST_WARM_UP):
                return len(times)


def _agent(slot: Slot, room: Resources, cluster: Cluster) -> str:
    rack = cluster.described[slot.agent_id][1]["rack"][0]
    ports = sorted(room.ports)
    return f"{slot.agent_id} {room.milli_cpus / MILLI} {room.milli_mem / MILLI} {ports[0]} {ports[-1]} {rack}"


def _placed(line: str) -> Placed | None:
    if line == "-":
        return None
    agent_id, port = line.split()
    return Placed(agent_id, int(port))


@contextmanager
def fenzo(cluster: Cluster, strategy: str) -> Iterator[Fenzo]:
    """Fenzo on these agents. Raises ServerMissing if this machine cannot run it."""
    need("java", "javac", "mvn")
    classpath = f"{jars('fenzo-1.0.1', *ARTIFACTS)}/*"
    with tempfile.TemporaryDirectory() as classes:
        compiled = subprocess.run(
            ["javac", "-d", classes, "-cp", classpath, str(SOURCE)], capture_output=True, text=True, check=False
        )
        if compiled.returncode:
            raise ServerMissing(f"javac failed: {compiled.stderr.strip()[-300:]}")
        command = ["java", "-cp", f"{classes}:{classpath}", "Matching", strategy, *RACKS]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield Fenzo(process, cluster)


def compare(agents: int, strategy: str, rounds: int, warm_up: float) -> tuple[Rounds, Rounds]:
    """Ours and theirs, in turns."""
    cluster = Cluster.of(agents, 1.0, Strategy.PACK)
    ours, theirs = Rounds(), Rounds()
    with fenzo(cluster, strategy) as jvm:
        mine = Ours(cluster)
        done = jvm.warm_up(asks_of, warm_up)
        for number in range(done):
            mine.round(asks_of(number))
        for number in range(done, done + rounds):
            asks = asks_of(number)
            for way, found in ((mine, ours), (jvm, theirs)):
                clock, processor, placed = way.round(asks)
                check(cluster, asks, placed)
                found.add(clock, processor, placed)
    return ours, theirs


def run(quick: bool = False) -> list[Row]:
    """Three minutes; quick: 1,000 agents, a second of warming up, three rounds."""
    rows = []
    for agents in SIZES[:1] if quick else SIZES:
        for strategy in STRATEGIES:
            ours, theirs = compare(agents, strategy, QUICK_ROUNDS if quick else ROUNDS, 1.0 if quick else WARM_UP)
            name, against = f"{LAUNCHES} tasks, {agents:,} agents", f"Fenzo, {strategy}"
            for what, unit, mine, other in (
                ("", "ms", median(ours.clock), median(theirs.clock)),
                (", of the processor", "ms", median(ours.processor), median(theirs.processor)),
                (": placed", "tasks", ours.tasks, theirs.tasks),
                (": agents that got them", "agents", ours.agents, theirs.agents),
            ):
                rows.append(Row(name=name + what, ours=mine, unit=unit, against=against, other=other))
    return rows

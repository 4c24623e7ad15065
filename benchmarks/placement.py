"""200 launches placed in a row, each with memory, cpus, one port and the constraint `rack LIKE r[0-4]`.

Free memory is uniform from 64 MB to 64 GB. Cpus are uniform from 0.1 to 64, or scarce: one agent in a hundred has
them, the others nearly none; or rare: one in 5,000. Half of the racks match. Ours is `Placement.find`, and
`Placement.set` of what is left on the slot, with a warm index; the other is a scan of all agents for each launch that
keeps the best fit and judges the constraint last. Each time is the median of repeated rounds, and "p99" their 99th
percentile, in seconds of the processor: nothing here waits, and the machine may be busy with other things. Both sides
also subtract the launch from the room, and give the same answers, which is checked.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.row import Row, rows_of
from owmesos.core.constraints import Attributes, Constraint, shared_attributes
from owmesos.core.placement import Placement, Slot, Strategy
from owmesos.resources import Ask, Ports, Resources

LAUNCHES = 200
SIZES = (1_000, 10_000, 50_000)
GRIDS = (
    (Strategy.PACK, "uniform", 1.0),
    (Strategy.PACK, "scarce", 0.01),
    (Strategy.PACK, "rare", 0.0002),
    (Strategy.SPREAD, "uniform", 1.0),
)
TARGET_MS = 5.0
TARGET_GROWTH = 2.0
CONSTRAINTS = (Constraint.parse("rack LIKE r[0-4]"),)
SCAN = "a scan of all agents"


@dataclass
class Cluster:
    """Agents with what they have free, and the index over them."""

    rooms: dict[Slot, Resources]
    described: dict[str, tuple[str, Attributes]]
    placement: Placement

    @classmethod
    def of(cls, agents: int, share: float, strategy: Strategy) -> Cluster:
        """The same for the same arguments. `share` of the agents have cpus."""
        chance = random.Random(agents)
        ports = Ports.of([(31000, 32000)])
        cluster = cls({}, {}, Placement(strategy))
        for number in range(agents):
            slot = Slot(f"5f7ad2b1-9c8e-4a66-8a3c-2f0d6c4b7e1a-S{number}", "batch")
            cpus = chance.uniform(0.1, 64) if chance.random() < share else chance.uniform(0, 0.05)
            room = Resources.of(cpus=cpus, mem=chance.uniform(64, 65536), disk=100_000)
            cluster.rooms[slot] = Resources(room.milli_cpus, room.milli_mem, room.milli_disk, 0, ports)
            rack = shared_attributes([("rack", f"r{number % 10}"), ("zone", f"z{number % 3}")])
            cluster.described[slot.agent_id] = (f"node{number}", rack)
            cluster.placement.describe(slot.agent_id, f"node{number}", rack)
            cluster.placement.set(slot, cluster.rooms[slot])
        return cluster

    def find(self, ask: Ask) -> Slot | None:
        return self.placement.find(ask, CONSTRAINTS)

    def scan(self, ask: Ask) -> Slot | None:
        """What one writes first: the best fit (memory, then cpus, then agent id) among all agents."""
        best: tuple[int, int, Slot] | None = None
        for slot, room in self.rooms.items():
            if ask.fits(room):
                rank = (room.milli_mem, room.milli_cpus, slot)
                if (best is None or rank < best) and CONSTRAINTS[0].matches(*self.described[slot.agent_id]):
                    best = rank
        return best[2] if best is not None else None

    def launch(self, asks: list[Ask], find: Callable[[Ask], Slot | None], keep: bool) -> list[Slot | None]:
        """Places `asks` one after the other. `keep` tells the index of every change."""
        rooms, placement, found = self.rooms, self.placement, []
        for ask in asks:
            slot = find(ask)
            found.append(slot)
            if slot is not None:
                room = rooms[slot]
                rooms[slot] = room.minus(ask.cut(room))
                if keep:
                    placement.set(slot, rooms[slot])
        return found

    def restore(self, rooms: dict[Slot, Resources]) -> None:
        """Undoes launches, and leaves the index warm."""
        for slot, room in rooms.items():
            self.placement.set(slot, room)
        self.rooms = dict(rooms)
        self.find(Ask())


def asks_of(round_number: int) -> list[Ask]:
    chance = random.Random(round_number)
    return [
        Ask.of(cpus=chance.choice([0.1, 0.25, 0.5, 1, 2]), mem=chance.choice([128, 256, 512, 1024, 2048]), ports=1)
        for _ in range(LAUNCHES)
    ]


def times_ms(cluster: Cluster, rounds: int) -> tuple[list[float], list[list[Slot | None]]]:
    """Of each round of LAUNCHES launches through the index, with the slots that they got."""
    before, times, answers = dict(cluster.rooms), [], []
    cluster.restore(before)
    for number in range(rounds):
        asks = asks_of(number)
        start = time.process_time()
        found = cluster.launch(asks, cluster.find, keep=True)
        times.append((time.process_time() - start) * 1e3)
        answers.append(found)
        cluster.restore(before)
    return times, answers


def scan_ms(cluster: Cluster, rounds: int, expected: list[list[Slot | None]]) -> float:
    """Median of a round by scanning. Raises AssertionError if the scan finds anything else."""
    before, times = dict(cluster.rooms), []
    for number in range(rounds):
        asks = asks_of(number)
        start = time.process_time()
        found = cluster.launch(asks, cluster.scan, keep=False)
        times.append((time.process_time() - start) * 1e3)
        cluster.rooms = dict(before)
        if found != expected[number]:
            raise AssertionError("the index and the scan choose different slots")
    return statistics.median(times)


def run(quick: bool = False) -> list[Row]:
    """The whole grid in about a minute; quick: two small sizes, few rounds, no verdict on targets."""
    rounds = 5 if quick else 100
    sizes = SIZES[:2] if quick else SIZES
    rows: list[Row] = []
    for strategy, grid, share in GRIDS:
        medians: dict[int, float] = {}
        for agents in sizes:
            cluster = Cluster.of(agents, share, strategy)
            gc.collect()
            times, answers = times_ms(cluster, rounds)
            medians[agents] = statistics.median(times)
            scan = scan_ms(cluster, 1, answers) if strategy is Strategy.PACK else None
            name = f"{strategy.value}, cpus {grid}, {agents:,} agents"
            judged = grid == "uniform" and agents == 10_000
            rows += rows_of(name, times, "ms", TARGET_MS, judged=judged, quick=quick, against=SCAN, other=scan)
        rows.append(_growth(f"{strategy.value}, cpus {grid}", medians, judged=grid == "uniform", quick=quick))
    return rows


def _growth(name: str, medians: dict[int, float], *, judged: bool, quick: bool) -> Row:
    smallest, largest = min(medians), max(medians)
    growth = medians[largest] / medians[smallest]
    return Row(
        name=f"{name}, {largest:,} agents over {smallest:,}",
        ours=growth,
        unit="times",
        target=f"{TARGET_GROWTH:g} times" if judged else "",
        met=growth <= TARGET_GROWTH if judged and not quick else None,
    )

"""What is measured, by looking at the cluster and at what goes in and out of a pool: the same for every setting.

*Over-provisioned* is a start that the master's books could not place at the instant when it was decided, and that
still waits for room `offer_wait` later. The books: every agent's total less what tasks hold (an offer in somebody's
hand holds nothing), less the earlier starts that wait for room too, each at the agent where it fits best. *Refused*
is a start that was taken back because the cluster had no room for it after all. *Failed* starts ran into a time-out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from owmesos.core import pool_events as pool_of
from owmesos.resources import MILLI, Ask
from owmesos.simulator.virtual import VirtualCluster

OFFER_WAIT = 2.0
OFFER_WAIT_PER_AGENT = 0.0002  # a REVIVE that reaches all of them is given so much more
MARGIN = 0.01  # of this measure, in seconds
A_MINUTE = 60.0
_EVICTION = "its room is for run"


@dataclass
class Sample:
    """One instant, in MB: the machines that are up, what the others hold, what our containers hold, what is busy."""

    at: float
    total: int
    foreign: int
    held: int
    busy: int
    waiting: int


@dataclass
class Outcome:
    """Counts of starts and activations; `waits` and `latencies` in seconds, by activation.

    A wait is from an activation's arrival to its container (or to its failure), a latency to the beginning of /run.
    """

    starts: int = 0
    overprovisioned: int = 0
    refused: int = 0
    failed_starts: int = 0
    evictions: int = 0
    activations: int = 0
    cold: int = 0
    failed: int = 0
    lost: int = 0
    waits: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def long_waits(self) -> int:
        return sum(wait > A_MINUTE for wait in self.waits)

    def share(self, of: Callable[[Sample], int]) -> float:
        """Time-weighted: the samples are equally far apart."""
        return sum(map(of, self.samples)) / max(1, sum(each.total for each in self.samples))


class Meter:
    """Follows one run on `cluster`. `waits_for_room` says whether a start is not placed yet."""

    def __init__(self, cluster: VirtualCluster, waits_for_room: Callable[[str], bool], *, judging: bool = True) -> None:
        """Without `judging`, starts are only counted."""
        self.outcome = Outcome()
        self._cluster = cluster
        self._waits_for_room = waits_for_room
        self._judging = judging
        self._starting: dict[str, Ask] = {}  # those that may still wait for room, the oldest first

    def wanted(self, effects: list[pool_of.PoolEffect]) -> None:
        """What a pool wants done, at the instant when it does."""
        for effect in effects:
            if isinstance(effect, pool_of.StartContainer):
                self._start(effect)
            elif isinstance(effect, pool_of.StopContainer):
                self.outcome.evictions += effect.reason.startswith(_EVICTION)

    def told(self, event: object) -> None:
        """What a pool is told."""
        if isinstance(event, pool_of.StartRefused):
            self.outcome.refused += 1
        elif isinstance(event, pool_of.StartFailed):
            self.outcome.failed_starts += 1

    def _start(self, start: pool_of.StartContainer) -> None:
        self.outcome.starts += 1
        if not self._judging:
            return
        for container_id in [each for each in self._starting if not self._waits_for_room(each)]:
            del self._starting[container_id]
        if not fits([*self._starting.values(), start.ask], self._free()):
            wait = OFFER_WAIT + OFFER_WAIT_PER_AGENT * len(self._cluster.world.places) + MARGIN
            self._cluster.world.agenda.after(wait, self._look_again, start.container_id)
        self._starting[start.container_id] = start.ask

    def _look_again(self, container_id: str) -> None:
        self.outcome.overprovisioned += self._waits_for_room(container_id)

    def _free(self) -> list[Ask]:
        """What no task holds, agent by agent."""
        master = self._cluster.world.master
        assert master is not None
        found = []
        for agent in master.books.agents.values():
            if agent.active:
                free = agent.available.total()
                for offer in agent.offers.values():
                    free = free.plus(offer.pieces.total())
                found.append(Ask(free.milli_cpus, free.milli_mem, 0, 0, len(free.ports)))
        return found

    def sample(self, at: float, framework_id: str | None, busy: int, waiting: int) -> None:
        """How things are now. `framework_id` is ours; `busy` in MB."""
        world = self._cluster.world
        assert world.master is not None
        up = {place.agent.id: place.agent for place in world.places.values() if place.agent.up}
        total = sum(agent.description.total.total().milli_mem for agent in up.values())
        held = {True: 0, False: 0}
        for agent_id, agent in world.master.books.agents.items():
            if agent_id in up:
                for task in agent.tasks.values():
                    if not task.over:
                        held[task.framework_id == framework_id] += task.pieces.total().milli_mem
        self.outcome.samples.append(
            Sample(at, total // MILLI, held[False] // MILLI, held[True] // MILLI, busy, waiting)
        )


def fits(asks: list[Ask], free: list[Ask]) -> bool:
    """Whether the last of `asks` still finds room when each, in order, goes where it leaves the least memory.

    Those before it that fit nowhere take nothing.
    """
    left = list(free)
    found = False
    for ask in asks:
        best = min(
            (n for n, room in enumerate(left) if _covers(room, ask)), key=lambda n: left[n].milli_mem, default=None
        )
        found = best is not None
        if best is not None:
            left[best] = left[best].minus(ask)
    return found


def _covers(room: Ask, ask: Ask) -> bool:
    return room.milli_mem >= ask.milli_mem and room.milli_cpus >= ask.milli_cpus and room.ports >= ask.ports

"""What is measured, by looking at the cluster and at what goes in and out of a pool: the same for every setting.

*Over-provisioned* is a start that the master's books could not place at the instant when it was decided, and that
still waits for room `offer_wait` later. The books: every agent's total less what tasks hold (an offer in somebody's
hand holds nothing), less the earlier starts that wait for room too, each at the agent where it fits best. *Refused*
is a start that was taken back because the cluster had no room for it after all. *Failed* starts ran into a time-out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from owmesos.core.pool import events as pool_events
from owmesos.core.pool.pool import Pool
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
    on_dead: int = 0
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


class ClusterBooks(Protocol):
    """What is true of a cluster. Memory in MB."""

    @property
    def offer_wait(self) -> float:
        """Seconds after which a start that still waits for room was none that the cluster was about to place."""

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> None: ...

    def free(self, leaving: tuple[str, ...] = ()) -> dict[str, Ask]:
        """What nobody holds, by node; and what these containers hold, which are asked to stop in the same step."""

    def memory(self) -> tuple[int, int, int]:
        """Of the machines that are up: all of it, what others hold, and what our containers hold."""


class MesosBooks:
    """The master's. `framework_id` is ours, when it is known."""

    def __init__(self, cluster: VirtualCluster) -> None:
        self.framework_id: str | None = None
        self._world = cluster.world

    @property
    def offer_wait(self) -> float:
        return OFFER_WAIT + OFFER_WAIT_PER_AGENT * len(self._world.places) + MARGIN

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        self._world.agenda.after(seconds, action, *args)

    def free(self, leaving: tuple[str, ...] = ()) -> dict[str, Ask]:
        master = self._world.master
        assert master is not None
        found = {}
        for agent_id, agent in master.books.agents.items():
            if agent.active:
                free = agent.available.total()
                for offer in agent.offers.values():
                    free = free.plus(offer.pieces.total())
                found[agent_id] = Ask(free.milli_cpus, free.milli_mem, 0, 0, len(free.ports))
        return found

    def memory(self) -> tuple[int, int, int]:
        master = self._world.master
        assert master is not None
        up = {place.agent.id: place.agent for place in self._world.places.values() if place.agent.up}
        total = sum(agent.description.total.total().milli_mem for agent in up.values())
        held = {True: 0, False: 0}
        for agent_id, agent in master.books.agents.items():
            if agent_id in up:
                for task in agent.tasks.values():
                    if not task.over:
                        held[task.framework_id == self.framework_id] += task.pieces.total().milli_mem
        return total // MILLI, held[False] // MILLI, held[True] // MILLI


class Meter:
    """Follows one run. `waits_for_room` says whether a start is not placed yet."""

    def __init__(
        self,
        books: ClusterBooks,
        waits_for_room: Callable[[str], bool],
        *,
        judging: bool = True,
        outcome: Outcome | None = None,
    ) -> None:
        """Without `judging`, starts are only counted."""
        self.outcome = Outcome() if outcome is None else outcome
        self._books = books
        self._waits_for_room = waits_for_room
        self._judging = judging
        self._starting: dict[str, pool_events.StartContainer] = {}  # that may still wait for room, the oldest first

    def wanted(self, effects: list[pool_events.PoolEffect]) -> None:
        """What a pool wants done, at the instant when it does."""
        for effect in effects:
            if isinstance(effect, pool_events.StartContainer):
                self._start(effect)
            elif isinstance(effect, pool_events.StopContainer):
                self.outcome.evictions += effect.reason.startswith(_EVICTION)

    def told(self, event: object) -> None:
        """What a pool is told."""
        if isinstance(event, pool_events.StartRefused):
            self.outcome.refused += 1
        elif isinstance(event, pool_events.StartFailed):
            self.outcome.failed_starts += 1

    def _start(self, start: pool_events.StartContainer) -> None:
        self.outcome.starts += 1
        if not self._judging:
            return
        for container_id in [each for each in self._starting if not self._waits_for_room(each)]:
            del self._starting[container_id]
        if not self._is_placeable(start):
            self._books.after(self._books.offer_wait, self._look_again, start.container_id)
        self._starting[start.container_id] = start

    def _is_placeable(self, start: pool_events.StartContainer) -> bool:
        earlier = [each.ask for each in self._starting.values()]
        return fits([*earlier, start.ask], list(self._books.free(start.after).values()))

    def _look_again(self, container_id: str) -> None:
        self.outcome.overprovisioned += self._waits_for_room(container_id)

    def sample(self, at: float, busy: int, waiting: int) -> None:
        """How things are now. `busy` in MB."""
        self.outcome.samples.append(Sample(at, *self._books.memory(), busy, waiting))


class WatchedPool(Pool):
    """Shows a meter what goes in and out."""

    meter: Meter

    def handle(self, event: object, now: float) -> list[pool_events.PoolEffect]:
        self.meter.told(event)
        wanted = super().handle(event, now)
        self.meter.wanted(wanted)
        return wanted


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
    return (
        room.milli_mem >= ask.milli_mem
        and room.milli_cpus >= ask.milli_cpus
        and room.ports >= ask.ports
        and room.pods >= ask.pods
    )

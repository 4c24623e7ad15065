"""Where room can be made for the head of the run buffer, and whom to stop for it.

Theory of operation. Room is made on one agent T, out of what is available there and what our own idle containers hold
(else our busy ones, once they are idle). A stop that is under way already counts here, so that nothing is stopped
twice over for one need; it never counts as room for a start: a neighbour may be offered it first. Among the agents
that would do, T is the one with the fewest victims: one, wherever that is enough; else the best of some where the most
room could be made. On T prewarmed containers go before warm ones, the oldest first.
`owmesos.core.eviction` says when.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from collections.abc import Container as Having
from typing import NamedTuple

import msgspec

from owmesos.core.capacity import Capacity
from owmesos.core.cluster_capacity import Either
from owmesos.core.constraints import Constraint
from owmesos.core.containers import Container, Containers, ContainerState
from owmesos.core.placement import Placement, Slot, Strategy
from owmesos.core.pool_settings import PoolSettings
from owmesos.resources import NO_PORTS, Ask, Ports, Resources

NOBODYS = Ask()
_CANDIDATES = 8  # agents that are looked at closely


class Aside(msgspec.Struct):
    """The agent that is set aside for a run, and the round of stops that is under way on it.

    `draining`: its containers take no new runs. `round_over_at` in seconds, once the last victim is gone.
    """

    run_id: str
    slot: Slot
    draining: bool = False
    victims: set[str] = set()
    round_over_at: float | None = None


class Round(NamedTuple):
    """The stops that would make room on `slot`; `stopping` are under way already and count."""

    slot: Slot
    victims: list[Container]
    stopping: list[Container]

    def rank(self) -> tuple[int, int, float, Slot]:
        """The lowest is the best: fewest victims, prewarmed before warm, oldest first."""
        warm = [victim.last_used for victim in self.victims if victim.state is not ContainerState.PREWARMED]
        return len(self.victims), len(warm), max(warm, default=0.0), self.slot


class RoomMaker:
    """Follows what is available and what our containers hold, slot by slot."""

    def __init__(self, containers: Containers, capacity: Capacity, settings: PoolSettings) -> None:
        self._containers = containers
        self._capacity = capacity
        self._settings = settings
        self._with_one = Placement(Strategy.SPREAD)  # available, what stops, and the largest that is idle
        self._with_idle = Placement(Strategy.SPREAD)  # the same, and all that is idle
        self._with_all = Placement(Strategy.SPREAD)  # the same, and what is busy
        self._free: dict[Slot, Ask] = {}  # what is available
        self.claims: dict[Slot, Ask] = {}  # of what is free or stops there, what is meant for one run already

    def follow(self) -> set[Slot]:
        """Bring the indices up to date. The slots that changed since the last time."""
        changed = set(self._capacity.changed()) | self._containers.changed
        self._containers.changed.clear()
        for slot in changed:
            self._free[slot] = _amount(self._capacity.available(slot))
            one, idle, everything = self._rooms(slot)
            self._with_one.set(slot, one)
            self._with_idle.set(slot, idle)
            self._with_all.set(slot, everything)
            if everything.milli_mem <= 0:  # nothing could ever go there: its agent may be gone for good
                self._drop(slot)
        return changed

    def _drop(self, slot: Slot) -> None:
        del self._free[slot]
        for index in (self._with_one, self._with_idle, self._with_all):
            index.remove(slot)

    def cheapest(
        self,
        ask: Ask,
        constraints: tuple[Constraint, ...],
        now: float,
        *,
        waived: bool,
        avoid: Having[str] = (),
        among: Collection[Slot] | None = None,
    ) -> Round | None:
        """The best round that can begin now, `among` some slots or anywhere. Call `follow` before."""
        unfit = _Unfit(self._capacity, constraints, Either(avoid, self.hanging(now)))
        if among is not None and len(among) <= _CANDIDATES:
            return self._best([slot for slot in among if slot.agent_id not in unfit], ask, now, waived)
        one = self._with_one.candidates(ask, avoid=unfit, limit=_CANDIDATES)
        found = self._best(one, ask, now, waived)
        if found is not None and len(found.victims) <= 1:
            return found
        return self._best(self._with_idle.candidates(ask, avoid=unfit, limit=_CANDIDATES), ask, now, waived)

    def _best(self, slots: Iterable[Slot], ask: Ask, now: float, waived: bool) -> Round | None:
        best: Round | None = None
        rank = None
        for slot in slots:
            found = self.round_on(slot, ask, now, waived=waived)
            if found is None or (best is not None and len(found.victims) > len(best.victims)):
                continue
            its = found.rank()
            if rank is None or its < rank:
                best, rank = found, its
                if len(best.victims) <= 1:
                    break  # one has to be stopped, wherever
        return best

    def later(
        self, ask: Ask, constraints: tuple[Constraint, ...], now: float, *, avoid: Having[str] = ()
    ) -> Slot | None:
        """Where room could be made once containers are past their grace, or have ended their runs."""
        unfit = _Unfit(self._capacity, constraints, Either(avoid, self.hanging(now)))
        return self._with_idle.find(ask, avoid=unfit) or self._with_all.find(ask, avoid=unfit)

    def round_on(self, slot: Slot, ask: Ask, now: float, *, waived: bool) -> Round | None:
        """The stops that would make room on `slot`, or None when they would not, or none are needed.

        Call `follow` before. `waived`: idle containers count however recently they were used.
        """
        free = self._free.get(slot)
        if free is None:
            return None
        lacking = ask.minus(free)
        if _nothing(lacking, ask):
            return None
        if slot in self.claims:
            lacking = lacking.plus(self.claims[slot])
        stopping = self._stopping_on(slot) if self._containers.stopping else []
        for container in stopping:
            lacking = lacking.minus(container.ask)
        used_by = now if waived else now - self._settings.idle_grace
        chosen: list[Container] = []
        for container in self._oldest_first(slot, used_by):
            if _nothing(lacking, ask):
                break
            chosen.append(container)
            lacking = lacking.minus(container.ask)
        if not _nothing(lacking, ask):
            return None
        return Round(slot, _without_needless(chosen, lacking, ask), stopping)

    def could_hold(self, slot: Slot, ask: Ask, constraints: tuple[Constraint, ...], now: float) -> bool:
        """Whether the ask would fit there if all our containers were gone, and may go there."""
        if slot.agent_id in self.hanging(now) or not self._capacity.allows(slot.agent_id, constraints):
            return False
        return ask.fits(self._rooms(slot)[2])

    def hanging(self, now: float) -> set[str]:
        """The agents where a stop takes too long: they may be gone, and the master not know it yet."""
        due = now - self._settings.stop_wait
        return {c.slot.agent_id for c in self._containers.stopping.values() if c.stopping_since <= due}

    def ripe_at(self, slot: Slot, now: float) -> float | None:
        """When the next idle container there is past its grace."""
        idle = self._containers.idle_on.get(slot, {}).values()
        return min([at for c in idle if (at := c.last_used + self._settings.idle_grace) > now], default=None)

    def oldest_idle(self, need: int, free: int) -> list[Container]:
        """For fixed user-memory: the oldest idle warm containers that cover `need` MB, or all if that is less.

        Nobody if the need would not fit then, with `free` MB that are free already.
        """
        idle = [c for same in self._containers.idle_on.values() for c in same.values() if c.key is not None]
        idle.sort(key=lambda container: (container.last_used, container.id))
        chosen, freed = [], 0
        for container in idle:
            if freed >= need:
                break
            chosen.append(container)
            freed += container.shape.memory
        return chosen if free + freed >= need else []

    def _oldest_first(self, slot: Slot, used_by: float) -> list[Container]:
        """The idle ones there that were last used at `used_by` or before: prewarmed before warm, the oldest first."""
        idle = [each for each in self._containers.idle_on.get(slot, {}).values() if each.last_used <= used_by]
        prewarmed = [each for each in idle if each.key is None]
        return prewarmed + [each for each in idle if each.key is not None] if prewarmed else idle

    def _stopping_on(self, slot: Slot) -> list[Container]:
        here = self._containers.on_agent.get(slot.agent_id, {}).values()
        return [each for each in here if each.state is ContainerState.STOPPING and each.slot == slot]

    def _rooms(self, slot: Slot) -> tuple[Resources, Resources, Resources]:
        """What there could be on `slot`: with its largest idle container gone, with all idle ones, with all.

        What stops counts as gone. A container that is still starting is neither idle nor busy.
        """
        one = _amount(self._capacity.available(slot))
        largest, idle, busy = NOBODYS, NOBODYS, NOBODYS
        for container in self._containers.on_agent.get(slot.agent_id, {}).values():
            if container.slot != slot or container.state is ContainerState.STARTING:
                continue
            if container.state is ContainerState.STOPPING:
                one = one.plus(container.ask)
            elif container.idle:
                idle = idle.plus(container.ask)
                if container.ask.milli_mem > largest.milli_mem:
                    largest = container.ask
            else:
                busy = busy.plus(container.ask)
        with_idle = one.plus(idle)
        return _as_room(one.plus(largest)), _as_room(with_idle), _as_room(with_idle.plus(busy))


class _Unfit:
    """The ids of agents that get no starts, without listing them."""

    __slots__ = ("_avoid", "_capacity", "_constraints")

    def __init__(self, capacity: Capacity, constraints: tuple[Constraint, ...], avoid: Having[str]) -> None:
        self._capacity = capacity
        self._constraints = constraints
        self._avoid = avoid

    def __contains__(self, agent_id: object) -> bool:
        assert isinstance(agent_id, str)
        return agent_id in self._avoid or not self._capacity.allows(agent_id, self._constraints)


def _without_needless(chosen: list[Container], lacking: Ask, ask: Ask) -> list[Container]:
    """Those chosen early may not be needed any more once a large one came in."""
    if len(chosen) < 2 or min([container.ask.milli_mem for container in chosen]) > -lacking.milli_mem:
        return chosen
    kept = list(chosen)
    for container in reversed(chosen[:-1]):
        without = lacking.plus(container.ask)
        if _nothing(without, ask):
            kept.remove(container)
            lacking = without
    return kept


def _amount(room: Resources) -> Ask:
    """Ports by their number: which ones they are plays no part in whether there will be room."""
    return Ask(room.milli_cpus, room.milli_mem, room.milli_disk, room.milli_gpus, len(room.ports))


def _as_room(amount: Ask) -> Resources:
    ports = Ports(((1, amount.ports),)) if amount.ports > 0 else NO_PORTS
    return Resources(amount.milli_cpus, amount.milli_mem, amount.milli_disk, amount.milli_gpus, ports)


def _nothing(lacking: Ask, ask: Ask) -> bool:
    """Nothing is lacking that was asked for."""
    return (
        (lacking.milli_mem <= 0 or not ask.milli_mem)
        and (lacking.milli_cpus <= 0 or not ask.milli_cpus)
        and (lacking.milli_disk <= 0 or not ask.milli_disk)
        and (lacking.milli_gpus <= 0 or not ask.milli_gpus)
        and (lacking.ports <= 0 or not ask.ports)
    )

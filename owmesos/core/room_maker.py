"""Making room for the head of the run buffer, without ever counting on room that is not seen.

Theory of operation. One agent T is set aside for the head: the one where what is available plus our own idle containers
covers the need with the fewest stops, else one where our busy ones would. Room on T is the head's. Victims are past
`idle_grace`; after `drain_after` of the head's waiting grace is waived on T, and T's containers take no new runs. One
round of stops at a time; then we wait until NodeStats shows the room: a stop is never credited, since a neighbour may
be offered the room first. If it went elsewhere another agent is chosen, three rounds at most; then only NodeStats can
help.
"""

from __future__ import annotations

import msgspec

from owmesos.core.capacity import Capacity
from owmesos.core.constraints import Constraint
from owmesos.core.containers import Container, Containers, ContainerState
from owmesos.core.placement import Placement, Slot
from owmesos.core.pool_settings import PoolSettings
from owmesos.resources import NO_PORTS, Ask, Ports, Resources

_CANDIDATES = 64  # agents that are looked at closely


class Aside(msgspec.Struct):
    """The agent that is set aside for a run, and the round of stops that is under way on it."""

    run_id: str
    slot: Slot
    since: float
    victims: set[str] = set()
    round_over_at: float | None = None
    draining: bool = False


class RoomMaker:
    """Chooses T and the victims. The pool carries it out."""

    def __init__(self, containers: Containers, capacity: Capacity, settings: PoolSettings) -> None:
        self._containers = containers
        self._capacity = capacity
        self._settings = settings
        self._with_idle = Placement()  # by slot: what is available and what our idle containers have
        self._with_all = Placement()  # the same with all our containers

    def choose(self, ask: Ask, constraints: tuple[Constraint, ...], now: float, *, tried: set[str]) -> Slot | None:
        """T for the ask: fewest victims, else where our busy ones would do. `tried`: agents where a round failed."""
        self._follow()
        best: tuple[int, int, Slot] | None = None
        for slot in self._with_idle.candidates(ask, avoid=tried, limit=_CANDIDATES):
            if not self._capacity.allows(slot, constraints):
                continue
            victims = self.victims(slot, ask, now, waived=True)
            if not victims:
                continue
            ripe = self.victims(slot, ask, now, waived=False)
            rank = (len(ripe) if ripe else _CANDIDATES + len(victims), len(victims), slot)
            best = rank if best is None else min(best, rank)
        if best is not None:
            return best[2]
        for slot in self._with_all.candidates(ask, avoid=tried, limit=_CANDIDATES):
            if self._capacity.allows(slot, constraints) and slot.agent_id in self._containers.on_agent:
                return slot
        return None

    def victims(self, slot: Slot, ask: Ask, now: float, *, waived: bool) -> list[Container]:
        """Whom to stop on `slot` so that the ask fits: prewarmed before warm, oldest first; nobody if it never would.

        `waived`: idle containers count however recently they were used.
        """
        grace = 0.0 if waived else self._settings.idle_grace
        idle = [c for c in self._containers.idle_on.get(slot, {}).values() if now - c.last_used >= grace]
        idle.sort(key=lambda c: (c.state is not ContainerState.PREWARMED, c.last_used, c.id))
        lacking = ask.minus(_amount(self._capacity.available(slot)))
        chosen: list[Container] = []
        for container in idle:
            if _nothing(lacking, ask):
                break
            chosen.append(container)
            lacking = lacking.minus(container.ask)
        return self._without_needless(chosen, lacking, ask) if _nothing(lacking, ask) else []

    def oldest_idle(self, need: int, now: float) -> list[Container]:
        """For fixed user-memory: the oldest warm containers whose memory covers `need` MB, or none at all."""
        idle = [
            container
            for same in self._containers.idle_on.values()
            for container in same.values()
            if container.state is ContainerState.WARM
        ]
        idle.sort(key=lambda container: (container.last_used, container.id))
        chosen, freed = [], 0
        for container in idle:
            if freed >= need:
                break
            chosen.append(container)
            freed += container.shape.memory
        return chosen if freed >= need else []

    def _without_needless(self, chosen: list[Container], lacking: Ask, ask: Ask) -> list[Container]:
        """Those chosen early may not be needed any more once a large one came in."""
        kept = list(chosen)
        for container in reversed(chosen[:-1]):
            without = lacking.plus(container.ask)
            if _nothing(without, ask):
                kept.remove(container)
                lacking = without
        return kept

    def _follow(self) -> None:
        changed = set(self._capacity.changed()) | self._containers.changed
        self._containers.changed.clear()
        for slot in changed:
            room = _amount(self._capacity.available(slot))
            for container in self._containers.idle_on.get(slot, {}).values():
                room = room.plus(container.ask)
            self._with_idle.set(slot, _as_room(room))
            for container in self._containers.on_agent.get(slot.agent_id, {}).values():
                if not container.idle and container.slot == slot and container.state is not ContainerState.STOPPING:
                    room = room.plus(container.ask)
            self._with_all.set(slot, _as_room(room))


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

"""Where room can be made for a waiting run, what to stop for it, and when a round of stops is over.

Theory of operation. Room is made on one node, the target, out of what is available there and what our own idle
containers hold (else our busy ones, once they are idle). A stop that is under way already counts here, so that nothing
is stopped twice over for one need; it never counts as room for a start: a neighbour may be offered it first. Among the
nodes that would do, the target is the one with the fewest victims: one, wherever that is enough; else the best of some
where the most room could be made. On the target prewarmed containers go before warm ones, the oldest first.
`owmesos.core.pool.eviction` says when.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from owmesos.core.capacity import Capacity
from owmesos.core.constraints import Constraint
from owmesos.core.placement import Placement, Slot, Strategy
from owmesos.core.pool.containers import Container, ContainerShape, ContainerState
from owmesos.core.pool.run_buffer import Waiting
from owmesos.core.pool.state import PoolState, PoolTimer, StopRound
from owmesos.resources import NO_PORTS, Ask, Ports, Resources

NOBODYS = Ask()
_NOWHERE: frozenset[str] = frozenset()
_CANDIDATES = 8  # nodes that are looked at closely


class Round(NamedTuple):
    """The stops that would make room on `slot`; `stopping` are under way already and count."""

    slot: Slot
    victims: list[Container]
    stopping: list[Container]

    def rank(self) -> tuple[int, int, float, Slot]:
        """How good it is, the lowest best: fewest victims, prewarmed before warm, oldest first."""
        warm = [victim.last_used for victim in self.victims if victim.state is not ContainerState.PREWARMED]
        return len(self.victims), len(warm), max(warm, default=0.0), self.slot


class EvictionPlanner:
    """Follows what is available and what our containers hold, slot by slot. Call `follow` before `cheapest`, `later`,
    `round_on`.

    `claims`: of what is free or stops on a slot, what is meant for one run already.
    """

    def __init__(self, state: PoolState) -> None:
        self._state = state
        self._containers = state.containers
        self._with_one = Placement(Strategy.SPREAD)  # available, what stops, and the largest that is idle
        self._with_idle = Placement(Strategy.SPREAD)  # the same, and all that is idle
        self._with_all = Placement(Strategy.SPREAD)  # the same, and what is busy
        self._left: dict[Slot, Ask] = {}  # what is available, where anything could ever go
        self._stale: set[Slot] = set()  # where the indices are older than what was followed
        self.claims: dict[Slot, Ask] = {}

    def follow(self) -> set[Slot]:
        """Take up what changed. Returns the slots that changed since the last time."""
        changed = set(self._state.capacity.changed()) | self._containers.changed
        self._containers.changed.clear()
        self._stale |= changed
        return changed

    def _index(self) -> None:
        """Bring the indices up to date: many changes come between two questions."""
        for slot in self._stale:
            left = self._left[slot] = self._available(slot)
            rooms = self._rooms(slot, left)
            useless = rooms[-1].milli_mem <= 0  # nothing could ever go there: its node may be gone for good
            if useless:
                del self._left[slot]
            for index, room in zip((self._with_one, self._with_idle, self._with_all), rooms, strict=True):
                if useless:
                    index.remove(slot)
                else:
                    index.set(slot, room)
        self._stale.clear()

    # -- where

    def cheapest(
        self,
        shape: ContainerShape,
        now: float,
        *,
        waived: bool,
        avoid: Set[str] = _NOWHERE,
        among: Collection[Slot] | None = None,
    ) -> Round | None:
        """The best round that can begin now, `among` some slots or anywhere."""
        self._index()
        ask, unfit = self._state.ask(shape), self._unfit(shape, avoid, now)
        if among is not None and len(among) <= _CANDIDATES:
            return self._best([slot for slot in sorted(among) if slot.agent_id not in unfit], ask, now, waived)
        found = self._best(islice(self._with_one.candidates(ask, avoid=unfit), _CANDIDATES), ask, now, waived)
        if found is not None and len(found.victims) <= 1:
            return found
        return self._best(islice(self._with_idle.candidates(ask, avoid=unfit), _CANDIDATES), ask, now, waived)

    def _best(self, slots: Iterable[Slot], ask: Ask, now: float, waived: bool) -> Round | None:
        best: Round | None = None
        best_rank = None
        for slot in slots:
            found = self.round_on(slot, ask, now, waived=waived)
            if found is None or (best is not None and len(found.victims) > len(best.victims)):
                continue
            rank = found.rank()
            if best_rank is None or rank < best_rank:
                best, best_rank = found, rank
                if len(best.victims) <= 1:
                    break  # one has to be stopped, wherever
        return best

    def later(self, shape: ContainerShape, now: float, *, avoid: Set[str] = _NOWHERE) -> Slot | None:
        """Where room could be made once containers are past their grace, or have ended their runs."""
        self._index()
        ask, unfit = self._state.ask(shape), self._unfit(shape, avoid, now)
        return self._with_idle.find(ask, avoid=unfit) or self._with_all.find(ask, avoid=unfit)

    def round_on(self, slot: Slot, ask: Ask, now: float, *, waived: bool) -> Round | None:
        """The stops that would make room on `slot`, or None when they would not, or none are needed.

        `waived`: idle containers count however recently they were used.
        """
        self._index()
        room = self._left.get(slot)
        if room is None or _holds(room, ask):
            return None
        if slot in self.claims:
            room = room.minus(self.claims[slot])
        stopping = self._stopping_on(slot) if self._containers.stopping else []
        for container in stopping:
            room = room.plus(container.ask)
        used_by = now if waived else now - self._state.settings.idle_grace
        chosen: list[Container] = []
        for container in self._oldest_first(slot, used_by):
            if _holds(room, ask):
                break
            chosen.append(container)
            room = room.plus(container.ask)
        return Round(slot, _without_needless(chosen, room, ask), stopping) if _holds(room, ask) else None

    def could_hold(self, slot: Slot, shape: ContainerShape, now: float) -> bool:
        """Whether one would fit there if all our containers were gone, and may go there."""
        fits = self._state.ask(shape).fits(self._rooms(slot, self._available(slot))[2])
        return fits and slot.agent_id not in self._unfit(shape, _NOWHERE, now)

    def hanging(self, now: float) -> set[str]:
        """The nodes where a stop takes too long: they may be gone, and the cluster not know it yet."""
        due = now - self._state.settings.stop_wait
        return {c.slot.agent_id for c in self._containers.stopping.values() if c.stopping_since <= due}

    def ripe_at(self, slot: Slot, now: float) -> float | None:
        """When the next idle container there is past its grace."""
        idle = self._containers.idle_on.get(slot, {}).values()
        return min([at for c in idle if (at := c.last_used + self._state.settings.idle_grace) > now], default=None)

    # -- from its beginning to its end

    def begin(self, found: Round, waiting: Waiting, now: float) -> set[str]:
        """Stop the victims to make room for the run. Returns the ids of all that its round waits for."""
        state = self._state
        waiting.rounds += 1
        for container in found.victims:
            state.evicted[waiting.shape] = now
            state.counts.evicted += 1
            state.stop(container, f"its room is for run {waiting.run.run_id}", now)
        return {container.id for container in (*found.victims, *found.stopping)}

    def has_failed(self, each: StopRound, hanging: Set[str], now: float) -> bool:
        """Whether the round is over and its run has no room: it may not go there any more, a stop takes too long
        (which does not count as a round), or the room went elsewhere."""
        waiting, agent_id = each.waiting, each.slot.agent_id
        if self._state.capacity.allows(agent_id, self._state.settings.constraints_of(waiting.shape)):
            if agent_id in hanging:
                waiting.rounds -= 1
            elif not self._is_over(each, now):
                return False
            waiting.tried.add(agent_id)
        return True

    def _is_over(self, each: StopRound, now: float) -> bool:
        """Whether all victims are gone, and NodeStats had its time. Else a timer says when to look again."""
        state, stopping = self._state, self._containers.stopping
        since = min((stopping[victim].stopping_since for victim in each.victims if victim in stopping), default=None)
        if since is not None:
            state.timers.set_earliest(PoolTimer.OVERDUE, since + state.settings.stop_wait)
            return False
        if each.over_at is None:
            each.over_at = now + state.settings.round_wait
        if now < each.over_at:
            state.timers.set_earliest(PoolTimer.ROUND, each.over_at)
        return now >= each.over_at

    # -- within

    def _unfit(self, shape: ContainerShape, avoid: Set[str], now: float) -> _Unfit:
        state = self._state
        return _Unfit(state.capacity, state.settings.constraints_of(shape), self.hanging(now) | avoid)

    def _oldest_first(self, slot: Slot, used_by: float) -> list[Container]:
        """The idle containers there that were last used by `used_by`: prewarmed before warm, the oldest first."""
        idle = [each for each in self._containers.idle_on.get(slot, {}).values() if each.last_used <= used_by]
        prewarmed = [each for each in idle if each.key is None]
        return prewarmed + [each for each in idle if each.key is not None] if prewarmed else idle

    def _available(self, slot: Slot) -> Ask:
        """What is available there, also in ports less than nothing where starts are queued."""
        left = self._state.capacity.available(slot).as_ask()
        if self._state.queued and (owed := self._state.capacity.owed_ports(slot)):
            left = left.minus(Ask(ports=owed))
        return left

    def _stopping_on(self, slot: Slot) -> list[Container]:
        here = self._containers.on_agent.get(slot.agent_id, {}).values()
        return [each for each in here if each.state is ContainerState.STOPPING and each.slot == slot]

    def _rooms(self, slot: Slot, available: Ask) -> tuple[Resources, Resources, Resources]:
        """What there could be on `slot`: with its largest idle container gone, with all idle ones, with all.

        What stops counts as gone. A container that is still starting is neither idle nor busy.
        """
        one = available
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


@dataclass(slots=True)
class _Unfit:
    """The ids of nodes that get no starts, without listing them."""

    capacity: Capacity
    constraints: tuple[Constraint, ...]
    avoid: Set[str]

    def __contains__(self, agent_id: object) -> bool:
        assert isinstance(agent_id, str)
        return agent_id in self.avoid or not self.capacity.allows(agent_id, self.constraints)


def _without_needless(chosen: list[Container], room: Ask, ask: Ask) -> list[Container]:
    """Those chosen early may not be needed any more once a large one came in. `room` is with all of them gone."""
    if len(chosen) < 2 or min([container.ask.milli_mem for container in chosen]) > room.milli_mem - ask.milli_mem:
        return chosen
    kept = list(chosen)
    for container in reversed(chosen[:-1]):
        without = room.minus(container.ask)
        if _holds(without, ask):
            kept.remove(container)
            room = without
    return kept


def _holds(room: Ask, ask: Ask) -> bool:
    """Whether `ask` fits, as `Ask.fits`, for an amount of room."""
    return (
        (ask.milli_mem <= room.milli_mem or not ask.milli_mem)
        and (ask.milli_cpus <= room.milli_cpus or not ask.milli_cpus)
        and (ask.milli_disk <= room.milli_disk or not ask.milli_disk)
        and (ask.milli_gpus <= room.milli_gpus or not ask.milli_gpus)
        and (ask.ports <= room.ports or not ask.ports)
        and (ask.pods <= room.pods or not ask.pods)
    )


def _as_room(amount: Ask) -> Resources:
    ports = Ports(((1, amount.ports),)) if amount.ports > 0 else NO_PORTS
    return Resources(amount.milli_cpus, amount.milli_mem, amount.milli_disk, amount.milli_gpus, ports, amount.pods)

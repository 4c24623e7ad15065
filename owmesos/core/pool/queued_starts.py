"""Starts that the cluster queues until containers have stopped for them, so that no neighbour gets the room meanwhile.

Only where the cluster can queue a start (`Capacity.queues_starts`). There a round of stops begins together with the
start that it is for. The start's room is reserved from then on although it is not free yet: a debt, which admits
nothing else. The cluster starts the container when the room is there; what was placed is a start as any other.

It is withdrawn when its round has failed (its node is closed, a stop takes too long, or the room went elsewhere after
all), when no run waits for it any more, and when there is room for its run on another node meanwhile. A start that is
withdrawn keeps its reservation until the cluster has confirmed that it is gone.
"""

from __future__ import annotations

from owmesos.core.pool.containers import Container
from owmesos.core.pool.eviction_planner import EvictionPlanner, Round
from owmesos.core.pool.run_buffer import Waiting
from owmesos.core.pool.starts import Starts
from owmesos.core.pool.state import PoolState, PoolTimer, StopRound


class QueuedStarts:
    """Decides on the state, whose `queued` it keeps."""

    def __init__(self, state: PoolState, starts: Starts, planner: EvictionPlanner) -> None:
        self._state = state
        self._starts = starts
        self._planner = planner

    def begin(self, found: Round, waiting: Waiting, now: float) -> bool:
        """Begin the round, and start the run's container. False if no start may begin there now: nothing was done."""
        state = self._state
        if not state.capacity.queues_starts or not self._may_start(found, waiting, now):
            return False
        victims = self._planner.begin(found, waiting, now)
        after = tuple(each.id for each in (*found.victims, *found.stopping))
        container = self._starts.start(waiting.shape, found.slot, now, for_run=waiting, replaces=True, after=after)
        state.queued[container.id] = StopRound(waiting, found.slot, victims)
        self._planner.follow()  # the next round counts on what this one left
        waiting.no_room = None
        since = min((state.containers.stopping[each].stopping_since for each in victims), default=now)
        state.timers.set_earliest(PoolTimer.OVERDUE, since + state.settings.stop_wait)
        return True

    def _may_start(self, found: Round, waiting: Waiting, now: float) -> bool:
        """As for every start: not too many under way, none where or while its kind failed."""
        starts, agent_id, key = self._starts, found.slot.agent_id, waiting.shape.start_key
        return (
            starts.may_start(now)
            and agent_id not in starts.avoided()
            and not starts.rests(waiting.shape, now)
            and agent_id not in self._state.backoff.avoided(key, now).never
        )

    def settle(self, now: float) -> bool:
        """Forget those that were placed or are over, withdraw those in vain. Returns whether any was withdrawn."""
        state, withdrawn, hanging = self._state, False, self._planner.hanging(now)
        for container_id, each in list(state.queued.items()):
            container = state.containers.starting.get(container_id)
            if container is None or not state.capacity.is_reserved(container_id):
                del state.queued[container_id]
            elif not self._starts.covered(container_id):
                self._withdraw(container, "no run waits for it any more", now)
                withdrawn = True
            elif state.capacity.known and self._planner.has_failed(each, hanging, now):
                for waiting in self._withdraw(container, "its room was not made, or went elsewhere", now):
                    waiting.tried.add(each.slot.agent_id)
                withdrawn = True
        return withdrawn

    def move(self, now: float) -> bool:
        """Start those elsewhere for whose run there is room by now. Whether there were any: other runs that
        they covered may start too.
        """
        state, starts, moved = self._state, self._starts, False
        for container_id, each in list(state.queued.items()):
            container, covered = state.containers.starting.get(container_id), starts.covered(container_id)
            if container is None or not covered or not starts.may_start(now) or starts.rests(container.shape, now):
                continue
            waiting = covered[0]
            slot = starts.launchable(waiting, now)
            if slot is not None and slot.agent_id != each.slot.agent_id:
                self._withdraw(container, f"there is room on {self._state.capacity.noun} {slot.agent_id}", now)
                if waiting.covered_by is None:
                    starts.start(waiting.shape, slot, now, for_run=waiting, replaces=True)
                moved = True
        return moved

    def refused(self, container: Container, covered: list[Waiting]) -> None:
        """The cluster took it back: the room went elsewhere, and room for these runs is made on another node."""
        if self._state.queued.pop(container.id, None) is not None:
            for waiting in covered:
                waiting.tried.add(container.slot.agent_id)

    def ended(self, container_id: str) -> None:
        """The cluster reports that a start was not carried out: one that was withdrawn is gone, as was wanted."""
        container = self._state.containers.stopping.get(container_id)
        if container is not None and container.address is None:
            self._state.gone(container)

    def _withdraw(self, container: Container, reason: str, now: float) -> list[Waiting]:
        """The runs that it covered. They wait on."""
        del self._state.queued[container.id]
        self._state.stop(container, reason, now)
        return self._starts.uncover(container.id)

"""The rounds of stops for a blocked head: when one begins, when it is over, and when to give up.

OpenWhisk's own invoker stops containers and starts another at once, on room that the cluster has not got back yet. Here
one node, the target, is set aside for the head, its room is the head's, and the start follows when NodeStats shows the
room. Victims are past `idle_grace`; after `drain_after` of the head's being blocked grace is waived, and the target's
containers take no new runs. If the room went elsewhere another round begins, `max_rounds` at most; then only NodeStats
can help. A node where a stop takes longer than `stop_wait` is given up: its machine may be gone, and the cluster not
know it yet. `eviction_planner` says who is stopped, this module when.

Where the cluster queues starts, a round begins together with its start, and nothing has to be set aside: see
`owmesos.core.pool.queued_starts`.

One head at a time is one start for each stop and the room seen after it: about one a second. When a node is lost, or an
action comes in a burst, dozens of runs need a container at once, and the last of them would wait for a minute with
idle containers all around. So runs behind the head get a round of stops of their own where one can begin at once:
victims are past their grace, on one node, and never on the head's. Nothing is set aside for them and nothing drains:
what they free goes to the oldest run that fits, and a run that gets none of it becomes the head in time.
"""

from __future__ import annotations

from owmesos.core.placement import Slot
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.eviction_planner import NOBODYS, EvictionPlanner, Round
from owmesos.core.pool.queued_starts import QueuedStarts
from owmesos.core.pool.run_buffer import Waiting
from owmesos.core.pool.starts import Starts
from owmesos.core.pool.state import PoolState, PoolTimer, StopRound
from owmesos.resources import Ask

_NOWHERE = "no {} could hold it even without our own containers: none is stopped"
_LOOK_AGAIN = 0.25  # seconds until a shape is looked at again for which no round could begin
_GIVEN_UP = "room was made {} times and went elsewhere: waiting for NodeStats"


class Eviction:
    """Decides on the state, for one head at a time."""

    def __init__(self, state: PoolState, starts: Starts) -> None:
        self._state = state
        self._planner = EvictionPlanner(state)
        self.queued = QueuedStarts(state, starts, self._planner)
        self._behind = ParallelEvictions(state, self._planner, self.queued)

    def settle(self, now: float) -> bool:
        """The target is free again (True) if its run has what it needs, or is over. Stops are not undone. True too if a
        queued start was withdrawn.

        An older run of the same shape that came back to its place, or whose start another run took, is the head now,
        and has the same need: the round under way is its own, beside those that it had before.
        """
        state = self._state
        self._behind.settle(now)
        withdrawn = bool(state.queued) and self.queued.settle(now)
        if state.aside is None:
            return withdrawn
        owner = state.owner()
        heir = self._heir(owner, state.aside.slot) if owner is not None else None
        if owner is not None and heir is not None:
            heir.blocked_since, owner.blocked_since = owner.blocked_since, None
            if state.aside.victims:
                heir.rounds, heir.tried = max(heir.rounds, owner.rounds), heir.tried | owner.tried
                owner.rounds, owner.tried = 0, set()
            state.aside.waiting = heir
        elif owner is None or owner.covered_by is not None:
            state.set_aside(None)
            return True
        return withdrawn

    def _heir(self, owner: Waiting, target: Slot) -> Waiting | None:
        """Return the older run whose need the round serves now, unless `owner` starts in the room that was made."""
        state = self._state
        if owner.covered_by is not None and state.containers.by_id[owner.covered_by].slot == target:
            return None
        oldest = state.buffer.uncovered_of_shape(owner.shape)
        return oldest if oldest is not None and oldest.place < owner.place and not oldest.run.health else None

    def run(self, head: Waiting, now: float) -> bool:
        """Make room for `head`. Returns True if runs that wait should be looked at again: the target was given up, or
        the head's start is queued.

        The head is the one that the target is set aside for, if there is one.
        """
        state = self._state
        if head.blocked_since is None:
            head.blocked_since = now
        if not state.capacity.known:  # unknown is not full
            return False
        before = state.aside
        under_way = self._behind.take_over(head) if before is None else None
        if under_way is not None:
            state.set_aside(under_way)
        self._make_room(head, now)
        return head.covered_by is not None or (before is not None and state.aside is not before)

    def run_behind(self, head: Waiting, shapes: set[ContainerShape], now: float) -> None:
        """Make room for runs behind the head, for which there is none either."""
        if self._state.capacity.known:
            self._behind.run(head, shapes, now)

    def _make_room(self, head: Waiting, now: float) -> None:
        state, aside = self._state, self._state.aside
        planner = self._planner
        if aside is not None and aside.victims and not planner.has_failed(aside, planner.hanging(now), now):
            return
        if aside is not None and (aside.victims or not planner.could_hold(aside.slot, head.shape, now)):
            state.set_aside(None)
        if head.rounds >= state.settings.max_rounds:
            head.no_room = _GIVEN_UP.format(head.rounds)
            return
        self._choose(head, now)

    def _choose(self, head: Waiting, now: float) -> None:
        """Choose a round that can begin now; else wait on the target until one can."""
        state = self._state
        assert head.blocked_since is not None
        drain_at = head.blocked_since + state.settings.drain_after
        waived = now >= drain_at
        if not waived:
            state.timers.set_earliest(PoolTimer.DRAIN, drain_at)
        found = self._round(head, now, waived)
        if found is not None and self.queued.begin(found, head, now):
            state.set_aside(None)
            return
        slot = found.slot if found is not None else self._target(head, now)
        head.no_room = _NOWHERE.format(state.capacity.noun) if slot is None else None
        if slot is None:
            return
        aside = state.aside
        if aside is None or aside.slot != slot:
            aside = StopRound(head, slot)
            state.set_aside(aside)
        aside.draining = waived
        if found is not None:
            aside.victims = self._planner.begin(found, head, now)
        elif (ripe_at := self._planner.ripe_at(slot, now)) is not None:
            state.timers.set_earliest(PoolTimer.GRACE, ripe_at)

    def _round(self, head: Waiting, now: float, waived: bool) -> Round | None:
        """A round on the target if possible; elsewhere if something changed there. Nodes where one failed come last."""
        planner, shape, aside = self._planner, head.shape, self._state.aside
        changed = planner.follow()
        if aside is None:
            found = planner.cheapest(shape, now, waived=waived, avoid=head.tried)
            return found or (planner.cheapest(shape, now, waived=waived) if head.tried else None)
        found = planner.round_on(aside.slot, self._state.ask(shape), now, waived=waived)
        if found is None:
            among = None if waived and not aside.draining else changed
            found = planner.cheapest(shape, now, waived=waived, avoid=head.tried, among=among)
        return found

    def _target(self, head: Waiting, now: float) -> Slot | None:
        """The slot where a round could begin later."""
        if self._state.aside is not None:
            return self._state.aside.slot
        return self._planner.later(head.shape, now, avoid=head.tried) or self._planner.later(head.shape, now)


class ParallelEvictions:
    """Room for the runs behind the head: as many rounds at once as starts are allowed at once."""

    def __init__(self, state: PoolState, planner: EvictionPlanner, queued: QueuedStarts) -> None:
        self._state = state
        self._planner = planner
        self._queued = queued
        self._rounds: dict[str, StopRound] = {}
        self._look_at: dict[ContainerShape, float] = {}

    def take_over(self, head: Waiting) -> StopRound | None:
        """Take a run's round over, if one is under way: the run is the head now."""
        found = self._rounds.pop(head.run.run_id, None)
        if found is not None:
            self._end(found)
        return found

    def settle(self, now: float) -> None:
        """End the rounds that are over: the run has what it needs, or the room went elsewhere."""
        if not self._rounds:
            return
        hanging = self._planner.hanging(now)
        for run_id, each in list(self._rounds.items()):
            if self._over(each, hanging, now):
                del self._rounds[run_id]
                self._end(each)

    def run(self, head: Waiting, shapes: set[ContainerShape], now: float) -> None:
        """Begin what can begin at once, in order, for the runs of `shapes`, for which there is no room."""
        state, settings = self._state, self._state.settings
        most = settings.max_starts - len(self._rounds) - len(state.queued)
        if most <= 0 or state.buffer.uncovered_count() < 2:
            return
        self._planner.follow()
        looked = {shape for shape in shapes if now >= self._look_at.get(shape, now)}
        for waiting in state.buffer.uncovered(looked):
            if waiting is head or waiting.run.run_id in self._rounds or waiting.rounds >= settings.max_rounds:
                continue
            if state.backoff.at_fault(waiting.shape.start_key) is not None:
                continue  # it is tried once at a time, as the head
            if self._begin(waiting, now):
                most -= 1
                if not most:
                    return
            else:
                looked.discard(waiting.shape)
                self._look_at[waiting.shape] = now + _LOOK_AGAIN
                state.timers.set_earliest(PoolTimer.PARALLEL_EVICTIONS, now + _LOOK_AGAIN)

    def _begin(self, waiting: Waiting, now: float) -> bool:
        state = self._state
        avoid = waiting.tried if state.aside is None else waiting.tried | {state.aside.slot.agent_id}
        waived = now >= waiting.received_at + state.settings.drain_after
        found = self._planner.cheapest(waiting.shape, now, waived=waived, avoid=avoid)
        if found is None:
            return False
        if self._queued.begin(found, waiting, now):
            return True
        each = StopRound(waiting, found.slot, self._planner.begin(found, waiting, now))
        self._rounds[waiting.run.run_id] = each
        waiting.room_on = found.slot.agent_id
        self._planner.claims[each.slot] = self._planner.claims.get(each.slot, NOBODYS).plus(self._ask(each))
        return True

    def _end(self, each: StopRound) -> None:
        """End a round: others may count again on its room."""
        each.waiting.room_on = None
        left = self._planner.claims.pop(each.slot).minus(self._ask(each))
        if left != NOBODYS:
            self._planner.claims[each.slot] = left

    def _over(self, each: StopRound, hanging: set[str], now: float) -> bool:
        waiting = each.waiting
        if each.run_id not in self._state.buffer.by_id or waiting.covered_by is not None:
            return True
        return self._planner.has_failed(each, hanging, now)

    def _ask(self, each: StopRound) -> Ask:
        return self._state.ask(each.waiting.shape)

"""The rounds of stops for a blocked head: when one begins, when it is over, and when to give up.

Today's invoker stops containers and starts another at once, on room that the cluster has not got back yet. Here one
agent T is set aside for the head, its room is the head's, and the start follows when NodeStats shows the room. Victims
are past `idle_grace`; after `drain_after` of the head's being blocked grace is waived, and T's containers take no new
runs. If the room went elsewhere another round begins, `max_rounds` at most; then only NodeStats can help. An agent
where a stop takes longer than `stop_wait` is given up: its machine may be gone, and the master not know it yet.
`owmesos.core.room_maker` says who is stopped, this module when; `owmesos.core.rounds_behind` follows for later runs.
"""

from __future__ import annotations

from owmesos.core.capacity import HERE
from owmesos.core.containers import Shape
from owmesos.core.placement import Slot
from owmesos.core.pool_books import PoolBooks
from owmesos.core.room_maker import Aside, RoomMaker, Round
from owmesos.core.rounds_behind import RoundsBehind
from owmesos.core.run_buffer import Waiting
from owmesos.resources import MILLI, Ask

_NOWHERE = "no agent could hold it even without our own containers: none is stopped"
_GIVEN_UP = "room was made {} times and went elsewhere: waiting for NodeStats"


class Eviction:
    """Decides on the books, for one head at a time."""

    def __init__(self, books: PoolBooks) -> None:
        self._books = books
        self._maker = RoomMaker(books.containers, books.capacity, books.settings)
        self._behind = RoundsBehind(books, self._maker)

    @property
    def claims(self) -> dict[Slot, Ask]:
        """What room is being made for behind the head, by slot."""
        return self._maker.claims

    def settle(self, now: float) -> bool:
        """T is free again (True) if its run has what it needs, or is over. Stops are not undone.

        An older run of the same shape that came back to its place is the head now, and has the same need.
        """
        books = self._books
        self._behind.settle(now)
        if books.aside is None:
            return False
        owner = books.owner()
        if owner is None or owner.covered_by is not None:
            books.set_aside(None)
            return True
        oldest = books.buffer.bare_of_shape(owner.shape)
        if oldest is not None and oldest.place < owner.place and not oldest.run.health:
            books.aside.run_id = oldest.run.run_id
            oldest.blocked_since, oldest.rounds, oldest.tried = owner.blocked_since, owner.rounds, owner.tried
            owner.blocked_since, owner.rounds, owner.tried = None, 0, set()
        return False

    def run(self, head: Waiting, now: float) -> bool:
        """There is no room for `head`. True if runs that wait should be looked at again: T was given up, or room made.

        The head is the one that T is set aside for, if there is a T.
        """
        books = self._books
        if head.blocked_since is None:
            head.blocked_since = now
        if books.capacity.credits_stops:
            return self._stop_at_once(head, now)
        if not books.capacity.known:  # unknown is not full
            return False
        before = books.aside
        under_way = self._behind.take_over(head) if books.aside is None else None
        if under_way is not None:
            self._set_aside(head, under_way.slot, draining=False).victims = under_way.victims
        self._make_room(head, now)
        return before is not None and books.aside is not before

    def run_behind(self, head: Waiting, shapes: set[Shape], now: float) -> None:
        """Room for runs behind the head, for which there is none either."""
        if self._books.capacity.known and not self._books.capacity.credits_stops:
            self._behind.run(head, shapes, now)

    def validate(self) -> None:
        """One round for each run. Raises InvariantBroken."""
        self._behind.validate(self._books.owner())

    def _make_room(self, head: Waiting, now: float) -> None:
        books, aside = self._books, self._books.aside
        ask = books.settings.ask(head.shape)
        if aside is not None and aside.victims:
            if books.capacity.allows(aside.slot.agent_id, books.settings.constraints_of(head.shape)):
                if aside.slot.agent_id in self._maker.hanging(now):
                    head.rounds -= 1
                elif not self._round_over(aside, now):
                    return
                head.tried.add(aside.slot.agent_id)
            books.set_aside(None)
        elif aside is not None and not self._maker.could_hold(
            aside.slot, ask, books.settings.constraints_of(head.shape), now
        ):
            books.set_aside(None)
        if head.rounds >= books.settings.max_rounds:
            head.no_room = _GIVEN_UP.format(head.rounds)
            return
        self._choose(head, ask, now)

    def _choose(self, head: Waiting, ask: Ask, now: float) -> None:
        """A round that can begin now; else wait on T until one can."""
        books = self._books
        assert head.blocked_since is not None
        drain_at = head.blocked_since + books.settings.drain_after
        waived = now >= drain_at
        if not waived:
            books.timers.set_earliest("drain", drain_at)
        found = self._round(head, ask, now, waived)
        if found is not None:
            self._begin(found, head, now, draining=waived)
        else:
            self._wait(head, ask, now, draining=waived)

    def _round(self, head: Waiting, ask: Ask, now: float, waived: bool) -> Round | None:
        """On T if that can be; elsewhere if something changed there. Agents where a round failed come last."""
        maker, aside = self._maker, self._books.aside
        constraints = self._books.settings.constraints_of(head.shape)
        changed = maker.follow()
        if aside is None:
            found = maker.cheapest(ask, constraints, now, waived=waived, avoid=head.tried)
            return found or (maker.cheapest(ask, constraints, now, waived=waived) if head.tried else None)
        found = maker.round_on(aside.slot, ask, now, waived=waived)
        if found is None:
            among = None if waived and not aside.draining else changed
            found = maker.cheapest(ask, constraints, now, waived=waived, avoid=head.tried, among=among)
        return found

    def _wait(self, head: Waiting, ask: Ask, now: float, *, draining: bool) -> None:
        books, maker = self._books, self._maker
        constraints = books.settings.constraints_of(head.shape)
        slot = books.aside.slot if books.aside is not None else None
        slot = slot or maker.later(ask, constraints, now, avoid=head.tried) or maker.later(ask, constraints, now)
        head.no_room = _NOWHERE if slot is None else None
        if slot is not None:
            self._set_aside(head, slot, draining=draining)
            ripe_at = maker.ripe_at(slot, now)
            if ripe_at is not None:
                books.timers.set_earliest("grace", ripe_at)

    def _set_aside(self, head: Waiting, slot: Slot, *, draining: bool) -> Aside:
        aside = self._books.aside
        if aside is None or aside.slot != slot:
            aside = Aside(head.run.run_id, slot)
            self._books.set_aside(aside)
        aside.draining = draining
        return aside

    def _begin(self, found: Round, head: Waiting, now: float, *, draining: bool) -> None:
        books = self._books
        head.no_room = None
        head.rounds += 1
        aside = self._set_aside(head, found.slot, draining=draining)
        aside.victims = {container.id for container in (*found.victims, *found.stopping)}
        for container in found.victims:
            books.evicted[head.shape] = now
            books.evict(container, head.run.run_id, now)

    def _round_over(self, aside: Aside, now: float) -> bool:
        """All victims are gone, NodeStats had its time, and the head still has no room."""
        books = self._books
        overdue_at = books.overdue_at(aside.victims)
        if overdue_at is not None:
            books.timers.set_earliest("overdue", overdue_at)
            return False
        if aside.round_over_at is None:
            aside.round_over_at = now + books.settings.round_wait
        if now < aside.round_over_at:
            books.timers.set("round", aside.round_over_at)
            return False
        return True

    def _stop_at_once(self, head: Waiting, now: float) -> bool:
        """Fixed user-memory: what is asked to stop counts as free, and the start follows in the same breath.

        Today's invoker stops as much as is needed, or all that is idle if that is less (ContainerPool.run), and may
        then exceed user-memory; ours does not stop what would not help.
        """
        books = self._books
        free = books.capacity.available(HERE).milli_mem // MILLI
        victims = self._maker.oldest_idle(head.shape.memory, free)
        for container in victims:
            books.evict(container, head.run.run_id, now)
        head.rounds += bool(victims)
        return bool(victims)

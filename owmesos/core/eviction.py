"""The rounds of stops for a blocked head: when one begins, when it is over, and when to give up.

Today's invoker stops containers and starts another at once, on room that the cluster has not got back yet. Here a start
follows only when NodeStats shows the room. `owmesos.core.room_maker` says who is stopped; this module says when.
"""

from __future__ import annotations

from owmesos.core.containers import ContainerState
from owmesos.core.pool_books import PoolBooks
from owmesos.core.room_maker import Aside, RoomMaker
from owmesos.core.run_buffer import Waiting
from owmesos.resources import MILLI, Ask

_NOWHERE = "no agent could hold it even without our own containers: none is stopped"
_GIVEN_UP = "room was made {} times and went elsewhere: waiting for NodeStats"


class Eviction:
    """Decides on the books, for one head at a time."""

    def __init__(self, books: PoolBooks) -> None:
        self._books = books
        self._maker = RoomMaker(books.containers, books.capacity, books.settings)
        self._head: str | None = None
        self._blocked_since = 0.0
        self._rounds = 0
        self._tried: set[str] = set()

    def run(self, blocked: Waiting | None, now: float) -> None:
        """The end of a step: `blocked` is the head, if there is no room for it."""
        books = self._books
        aside = books.aside
        if aside is not None:
            waiting = books.buffer.by_id.get(aside.run_id)
            served = waiting is None or waiting.covered_by is not None
            if served or (blocked is not None and blocked.run.run_id != aside.run_id):
                books.set_aside(None)  # stops are not undone
        if blocked is None:
            books.no_room_text = None
            return
        if blocked.run.run_id != self._head:
            self._head, self._blocked_since = blocked.run.run_id, now
            self._rounds, self._tried = 0, set()
        if books.capacity.credits_stops:
            self._stop_at_once(blocked, now)
        elif books.capacity.known:  # unknown is not full
            self._make_room(blocked, now)

    def _make_room(self, waiting: Waiting, now: float) -> None:
        books, settings = self._books, self._books.settings
        ask = settings.ask(waiting.shape)
        aside = books.aside
        if aside is not None and not self._may_still_do(aside, waiting, ask):
            books.set_aside(None)
            aside = None
        if aside is not None and aside.victims:
            if not self._round_failed(aside, now):
                return
            self._rounds += 1
            self._tried.add(aside.slot.agent_id)
            books.set_aside(None)
            aside = None
        if self._rounds >= settings.max_rounds:
            books.no_room_text = _GIVEN_UP.format(self._rounds)
            return
        if aside is None:
            aside = self._choose(waiting, ask, now)
        if aside is not None:
            self._begin_round(aside, ask, now)

    def _choose(self, waiting: Waiting, ask: Ask, now: float) -> Aside | None:
        books = self._books
        constraints = books.settings.constraints_of(waiting.shape)
        slot = self._maker.choose(ask, constraints, now, tried=self._tried)
        if slot is None:
            books.no_room_text = _NOWHERE
            return None
        books.no_room_text = None
        aside = Aside(waiting.run.run_id, slot, now)
        books.set_aside(aside)
        return aside

    def _begin_round(self, aside: Aside, ask: Ask, now: float) -> None:
        books, settings = self._books, self._books.settings
        drain_at = self._blocked_since + settings.drain_after
        if now >= drain_at:
            aside.draining = True
        else:
            books.timers.set_earliest("drain", drain_at)
        victims = self._maker.victims(aside.slot, ask, now, waived=aside.draining)
        if not victims:
            self._wait_for_grace(aside, now)
            return
        aside.victims = {container.id for container in victims}
        aside.round_over_at = None
        books.evicted = (now, ask)
        for container in victims:
            books.stop(container, f"its room is for run {aside.run_id}", now)

    def _wait_for_grace(self, aside: Aside, now: float) -> None:
        books = self._books
        idle = books.containers.idle_on.get(aside.slot, {}).values()
        ripe = [container.last_used + books.settings.idle_grace for container in idle]
        later = [when for when in ripe if when > now]
        if later:
            books.timers.set_earliest("grace", min(later))

    def _round_failed(self, aside: Aside, now: float) -> bool:
        """All victims are gone, NodeStats had its time, and the head still has no room."""
        books = self._books
        if any(victim in books.containers.by_id for victim in aside.victims):
            return False
        if aside.round_over_at is None:
            aside.round_over_at = now + books.settings.round_wait
        if now < aside.round_over_at:
            books.timers.set("round", aside.round_over_at)
            return False
        return True

    def _may_still_do(self, aside: Aside, waiting: Waiting, ask: Ask) -> bool:
        """T is not lost, and with all our containers gone it would hold the head."""
        books = self._books
        if not books.capacity.allows(aside.slot, books.settings.constraints_of(waiting.shape)):
            return False
        if aside.victims:
            return True  # its round will tell
        room = books.capacity.available(aside.slot)
        lacking = ask.milli_mem - room.milli_mem
        for container in books.containers.on_agent.get(aside.slot.agent_id, {}).values():
            if container.slot == aside.slot and container.state is not ContainerState.STOPPING:
                lacking -= container.ask.milli_mem
        return lacking <= 0

    def _stop_at_once(self, waiting: Waiting, now: float) -> None:
        """Fixed user-memory: what is asked to stop counts as free, and the start follows in the same breath."""
        books = self._books
        ask = books.settings.ask(waiting.shape)
        free = self._books.capacity.find(ask, (), ())
        if free is None:
            lacking = ask.milli_mem // MILLI
            for container in self._maker.oldest_idle(lacking, now):
                books.stop(container, f"its room is for run {waiting.run.run_id}", now)

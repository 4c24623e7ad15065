"""Room for the runs behind the blocked head, several at once.

One head at a time is one start for each stop and the offer after it: about one a second. When an agent is lost, or an
action comes in a burst, dozens of runs need a container at once, and the last of them would wait for a minute with
idle containers all around. So runs behind the head get a round of stops of their own where one can begin at once:
victims are past their grace, on one agent, and never on the head's. Nothing is set aside for them and nothing drains:
what they free goes to the oldest run that fits, and who gets nothing in the end is the head one day.
"""

from __future__ import annotations

import msgspec

from owmesos.core.containers import Shape
from owmesos.core.placement import Slot
from owmesos.core.pool_books import PoolBooks
from owmesos.core.room_maker import NOBODYS, RoomMaker
from owmesos.core.run_buffer import Waiting
from owmesos.errors import InvariantBroken
from owmesos.resources import Ask

_LOOK_AGAIN = 0.25  # seconds until a shape is looked at again for which no round could begin


class RoundBehind(msgspec.Struct):
    """One run's round: `ask` of `slot` is meant for it. `over_at` in seconds, once the last victim is gone."""

    waiting: Waiting
    slot: Slot
    ask: Ask
    victims: set[str]
    over_at: float | None = None


class RoundsBehind:
    """Decides on the books. As many rounds at once as starts are allowed at once."""

    def __init__(self, books: PoolBooks, maker: RoomMaker) -> None:
        self._books = books
        self._maker = maker
        self._rounds: dict[str, RoundBehind] = {}
        self._look_at: dict[Shape, float] = {}

    def take_over(self, head: Waiting) -> RoundBehind | None:
        """The run is the head now, and so is its round, if one is under way."""
        found = self._rounds.pop(head.run.run_id, None)
        if found is not None:
            self._end(found)
        return found

    def settle(self, now: float) -> None:
        """End the rounds that are over: the run has what it needs, or the room went elsewhere."""
        for run_id, each in list(self._rounds.items()):
            if self._over(each, now):
                del self._rounds[run_id]
                self._end(each)

    def run(self, head: Waiting, shapes: set[Shape], now: float) -> None:
        """Begin what can begin at once, in order, for the runs of `shapes`, for which there is no room."""
        books, settings = self._books, self._books.settings
        most = settings.max_starts - len(self._rounds)
        if most <= 0 or books.buffer.bare_count() < 2:
            return
        self._maker.follow()
        looked = {shape for shape in shapes if now >= self._look_at.get(shape, now)}
        for waiting in books.buffer.bare_of_shapes(looked):
            if waiting is head or waiting.run.run_id in self._rounds or waiting.shape not in looked:
                continue
            if waiting.rounds >= settings.max_rounds:
                continue
            if not self._begin(waiting, now):
                looked.discard(waiting.shape)
                self._look_at[waiting.shape] = now + _LOOK_AGAIN
                books.timers.set_earliest("rounds behind", now + _LOOK_AGAIN)
            else:
                most -= 1
                if not most:
                    return

    def validate(self, owner: Waiting | None) -> None:
        """Raises InvariantBroken. `owner` is the head that an agent is set aside for: it has one round, there."""
        claims: dict[Slot, Ask] = {}
        for run_id, each in self._rounds.items():
            claims[each.slot] = claims.get(each.slot, NOBODYS).plus(each.ask)
            if each.waiting is owner:
                raise InvariantBroken(f"run {run_id} has an agent set aside, and a round on {each.slot.agent_id} too")
        if claims != self._maker.claims:
            raise InvariantBroken("what is meant for runs behind the head is not what their rounds are about")

    def _begin(self, waiting: Waiting, now: float) -> bool:
        books = self._books
        ask, constraints = books.settings.ask(waiting.shape), books.settings.constraints_of(waiting.shape)
        avoid = set(waiting.tried)
        if books.aside is not None:
            avoid.add(books.aside.slot.agent_id)
        waived = now >= waiting.received_at + books.settings.drain_after
        found = self._maker.cheapest(ask, constraints, now, waived=waived, avoid=avoid)
        if found is None:
            return False
        waiting.rounds += 1
        victims = {container.id for container in (*found.victims, *found.stopping)}
        self._rounds[waiting.run.run_id] = RoundBehind(waiting, found.slot, ask, victims)
        waiting.room_on = found.slot.agent_id
        self._maker.claims[found.slot] = self._maker.claims.get(found.slot, NOBODYS).plus(ask)
        for container in found.victims:
            books.evicted[waiting.shape] = now
            books.evict(container, waiting.run.run_id, now)
        return True

    def _end(self, each: RoundBehind) -> None:
        """Other rounds may count again on what this one was about."""
        each.waiting.room_on = None
        left = self._maker.claims.pop(each.slot).minus(each.ask)
        if left != NOBODYS:
            self._maker.claims[each.slot] = left

    def _over(self, each: RoundBehind, now: float) -> bool:
        books, waiting = self._books, each.waiting
        if waiting.run.run_id not in books.buffer.by_id or waiting.covered_by is not None:
            return True
        if not books.capacity.allows(each.slot.agent_id, books.settings.constraints_of(waiting.shape)):
            return True
        if each.slot.agent_id in self._maker.hanging(now):
            waiting.rounds -= 1
            waiting.tried.add(each.slot.agent_id)
            return True
        overdue_at = books.overdue_at(each.victims)
        if overdue_at is not None:
            books.timers.set_earliest("overdue", overdue_at)
            return False
        if each.over_at is None:
            each.over_at = now + books.settings.round_wait
        if now < each.over_at:
            books.timers.set_earliest("rounds behind", each.over_at)
            return False
        waiting.tried.add(each.slot.agent_id)
        return True

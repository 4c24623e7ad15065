"""When to REVIVE and when to SUPPRESS.

A REVIVE clears all filters and allocates at once (OFFERS after 1 to 2 ms, measured), but it costs the master an
allocation over all agents, so it goes through a token bucket: delayed, never dropped. While nothing waits for room the
framework is suppressed and asks nothing. A REVIVE that brings an agent's offer to nobody within `offer_wait` says that
the agent has nothing for us.

With many agents an UPDATE_FRAMEWORK goes first whose offer constraints name the best candidates
(docs/scheduler-http-api.md; alone it neither allocates nor clears filters). If they bring nothing, all are asked.
"""

from __future__ import annotations

import msgspec

from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State
from owmesos.core.reservations import Reservation
from owmesos.mesos.books import Books
from owmesos.mesos.messages import Revive, Suppress, UpdateFramework
from owmesos.mesos.offer_constraints import only_hosts

_ROUNDING = 1e-6  # of a token: seconds of the epoch are exact to a quarter of a microsecond


class _Revived(msgspec.Struct):
    """A REVIVE that was sent at `at` and is to be judged at `until`; `agents` None when it was wide."""

    at: float
    until: float
    agents: tuple[str, ...] | None

    def reaches(self, agent_id: str) -> bool:
        return self.agents is None or agent_id in self.agents


class Revival:
    """The token bucket, and what a REVIVE that brings nothing means."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._tokens = books.settings.revive_burst
        self._filled_at = 0.0
        self._wanted = False
        self._wide = False
        self._initial = False
        self._constrained = False
        self._constraints_work = True
        self._sent: list[_Revived] = []
        self._last = float("-inf")
        self._answered = True
        self.suppressed = False

    def subscribed(self, now: float) -> None:
        """A new stream: filters, suppression and constraints are gone, or survive where a stream was displaced.

        So one REVIVE goes at once; without it there would be no NodeStats.
        """
        self._tokens, self._filled_at = self._books.settings.revive_burst, now
        self._sent.clear()
        self._last = float("-inf")
        self._constrained = False
        self.suppressed = False
        self._initial = True
        self.want(wide=True)

    def want(self, *, wide: bool = False) -> None:
        """Something waits, and room may have become free: REVIVE at the end of this step, if it still waits then."""
        self._wanted = True
        self._wide |= wide

    def offers_came(self) -> None:
        self._answered = True

    def constraints_refused(self) -> None:
        """The master does not take offer constraints: never again, and look at all agents."""
        self._constraints_work = False
        self._constrained = False
        self.want(wide=True)

    def again(self) -> None:
        """While something waits: what neighbours released, and new agents, are in no book."""
        if self._books.anything_waits:
            self.want(wide=True)

    def run(self, now: float) -> None:
        """The end of a step: REVIVE or SUPPRESS where it is due."""
        books = self._books
        if not books.connected:
            return
        if books.anything_waits or self._initial:
            if self._wanted:
                self._revive(now)
            if books.anything_waits:
                interval = books.settings.revive_interval
                books.timers.set_earliest("revive interval", max(self._last + interval, now))
            return
        self._wanted = self._wide = False
        books.timers.cancel("revive")
        books.timers.cancel("revive interval")
        if books.settled and not self.suppressed:
            books.send(Suppress())
            self.suppressed = True

    # -- within

    def _revive(self, now: float) -> None:
        books, settings = self._books, self._books.settings
        self._tokens = min(settings.revive_burst, self._tokens + (now - self._filled_at) * settings.revive_rate)
        self._filled_at = now
        if not self._answered and now < self._last + settings.revive_gap:
            books.timers.set("revive", self._last + settings.revive_gap)
            return
        if self._tokens < 1 - _ROUNDING:
            books.timers.set("revive", now + (1 - self._tokens) / settings.revive_rate)
            return
        self._tokens -= 1
        agents = None if self._wide or self._initial else self._candidates()
        self._constrain(agents)
        books.send(Revive())
        self.suppressed = self._wanted = self._wide = self._initial = self._answered = False
        self._last = now
        books.timers.cancel("revive")
        books.timers.set("revive interval", now + settings.revive_interval)
        wait = settings.offer_wait
        if agents is None:
            wait += settings.offer_wait_per_agent * len(books.ledger.agents)
        self._sent.append(_Revived(now, now + wait, agents))
        books.timers.set_earliest("offer wait", now + wait)

    def _candidates(self) -> tuple[str, ...] | None:
        """The agents to name: enough for all that waits, at least `narrow_least`; None where all are asked."""
        books, settings = self._books, self._books.settings
        known = len(books.ledger.agents)
        if known <= settings.narrow_above or not self._constraints_work:
            return None
        chosen: dict[str, None] = {}
        for reservation in books.ledger.reservations.by_launch.values():
            if books.launches[reservation.launch_id].state is State.RESERVED:
                chosen[reservation.slot.agent_id] = None
        room = books.capacity.index()
        for shape in books.queue.shapes():
            roles = None if shape.role is None else (shape.role,)
            found = room.candidates(
                shape.ask, shape.constraints, avoid=books.capacity.closed, roles=roles, limit=settings.narrow_least
            )
            chosen.update((slot.agent_id, None) for slot in found)
        if any(record.state is State.PENDING for record in books.queue):
            return None  # it fits nowhere that we know of
        return tuple(chosen) if chosen and len(chosen) <= known // 2 else None

    def _constrain(self, agents: tuple[str, ...] | None) -> None:
        books = self._books
        if agents is None:
            if self._constrained:
                books.send(UpdateFramework(books.info))
                self._constrained = False
            return
        hosts = [books.ledger.agents[agent_id].hostname for agent_id in agents]
        books.send(UpdateFramework(books.info, [], only_hosts(books.info.roles, hosts)))
        self._constrained = True

    def judge(self, now: float) -> None:
        """REVIVEs whose time is over: what they did not bring is not there."""
        books = self._books
        over = [revived for revived in self._sent if revived.until <= now]
        self._sent = [revived for revived in self._sent if revived.until > now]
        for revived in over:
            books.ledger.silent_since(revived.at, revived.agents)
            self._refuse_promises(revived, now)
            for stop in books.ledger.reservations.stops():
                if stop.ended_at is not None and stop.ended_at <= revived.at:
                    books.ledger.release(stop.launch_id)
            if revived.agents is not None and books.anything_waits:
                self.want(wide=True)
        self._refuse_late(now)
        due = [revived.until for revived in self._sent]
        soon = now + books.settings.revive_gap  # for those whose REVIVE is still to come
        ends = [reservation.since + self._longest for _, reservation in self._managed()]
        due += [end if end > now else soon for end in ends]
        if due:
            books.timers.set("offer wait", min(due))

    def promised(self, now: float) -> None:
        """The pool has promised a run room that may not be there."""
        self._books.timers.set_earliest("offer wait", now + self._longest)

    @property
    def _longest(self) -> float:
        """How long a start of the pool may wait for its offer, also where its REVIVE had to wait for a token."""
        settings = self._books.settings
        return settings.offer_wait + settings.offer_wait_per_agent * len(self._books.ledger.agents)

    def _managed(self) -> list[tuple[LaunchRecord, Reservation]]:
        """The starts of the pool that have no offer yet."""
        books = self._books
        found = [(each, books.ledger.reservations.get(each.id)) for each in books.queue if each.managed]
        return [(each, kept) for each, kept in found if kept is not None and each.state is State.RESERVED]

    def _refuse_late(self, now: float) -> None:
        for record, reservation in self._managed():
            if reservation.since + self._longest > now:
                continue
            agent_id = reservation.slot.agent_id
            asked = [each.at for each in self._sent if each.at >= reservation.since and each.reaches(agent_id)]
            if asked:
                self._books.ledger.silent_since(asked[0], (agent_id,))
                waited = f"within {now - reservation.since:.1f} s, {now - asked[0]:.1f} s of them after the REVIVE"
                self._books.unpromise(record, now, f"no fitting offer of agent {agent_id} came {waited}")
                self.want()

    def _refuse_promises(self, revived: _Revived, now: float) -> None:
        books = self._books
        for record in books.queue:
            reservation = books.ledger.reservations.get(record.id)
            if record.state is not State.RESERVED or reservation is None or reservation.since > revived.at:
                continue
            agent_id = reservation.slot.agent_id
            if not revived.reaches(agent_id):
                continue
            reason = f"no fitting offer of agent {agent_id} came within {now - revived.at:.1f} s of the REVIVE"
            books.unpromise(record, now, reason)
            self.want()

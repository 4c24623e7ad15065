"""When to REVIVE and when to SUPPRESS.

A REVIVE clears all filters and allocates at once (OFFERS after 1 to 2 ms, measured), but it costs the master an
allocation over all agents, so it goes through a token bucket: delayed, never dropped. While nothing waits for room the
framework is suppressed and asks nothing. A REVIVE that brings an agent's offer to nobody within `offer_wait` says that
the agent has nothing for us.

With many agents an UPDATE_FRAMEWORK goes first whose offer constraints name the best candidates
(docs/scheduler-http-api.md; alone it neither allocates nor clears filters). If they bring nothing, all are asked; but
where each launch that waits has constraints, no agents on which none of them may run.

What is sent never keeps an agent from us that we would take. Mesos 1.11 filters offers by attribute. An attribute that
is not text passes any text predicate there, and of a repeated attribute only the first value counts (measured), while
any value counts here. So of a launch's own constraints those are sent that hold at the master wherever they hold here,
and all are judged here again on the agents that come (include/mesos/v1/scheduler/scheduler.proto;
src/master/allocator/mesos/offer_constraints_filter.cpp):

    @hostname, any operator    the same: a host name is one text, always, and both match with RE2
    UNLIKE, !=                 the same on the first value: if no value matches, the first does not
    LIKE, ==                   that the attribute exists: another value than the first may match
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice

import msgspec
import re2

from owmesos.core.constraints import HOSTNAME, Constraint
from owmesos.core.reservations import Reservation
from owmesos.mesos import messages as v1
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.state import SchedulerState, SchedulerTimer

MAX_GROUPS = 16
"""The most sets of constraints that are sent; if more wait, all agents are asked."""
_HOST = v1.Selector(pseudoattribute_type="HOSTNAME")
_PREDICATES: dict[str, Callable[[str], v1.Predicate]] = {
    "==": lambda text: v1.Predicate(text_equals=v1.TextEquals(text)),
    "!=": lambda text: v1.Predicate(text_not_equals=v1.TextNotEquals(text)),
    "LIKE": lambda text: v1.Predicate(text_matches=v1.TextMatches(text)),
    "UNLIKE": lambda text: v1.Predicate(text_not_matches=v1.TextNotMatches(text)),
}
# A master's defaults for each regular expression (--offer_constraints_re2_max_mem, …_max_program_size).
_MAX_PROGRAM = 100
_LIMITS = re2.Options()
_LIMITS.max_mem = 4096
_LIMITS.log_errors = False
_MORE = 0.5  # seconds; for the next launches of one request
_ROUNDING = 1e-6  # of a token: seconds of the epoch are exact to a quarter of a microsecond


class _Revived(msgspec.Struct):
    at: float
    until: float  # when what it did not bring is not there
    agents: tuple[str, ...] | None  # those that it asked; None for all
    wide: bool  # it asked all that something may run on

    def reaches(self, agent_id: str) -> bool:
        return self.agents is None or agent_id in self.agents


class SuppressReviveHandler:
    """The token bucket, and what a REVIVE that brings nothing means."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        self._tokens = state.settings.revive_burst
        self._filled_at = 0.0
        self._wanted = False
        self._wide = False  # the next REVIVE asks all agents that something may run on
        self._initial = False  # the subscription's first one is still to be sent
        self._not_before = float("-inf")  # more launches come until then
        self._in_force: v1.OfferConstraints | None = None
        self._of_launches = False  # those in force are launches' own
        self._constraints_work = True
        self._those_of_launches_work = True
        self._sent: list[_Revived] = []
        self._last = float("-inf")
        self._answered = True
        self.suppressed = False

    def subscribed(self, now: float) -> None:
        """A new stream: filters, suppression and constraints are gone, or survive where a stream was displaced.

        So one REVIVE goes at once; without it there would be no NodeStats.
        """
        self._tokens, self._filled_at = self._state.settings.revive_burst, now
        self._sent.clear()
        self._last = float("-inf")
        self._in_force = None
        self.suppressed = False
        self._initial = True
        self.want(wide=True)

    def want(self, *, wide: bool = False) -> None:
        """Something waits, and room may have become free: REVIVE at the end of this step, if it still waits then."""
        self._wanted = True
        self._wide |= wide

    def more_come(self, more: bool, now: float) -> None:
        """Whether launches of the same request follow at once: one REVIVE is enough for all."""
        self._not_before = now + _MORE if more else now

    def offers_came(self) -> None:
        self._answered = True

    def constraints_refused(self) -> None:
        """The master does not take offer constraints: never again, and look at all agents.

        What it refuses in launches' own constraints says nothing of host names.
        """
        self._those_of_launches_work = False
        self._constraints_work &= self._of_launches
        self._in_force = None
        self.want(wide=True)

    def again(self) -> None:
        """REVIVE every `revive_interval` while something waits: the ledger does not know what neighbours released."""
        if self._state.anything_waits:
            self.want(wide=True)

    def run(self, now: float) -> None:
        """The end of a step: REVIVE or SUPPRESS where it is due."""
        state = self._state
        if not state.connected:
            return
        if state.anything_waits or self._initial:
            if self._wanted:
                self._revive(now)
            if state.anything_waits:
                interval = state.settings.revive_interval
                state.timers.set_earliest(SchedulerTimer.REVIVE_INTERVAL, max(self._last + interval, now))
            return
        self._wanted = self._wide = False
        state.timers.cancel(SchedulerTimer.REVIVE)
        state.timers.cancel(SchedulerTimer.REVIVE_INTERVAL)
        if state.capacity.known and not self.suppressed:
            state.send(v1.Suppress())
            self.suppressed = True

    # -- within

    def _revive(self, now: float) -> None:
        state, settings = self._state, self._state.settings
        self._tokens = min(settings.revive_burst, self._tokens + (now - self._filled_at) * settings.revive_rate)
        self._filled_at = now
        if not self._answered and now < self._last + settings.revive_gap:
            state.timers.set(SchedulerTimer.REVIVE, self._last + settings.revive_gap)
            return
        if now < self._not_before and not self._initial:
            state.timers.set(SchedulerTimer.REVIVE, self._not_before)
            return
        if self._tokens < 1 - _ROUNDING:
            state.timers.set(SchedulerTimer.REVIVE, now + (1 - self._tokens) / settings.revive_rate)
            return
        self._tokens -= 1
        constraints, agents = self._narrowed()
        if constraints != self._in_force:
            state.send(v1.UpdateFramework(state.info, [], constraints))
            self._in_force = constraints
        state.send(v1.Revive())
        self.suppressed = self._wanted = self._wide = self._initial = self._answered = False
        self._last = now
        state.timers.cancel(SchedulerTimer.REVIVE)
        state.timers.set(SchedulerTimer.REVIVE_INTERVAL, now + settings.revive_interval)
        wait = settings.offer_wait
        if agents is None:
            wait += settings.offer_wait_per_agent * len(state.ledger.agents)
        wide = agents is None or self._of_launches
        self._sent.append(_Revived(now, now + wait, agents, wide))
        state.timers.set_earliest(SchedulerTimer.OFFER_WAIT, now + wait)

    def _narrowed(self) -> tuple[v1.OfferConstraints | None, tuple[str, ...] | None]:
        """What keeps the master from offering agents in vain, and the agents that it offers; None for all of them."""
        state, agents = self._state, self._state.ledger.agents
        self._of_launches = False
        if self._initial or not self._constraints_work or len(agents) <= state.settings.narrow_above:
            return None, None
        candidates = None if self._wide else self._candidates()
        if candidates is not None:
            return only_hosts(state.info.roles, [agents[each].hostname for each in candidates]), candidates
        wanted = list(dict.fromkeys(shape.constraints for shape in state.queue.shapes()))
        constraints = of_launches(state.info.roles, wanted) if self._those_of_launches_work else None
        if constraints is None or state.pool_waits:
            return None, None
        reached = tuple(
            agent_id
            for agent_id, agent in agents.items()
            if any(reaches(each, agent.hostname, agent.attributes) for each in wanted)
        )
        if len(reached) > len(agents) // 2:
            return None, None  # they keep out few
        self._of_launches = True
        return constraints, reached

    def _candidates(self) -> tuple[str, ...] | None:
        """The agents to name: enough for all that waits, at least `narrow_least`; None where all are asked."""
        state = self._state
        if any(record.state is State.PENDING for record in state.queue):
            return None  # it fits nowhere that we know of
        chosen = {reservation.slot.agent_id: None for _, reservation in self._reserved()}
        room = state.capacity.index()
        for shape in state.queue.shapes():
            roles = None if shape.role is None else (shape.role,)
            found = room.candidates(shape.ask, shape.constraints, avoid=state.capacity.closed, roles=roles)
            chosen.update((slot.agent_id, None) for slot in islice(found, state.settings.narrow_least))
        return tuple(chosen) if 0 < len(chosen) <= len(state.ledger.agents) // 2 else None

    def judge(self, now: float) -> None:
        """REVIVEs whose time is over: what they did not bring is not there."""
        state = self._state
        over = [revived for revived in self._sent if revived.until <= now]
        self._sent = [revived for revived in self._sent if revived.until > now]
        for revived in over:
            state.ledger.silent_since(revived.at, revived.agents)
            self._refuse_reserved(revived, now)
            state.close_stops(state.ledger.reservations.stops(), revived.at)
            if not revived.wide and state.anything_waits:
                self.want(wide=True)
        self._refuse_late(now)
        due = [revived.until for revived in self._sent]
        soon = now + state.settings.revive_gap  # for those whose REVIVE is still to come
        ends = [reservation.since + self._longest for record, reservation in self._reserved() if record.managed]
        due += [end if end > now else soon for end in ends]
        if due:
            state.timers.set(SchedulerTimer.OFFER_WAIT, min(due))

    def reserved(self, now: float) -> None:
        """The pool has reserved room that may not be there."""
        self._state.timers.set_earliest(SchedulerTimer.OFFER_WAIT, now + self._longest)

    @property
    def _longest(self) -> float:
        """How long a start of the pool may wait for its offer, also where its REVIVE had to wait for a token."""
        settings = self._state.settings
        return settings.offer_wait + settings.offer_wait_per_agent * len(self._state.ledger.agents)

    def _reserved(self) -> list[tuple[LaunchRecord, Reservation]]:
        """The launches that have room reserved and no offer yet. One that has waits for its turn to be accepted."""
        ledger, queue = self._state.ledger, self._state.queue
        by_launch = ledger.reservations.by_launch
        found = [(record, by_launch.get(record.id)) for record in queue if record.state is State.RESERVED]
        return [
            (record, reservation)
            for record, reservation in found
            if reservation is not None and not record.ask.fits(ledger.held(reservation.slot, but=record.id))
        ]

    def _refuse_late(self, now: float) -> None:
        for record, reservation in self._reserved():
            since, agent_id = reservation.since, reservation.slot.agent_id
            asked = [each.at for each in self._sent if each.at >= since and each.reaches(agent_id)]
            if record.managed and since + self._longest <= now and asked:
                self._state.ledger.silent_since(asked[0], (agent_id,))
                self._refuse(record, agent_id, f"{now - since:.1f} s, {now - asked[0]:.1f} s of them after", now)

    def _refuse_reserved(self, revived: _Revived, now: float) -> None:
        for record, reservation in self._reserved():
            agent_id = reservation.slot.agent_id
            if reservation.since <= revived.at and revived.reaches(agent_id):
                self._refuse(record, agent_id, f"{now - revived.at:.1f} s of", now)

    def _refuse(self, record: LaunchRecord, agent_id: str, waited: str, now: float) -> None:
        reason = f"no fitting offer of agent {agent_id} came within {waited} the REVIVE"
        self._state.refuse_start(record, now, reason)
        self.want()


def only_hosts(roles: Iterable[str], hostnames: Iterable[str]) -> v1.OfferConstraints:
    """Offers of these hosts only, in every role. A group is an alternative."""
    named = map(_PREDICATES["=="], dict.fromkeys(hostnames))
    return _any_of(roles, [v1.Group([v1.AttributeConstraint(_HOST, name)]) for name in named])


def of_launches(roles: Iterable[str], wanted: Iterable[tuple[Constraint, ...]]) -> v1.OfferConstraints | None:
    """Offers of the agents on which a launch may run that has one of the sets of constraints; None for all agents."""
    groups = []
    for constraints in dict.fromkeys(wanted):
        group = [sent for sent in map(_sent, constraints) if sent is not None]
        if not group:
            return None
        groups.append(v1.Group(group))
    return _any_of(roles, groups) if 0 < len(groups) <= MAX_GROUPS else None


def _any_of(roles: Iterable[str], groups: list[v1.Group]) -> v1.OfferConstraints:
    return v1.OfferConstraints({role: v1.RoleConstraints(groups) for role in roles})


def reaches(constraints: Sequence[Constraint], hostname: str, attributes: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the master offers us this agent for sure, for a launch with these constraints."""
    return all(
        each.attribute in attributes if _only_exists(each) else each.matches(hostname, attributes)
        for each in constraints
        if _sent(each) is not None
    )


def _only_exists(constraint: Constraint) -> bool:
    return constraint.attribute != HOSTNAME and constraint.operator in ("LIKE", "==")


def _sent(constraint: Constraint) -> v1.AttributeConstraint | None:
    """None for what a master would not take."""
    selector = _HOST if constraint.attribute == HOSTNAME else v1.Selector(attribute_name=constraint.attribute)
    if _only_exists(constraint):
        return v1.AttributeConstraint(selector, v1.Predicate(exists=v1.Exists()))
    if constraint.operator in ("LIKE", "UNLIKE") and not _is_taken(constraint.value):
        return None
    return v1.AttributeConstraint(selector, _PREDICATES[constraint.operator](constraint.value))


@lru_cache(maxsize=256)
def _is_taken(pattern: str) -> bool:
    """Whether a master takes it: one that it does not costs the whole call."""
    try:
        return re2.compile(pattern.encode(), _LIMITS).programsize <= _MAX_PROGRAM  # type: ignore[no-any-return]
    except re2.error:
        return False

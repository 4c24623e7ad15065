"""Which launch goes where, and what becomes of the offers: the end of every step.

First, launches whose room was reserved on remembered pieces are accepted if an offer now covers them. Then every
waiting launch, in order, looks among the offers in hand; for what still waits, room is reserved on remembered pieces,
so that a burst does not see the same room a hundred times. Finally all offers that nobody needs are declined with a
long filter: a REVIVE brings them back in a millisecond, so there is no reason to keep them.

All this is one pass. A long one is done in slices, one a step, so that thousands of launches do not stop the event
loop: other events come between, so what a slice chose is looked at again before it is accepted.

One agent may be set aside for a head that has waited long: nobody else starts there, and its offers are held, since
parts that are freed one by one would be lost to a neighbour.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from owmesos.core.capacity import Either
from owmesos.core.placement import Placement, Slot
from owmesos.core.reservations import ReservationState
from owmesos.mesos.messages import ID, Accept, Decline, Filters, LaunchOperation, Operation, TaskInfo
from owmesos.mesos.offer_resources import Cutter
from owmesos.mesos.scheduler.blame import Trials
from owmesos.mesos.scheduler.effects import SendCall
from owmesos.mesos.scheduler.launches import LaunchRecord, LaunchShape
from owmesos.mesos.scheduler.lifecycle import State, Trigger
from owmesos.mesos.scheduler.offer_book import OfferRecord, OfferState
from owmesos.mesos.scheduler.state import AsideAgent, SchedulerState, SchedulerTimer
from owmesos.mesos.scheduler.task_info import decoded, executor_ask, finish
from owmesos.resources import NOTHING, Resources, total

SLICE = 250
"""Launches that are placed, or accepted, in one step: 15 ms with what the shell does for them."""


class Matching:
    """Decides on the state, and writes into it what it decides."""

    # Of the present step.
    _trials: Trials
    _now: float
    _left: int  # of its slice

    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        self._aside_ended_at = float("-inf")
        self._pass: Iterator[None] | None = None  # the one under way, if it takes more than one step
        self._step = 0
        self._reserved = False  # in the pass: room that is not in hand

    def run(self, now: float) -> bool:
        """Match what waits, accept, decline the rest. True when room was reserved that is not in hand.

        A long pass goes on in the next step, which is due at once, and another one follows it: it saw nothing of what
        came meanwhile. Until then nothing is declined.
        """
        state = self._state
        reserved = False
        if state.queue:
            self._trials, self._now, self._left = Trials(state, now), now, SLICE
            self._step += 1
            self._aside(now)
            whole = self._pass is None
            ended = self._go_on()
            if self._trials.again_at is not None:
                state.timers.set(SchedulerTimer.TRIALS, self._trials.again_at)
            reserved = ended and self._reserved
            if not ended or not whole:
                state.timers.set(SchedulerTimer.MATCH, now)
                return reserved
        else:
            self._pass = None
            if state.set_aside is not None:
                self.end_aside(now)
        if state.offers.outstanding:
            self._decline(now)
        return reserved

    def _go_on(self) -> bool:
        """One slice of the pass. Whether it was the last one."""
        under_way, self._pass = self._pass if self._pass is not None else self._match(), None
        for _ in under_way:
            self._pass = under_way
            return False
        return True

    def _match(self) -> Iterator[None]:
        """A whole pass, which stops at the end of each slice."""
        self._reserved = False
        yield from self._accept_reserved()
        yield from self._accept_held()
        yield from self._reserve_remembered()

    def _slice_ends(self, launches: int = 1) -> bool:
        """So many were dealt with."""
        self._left -= launches
        return self._left <= 0

    # -- from offers in hand

    def _accept_reserved(self) -> Iterator[None]:
        """Accept the launches that have room reserved, where an offer now covers it."""
        state, now = self._state, self._now
        all_may_stay = self._all_may_stay()
        if not state.offers.outstanding and all_may_stay:
            return
        chosen: dict[Slot, list[LaunchRecord]] = {}
        full: set[Slot] = set()  # their ACCEPT holds a launch that must be alone in it
        for reservation in list(state.ledger.reservations.reserved.values()):
            record, slot = state.launches[reservation.launch_id], reservation.slot
            if not all_may_stay and not self._may_start(record, slot.agent_id):
                state.refuse_start(record, now, f"agent {slot.agent_id} gets no starts now")
                self._trials.ends(record)
            elif slot in full or (record.alone and slot in chosen):
                continue
            elif record.ask.fits(state.ledger.held(slot, but=record.id)):
                chosen.setdefault(slot, []).append(record)
                if record.alone:
                    full.add(slot)
        for records in chosen.values():
            records.sort(key=lambda record: record.place)
        yield from self._accept_all(chosen, self._step)

    def _may_start(self, record: LaunchRecord, agent_id: str) -> bool:
        trials = self._trials
        if agent_id in self._avoided(record):
            return False
        if trials.lets_through(record):
            return True
        barred = (trials.avoids(record).never, trials.full(record))
        return not any(agent_id in each for each in barred) and not trials.rests(record)

    def _all_may_stay(self) -> bool:
        """Whether there is nothing for which a start could lose the room that is reserved for it."""
        state = self._state
        kept = state.set_aside is not None or state.pool_holds is not None
        return state.backoff.calm and not state.capacity.closed and not kept

    def _accept_held(self) -> Iterator[None]:
        """Accept offers in hand for all that waits, in order."""
        state = self._state
        if not state.offers.outstanding:
            return
        held, begun = state.synced_held(), self._step
        chosen: dict[Slot, list[LaunchRecord]] = {}
        full: set[str] = set()  # agents whose ACCEPT must hold one launch only
        for record, skipped in self._in_order():
            avoid: Container[str] = self._avoided(record)
            if full or record.alone:
                avoid = Either(avoid, {*full, *(s.agent_id for s in chosen if record.alone)})
            slot = self._find(held, record, avoid)
            if slot is None:
                if not record.alone and not self._trials.suspects(record):
                    skipped.add(record.shape)
                continue
            if record.state is State.RESERVED:
                state.ledger.release(record.id)
            else:
                record.step(Trigger.RESERVED, self._now, f"fits offers of agent {slot.agent_id}")
            self._reserve(record, slot)
            chosen.setdefault(slot, []).append(record)
            if record.alone:
                full.add(slot.agent_id)
            if self._slice_ends():
                yield
            held = state.synced_held()
        yield from self._accept_all(chosen, begun)

    def _accept_all(self, chosen: dict[Slot, list[LaunchRecord]], begun: int) -> Iterator[None]:
        """Accept the offers of each slot for the launches that were chosen for it from the step `begun` on."""
        for slot, records in chosen.items():
            if self._step > begun:
                records = [record for record in records if self._still_fits(record, slot)]
            if records:
                self._accept(slot, records, self._now)
            if self._slice_ends(len(records)):
                yield

    def _still_fits(self, record: LaunchRecord, slot: Slot) -> bool:
        """Whether the launch, which was chosen in an earlier step, has its room reserved and offered there."""
        reservation = self._state.ledger.reservations.by_launch.get(record.id)
        return (
            reservation is not None
            and reservation.state is ReservationState.RESERVED
            and reservation.slot == slot
            and self._may_start(record, slot.agent_id)
            and record.ask.fits(self._state.ledger.held(slot, but=record.id))
        )

    def _accept(self, slot: Slot, records: list[LaunchRecord], now: float) -> None:
        """Send one ACCEPT of all the slot's offers: intents are stored first, what is left is remembered."""
        state = self._state
        offers = state.offers.on(slot)
        cutter = Cutter(offer.pieces for offer in offers)
        infos, taken = [], NOTHING
        for record in records:
            info, resources = self._cut(record, offers, cutter, now)
            infos.append(info)
            taken = taken.plus(resources)
            record.step(Trigger.ACCEPTED, now, f"ACCEPT on agent {slot.agent_id} as {record.task_id}")
            state.queue.remove(record)
            state.task_lives(record)
            state.timers.set((SchedulerTimer.CONFIRM, record.id), now + state.settings.confirm_after)
            state.store(record)
        refuse = state.settings.refuse_seconds
        state.offers.accept(slot, taken, now, filter_s=refuse, launch_ids=tuple(record.id for record in records))
        operation = Operation("LAUNCH", launch=LaunchOperation(infos))
        accept = Accept([ID(offer.offer_id) for offer in offers], [operation], Filters(refuse))
        state.emit(SendCall(accept, accepted_at=now))

    def _cut(
        self, record: LaunchRecord, offers: list[OfferRecord], cutter: Cutter, now: float
    ) -> tuple[TaskInfo, Resources]:
        """Make a new attempt's TaskInfo, and what it takes of the offers, including the executor's share."""
        state, slot = self._state, offers[0].slot
        info = decoded(record.template)
        executor = executor_ask(info)
        record.attempts += 1
        record.task_id = f"{record.id}.{record.attempts}"
        record.agent_id, record.role = slot
        record.hostname, record.offer_ids = offers[0].hostname, tuple(offer.offer_id for offer in offers)
        record.accepted_at = now
        record.reason = record.message = None
        place, above = state.ports_from(slot.agent_id, record.task_id, now)
        own, named = cutter.cut(record.ask.minus(executor), place, ports_above=above)
        share, share_named = cutter.cut(executor) if info.executor is not None else (NOTHING, [])
        record.resources = own.plus(share)
        state.ports_given(slot.agent_id, own.ports)
        state.ledger.cut(record.id, record.resources, record.task_id)
        finish(info, record, named, share_named)
        return info, record.resources

    def _decline(self, now: float) -> None:
        """Decline every offer in hand but those of the agent that is set aside, in one call."""
        state = self._state
        aside = state.set_aside.agent_id if state.set_aside is not None else None
        refuse = state.settings.refuse_seconds
        declined = []
        for offer_id, offer in list(state.offers.outstanding.items()):
            if offer.slot.agent_id in (aside, state.pool_holds):
                continue
            why = state.why_declined(offer.slot.agent_id)
            state.offers.end(offer_id, OfferState.DECLINED, now, reason=why, filter_s=refuse)
            declined.append(ID(offer_id))
        if declined:
            state.send(Decline(declined, Filters(refuse)))

    # -- on remembered pieces

    def _reserve_remembered(self) -> Iterator[None]:
        """Reserve remembered room for what waits, in order."""
        state = self._state
        room = state.capacity.index()
        for record, skipped in self._in_order():
            if record.state is not State.PENDING:
                continue
            slot = self._find(room, record, self._avoided(record))
            if slot is None:
                if not self._trials.suspects(record):
                    skipped.add(record.shape)
                continue
            record.step(
                Trigger.RESERVED, self._now, f"room is remembered on agent {slot.agent_id}; waiting for its offer"
            )
            self._reserve(record, slot)
            self._reserved = True
            if self._slice_ends():
                yield
            room = state.capacity.index()

    # -- where something failed before

    def _find(self, index: Placement, record: LaunchRecord, avoid: Container[str]) -> Slot | None:
        """The slot that the launch fits. One that failed, or an agent where others did, is tried with care."""
        if self._trials.lets_through(record):
            return _search(index, record, avoid)
        if self._trials.rests(record):
            return None
        full = self._trials.full(record)
        for avoided in self._trials.avoids(record).choices:
            slot = _search(index, record, Either(avoid, Either(avoided, full)))
            if slot is not None:
                return slot
            if self._is_there(record, Either(avoid, avoided)):
                return None
        return None

    def _is_there(self, record: LaunchRecord, avoid: Container[str]) -> bool:
        """Whether there is room, though no offer of it is in hand, or enough starts are under way there."""
        reservation = self._state.ledger.reservations.by_launch.get(record.id)
        if reservation is not None and reservation.slot.agent_id not in avoid:
            return True
        return _search(self._state.capacity.index(), record, avoid) is not None

    def _reserve(self, record: LaunchRecord, slot: Slot) -> None:
        self._state.ledger.reserve(record.id, slot, record.ask, self._now)
        self._trials.begins(record, slot.agent_id)

    # -- the agent that is set aside

    def _in_order(self) -> Iterator[tuple[LaunchRecord, set[LaunchShape]]]:
        """What waits, in order; but the favoured one first, for it alone may go where others of its shape may not."""
        state = self._state
        favoured = state.launches.get(state.set_aside.launch_id) if state.set_aside is not None else None
        if favoured is not None and favoured.state.waiting:
            yield favoured, set()
        for record, skipped in state.queue.in_order():
            if record is not favoured:
                yield record, skipped

    def _avoided(self, record: LaunchRecord) -> Container[str]:
        """Agents that get no starts, and those that are kept for another launch or for the pool's head."""
        state = self._state
        kept = set()
        if state.set_aside is not None and state.set_aside.launch_id != record.id:
            kept.add(state.set_aside.agent_id)
        if state.pool_holds is not None:
            reservation = state.ledger.reservations.by_launch.get(record.id) if record.managed else None
            if reservation is None or reservation.slot.agent_id != state.pool_holds:  # else the pool chose it itself
                kept.add(state.pool_holds)
        return Either(state.capacity.closed, kept) if kept else state.capacity.closed

    def _head(self) -> LaunchRecord | None:
        """The first launch that waits for room. One that cannot start keeps nothing from others."""
        queue, backoff = self._state.queue, self._state.backoff
        if backoff.calm:
            return queue.head()
        return next((record for record in queue if backoff.at_fault(record.launch.start_key) is None), None)

    def _aside(self, now: float) -> None:
        """Keep the time at which the head has waited long enough; end what is not needed any more."""
        state = self._state
        aside = state.set_aside
        if aside is not None:
            favoured = state.launches.get(aside.launch_id)
            if favoured is None or not favoured.state.waiting or aside.agent_id in state.capacity.closed:
                self.end_aside(now)
        head = self._head()
        if head is not None and state.set_aside is None:
            state.timers.set_earliest(SchedulerTimer.SET_ASIDE, self._set_aside_at(head))

    def _set_aside_at(self, head: LaunchRecord) -> float:
        """When `head` has waited long enough, in seconds since the epoch."""
        return max(head.queued_at, self._aside_ended_at) + self._state.settings.set_aside_after

    def set_aside(self, now: float) -> None:
        """Set aside the agent that lacks least for the head, which has waited long, if any could ever hold it."""
        state = self._state
        head = self._head()
        if head is None or state.set_aside is not None:
            return
        if now < self._set_aside_at(head):
            state.timers.set(SchedulerTimer.SET_ASIDE, self._set_aside_at(head))
            return
        agent_id = self._least_lacking(head, now)
        if agent_id is None:
            head.add_story_line(now, "no agent could hold it even without our own tasks: no agent is set aside")
            self._aside_ended_at = now
            return
        self._keep(AsideAgent(head.id, agent_id))
        state.timers.set(SchedulerTimer.SET_ASIDE_ENDS, now + state.settings.set_aside_for)
        head.add_story_line(now, f"agent {agent_id} is set aside for it")
        for reservation in list(state.ledger.reservations.reserved.values()):
            if reservation.slot.agent_id == agent_id:
                state.refuse_start(
                    state.launches[reservation.launch_id], now, f"agent {agent_id} is set aside for {head.id}"
                )

    def end_aside(self, now: float) -> None:
        """End setting aside: the agent is everybody's again."""
        state = self._state
        if state.set_aside is None:
            return
        record = state.launches.get(state.set_aside.launch_id)
        if record is not None and record.state.waiting:
            record.add_story_line(now, f"agent {state.set_aside.agent_id} is no longer set aside for it")
        self._keep(None)
        self._aside_ended_at = now
        state.timers.cancel(SchedulerTimer.SET_ASIDE_ENDS)

    def _keep(self, aside: AsideAgent | None) -> None:
        """The pool is told too: a start that it decides there would be refused, and decided again without end."""
        state, before = self._state, self._state.set_aside
        state.set_aside = aside
        state.capacity.kept = aside.agent_id if aside is not None else None
        for each in (before, aside):
            agent = state.ledger.agents.get(each.agent_id) if each is not None else None
            for account in agent.accounts if agent is not None else ():
                state.ledger.mark(account.slot)

    def _least_lacking(self, head: LaunchRecord, now: float) -> str | None:
        state = self._state
        found: list[tuple[int, str]] = []
        trials = Trials(state, now)
        avoided = Either(state.capacity.closed, trials.avoids(head).last_choice | trials.full(head))
        for agent_id, agent in state.ledger.agents.items():
            if agent_id in avoided or not all(c.matches(agent.hostname, agent.attributes) for c in head.constraints):
                continue
            accounts = [account for account in agent.accounts if head.launch.role in (None, account.slot.role)]
            free = total(account.free() for account in accounts).minus(Resources(*state.ledger.buffer_on(agent)))
            if head.ask.fits(free.plus(state.used.get(agent_id, NOTHING))):
                found.append((max(0, head.ask.milli_mem - free.milli_mem), agent_id))
        return min(found)[1] if found else None


def _search(index: Placement, record: LaunchRecord, avoid: Container[str]) -> Slot | None:
    roles = None if record.launch.role is None else (record.launch.role,)
    return index.find(record.ask, record.constraints, avoid=avoid, roles=roles)

"""Which launch goes where, and what becomes of the offers: the end of every step.

Theory of operation. First, launches whose room was promised on remembered pieces are accepted as soon as an offer
covers them. Then every waiting launch, in order, looks among the offers in hand; what still waits is promised room on
remembered pieces, so that a burst does not see the same room a hundred times. At last all offers that nobody needs
are declined with a long filter: a REVIVE brings them back in a millisecond, so hoarding buys nothing.

One agent may be set aside for a head that has waited long: nobody else starts there, and its offers are held, since
parts that are freed one by one would be lost to a neighbour.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from owmesos.core.cluster_capacity import Either
from owmesos.core.launches import LaunchRecord, Shape
from owmesos.core.lifecycle import State, Trigger
from owmesos.core.placement import Slot
from owmesos.core.reservations import ReservationState
from owmesos.mesos.books import Books, SetAside
from owmesos.mesos.messages import ID, Accept, Decline, Filters, Launch, Operation
from owmesos.mesos.offers import OfferState
from owmesos.mesos.pieces import Cutter
from owmesos.mesos.task_info import executor_ask, finished
from owmesos.resources import NOTHING, Ask, Resources


class Matching:
    """Decides on the books, and writes into them what it decides."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._aside_ended_at = float("-inf")

    def run(self, now: float) -> bool:
        """Match what waits, accept, decline the rest. True when a launch was promised room that is not in hand."""
        books = self._books
        promised = False
        if books.queue:
            self._aside(now)
            self._accept_promised(now)
            self._accept_held(now)
            promised = self._promise(now)
        elif books.set_aside is not None:
            self.end_aside(now)
        if books.offers.outstanding:
            self._decline(now)
        return promised

    # -- from offers in hand

    def _accept_promised(self, now: float) -> None:
        """Those that have room reserved, where an offer now covers it."""
        books = self._books
        chosen: dict[Slot, list[LaunchRecord]] = {}
        full: set[Slot] = set()  # their ACCEPT holds a launch that must be alone in it
        for reservation in list(books.ledger.reservations.by_launch.values()):
            if reservation.state is not ReservationState.DECIDED:
                continue
            record, slot = books.launches[reservation.launch_id], reservation.slot
            if slot.agent_id in self._avoided(record):
                books.unpromise(record, now, f"agent {slot.agent_id} gets no starts now")
            elif slot in full or (record.alone and slot in chosen):
                continue
            elif record.ask.fits(books.ledger.held(slot, but=record.id)):
                chosen.setdefault(slot, []).append(record)
                if record.alone:
                    full.add(slot)
        for slot, records in chosen.items():
            self._accept(slot, sorted(records, key=lambda record: record.place), now)

    def _accept_held(self, now: float) -> None:
        """All that wait, in order, among the offers in hand."""
        books = self._books
        if not books.offers.outstanding:
            return
        held = books.synced_held()
        chosen: dict[Slot, list[LaunchRecord]] = {}
        full: set[str] = set()  # agents whose ACCEPT must hold one launch only
        for record, skipped in self._in_order():
            avoid: Container[str] = self._avoided(record)
            if full or record.alone:
                avoid = Either(avoid, {*full, *(s.agent_id for s in chosen if record.alone)})
            slot = held.find(record.ask, record.constraints, avoid=avoid, roles=_roles(record))
            if slot is None:
                if not record.alone:
                    skipped.add(record.shape)
                continue
            if record.state is State.RESERVED:
                books.ledger.release(record.id)
            else:
                record.step(Trigger.MATCHED, now, f"fits offers of agent {slot.agent_id}")
            books.ledger.reserve(record.id, slot, record.ask, now)
            held = books.synced_held()
            chosen.setdefault(slot, []).append(record)
            if record.alone:
                full.add(slot.agent_id)
        for slot, records in chosen.items():
            self._accept(slot, records, now)

    def _accept(self, slot: Slot, records: list[LaunchRecord], now: float) -> None:
        """One ACCEPT of all the slot's offers: intents are stored first, what is left is remembered."""
        books = self._books
        offers = [books.offers.outstanding[offer_id] for offer_id in books.ledger.offers_of(slot)]
        offer_ids = tuple(offer.offer_id for offer in offers)
        cutter = Cutter(offer.pieces for offer in offers)
        infos, taken = [], NOTHING
        for record in records:
            extra = executor_ask(record.template)
            own = record.ask if extra is None else record.ask.minus(extra)
            resources, named = cutter.cut(own)
            named_extra = cutter.cut(extra)[1] if extra is not None and extra != Ask() else []
            if extra is not None:
                resources = Resources(*_scalars(record.ask), resources.ports)
            taken = taken.plus(resources)
            record.attempts += 1
            record.task_id = f"{record.id}.{record.attempts}"
            record.agent_id, record.role = slot
            record.hostname, record.resources, record.offer_ids = offers[0].hostname, resources, offer_ids
            record.accepted_at = now
            record.reason = record.message = None
            books.by_task[record.task_id] = record.id
            books.ledger.cut(record.id, resources, record.task_id)
            infos.append(
                finished(
                    record.template,
                    launch_id=record.id,
                    task_id=record.task_id,
                    agent_id=slot.agent_id,
                    hostname=offers[0].hostname,
                    ports=resources.ports,
                    resources=named,
                    executor_resources=named_extra,
                    container_ports=record.launch.container_ports,
                )
            )
            record.step(Trigger.ACCEPTED, now, f"ACCEPT on agent {slot.agent_id} as {record.task_id}")
            books.queue.remove(record)
            books.task_lives(record)
            books.timers.set(("confirm", record.id), now + books.settings.confirm_after)
            books.store(record)
        launch_ids = tuple(record.id for record in records)
        refuse = books.settings.refuse_seconds
        books.ledger.accept(offer_ids, taken, now, offer_ids[0])
        for offer_id in offer_ids:
            books.offers.end(
                offer_id, OfferState.ACCEPTED, now, reason="launch", filter_s=refuse, launch_ids=launch_ids
            )
        operation = Operation("LAUNCH", launch=Launch(infos))
        books.send(Accept([ID(offer_id) for offer_id in offer_ids], [operation], Filters(refuse)))

    def _decline(self, now: float) -> None:
        """Every offer in hand but those of the agent that is set aside, in one call."""
        books = self._books
        aside = books.set_aside.agent_id if books.set_aside is not None else None
        reason = "nothing that waits fits" if books.anything_waits else "nothing waits"
        refuse = books.settings.refuse_seconds
        declined = []
        for offer_id, offer in list(books.offers.outstanding.items()):
            if offer.slot.agent_id in (aside, books.pool_holds):
                continue
            books.ledger.let_go(offer_id, now)
            why = "its agent gets no starts" if offer.slot.agent_id in books.capacity.closed else reason
            books.offers.end(offer_id, OfferState.DECLINED, now, reason=why, filter_s=refuse)
            declined.append(ID(offer_id))
        if declined:
            books.send(Decline(declined, Filters(refuse)))

    # -- on remembered pieces

    def _promise(self, now: float) -> bool:
        """Reserve remembered room for what waits, in order. True when any was."""
        books = self._books
        room = books.capacity.index()
        promised = False
        for record, skipped in self._in_order():
            if record.state is not State.PENDING:
                continue
            slot = room.find(record.ask, record.constraints, avoid=self._avoided(record), roles=_roles(record))
            if slot is None:
                skipped.add(record.shape)
                continue
            record.step(Trigger.MATCHED, now, f"room is remembered on agent {slot.agent_id}; waiting for its offer")
            books.ledger.reserve(record.id, slot, record.ask, now)
            room = books.capacity.index()
            promised = True
        return promised

    # -- the agent that is set aside

    def _in_order(self) -> Iterator[tuple[LaunchRecord, set[Shape]]]:
        """What waits, in order; but the favoured one first, for it alone may go where others of its shape may not."""
        books = self._books
        favoured = books.launches.get(books.set_aside.launch_id) if books.set_aside is not None else None
        if favoured is not None and favoured.state.waiting:
            yield favoured, set()
        for record, skipped in books.queue.in_order():
            if record is not favoured:
                yield record, skipped

    def _avoided(self, record: LaunchRecord) -> Container[str]:
        """Agents that get no starts, and those that are kept for another launch or for the pool's head."""
        books = self._books
        kept = set()
        if books.set_aside is not None and books.set_aside.launch_id != record.id:
            kept.add(books.set_aside.agent_id)
        if books.pool_holds is not None and not self._decided_there(record, books.pool_holds):
            kept.add(books.pool_holds)
        return Either(books.capacity.closed, kept) if kept else books.capacity.closed

    def _decided_there(self, record: LaunchRecord, agent_id: str) -> bool:
        """The pool itself chose the agent for it."""
        reservation = self._books.ledger.reservations.get(record.id)
        return record.managed and reservation is not None and reservation.slot.agent_id == agent_id

    def _aside(self, now: float) -> None:
        """Keep the time at which the head has waited long enough; end what is not needed any more."""
        books = self._books
        aside = books.set_aside
        if aside is not None:
            favoured = books.launches.get(aside.launch_id)
            if favoured is None or not favoured.state.waiting or aside.agent_id in books.capacity.closed:
                self.end_aside(now)
        head = books.queue.head()
        if head is not None and books.set_aside is None:
            since = max(head.queued_at, self._aside_ended_at)
            books.timers.set_earliest("set aside", since + books.settings.set_aside_after)

    def set_aside(self, now: float) -> None:
        """The head has waited long: choose the agent that lacks least, if one could ever hold it."""
        books = self._books
        head = books.queue.head()
        if head is None or books.set_aside is not None:
            return
        since = max(head.queued_at, self._aside_ended_at)
        if now < since + books.settings.set_aside_after:
            books.timers.set("set aside", since + books.settings.set_aside_after)
            return
        agent_id = self._least_lacking(head)
        if agent_id is None:
            head.tell(now, "no agent could hold it even without our own tasks: none is set aside")
            self._aside_ended_at = now
            return
        books.set_aside = SetAside(head.id, agent_id, now + books.settings.set_aside_for)
        books.timers.set("set aside ends", books.set_aside.until)
        head.tell(now, f"agent {agent_id} is set aside for it")
        for reservation in list(books.ledger.reservations.by_launch.values()):
            if reservation.state is ReservationState.DECIDED and reservation.slot.agent_id == agent_id:
                books.unpromise(
                    books.launches[reservation.launch_id], now, f"agent {agent_id} is set aside for {head.id}"
                )

    def end_aside(self, now: float) -> None:
        """Its agent is everybody's again."""
        books = self._books
        if books.set_aside is None:
            return
        record = books.launches.get(books.set_aside.launch_id)
        if record is not None and record.state.waiting:
            record.tell(now, f"agent {books.set_aside.agent_id} is no longer set aside for it")
        books.set_aside = None
        self._aside_ended_at = now
        books.timers.cancel("set aside ends")

    def _least_lacking(self, head: LaunchRecord) -> str | None:
        books = self._books
        best: tuple[int, str] | None = None
        for agent_id, agent in books.ledger.agents.items():
            if agent_id in books.capacity.closed or not all(
                c.matches(agent.hostname, agent.attributes) for c in head.constraints
            ):
                continue
            free = NOTHING
            for account in agent.accounts:
                if head.launch.role in (None, account.slot.role):
                    free = free.plus(account.free())
            cpus, mem = books.ledger.buffer_on(agent)
            could = free.plus(books.used.get(agent_id, NOTHING))
            could = Resources(
                could.milli_cpus - cpus,
                could.milli_mem - mem,
                could.milli_disk,
                could.milli_gpus,
                could.ports,
            )
            if head.ask.fits(could):
                rank = (max(0, head.ask.milli_mem - (free.milli_mem - mem)), agent_id)
                best = rank if best is None else min(best, rank)
        return None if best is None else best[1]


def _roles(record: LaunchRecord) -> Container[str] | None:
    return None if record.launch.role is None else (record.launch.role,)


def _scalars(ask: Ask) -> tuple[int, int, int, int]:
    return ask.milli_cpus, ask.milli_mem, ask.milli_disk, ask.milli_gpus

"""What the master and the operator API say of agents: offers, rescinded ones, windows of maintenance, losses, totals.

An agent is its id; a new id at an address that another had is a new agent, and the other is gone. A launch that is
larger than any agent is refused at once where the totals are known: it would wait for ever.
"""

from __future__ import annotations

from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State, Trigger
from owmesos.core.placement import Slot
from owmesos.mesos.books import Books
from owmesos.mesos.effects import AskAgents
from owmesos.mesos.events import AgentsSeen
from owmesos.mesos.messages import (
    AcceptInverseOffers,
    DeclineInverseOffers,
    Failure,
    Filters,
    InverseOffers,
    Offer,
    Offers,
    Rescind,
    Unavailability,
)
from owmesos.mesos.offers import OfferState, address_of, attributes_of, role_of
from owmesos.mesos.questions import Questions
from owmesos.mesos.revival import Revival
from owmesos.mesos.statuses import Statuses
from owmesos.resources import Ask, Resources, plainly

OVERSIZED = "OVERSIZED"


class Intake:
    """Writes into the books what is seen of agents."""

    def __init__(self, books: Books, revival: Revival, statuses: Statuses, questions: Questions) -> None:
        self._books = books
        self._revival = revival
        self._statuses = statuses
        self._questions = questions
        self._measured: list[Resources] = []  # the agents' totals, as the operator API last showed them
        self._to_measure: set[str] = set()  # launches that wait for that, to know if they are larger than any agent

    def offers(self, event: Offers, now: float) -> None:
        self._revival.offers_came()
        for offer in event.offers:
            self._offer(offer, now)

    def _offer(self, offer: Offer, now: float) -> None:
        books = self._books
        ledger = books.ledger
        agent_id = offer.agent_id.value
        agent = ledger.agents.get(agent_id)
        known = agent is not None
        if agent is None:
            agent = ledger.agent(agent_id)
        attributes = attributes_of(offer.attributes)
        if agent.attributes is not attributes or agent.hostname != offer.hostname or not known:
            agent.hostname, agent.attributes = offer.hostname, attributes
            books.describe(agent)
        address = address_of(offer)
        if address and address != agent.address:
            former = ledger.moved_in(agent, address)
            if former is not None:
                books.lose_agent(former, now)
        unavailability = _window(offer.unavailability) if offer.unavailability is not None else None
        was_gone = agent.gone_at is not None
        record = books.offers.add(offer, role_of(offer), now)
        ledger.offer(record.slot, record.offer_id, record.resources, now)
        if unavailability != agent.unavailability or was_gone:
            agent.unavailability = unavailability
            books.judge(agent)
        if ledger.reservations.any_stops:
            for stop in ledger.reservations.stops_on(agent_id):
                if stop.ended_at is not None:
                    ledger.release(stop.launch_id)
        if self._questions.any_cut_off:
            self._questions.agent_offers(agent_id, now)

    def rescind(self, event: Rescind, now: float) -> None:
        books = self._books
        offer_id = event.offer_id.value
        if offer_id in books.offers.outstanding:
            books.lose_offer(offer_id, now, "rescinded")
            return
        accepted = books.offers.accepted(offer_id)
        if accepted is not None:  # it raced our ACCEPT: the launch waits for its update
            accepted.state = OfferState.RESCINDED
            for launch_id in accepted.launch_ids:
                record = books.launches.get(launch_id)
                if record is not None and record.state is State.SUBMITTED and offer_id in record.offer_ids:
                    books.ledger.forget_leftover(accepted.slot, record.offer_ids[0])
                    record.tell(now, f"offer {offer_id} was rescinded after its ACCEPT")

    def inverse_offers(self, event: InverseOffers, now: float) -> None:
        """Always answered: yes where nothing of ours runs, else no, for we cannot promise that it ends in time."""
        books = self._books
        filters = Filters(books.settings.inverse_filter)
        for inverse in event.inverse_offers:
            agent_id = inverse.agent_id.value if inverse.agent_id is not None else None
            busy = agent_id in books.used if agent_id is not None else bool(books.used)
            call = DeclineInverseOffers if busy else AcceptInverseOffers
            books.send(call([inverse.id], filters))
            if agent_id is not None and agent_id in books.ledger.agents:
                agent = books.ledger.agent(agent_id)
                agent.unavailability = _window(inverse.unavailability)
                books.judge(agent)

    def failure(self, event: Failure, now: float) -> None:
        if event.agent_id is not None and event.executor_id is None:
            self._books.lose_agent(event.agent_id.value, now)

    def agents_seen(self, event: AgentsSeen, now: float) -> None:
        books = self._books
        if event.agents is None:
            books.note("info", f"the agents' totals are not known: {event.reason}")
            self._to_measure.clear()
            return
        self._measured = [seen.total for seen in event.agents]
        for seen in event.agents:
            agent = books.meet(Slot(seen.agent_id, books.info.roles[0]), seen.hostname)
            agent.total = seen.total
            for account in agent.accounts:
                books.ledger.mark(account.slot)
        for launch_id in sorted(self._to_measure):
            record = books.launches.get(launch_id)
            if record is not None and record.state.waiting and self._measured:
                self._refuse_oversized(record, now)
        self._to_measure.clear()

    # -- launches larger than any agent

    def measure(self, record: LaunchRecord) -> None:
        """Where the last known totals could not hold the launch, ask for new ones before refusing it."""
        if not self._fits_some_agent(record.ask):
            if not self._to_measure:  # one answer serves all that wait for it
                self._books.emit(AskAgents())
            self._to_measure.add(record.id)

    def _fits_some_agent(self, ask: Ask) -> bool:
        """As far as totals are known; the buffer counts."""
        return any(self._could_hold(total, ask) for total in self._measured)

    def _could_hold(self, total: Resources, ask: Ask) -> bool:
        cpus, mem = self._books.settings.buffer.on(total.milli_mem)
        return ask.fits(
            Resources(
                total.milli_cpus - cpus,
                total.milli_mem - mem,
                total.milli_disk,
                total.milli_gpus,
                total.ports,
            )
        )

    def _refuse_oversized(self, record: LaunchRecord, now: float) -> None:
        if self._fits_some_agent(record.ask):
            return
        books, ask = self._books, record.ask
        largest = max(self._measured, key=lambda total: (total.milli_mem, total.milli_cpus))
        cpus, mem = books.settings.buffer.on(largest.milli_mem)
        given = Ask(
            largest.milli_cpus - cpus,
            largest.milli_mem - mem,
            largest.milli_disk,
            largest.milli_gpus,
            len(largest.ports),
        )
        text = (
            f"larger than any agent: it asks for {_amounts(ask)}; the largest of {len(self._measured)} agents can give"
            f" {_amounts(given)}"
        )
        books.queue.remove(record)
        books.ledger.release(record.id)
        record.step(Trigger.REFUSED, now, text)
        self._statuses.ended(record, OVERSIZED, text, now)


def _window(unavailability: Unavailability) -> tuple[float, float | None]:
    """Its start and length in seconds; without a length it has no end."""
    duration = unavailability.duration
    return unavailability.start.nanoseconds / 1e9, None if duration is None else duration.nanoseconds / 1e9


def _amounts(amount: Ask) -> str:
    return (
        f"{plainly(amount.milli_cpus)} cpus, {plainly(amount.milli_mem)} MB, {plainly(amount.milli_disk)} MB disk,"
        f" {amount.ports} ports"
    )

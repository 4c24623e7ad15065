"""What the master and the operator API say of agents: offers, rescinded ones, windows of maintenance, losses, totals.

An agent is its id; a new id at an address that another had is a new agent, and the other is gone. A launch that is
larger than any agent is refused at once where the totals are known: it would wait for ever.
"""

from __future__ import annotations

import math

from owmesos.core.ledger import LedgerNode
from owmesos.core.placement import Slot
from owmesos.core.texts import check_text
from owmesos.errors import InvalidInput
from owmesos.mesos import messages as v1
from owmesos.mesos.offer_resources import TaggedResources, pieces_of, unusable_ports
from owmesos.mesos.scheduler.effects import AskAgents
from owmesos.mesos.scheduler.events import AgentsSeen
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State, Trigger
from owmesos.mesos.scheduler.offer_book import OfferState, address_of, attributes_of
from owmesos.mesos.scheduler.reconciliation import Reconciliation
from owmesos.mesos.scheduler.revive import SuppressReviveHandler
from owmesos.mesos.scheduler.state import SchedulerState, SchedulerTimer
from owmesos.mesos.scheduler.task_updates import TaskUpdates
from owmesos.resources import MAX_PORT, Ask, Resources, plainly

OVERSIZED = "OVERSIZED"
JOINED = 1.0
"""Seconds from the first offer of an agent without a known total until totals are asked for: agents join in groups."""
ASK_EVERY = 30.0
"""Seconds between two of these requests, since the answer lists all agents."""
MAX_NAME = 1024
"""Bytes of an agent's id or hostname."""


class Agents:
    """Writes into the state what is seen of agents."""

    def __init__(
        self,
        state: SchedulerState,
        revive: SuppressReviveHandler,
        task_updates: TaskUpdates,
        reconciliation: Reconciliation,
    ) -> None:
        self._state = state
        self._revive = revive
        self._task_updates = task_updates
        self._reconciliation = reconciliation
        self._measured: list[Resources] = []  # what each agent has beside the buffer, as last shown by the operator API
        self._to_measure: list[LaunchRecord] = []  # launches that wait for that
        self._joined: set[str] = set()  # agents that the last answer did not have, and for which none was asked yet
        self._asked_at = -math.inf  # for those that joined

    def offers(self, event: v1.Offers, now: float) -> None:
        """One that cannot be used is declined; else the master would keep it for us, for ever. Where nobody wants any,
        all are declined here, and none is ever in hand.
        """
        self._revive.offers_came()
        state = self._state
        outstanding = state.offers.outstanding
        refuse = state.settings.refuse_seconds
        unwanted = state.offers_are_unwanted(now)
        declined: dict[str, v1.ID] = {}
        unusable: dict[str, v1.ID] = {}
        agent_ids: set[str] = set()
        shown: set[str] = set()  # the agents of those that are declined because nobody wants them
        for offer in event.offers:  # once: each is decoded as it is reached
            offer_id, agent_id = offer.id.value, offer.agent_id.value
            agent_ids.add(agent_id)
            if offer_id in declined or offer_id in outstanding:
                self._state.note_once(("offer twice", ""), f"offer {offer_id} came twice: the first one counts")
                continue
            try:
                agent, pieces = self._read(offer, now)
            except InvalidInput as error:
                self._cannot_use(offer.agent_id, str(error))
                unusable[offer_id] = offer.id
                continue
            was_gone = agent.gone_at is not None
            if unwanted:
                record = state.offers.decline(offer, pieces, now, refuse, more=agent_id in shown)
                declined[offer_id] = offer.id
                shown.add(agent_id)
                self._offered(agent, offer, now, was_gone=was_gone)
                record.reason = state.why_declined(agent_id)
            else:
                state.offers.add(offer, pieces, now)
                self._offered(agent, offer, now, was_gone=was_gone)
        for unreadable in event.unreadable:
            self._cannot_use(unreadable.agent_id, unreadable.reason)
            if unreadable.id.value not in outstanding:
                unusable[unreadable.id.value] = unreadable.id
        self._reconciliation.agents_offer(agent_ids, now)
        declined.update(unusable)
        if declined:
            state.send(v1.Decline(list(declined.values()), v1.Filters(refuse)))

    def _cannot_use(self, agent_id: v1.ID | None, reason: str) -> None:
        name = agent_id.value if agent_id is not None else "?"
        self._state.note_once(
            ("offer", name), f"offers of agent {name[:256]} cannot be used, and are declined: {reason}"
        )

    def _read(self, offer: v1.Offer, now: float) -> tuple[LedgerNode, TaggedResources]:
        """The offer's agent, with what it says of it, and what it holds.

        Raises InvalidInput, and then nothing has changed.
        """
        state = self._state
        ledger = state.ledger
        agent_id = offer.agent_id.value
        agent = ledger.agents.get(agent_id)
        attributes = attributes_of(offer.attributes)
        pieces = pieces_of(offer.resources)
        if agent is None or agent.hostname != offer.hostname or agent.attributes is not attributes:
            _check_agent(agent_id, offer.hostname)
            agent = ledger.agent(agent_id)
            agent.hostname, agent.attributes = offer.hostname, attributes
            state.capacity.describe(agent)
        address = address_of(offer)
        if address and address != agent.address:
            self._note_ports(offer)
            former = ledger.moved_in(agent, address)
            if former is not None:
                state.lose_agent(former, now)
        return agent, pieces

    def _offered(self, agent: LedgerNode, offer: v1.Offer, now: float, *, was_gone: bool) -> None:
        """What an offer of `agent` that was written down says beside its room."""
        state = self._state
        unavailability = _window(offer.unavailability) if offer.unavailability is not None else None
        if agent.total is None and self._measured and agent.agent_id not in self._joined:
            self._joined.add(agent.agent_id)
            state.timers.set_earliest(SchedulerTimer.TOTALS, max(now + JOINED, self._asked_at + ASK_EVERY))
        if unavailability != agent.unavailability or was_gone:
            agent.unavailability = unavailability
            state.judge(agent)
        if state.ledger.reservations.any_stops:
            state.close_stops(state.ledger.reservations.stops_on(agent.agent_id))

    def _note_ports(self, offer: v1.Offer) -> None:
        unusable = unusable_ports(offer.resources)
        if unusable:
            ranges = ", ".join(f"[{begin}-{end}]" for begin, end in unusable[:5])
            text = f"agent {offer.agent_id.value} offers ports {ranges}: those beyond 1 to {MAX_PORT} are not used"
            self._state.note_once(("ports", offer.agent_id.value), text)

    def rescind(self, event: v1.Rescind, now: float) -> None:
        state = self._state
        offer_id = event.offer_id.value
        if offer_id in state.offers.outstanding:
            state.offers.end(offer_id, OfferState.RESCINDED, now, reason="rescinded")
            return
        accepted = state.offers.accepted(offer_id)
        if accepted is not None:  # it raced our ACCEPT: the launch waits for its update
            accepted.state = OfferState.RESCINDED
            for launch_id in accepted.launch_ids:
                record = state.launches.get(launch_id)
                if record is not None and record.state is State.SUBMITTED and offer_id in record.offer_ids:
                    state.ledger.forget_leftover(accepted.slot, record.offer_ids[0])
                    record.add_story_line(now, f"offer {offer_id} was rescinded after its ACCEPT")

    def inverse_offers(self, event: v1.InverseOffers, now: float) -> None:
        """Always answered: yes where nothing of ours runs, else no, for we cannot promise that it ends in time."""
        state = self._state
        filters = v1.Filters(state.settings.inverse_filter)
        for inverse in event.inverse_offers:
            agent_id = inverse.agent_id.value if inverse.agent_id is not None else None
            busy = agent_id in state.used if agent_id is not None else bool(state.used)
            call = v1.DeclineInverseOffers if busy else v1.AcceptInverseOffers
            state.send(call([inverse.id], filters))
            if agent_id is not None and agent_id in state.ledger.agents:
                agent = state.ledger.agent(agent_id)
                agent.unavailability = _window(inverse.unavailability)
                state.judge(agent)

    def failure(self, event: v1.Failure, now: float) -> None:
        if event.agent_id is not None and event.executor_id is None:
            self._state.lose_agent(event.agent_id.value, now)

    def ask_totals(self, now: float) -> None:
        """For agents that joined since the last answer. If the answer has none of theirs, it is not asked again."""
        self._asked_at = now
        self._state.emit(AskAgents())

    def agents_seen(self, event: AgentsSeen, now: float) -> None:
        state = self._state
        if event.agents is None:
            state.note("info", f"the agents' totals are not known: {event.reason}")
            self._to_measure.clear()
            return
        for agent_id, reason in event.unusable:
            state.note_once(("totals", agent_id), f"the totals of agent {agent_id[:256]} cannot be used: {reason}")
        self._measured = []
        for seen in event.agents:
            try:
                _check_agent(seen.agent_id, seen.hostname)
            except InvalidInput as error:
                state.note_once(("totals", seen.agent_id), f"ignoring an agent: {error}")
                continue
            buffer = Resources(*state.settings.buffer.on(seen.total.milli_mem))
            self._measured.append(seen.total.minus(buffer))
            agent = state.meet(Slot(seen.agent_id, state.info.roles[0]), seen.hostname)
            agent.total = seen.total
            self._joined.discard(seen.agent_id)
            for account in agent.accounts:
                state.ledger.mark(account.slot)
        listed = {seen.agent_id for seen in event.agents} | {agent_id for agent_id, _ in event.unusable}
        state.unlisted = {
            agent.agent_id
            for agent in state.ledger.agents.values()
            if agent.agent_id not in listed and agent.gone_at is None and not agent.seen
        }
        for record in self._to_measure:
            if record.state.waiting and self._measured:
                self._refuse_oversized(record, now)
        self._to_measure.clear()

    # -- launches larger than any agent

    def measure(self, record: LaunchRecord) -> None:
        """Where the last known totals could not hold the launch, ask for new ones before refusing it."""
        if not any(record.ask.fits(room) for room in self._measured):
            if not self._to_measure:  # one answer serves all that wait for it
                self._state.emit(AskAgents())
            self._to_measure.append(record)

    def _refuse_oversized(self, record: LaunchRecord, now: float) -> None:
        ask = record.ask
        if any(ask.fits(room) for room in self._measured):
            return
        gpus = ask.milli_gpus > 0
        largest = max(self._measured, key=lambda room: (gpus and room.milli_gpus, room.milli_mem, room.milli_cpus))
        text = (
            f"larger than any agent: it asks for {_amounts(ask, ask.ports, gpus)}; the largest of {len(self._measured)}"
            f" agents can give {_amounts(largest, len(largest.ports), gpus)}"
        )
        self._task_updates.end(record, Trigger.REFUSED, OVERSIZED, text, now)


def _window(unavailability: v1.Unavailability) -> tuple[float, float | None]:
    """Its start and length in seconds; without a length it has no end."""
    duration = unavailability.duration
    return _seconds(unavailability.start.nanoseconds), None if duration is None else _seconds(duration.nanoseconds)


def _seconds(nanoseconds: int) -> float:
    """A master has 64 bits for them."""
    return min(max(nanoseconds, -(2**63)), 2**63) / 1e9


def _check_agent(agent_id: str, hostname: str) -> None:
    """Raises InvalidInput."""
    check_text("the agent's id", agent_id, MAX_NAME)
    check_text("the agent's hostname", hostname, MAX_NAME)


def _amounts(amount: Ask | Resources, ports: int, gpus: bool) -> str:
    return (
        f"{plainly(amount.milli_cpus)} cpus, {plainly(amount.milli_mem)} MB, {plainly(amount.milli_disk)} MB disk,"
        f" {ports} ports{f', {plainly(amount.milli_gpus)} gpus' if gpus else ''}"
    )

"""The ledger's rules once more, written from what goes in and out of a scheduler and not from its books.

It keeps pieces by the rules of the design: OFFERS drop what was remembered of an agent, ACCEPT and DECLINE leave a
remembered piece, RESCIND and losses drop pieces, a REVIVE that brings nothing drops what was let go before it. What the
ledger says is available must be exactly what these leave.
"""

from __future__ import annotations

from typing import NamedTuple

from owmesos.core.constraints import Attributes
from owmesos.core.placement import Slot
from owmesos.mesos.messages import (
    Accept,
    Attribute,
    Decline,
    Event,
    Failure,
    Offer,
    Offers,
    Rescind,
    Revive,
    Subscribed,
    TaskInfo,
    TaskStatus,
    Text,
    Update,
    UpdateFramework,
)
from owmesos.mesos.scheduler.effects import Effect, Resubscribe, SendCall
from owmesos.mesos.scheduler.events import AgentsSeen, CallNotTaken
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.wire.driver import Disconnected
from owmesos.resources import Ask, Resources, total
from owmesos.simulator.master.constraints import compile_constraints
from owmesos.simulator.pieces import NO_PIECES, from_resources
from owmesos.simulator.protocol import AgentDescription


class Piece(NamedTuple):
    resources: Resources
    since: float
    source: str


class Accepted(NamedTuple):
    """An ACCEPT that no update has confirmed yet. `task_ids` are its tasks."""

    slot: Slot
    offers: dict[str, Resources]
    task_ids: frozenset[str]
    source: str


class Asked(NamedTuple):
    """A REVIVE; `hosts` None when it reached all agents."""

    at: float
    until: float
    hosts: frozenset[str] | None


class Shadow:
    """What the scheduler's ledger must hold."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.outstanding: dict[Slot, dict[str, Resources]] = {}
        self.remembered: dict[Slot, list[Piece]] = {}
        self.most: dict[str, int] = {}
        self.totals: dict[str, int] = {}
        self.hosts: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._accepted: list[Accepted] = []
        self._asked: list[Asked] = []
        self._constrained: frozenset[str] | None = None

    # -- what comes in

    def event(self, event: Event, now: float) -> None:
        """Called before the scheduler handles it."""
        if isinstance(event, Offers):
            for offer in event.offers:
                self._offer(offer, now)
        elif isinstance(event, Rescind):
            self._rescind(event.offer_id.value)
        elif isinstance(event, Update):
            self._update(event.status)
        elif isinstance(event, Failure) and event.agent_id is not None:
            self._lose(event.agent_id.value)
        elif isinstance(event, (Disconnected, Subscribed)):
            self._disconnect()
        elif isinstance(event, AgentsSeen):
            self.totals.update({seen.agent_id: seen.total.milli_mem for seen in event.agents or ()})
        elif isinstance(event, CallNotTaken) and event.status == 400 and isinstance(event.call, Accept):
            self._refused(event.call)
        for asked in [each for each in self._asked if each.until <= now]:
            self._asked.remove(asked)
            self._silent(asked)

    def _offer(self, offer: Offer, now: float) -> None:
        agent_id = offer.agent_id.value
        assert offer.url is not None
        address = str(offer.url.address.ip)
        former = self._addresses.get(address)
        if former is not None and former != agent_id:
            self._lose(former)
        self._addresses[address] = agent_id
        self.hosts[agent_id] = offer.hostname
        for slot in [slot for slot in self.remembered if slot.agent_id == agent_id]:
            del self.remembered[slot]
        assert offer.allocation_info is not None
        slot = Slot(agent_id, offer.allocation_info.role or "*")
        mine = self.outstanding.setdefault(slot, {})
        mine[offer.id.value] = from_resources(offer.resources).total()
        self.most[agent_id] = max(self.most.get(agent_id, 0), total(mine.values()).milli_mem)

    def _rescind(self, offer_id: str) -> None:
        for mine in self.outstanding.values():
            mine.pop(offer_id, None)
        for accepted in self._accepted:
            if offer_id in accepted.offers:
                self._drop_leftover(accepted)

    def _update(self, status: TaskStatus) -> None:
        task_id = status.task_id.value
        state = self.scheduler.state
        record = state.launches.get(state.launch_of(task_id) or "")
        if record is None or record.task_id != task_id or not record.state.live:
            return
        accepted = next((each for each in self._accepted if task_id in each.task_ids), None)
        if status.state == "TASK_UNREACHABLE":
            if record.state is not State.UNREACHABLE:
                self._lose(status.agent_id.value if status.agent_id is not None else "")
            return
        if accepted is not None:
            if status.reason == "REASON_INVALID_OFFERS":
                self._drop_leftover(accepted)
            self._accepted.remove(accepted)
        if status.state == "TASK_GONE_BY_OPERATOR":
            assert record.agent_id is not None
            self._lose(record.agent_id)

    def _drop_leftover(self, accepted: Accepted) -> None:
        left = self.remembered.get(accepted.slot, [])
        self.remembered[accepted.slot] = [piece for piece in left if piece.source != accepted.source]

    def _refused(self, call: Accept) -> None:
        source = call.offer_ids[0].value
        accepted = next((each for each in self._accepted if each.source == source), None)
        if accepted is not None:
            self._drop_leftover(accepted)
            self._accepted.remove(accepted)
            self.outstanding.setdefault(accepted.slot, {}).update(accepted.offers)

    def _lose(self, agent_id: str) -> None:
        for pieces in (self.outstanding, self.remembered):
            for slot in [slot for slot in pieces if slot.agent_id == agent_id]:
                del pieces[slot]
        for address in [address for address, there in self._addresses.items() if there == agent_id]:
            del self._addresses[address]

    def _disconnect(self) -> None:
        self.outstanding.clear()
        self.remembered.clear()
        self._accepted.clear()
        self._asked.clear()
        self._constrained = None

    def _silent(self, asked: Asked) -> None:
        for slot, pieces in self.remembered.items():
            if asked.hosts is None or self.hosts.get(slot.agent_id) in asked.hosts:
                self.remembered[slot] = [piece for piece in pieces if piece.since >= asked.at]

    # -- what goes out

    def effect(self, effect: Effect, now: float) -> None:
        if isinstance(effect, Resubscribe):
            self._disconnect()
        elif not isinstance(effect, SendCall):
            return
        elif isinstance(effect.call, Accept):
            self._accept(effect.call, now)
        elif isinstance(effect.call, Decline):
            for offer_id in (each.value for each in effect.call.offer_ids):
                slot, resources = self._take(offer_id)
                self._remember(slot, resources, now, offer_id)
        elif isinstance(effect.call, UpdateFramework):
            self._constrained = self._hosts(effect.call)
        elif isinstance(effect.call, Revive):
            settings = self.scheduler.state.settings
            wait = settings.offer_wait
            if self._constrained is None:
                wait += settings.offer_wait_per_agent * len(self.scheduler.state.ledger.agents)
            self._asked.append(Asked(now, now + wait, self._constrained))

    def _hosts(self, call: UpdateFramework) -> frozenset[str] | None:
        """Those that the constraints let in, of the agents that the scheduler knows."""
        if call.offer_constraints is None:
            return None
        constraints = compile_constraints(call.offer_constraints).values()
        described = [
            AgentDescription(agent.agent_id, agent.hostname, "", 0, NO_PIECES, tuple(_texts(agent.attributes)))
            for agent in self.scheduler.state.ledger.agents.values()
        ]
        return frozenset(each.hostname for each in described if any(lets_in(each) for lets_in in constraints))

    def _accept(self, call: Accept, now: float) -> None:
        infos = tasks_of(call)
        taken = total(from_resources(named(info)).total() for info in infos)
        offers: dict[str, Resources] = {}
        slot = None
        for offer_id in (each.value for each in call.offer_ids):
            slot, offers[offer_id] = self._take(offer_id)
        assert slot is not None
        held, source = total(offers.values()), call.offer_ids[0].value
        self._accepted.append(Accepted(slot, offers, frozenset(info.task_id.value for info in infos), source))
        self._remember(slot, held.minus(taken), now, source)
        self._keeps_buffer(slot, held, taken)

    def _keeps_buffer(self, slot: Slot, held: Resources, taken: Resources) -> None:
        """Of what the offers hold the buffer stays free, unless nothing of that kind is taken."""
        cpus, mem = self._buffer(slot.agent_id)
        left = held.minus(taken)
        assert not taken.milli_mem or left.milli_mem >= mem, f"the ACCEPT on {slot} leaves {left}, of the buffer {mem}"
        assert not taken.milli_cpus or left.milli_cpus >= cpus, f"the ACCEPT on {slot} leaves {left}"

    def _take(self, offer_id: str) -> tuple[Slot, Resources]:
        for slot, mine in self.outstanding.items():
            if offer_id in mine:
                return slot, mine.pop(offer_id)
        raise AssertionError(f"a call names offer {offer_id}, which is not in hand")

    def _remember(self, slot: Slot, resources: Resources, now: float, source: str) -> None:
        if resources:
            self.remembered.setdefault(slot, []).append(Piece(resources, now, source))

    # -- what must be

    def _buffer(self, agent_id: str) -> tuple[int, int]:
        buffer = self.scheduler.state.settings.buffer
        known = self.totals.get(agent_id, self.most.get(agent_id, 0))
        return buffer.milli_cpus, buffer.milli_mem + int(known * buffer.share)

    def check(self) -> None:
        """The ledger says what the rules leave, for each slot."""
        state = self.scheduler.state
        ledger = state.ledger
        for known in (self.most, self.totals):
            for agent_id in known.keys() - ledger.agents.keys():
                del known[agent_id]  # it was gone for so long that it is forgotten
        reserved: dict[Slot, Ask] = {}
        for record in state.queue:
            if record.state is State.RESERVED:
                slot = ledger.reservations.by_launch[record.id].slot
                reserved[slot] = reserved.get(slot, Ask()).plus(record.ask)
        for pieces in (self.outstanding, self.remembered):
            for slot, here in pieces.items():
                assert not here or slot in ledger.accounts, f"{slot} is not in the ledger"
        for slot in ledger.accounts:
            held = total(self.outstanding.get(slot, {}).values())
            free = held.plus(total(piece.resources for piece in self.remembered.get(slot, ())))
            assert ledger.free(slot) == free, f"{slot} has {ledger.free(slot)} free, should have {free}"
            assert {each.offer_id: each.resources for each in state.offers.on(slot)} == self.outstanding.get(slot, {})
            cpus, mem = self._buffer(slot.agent_id)
            ask = reserved.get(slot, Ask())
            should = (
                free.milli_cpus - ask.milli_cpus - cpus,
                free.milli_mem - ask.milli_mem - mem,
                free.milli_disk - ask.milli_disk,
                max(0, len(free.ports) - ask.ports),
            )
            says = ledger.available(slot)
            assert (says.milli_cpus, says.milli_mem, says.milli_disk, len(says.ports)) == should, (
                f"{slot} says that {says} is available, should be {should}"
            )


def tasks_of(call: Accept) -> list[TaskInfo]:
    return [info for each in call.operations if each.launch is not None for info in each.launch.task_infos]


def named(info: TaskInfo) -> list:
    return list(info.resources) + (list(info.executor.resources) if info.executor is not None else [])


def _texts(attributes: Attributes) -> list[Attribute]:
    return [Attribute(name, "TEXT", text=Text(texts[0])) for name, texts in attributes.items()]

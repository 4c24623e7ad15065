"""Machines under maintenance: offers that say so, inverse offers, machines that are taken out (docs/maintenance.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from owmesos.mesos import messages
from owmesos.mesos.messages import ID, InverseOffer, Unavailability
from owmesos.mesos.messages.operator import MachineID, MaintenanceSchedule
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.records import AgentRecord, FrameworkRecord, InverseOfferRecord


class Maintenance:
    def __init__(self, books: MasterBooks) -> None:
        self._books = books
        self.inverse_offers: dict[str, InverseOfferRecord] = {}
        self.answers: dict[tuple[str, str], tuple[str, float]] = {}  # by agent and framework

    def schedule(self, schedule: MaintenanceSchedule, document: list[dict[str, Any]]) -> None:
        """Replaces the whole of it. The offers of all agents are rescinded."""
        books = self._books
        books.registry.schedule = document
        books.registry.machines = {
            named(machine): window.unavailability for window in schedule.windows for machine in window.machine_ids
        }
        for record in list(self.inverse_offers.values()):
            self.withdraw(record, rescind=True)
        for agent in books.agents.values():
            books.drop_offers(agent.offers.values())
        for framework in books.frameworks.values():
            framework.inverse_filters.clear()

    def start(self, machines: list[MachineID]) -> list[AgentRecord]:
        """The machines are down now; the agents on them, which are to be removed."""
        down = set(map(named, machines))
        self._books.registry.down |= down
        return [agent for agent in self._books.agents.values() if agent.description.machine in down]

    def stop(self, machines: list[MachineID]) -> None:
        for machine in map(named, machines):
            self._books.registry.down.discard(machine)
            self._books.registry.machines.pop(machine, None)

    # -- inverse offers

    def invert(self, agents: Iterable[AgentRecord]) -> None:
        """Asks each framework that has something on a machine of the schedule to leave it."""
        if not self._books.registry.machines:
            return
        asked: dict[str, list[InverseOffer]] = {}
        for agent in agents:
            unavailability = self._books.registry.machines.get(agent.description.machine)
            if unavailability is not None and agent.active:
                for framework in self._present(agent):
                    asked.setdefault(framework.id, []).append(self._ask(agent, framework, unavailability))
        for framework_id, inverse_offers in asked.items():
            self._books.to_framework(self._books.frameworks[framework_id], messages.InverseOffers(inverse_offers))

    def _present(self, agent: AgentRecord) -> list[FrameworkRecord]:
        """Frameworks with tasks or offers there that are connected and not asked already."""
        ids = {framework_id for framework_id, _ in agent.tasks} | {each.framework.id for each in agent.offers.values()}
        already = {each.framework.id for each in agent.inverse_offers.values()}
        found = [self._books.frameworks[each] for each in sorted(ids - already) if each in self._books.frameworks]
        now = self._books.now
        return [each for each in found if each.connected and each.inverse_filters.get(agent.id, now) <= now]

    def _ask(self, agent: AgentRecord, framework: FrameworkRecord, unavailability: Unavailability) -> InverseOffer:
        inverse_offer = InverseOffer(
            ID(self._books.next_id("O")),
            ID(framework.id),
            unavailability,
            url=agent.description.url,
            agent_id=ID(agent.id),
        )
        record = InverseOfferRecord(inverse_offer, framework, agent)
        self.inverse_offers[inverse_offer.id.value] = agent.inverse_offers[inverse_offer.id.value] = record
        return inverse_offer

    def answer(self, framework: FrameworkRecord, ids: list[ID], status: str, seconds: float) -> None:
        """ACCEPT or DECLINE: noted, and asked again after the filter. Unknown ids are ignored."""
        for inverse_offer_id in ids:
            record = self.inverse_offers.get(inverse_offer_id.value)
            if record is None or record.framework is not framework:
                continue
            self.withdraw(record, rescind=False)
            now = self._books.now
            self.answers[record.agent.id, framework.id] = (status, now)
            framework.inverse_filters[record.agent.id] = now + max(seconds, self._books.settings.allocation_interval)

    def withdraw(self, record: InverseOfferRecord, *, rescind: bool) -> None:
        self.inverse_offers.pop(record.offer.id.value, None)
        record.agent.inverse_offers.pop(record.offer.id.value, None)
        if rescind:
            self._books.to_framework(record.framework, messages.RescindInverseOffer(record.offer.id))

    def forget_framework(self, framework: FrameworkRecord) -> None:
        for record in [each for each in self.inverse_offers.values() if each.framework is framework]:
            self.withdraw(record, rescind=False)


def named(machine: MachineID) -> tuple[str, str]:
    """Its hostname and ip."""
    return machine.hostname or "", machine.ip or ""

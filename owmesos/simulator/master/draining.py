"""Agents that an operator drains, deactivates, or declares gone (docs/maintenance.md)."""

from __future__ import annotations

from collections.abc import Callable

from owmesos.simulator.master.books import Books
from owmesos.simulator.master.records import AgentRecord
from owmesos.simulator.protocol import Drain, Undrain


class Draining:
    """`mark_gone` is told of an agent that was to be gone once it is drained."""

    def __init__(self, books: Books, mark_gone: Callable[[AgentRecord], None]) -> None:
        self._books = books
        self._mark_gone = mark_gone

    def drain(self, agent: AgentRecord, drain: Drain) -> None:
        """No offers, and all its tasks are killed."""
        agent.draining, agent.drained = drain, False
        self._books.registry.draining[agent.id] = drain
        self.deactivate(agent)
        self._books.to_agent(agent, drain)
        self.task_ended(agent)

    def task_ended(self, agent: AgentRecord) -> None:
        """Drained, once the end of every task is acknowledged."""
        if agent.draining is None or agent.drained or agent.tasks:
            return
        agent.drained = True
        if agent.draining.mark_gone:
            self._mark_gone(agent)

    def deactivate(self, agent: AgentRecord) -> None:
        agent.deactivated = True
        self._books.registry.deactivated.add(agent.id)
        for offer in list(agent.offers.values()):
            self._books.drop_offer(offer, rescind=True)

    def reactivate(self, agent: AgentRecord) -> str | None:
        """Offers come with the next allocation. Returns why not, in Mesos's words."""
        if agent.draining is not None and not agent.drained:
            return "Agent is still in the DRAINING state"
        agent.deactivated, agent.draining, agent.drained = False, None, False
        self._books.registry.deactivated.discard(agent.id)
        self._books.registry.draining.pop(agent.id, None)
        self._books.to_agent(agent, Undrain())
        return None

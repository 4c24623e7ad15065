"""A Mesos master as pure decisions: what comes goes in with its time, what is to be done comes out, in order.

No clock, no sockets, no threads. One object is one life of a master; the registry is what the next one finds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from owmesos.mesos import messages
from owmesos.simulator.agenda import Agenda
from owmesos.simulator.master import effects
from owmesos.simulator.master.accepting import Accepting
from owmesos.simulator.master.allocator import Allocator, refuse_seconds
from owmesos.simulator.master.books import Books
from owmesos.simulator.master.draining import Draining
from owmesos.simulator.master.maintenance import Maintenance
from owmesos.simulator.master.membership import Membership
from owmesos.simulator.master.operator import Operator
from owmesos.simulator.master.quotas import Quotas
from owmesos.simulator.master.records import FrameworkRecord
from owmesos.simulator.master.registry import Registry
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.master.subscriptions import Subscriptions
from owmesos.simulator.master.task_calls import TaskCalls
from owmesos.simulator.protocol import AgentAnswers, AgentLost, AgentSilent, Message, Register, StatusUpdate


class Master:
    """`books` may be looked at; only the master writes them."""

    def __init__(
        self,
        settings: MasterSettings | None = None,
        registry: Registry | None = None,
        agenda: Agenda | None = None,
        chance: random.Random | None = None,
        address: tuple[str, int] = ("127.0.0.1", 5050),
    ) -> None:
        """Begins at the agenda's instant; its timers are entries there, whose effects `take` gives."""
        self.books = Books(
            settings or MasterSettings(),
            registry or Registry(),
            agenda or Agenda(),
            chance or random.Random(0),
            address,
        )
        books = self.books
        self.quotas = Quotas(books)
        self.maintenance = Maintenance(books)
        self.allocator = Allocator(books, self.quotas, self.maintenance)
        self._subscriptions = Subscriptions(books, self.allocator, self.maintenance)
        self._membership = Membership(books, self.allocator, self.maintenance, self._subscriptions)
        draining = Draining(books, self._membership.mark_gone)
        self._tasks = TaskCalls(books, draining)
        self._accepting = Accepting(books, self.allocator)
        self._operator = Operator(
            books, self.allocator, self.quotas, self.maintenance, self._membership, draining, self._subscriptions
        )
        self._acts: dict[type[messages.Call], Callable[[FrameworkRecord, Any], None]] = {
            messages.Acknowledge: self._tasks.acknowledge,
            messages.Accept: self._accepting.accept,
            messages.Decline: self._accepting.decline,
            messages.Revive: lambda framework, call: self._subscriptions.revive(framework, call.roles),
            messages.Suppress: lambda framework, call: self._subscriptions.suppress(framework, call.roles),
            messages.Kill: self._tasks.kill,
            messages.Shutdown: self._tasks.shut_down,
            messages.Reconcile: self._tasks.reconcile,
            messages.ReconcileOperations: self._tasks.reconcile_operations,
            messages.Teardown: lambda framework, call: self._subscriptions.remove(framework),
            messages.AcceptInverseOffers: lambda framework, call: self._invert(framework, call, "ACCEPT"),
            messages.DeclineInverseOffers: lambda framework, call: self._invert(framework, call, "DECLINE"),
        }
        self.allocator.start()
        if books.recovered:
            books.agenda.after(books.settings.agent_reregister_timeout, self._forget_recovered)

    def handle(self, event: effects.Event) -> list[effects.Effect]:
        """What is to be done, in order; for a call the first is its Answer."""
        if isinstance(event, effects.Calling):
            self._call(event)
        elif isinstance(event, effects.FromAgent):
            self._from_agent(event.message)
        elif isinstance(event, effects.Subscribing):
            self._subscriptions.subscribe(event.stream, event.call, event.principal)
        elif isinstance(event, effects.StreamClosed):
            self._subscriptions.closed(event.stream)
        elif isinstance(event, effects.Operating):
            self._operator.handle(event.kind, event.body)
        return self.take()

    def take(self) -> list[effects.Effect]:
        """What timers of the agenda, and the last event, want done."""
        taken, self.books.effects = self.books.effects, []
        return taken

    def watch(self, watched: bool) -> None:
        """Whether anyone has subscribed to the operator API's events."""
        self.books.watched = watched

    def state(self) -> dict[str, object]:
        """As GET_STATE says it."""
        return self._operator.read("GET_STATE")

    def stop(self) -> None:
        """Its life ends: no timer of it does anything any more."""
        self.books.alive = False

    def _from_agent(self, message: Message) -> None:
        if isinstance(message, StatusUpdate):
            self._tasks.update(message)
        elif isinstance(message, Register):
            self._membership.register(message)
        elif isinstance(message, AgentLost):
            self._membership.lost(message)
        elif isinstance(message, AgentSilent):
            self._membership.silent(message)
        elif isinstance(message, AgentAnswers):
            self._membership.answers(message)

    def _forget_recovered(self) -> None:
        """Agents that did not come back after the failover are unreachable."""
        books = self.books
        for agent_id in list(books.recovered):
            del books.recovered[agent_id]
            books.registry.admitted.pop(agent_id, None)
            books.registry.unreachable[agent_id] = books.now

    # -- a framework's calls

    def _call(self, event: effects.Calling) -> None:
        framework = self.books.frameworks.get(event.framework_id)
        if framework is None:
            self.books.answer(400, "Framework cannot be found")
        elif framework.stream != event.stream:
            self.books.answer(
                400,
                f"The stream ID '{event.stream}' included in this request didn't match the stream ID currently "
                f"associated with framework ID {framework.id}",
            )
        elif not framework.connected:
            self.books.answer(403, "Framework is not subscribed")
        elif isinstance(event.call, messages.UpdateFramework):
            self._subscriptions.update(framework, event.call)
        else:
            self.books.answer(202)
            self._carry_out(framework, event.call)

    def _carry_out(self, framework: FrameworkRecord, call: messages.Call) -> None:
        act = self._acts.get(type(call))
        if act is not None:  # REQUEST, MESSAGE and acknowledgements of operations have no effect here
            act(framework, call)

    def _invert(
        self,
        framework: FrameworkRecord,
        call: messages.AcceptInverseOffers | messages.DeclineInverseOffers,
        status: str,
    ) -> None:
        self.maintenance.answer(framework, call.inverse_offer_ids, status, refuse_seconds(call.filters))

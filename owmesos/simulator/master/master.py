"""A Mesos master as pure decisions: calls and messages come in at the agenda's time, effects are taken out in order.

No clock, no sockets, no threads. One object is one life of a master; the registry is what the next one finds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from owmesos.mesos import messages
from owmesos.simulator.master.accepting import Accepting
from owmesos.simulator.master.allocator import Allocator, refuse_seconds
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.effects import MasterAnswer, MasterEffect
from owmesos.simulator.master.maintenance import Maintenance
from owmesos.simulator.master.membership import Membership
from owmesos.simulator.master.operator import Operator
from owmesos.simulator.master.quotas import Quotas
from owmesos.simulator.master.records import FrameworkRecord
from owmesos.simulator.master.subscriptions import Subscriptions
from owmesos.simulator.master.task_calls import TaskCalls
from owmesos.simulator.protocol import Register, StatusUpdate, WireMessage


class Master:
    """`books` may be looked at; only the master writes them.

    `subscriptions` takes frameworks' streams, `operator` the operator API's calls; `membership` hears which agents are
    there.
    """

    def __init__(self, books: MasterBooks) -> None:
        """Begins at the agenda's instant; its timers are entries there, whose effects `take` gives."""
        self.books = books
        quotas = Quotas(books)
        self._maintenance = Maintenance(books)
        allocator = Allocator(books, quotas, self._maintenance)
        subscriptions = self.subscriptions = Subscriptions(books, allocator, self._maintenance)
        self.membership = Membership(books, allocator, self._maintenance, subscriptions)
        self.operator = Operator(books, allocator, quotas, self._maintenance, self.membership, subscriptions)
        tasks = TaskCalls(books, self.membership)
        accepting = Accepting(books, allocator)
        self._acts: dict[type[messages.Call], Callable[[FrameworkRecord, Any], None]] = {
            messages.Acknowledge: tasks.acknowledge,
            messages.Accept: accepting.accept,
            messages.Decline: accepting.decline,
            messages.Revive: lambda framework, call: subscriptions.revive(framework, call.roles),
            messages.Suppress: lambda framework, call: subscriptions.suppress(framework, call.roles),
            messages.Kill: tasks.kill,
            messages.Shutdown: tasks.shut_down,
            messages.Reconcile: tasks.reconcile,
            messages.ReconcileOperations: tasks.reconcile_operations,
            messages.Teardown: lambda framework, call: subscriptions.remove(framework),
            messages.AcceptInverseOffers: lambda framework, call: self._invert(framework, call, "ACCEPT"),
            messages.DeclineInverseOffers: lambda framework, call: self._invert(framework, call, "DECLINE"),
        }
        self._from_agent: dict[type[WireMessage], Callable[[Any], None]] = {
            StatusUpdate: tasks.update,
            Register: self.membership.register,
        }
        allocator.start()
        if books.recovered:
            books.agenda.after(books.settings.agent_reregister_timeout, self.membership.forget_recovered)

    def take(self) -> list[MasterEffect]:
        """What calls, messages and timers of the agenda want done since the last time."""
        taken, self.books.effects = self.books.effects, []
        return taken

    def receive(self, message: WireMessage) -> None:
        self._from_agent[type(message)](message)

    def call(self, framework_id: str, stream: str, call: messages.Call) -> MasterAnswer:
        framework = self.books.frameworks.get(framework_id)
        if framework is None:
            return MasterAnswer(400, "Framework cannot be found")
        if framework.stream != stream:
            return MasterAnswer(
                400,
                f"The stream ID '{stream}' included in this request didn't match the stream ID currently "
                f"associated with framework ID {framework.id}",
            )
        if not framework.connected:
            return MasterAnswer(403, "Framework is not subscribed")
        if isinstance(call, messages.UpdateFramework):
            return self.subscriptions.update(framework, call)
        act = self._acts.get(type(call))
        if act is not None:  # REQUEST, MESSAGE and acknowledgements of operations have no effect here
            act(framework, call)
        return MasterAnswer(202)

    def _invert(
        self,
        framework: FrameworkRecord,
        call: messages.AcceptInverseOffers | messages.DeclineInverseOffers,
        status: str,
    ) -> None:
        self._maintenance.answer(framework, call.inverse_offer_ids, status, refuse_seconds(call.filters))

"""Agents: how they register, become unreachable, return, are drained, and are removed (docs/maintenance.md)."""

from __future__ import annotations

from owmesos.mesos import messages
from owmesos.mesos.messages import ID
from owmesos.simulator import protocol
from owmesos.simulator.agenda import cancel
from owmesos.simulator.master.allocator import Allocator
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.effects import MasterRefusal, ToAgent
from owmesos.simulator.master.maintenance import Maintenance
from owmesos.simulator.master.records import AgentRecord, FrameworkRecord, TaskRecord
from owmesos.simulator.master.subscriptions import Subscriptions
from owmesos.simulator.master.views import agent_document
from owmesos.simulator.pieces import Pieces, to_text
from owmesos.simulator.protocol import AgentDescription, time_info

_GONE = ("TASK_GONE_BY_OPERATOR", "REASON_AGENT_REMOVED_BY_OPERATOR", "Agent has been marked gone")
"""State, reason and message."""


class Membership:
    def __init__(
        self, books: MasterBooks, allocator: Allocator, maintenance: Maintenance, subscriptions: Subscriptions
    ) -> None:
        self._books = books
        self._allocator = allocator
        self._maintenance = maintenance
        self._subscriptions = subscriptions

    # -- how they come

    def register(self, message: protocol.Register) -> None:
        """Register a new agent, or one that comes back with what it has."""
        books, description, agent_id = self._books, message.description, message.agent_id
        if agent_id in books.registry.gone or description.machine in books.registry.down:
            self._tell_to_leave(description)
            return
        other = books.at_place.get(description.name)
        if other is not None and other.id != agent_id:
            self.remove(other, "a new agent registered at the same address")
        if agent_id is None:
            agent_id = books.next_id("S")
            while agent_id in books.agents or agent_id in books.registry.admitted:
                agent_id = books.next_id("S")
        known = books.agents.get(agent_id)
        if known is not None:
            self._reconnect(known, message)
        else:
            self._admit(agent_id, message)

    def _admit(self, agent_id: str, message: protocol.Register) -> None:
        books, description = self._books, message.description
        was_unreachable = books.registry.unreachable.pop(agent_id, None) is not None
        was_recovered = books.recovered.pop(agent_id, None) is not None
        total = message.reservations or description.total
        agent = AgentRecord(agent_id, description, total, total, books.now)
        if was_recovered or was_unreachable:
            agent.reregistered_at = books.now
        books.agents[agent_id] = books.at_place[description.name] = agent
        books.registry.admitted[agent_id] = description
        agent.draining = books.registry.draining.get(agent_id)
        agent.deactivated = agent_id in books.registry.deactivated
        books.whole.add(total.total())
        books.freed[agent_id] = None
        books.to_agent(agent, protocol.Registered(agent_id))
        if agent.draining is not None:
            books.to_agent(agent, agent.draining)
        for info in message.frameworks:
            if info.id is None or info.id.value not in books.completed:
                self._subscriptions.recover(info)
        for known in message.tasks:
            self._take_up(agent, known, was_unreachable=was_unreachable)
        if books.watched:
            books.publish("AGENT_ADDED", agent=agent_document(agent))
        self._allocator.run([agent])

    def _take_up(self, agent: AgentRecord, known: protocol.KnownTask, *, was_unreachable: bool) -> None:
        """A task that its agent has and the master does not, or no longer."""
        books = self._books
        framework = books.frameworks.get(known.framework_id)
        if framework is None:
            books.to_agent(agent, protocol.EndFramework(known.framework_id))
            return
        framework.unreachable.pop(known.info.task_id.value, None)
        status = known.status
        task = TaskRecord(
            known.framework_id,
            known.info,
            known.role,
            known.pieces,
            agent.id,
            state=known.state,
            status_state=status.state if status is not None else None,
            status_uuid=status.uuid if status is not None else None,
            statuses=[status] if status is not None else [],
            freed=True,
        )
        framework.tasks[task.id] = agent.tasks[task.framework_id, task.id] = task
        if not task.over:
            task.freed = False
            books.allocate(framework, task.role, agent, task.pieces)
            if was_unreachable:
                message = "Unreachable agent re-reregistered"
                books.update(framework, books.status(task.info, task.told_state, "REASON_AGENT_REREGISTERED", message))

    def _reconnect(self, agent: AgentRecord, message: protocol.Register) -> None:
        """Back before it was given up; what it does not name it does not have."""
        books = self._books
        self._stop_giving_up(agent)
        agent.connected = True
        agent.reregistered_at = books.now
        named = {(known.framework_id, known.info.task_id.value) for known in message.tasks}
        for known in message.tasks:
            task = agent.tasks.get((known.framework_id, known.info.task_id.value))
            if task is None:
                self._take_up(agent, known, was_unreachable=False)
            elif known.state != task.state:
                books.set_state(task, known.state)
        unknown = tuple(key for key in agent.tasks if key not in named)  # whose end is not acknowledged, too
        books.to_agent(agent, protocol.Registered(agent.id, unknown))
        if agent.draining is not None and not agent.drained:
            books.to_agent(agent, agent.draining)
        if agent.available:
            books.freed[agent.id] = None

    # -- how they fall silent; one that never registered has no id, and nobody misses it

    def _known(self, agent_id: str | None) -> AgentRecord | None:
        return self._books.agents.get(agent_id) if agent_id is not None else None

    def lost(self, agent_id: str | None) -> None:
        """The connection was reset, for its process has ended: no offers of it, and frameworks without checkpoints lose
        their tasks at once."""
        books, agent = self._books, self._known(agent_id)
        if agent is None or not agent.connected:
            return
        books.drop_offers(agent.offers.values())
        agent.connected = False
        for task in list(agent.tasks.values()):
            framework = books.frameworks[task.framework_id]
            if not framework.info.checkpoint:
                text = f"Agent {agent.description.hostname} disconnected"
                self._end_task(framework, task, "TASK_LOST", "REASON_AGENT_DISCONNECTED", text)
        self._begin_giving_up(agent)

    def silent(self, agent_id: str | None) -> None:
        """From now on it answers no ping."""
        agent = self._known(agent_id)
        if agent is not None:
            self._begin_giving_up(agent)

    def answers(self, agent_id: str | None) -> None:
        """It answers again, before it was given up."""
        agent = self._known(agent_id)
        if agent is not None and agent.connected:
            self._stop_giving_up(agent)

    def _begin_giving_up(self, agent: AgentRecord) -> None:
        if agent.giving_up is None:
            pause = self._books.settings.give_up_after
            agent.giving_up = self._books.agenda.after(pause, self._give_up, agent)

    def give_up(self, agent_id: str | None) -> None:
        """Without any more pings; nothing is told of one that has not come back since the failover."""
        books, agent = self._books, self._known(agent_id)
        if agent is not None:
            self._give_up(agent)
        elif agent_id is not None and books.recovered.pop(agent_id, None) is not None:
            books.registry.admitted.pop(agent_id, None)
            books.registry.unreachable[agent_id] = books.now

    @staticmethod
    def _stop_giving_up(agent: AgentRecord) -> None:
        cancel(agent.giving_up)
        agent.giving_up = None

    def _give_up(self, agent: AgentRecord) -> None:
        """Unreachable: it may come back, and its tasks with it."""
        books = self._books
        if books.agents.get(agent.id) is not agent or not books.alive:
            return
        books.registry.unreachable[agent.id] = books.now
        books.registry.admitted.pop(agent.id, None)
        since = time_info(books.now)
        for task in list(agent.tasks.values()):
            framework = books.frameworks[task.framework_id]
            if task.over:
                books.complete_task(task)
                continue
            state, text = framework.lost_or("TASK_UNREACHABLE"), "health check timed out"
            status = books.status(task.info, state, "REASON_AGENT_REMOVED", text, unreachable_time=since)
            books.update(framework, status)
            books.publish("TASK_UPDATED", framework_id=ID(framework.id), status=status, state=state)
            books.free_task(task)
            task.state = task.status_state = "TASK_UNREACHABLE"
            task.unreachable_at = books.now
            framework.tasks.pop(task.id, None)
            framework.unreachable[task.id] = task
            while len(framework.unreachable) > books.settings.completed_tasks:
                framework.unreachable.popitem(last=False)
        agent.tasks.clear()
        self._take_out(agent)

    def _take_out(self, agent: AgentRecord) -> None:
        """The end of every way in which an agent leaves the books."""
        books = self._books
        books.drop_offers(agent.offers.values())
        for inverse_offer in list(agent.inverse_offers.values()):
            self._maintenance.withdraw(inverse_offer, rescind=True)
        self._stop_giving_up(agent)
        del books.agents[agent.id]
        if books.at_place.get(agent.description.name) is agent:
            del books.at_place[agent.description.name]
        books.freed.pop(agent.id, None)
        books.whole.add(agent.total.total(), -1)
        for framework in books.frameworks.values():
            framework.inverse_filters.pop(agent.id, None)
            for role in framework.roles:
                framework.filters.pop((role, agent.id), None)
            books.to_framework(framework, messages.Failure(agent_id=ID(agent.id)))
        books.publish("AGENT_REMOVED", agent_id=ID(agent.id))

    def forget_recovered(self) -> None:
        """Agents that did not come back after the failover are unreachable."""
        books = self._books
        for agent_id in books.recovered:
            books.registry.admitted.pop(agent_id, None)
            books.registry.unreachable[agent_id] = books.now
        books.recovered.clear()

    # -- how they are drained

    def drain(self, agent: AgentRecord, drain: protocol.Drain) -> None:
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
            self.mark_gone(agent.id)

    def deactivate(self, agent: AgentRecord) -> None:
        agent.deactivated = True
        self._books.registry.deactivated.add(agent.id)
        self._books.drop_offers(agent.offers.values())

    def reactivate(self, agent: AgentRecord) -> None:
        """Offers come with the next allocation. Raises MasterRefusal."""
        if agent.draining is not None and not agent.drained:
            raise MasterRefusal(400, "Agent is still in the DRAINING state")
        agent.deactivated, agent.draining, agent.drained = False, None, False
        self._books.registry.deactivated.discard(agent.id)
        self._books.registry.draining.pop(agent.id, None)
        self._books.to_agent(agent, protocol.Undrain())

    # -- how they are removed

    def remove(self, agent: AgentRecord, reason: str) -> None:
        """Permanently, with TASK_LOST for the frameworks that had tasks there."""
        text = f"Agent {agent.description.hostname} removed: {reason}"
        self._end_tasks(agent, "TASK_LOST", "REASON_AGENT_REMOVED", text)
        self._books.registry.admitted.pop(agent.id, None)
        self._take_out(agent)

    def remove_for_maintenance(self, agent: AgentRecord) -> None:
        self.remove(agent, "Operator initiated 'Machine DOWN'")
        self._tell_to_leave(agent.description)

    def mark_gone(self, agent_id: str) -> None:
        """An operator says that it will never come back, also of one that was given up. Raises MasterRefusal."""
        books, registry = self._books, self._books.registry
        agent = books.agents.get(agent_id)
        if agent is None and agent_id not in {*books.recovered, *registry.unreachable, *registry.gone}:
            raise MasterRefusal(404, f"Agent '{agent_id}' not found")
        books.recovered.pop(agent_id, None)
        registry.admitted.pop(agent_id, None)
        registry.unreachable.pop(agent_id, None)
        registry.gone.add(agent_id)
        if agent is not None:
            self._end_tasks(agent, *_GONE)
            self._take_out(agent)
            if agent.connected:
                self._tell_to_leave(agent.description)
            return
        for framework in books.frameworks.values():
            for task in [each for each in framework.unreachable.values() if each.agent_id == agent_id]:
                state, reason, text = _GONE
                books.update(framework, books.status(task.info, framework.lost_or(state), reason, text))
                task.state = state
                books.complete_task(task)

    def _end_tasks(self, agent: AgentRecord, state: str, reason: str, message: str) -> None:
        for task in list(agent.tasks.values()):
            framework = self._books.frameworks[task.framework_id]
            if task.over:
                self._books.complete_task(task)
            else:
                self._end_task(framework, task, framework.lost_or(state), reason, message)

    def _end_task(self, framework: FrameworkRecord, task: TaskRecord, state: str, reason: str, message: str) -> None:
        status = self._books.status(task.info, state, reason, message)
        self._books.set_state(task, state, status)
        self._books.update(framework, status)
        self._books.complete_task(task)

    def _tell_to_leave(self, description: AgentDescription) -> None:
        self._books.effects.append(ToAgent(description.name, protocol.Leave()))

    # -- reservations by operators

    def change_total(self, agent: AgentRecord, before: Pieces, after: Pieces) -> None:
        """RESERVE and UNRESERVE: offers that are in the way are rescinded. Raises MasterRefusal."""
        books = self._books
        if not agent.total.covers(before):
            raise _lacks(agent.total, before)
        free = agent.available
        for offer in list(agent.offers.values()):
            if free.covers(before):
                break
            free = free.plus(offer.pieces)
            books.drop_offer(offer)
            self._allocator.refuse(offer.framework, offer.role, agent, offer.pieces, 5.0)
        if not agent.available.covers(before):
            raise _lacks(agent.available, before)
        agent.available = agent.available.minus(before).plus(after)
        agent.total = agent.total.minus(before).plus(after)
        books.freed[agent.id] = None
        books.to_agent(agent, protocol.Reserved(agent.total))


def _lacks(have: Pieces, wanted: Pieces) -> MasterRefusal:
    return MasterRefusal(409, f"{to_text(have, None)} does not contain {to_text(wanted, None)}")

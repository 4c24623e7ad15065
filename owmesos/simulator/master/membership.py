"""Agents: how they register, fall silent, are given up, come back, and are removed for good."""

from __future__ import annotations

from owmesos.mesos import messages
from owmesos.mesos.messages import ID, TimeInfo
from owmesos.simulator.master.allocator import Allocator
from owmesos.simulator.master.books import Books
from owmesos.simulator.master.effects import ToAgent
from owmesos.simulator.master.maintenance import Maintenance
from owmesos.simulator.master.records import AgentRecord, FrameworkRecord, TaskRecord
from owmesos.simulator.master.subscriptions import Subscriptions
from owmesos.simulator.master.views import agent_document
from owmesos.simulator.pieces import Pieces, to_text
from owmesos.simulator.protocol import (
    AgentAnswers,
    AgentDescription,
    AgentLost,
    AgentSilent,
    EndFramework,
    KnownTask,
    Leave,
    Register,
    Registered,
    Reserved,
)


class Membership:
    def __init__(
        self, books: Books, allocator: Allocator, maintenance: Maintenance, subscriptions: Subscriptions
    ) -> None:
        self._books = books
        self._allocator = allocator
        self._maintenance = maintenance
        self._subscriptions = subscriptions

    # -- how they come

    def register(self, message: Register) -> None:
        """Of a new agent, or of one that comes back with what it has."""
        books, description, agent_id = self._books, message.description, message.agent_id
        refused = agent_id in books.registry.gone or (description.hostname, description.ip) in books.registry.down
        if refused:
            books.effects.append(ToAgent(description.name, Leave()))
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

    def _admit(self, agent_id: str, message: Register) -> None:
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
        self._maintenance.look_up(agent)
        books.whole.add(total.total())
        books.freed[agent_id] = None
        books.to_agent(agent, Registered(agent_id))
        if agent.draining is not None:
            books.to_agent(agent, agent.draining)
        for info in message.frameworks:
            if info.id is None or info.id.value not in books.completed:
                self._subscriptions.recover(info)
        for known in message.tasks:
            self._take_up(agent, known, was_unreachable=was_unreachable)
        if books.watched:
            books.publish("AGENT_ADDED", agent=agent_document(books, agent))
        self._allocator.run([agent])

    def _take_up(self, agent: AgentRecord, known: KnownTask, *, was_unreachable: bool) -> None:
        """A task that its agent has and the master does not, or no longer."""
        books = self._books
        framework = books.frameworks.get(known.framework_id)
        if framework is None:
            books.to_agent(agent, EndFramework(known.framework_id))
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
                books.update(framework, books.status(task, task.told_state, "REASON_AGENT_REREGISTERED", message))

    def _reconnect(self, agent: AgentRecord, message: Register) -> None:
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
        unknown = tuple(key for key, task in agent.tasks.items() if key not in named and not task.over)
        books.to_agent(agent, Registered(agent.id, unknown))
        if agent.draining is not None and not agent.drained:
            books.to_agent(agent, agent.draining)
        if agent.available:
            books.freed[agent.id] = None

    # -- how they fall silent

    def lost(self, message: AgentLost) -> None:
        """The connection was reset: no offers of it, and frameworks without checkpoints lose their tasks at once."""
        books = self._books
        agent = books.agents.get(message.agent_id)
        if agent is None or not agent.connected:
            return
        for offer in list(agent.offers.values()):
            books.drop_offer(offer, rescind=True)
        agent.connected = False
        for task in list(agent.tasks.values()):
            framework = books.frameworks[task.framework_id]
            if not framework.info.checkpoint:
                text = f"Agent {agent.description.hostname} disconnected"
                status = books.status(task, "TASK_LOST", "REASON_AGENT_DISCONNECTED", text)
                books.set_state(task, "TASK_LOST", status)
                books.update(framework, status)
                books.complete_task(task)
        self._begin_giving_up(agent)

    def silent(self, message: AgentSilent) -> None:
        agent = self._books.agents.get(message.agent_id)
        if agent is not None:
            self._begin_giving_up(agent)

    def answers(self, message: AgentAnswers) -> None:
        agent = self._books.agents.get(message.agent_id)
        if agent is not None and agent.connected:
            self._stop_giving_up(agent)

    def _begin_giving_up(self, agent: AgentRecord) -> None:
        if agent.giving_up is None:
            pause = self._books.settings.give_up_after
            agent.giving_up = self._books.agenda.after(pause, self._give_up, agent)

    @staticmethod
    def _stop_giving_up(agent: AgentRecord) -> None:
        if agent.giving_up is not None:
            agent.giving_up.cancel()
            agent.giving_up = None

    def _give_up(self, agent: AgentRecord) -> None:
        """Unreachable: it may come back, and its tasks with it."""
        books = self._books
        if books.agents.get(agent.id) is not agent or not books.alive:
            return
        books.registry.unreachable[agent.id] = books.now
        books.registry.admitted.pop(agent.id, None)
        since = TimeInfo(round(books.now * 1e9))
        for task in list(agent.tasks.values()):
            framework = books.frameworks[task.framework_id]
            if task.over:
                books.complete_task(task)
                continue
            state = framework.lost_or("TASK_UNREACHABLE")
            status = books.status(task, state, "REASON_AGENT_REMOVED", "health check timed out", unreachable_time=since)
            books.update(framework, status)
            books.publish("TASK_UPDATED", framework_id=ID(framework.id), status=status, state=state)
            self._forget_use(framework, agent, task)
            task.state = task.status_state = "TASK_UNREACHABLE"
            task.unreachable_at = books.now
            framework.tasks.pop(task.id, None)
            framework.unreachable[task.id] = task
            while len(framework.unreachable) > books.settings.completed_tasks:
                framework.unreachable.popitem(last=False)
        agent.tasks.clear()
        self._take_out(agent)

    def _forget_use(self, framework: FrameworkRecord, agent: AgentRecord, task: TaskRecord) -> None:
        if not task.freed:
            task.freed = True
            self._books.release(framework, task.role, agent, task.pieces)

    def _take_out(self, agent: AgentRecord) -> None:
        """The end of every way in which an agent leaves the books."""
        books = self._books
        for offer in list(agent.offers.values()):
            books.drop_offer(offer, rescind=True)
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
            books.tell(framework, messages.Failure(agent_id=ID(agent.id)))
        books.publish("AGENT_REMOVED", agent_id=ID(agent.id))

    # -- how they are removed

    def remove(self, agent: AgentRecord, reason: str) -> None:
        """For good, with TASK_LOST for whoever had tasks there."""
        text = f"Agent {agent.description.hostname} removed: {reason}"
        self._end_tasks(agent, "TASK_LOST", "REASON_AGENT_REMOVED", text)
        self._books.registry.admitted.pop(agent.id, None)
        self._take_out(agent)

    def remove_for_maintenance(self, agent: AgentRecord) -> None:
        self.remove(agent, "Operator initiated 'Machine DOWN'")
        self._tell_to_leave(agent.description)

    def mark_gone(self, agent: AgentRecord) -> None:
        """An operator says that it will never come back."""
        books = self._books
        books.registry.gone.add(agent.id)
        books.registry.admitted.pop(agent.id, None)
        self._end_tasks(
            agent, "TASK_GONE_BY_OPERATOR", "REASON_AGENT_REMOVED_BY_OPERATOR", "Agent has been marked gone"
        )
        self._take_out(agent)
        if agent.connected:
            self._tell_to_leave(agent.description)

    def mark_unreachable_gone(self, agent_id: str) -> bool:
        """The same for one that was given up. False if it is not known."""
        books = self._books
        if agent_id in books.recovered:
            del books.recovered[agent_id]
            books.registry.admitted.pop(agent_id, None)
        elif agent_id not in books.registry.unreachable:
            return agent_id in books.registry.gone
        books.registry.unreachable.pop(agent_id, None)
        books.registry.gone.add(agent_id)
        for framework in books.frameworks.values():
            for task in [each for each in framework.unreachable.values() if each.agent_id == agent_id]:
                state = framework.lost_or("TASK_GONE_BY_OPERATOR")
                reason, text = "REASON_AGENT_REMOVED_BY_OPERATOR", "Agent has been marked gone"
                books.update(framework, books.status(task, state, reason, text))
                task.state = "TASK_GONE_BY_OPERATOR"
                books.complete_task(task)
        return True

    def _end_tasks(self, agent: AgentRecord, state: str, reason: str, message: str) -> None:
        books = self._books
        for task in list(agent.tasks.values()):
            framework = books.frameworks[task.framework_id]
            if not task.over:
                told = framework.lost_or(state)
                status = books.status(task, told, reason, message)
                books.set_state(task, told, status)
                books.update(framework, status)
            books.complete_task(task)

    def _tell_to_leave(self, description: AgentDescription) -> None:
        self._books.effects.append(ToAgent(description.name, Leave()))

    # -- reservations by operators

    def change_total(self, agent: AgentRecord, before: Pieces, after: Pieces) -> tuple[int, str] | None:
        """RESERVE and UNRESERVE: offers that are in the way are rescinded. Returns why not, in Mesos's words."""
        books = self._books
        if not agent.total.covers(before):
            return 409, f"{to_text(agent.total, None)} does not contain {to_text(before, None)}"
        free = agent.available
        for offer in list(agent.offers.values()):
            if free.covers(before):
                break
            free = free.plus(offer.pieces)
            books.drop_offer(offer, rescind=True)
            self._allocator.refuse(offer.framework, offer.role, agent, offer.pieces, 5.0)
        if not agent.available.covers(before):
            return 409, f"{to_text(agent.available, None)} does not contain {to_text(before, None)}"
        agent.available = agent.available.minus(before).plus(after)
        agent.total = agent.total.minus(before).plus(after)
        books.freed[agent.id] = None
        books.to_agent(agent, Reserved(agent.total))
        return None

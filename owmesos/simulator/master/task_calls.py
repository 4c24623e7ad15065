"""What becomes of tasks: updates on their way, acknowledgements, KILL and reconciliation (docs/reconciliation.md)."""

from __future__ import annotations

from owmesos.mesos import messages
from owmesos.mesos.messages import Kill, OperationStatus, ReconcileTask, TaskStatus
from owmesos.simulator import protocol
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.membership import Membership
from owmesos.simulator.master.records import FrameworkRecord, TaskRecord
from owmesos.simulator.protocol import grace_of, time_info


class TaskCalls:
    def __init__(self, books: MasterBooks, membership: Membership) -> None:
        self._books = books
        self._membership = membership

    # -- updates

    def update(self, update: protocol.StatusUpdate) -> None:
        """From an agent that is registered. One for a framework that is away waits at the agent."""
        books = self._books
        framework = books.frameworks.get(update.framework_id)
        agent = books.agents.get(update.agent_id)
        if agent is None or not agent.connected:
            return
        task = agent.tasks.get((update.framework_id, update.status.task_id.value))
        if task is not None:
            books.set_state(task, update.latest, update.status)
        if framework is not None:
            books.update(framework, update.status)

    def acknowledge(self, framework: FrameworkRecord, call: messages.Acknowledge) -> None:
        """Goes on to the agent; the end of a task that is acknowledged takes it out of the books."""
        books = self._books
        agent = books.agents.get(call.agent_id.value)
        if agent is None or not agent.connected:
            return
        task = agent.tasks.get((framework.id, call.task_id.value))
        if task is not None and task.status_state in protocol.TERMINAL and task.status_uuid == call.uuid:
            books.complete_task(task)
            self._membership.task_ended(agent)
        books.to_agent(agent, protocol.AcknowledgeUpdate(framework.id, call.task_id.value, call.uuid))

    # -- KILL

    def kill(self, framework: FrameworkRecord, call: Kill) -> None:
        """Dropped in silence where the agent is not connected."""
        task = framework.tasks.get(call.task_id.value)
        if task is None:
            self._answer(framework, call)
            return
        agent = self._books.agents.get(task.agent_id)
        if agent is not None:
            self._books.to_agent(agent, protocol.KillTask(framework.id, task.id, grace_of(call.kill_policy)))

    def shut_down(self, framework: FrameworkRecord, call: messages.Shutdown) -> None:
        """The executor of a command task has the task's id."""
        agent = self._books.agents.get(call.agent_id.value)
        if agent is not None and (framework.id, call.executor_id.value) in agent.tasks:
            self._books.to_agent(agent, protocol.ShutDownExecutor(framework.id, call.executor_id.value))

    # -- RECONCILE

    def reconcile_operations(self, framework: FrameworkRecord, call: messages.ReconcileOperations) -> None:
        """None is ever kept: they are over as soon as they are asked for."""
        for each in call.operations:
            text = "Reconciliation: Operation is unknown"
            if each.agent_id is None:
                text = f"{text} and no 'agent_id' was provided"
            status = OperationStatus("OPERATION_UNKNOWN", each.operation_id, text, agent_id=each.agent_id)
            self._books.to_framework(framework, messages.UpdateOperationStatus(status))

    def reconcile(self, framework: FrameworkRecord, call: messages.Reconcile) -> None:
        if not call.tasks:
            for task in list(framework.tasks.values()):
                if task.agent_id in self._books.agents:
                    self._books.update(framework, self._latest(task))
            return
        for each in call.tasks:
            self._answer(framework, each)

    def _answer(self, framework: FrameworkRecord, asked: Kill | ReconcileTask) -> None:
        """What the master knows of one task; nothing while an agent that may have it is not back yet."""
        books = self._books
        task = framework.tasks.get(asked.task_id.value)
        if task is not None:
            books.update(framework, self._latest(task))
            return
        state, message, since = "TASK_UNKNOWN", "Reconciliation: Task is unknown", None
        name = asked.agent_id.value if asked.agent_id is not None else None
        if name in books.recovered or (name is None and books.recovered):
            return
        if name in books.agents:
            state, message = "TASK_GONE", "Reconciliation: Task is unknown to the agent"
        elif name in books.registry.unreachable:
            state, message = "TASK_UNREACHABLE", "Reconciliation: Task is unreachable"
            since = time_info(books.registry.unreachable[name])
        elif name in books.registry.gone:
            state, message = "TASK_GONE_BY_OPERATOR", "Reconciliation: Task is gone"
        state = framework.lost_or(state)
        books.update(framework, books.status(asked, state, "REASON_RECONCILIATION", message, unreachable_time=since))

    def _latest(self, task: TaskRecord) -> TaskStatus:
        container = task.statuses[-1].container_status if task.statuses else None
        reason, message = "REASON_RECONCILIATION", "Reconciliation: Latest task state"
        return self._books.status(task.info, task.told_state, reason, message, container_status=container)

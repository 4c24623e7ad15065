"""What becomes of tasks: updates on their way, acknowledgements, KILL and reconciliation (docs/reconciliation.md)."""

from __future__ import annotations

from owmesos.mesos import messages
from owmesos.mesos.messages import ID, KillPolicy, OperationStatus, TaskStatus, TimeInfo
from owmesos.simulator.master.books import Books
from owmesos.simulator.master.draining import Draining
from owmesos.simulator.master.records import TERMINAL, FrameworkRecord, TaskRecord
from owmesos.simulator.protocol import AcknowledgeUpdate, KillTask, StatusUpdate


class TaskCalls:
    def __init__(self, books: Books, draining: Draining) -> None:
        self._books = books
        self._draining = draining

    # -- updates

    def update(self, update: StatusUpdate) -> None:
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
        if task is not None and task.status_state in TERMINAL and task.status_uuid == call.uuid:
            books.complete_task(task)
            self._draining.task_ended(agent)
        books.to_agent(agent, AcknowledgeUpdate(framework.id, call.task_id.value, call.uuid))

    # -- KILL

    def kill(self, framework: FrameworkRecord, call: messages.Kill) -> None:
        """Dropped in silence where the agent is not connected."""
        task = framework.tasks.get(call.task_id.value)
        if task is None:
            self._answer(framework, call.task_id, call.agent_id)
            return
        agent = self._books.agents.get(task.agent_id)
        if agent is not None:
            self._books.to_agent(agent, KillTask(framework.id, task.id, grace_of(call.kill_policy)))

    def shut_down(self, framework: FrameworkRecord, call: messages.Shutdown) -> None:
        """The executor of a command task has the task's id."""
        agent = self._books.agents.get(call.agent_id.value)
        if agent is not None and (framework.id, call.executor_id.value) in agent.tasks:
            self._books.to_agent(agent, KillTask(framework.id, call.executor_id.value))

    # -- RECONCILE

    def reconcile_operations(self, framework: FrameworkRecord, call: messages.ReconcileOperations) -> None:
        """None is ever kept: they are over as soon as they are asked for."""
        for each in call.operations:
            text = "Reconciliation: Operation is unknown"
            if each.agent_id is None:
                text = f"{text} and no 'agent_id' was provided"
            status = OperationStatus("OPERATION_UNKNOWN", each.operation_id, text, agent_id=each.agent_id)
            self._books.tell(framework, messages.UpdateOperationStatus(status))

    def reconcile(self, framework: FrameworkRecord, call: messages.Reconcile) -> None:
        if not call.tasks:
            for task in list(framework.tasks.values()):
                if task.agent_id in self._books.agents:
                    self._books.update(framework, self._latest(task))
            return
        for each in call.tasks:
            self._answer(framework, each.task_id, each.agent_id)

    def _answer(self, framework: FrameworkRecord, task_id: ID, agent_id: ID | None) -> None:
        """What the master knows of one task; nothing while an agent that may have it is not back yet."""
        books = self._books
        task = framework.tasks.get(task_id.value)
        if task is not None:
            books.update(framework, self._latest(task))
            return
        state, message, since = "TASK_UNKNOWN", "Reconciliation: Task is unknown", None
        name = agent_id.value if agent_id is not None else None
        if name in books.recovered or (name is None and books.recovered):
            return
        if name in books.agents:
            state, message = "TASK_GONE", "Reconciliation: Task is unknown to the agent"
        elif name in books.registry.unreachable:
            state, message = "TASK_UNREACHABLE", "Reconciliation: Task is unreachable"
            since = TimeInfo(round(books.registry.unreachable[name] * 1e9))
        elif name in books.registry.gone:
            state, message = "TASK_GONE_BY_OPERATOR", "Reconciliation: Task is gone"
        status = TaskStatus(
            task_id,
            framework.lost_or(state),
            message=message,
            source="SOURCE_MASTER",
            reason="REASON_RECONCILIATION",
            agent_id=agent_id,
            timestamp=books.now,
            unreachable_time=since,
        )
        books.update(framework, status)

    def _latest(self, task: TaskRecord) -> TaskStatus:
        last = task.statuses[-1] if task.statuses else None
        message = "Reconciliation: Latest task state"
        container = last.container_status if last is not None else None
        return self._books.status(task, task.told_state, "REASON_RECONCILIATION", message, container_status=container)


def grace_of(policy: KillPolicy | None) -> float | None:
    """Seconds."""
    if policy is None or policy.grace_period is None:
        return None
    return policy.grace_period.nanoseconds / 1e9

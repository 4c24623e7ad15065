"""The tasks of the model master: their updates, kills, reconciliation, and what becomes of them with their agents."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from owmesos.mesos.messages import (
    ID,
    Acknowledge,
    Call,
    Failure,
    Kill,
    Reconcile,
    ReconcileTask,
    TaskInfo,
    TaskStatus,
    Update,
)
from tests.model.agents import TERMINAL, Link, ModelAgent, Room, Task

if TYPE_CHECKING:
    from tests.model.master import Master

RETRY = 10.0  # an unacknowledged update comes again after it, then after twice as long
STARTING_AFTER, RUNNING_AFTER = 0.02, 0.08
KILLED_AFTER = 0.004
QUICK = 3.0

# What a task does by itself, by its name.
RUNS, QUICKLY, FAILS, SILENT = "runs", "quick", "fails", "silent"


class TaskBook:
    """`all` holds every task there ever was, by its id."""

    def __init__(self, master: Master) -> None:
        self.all: dict[str, Task] = {}
        self.reported: list[TaskStatus] = []  # what agents said, for duplicates
        self._master = master
        self._uuids = count()

    # -- calls

    def receive(self, call: Call) -> None:
        if isinstance(call, Acknowledge):
            self._acknowledge(call)
        elif isinstance(call, Kill):
            self._kill(call)
        elif isinstance(call, Reconcile):
            self._reconcile(call)
        else:
            raise AssertionError(f"the scheduler sent {call.wire_type}")

    def launch(self, info: TaskInfo, agent: ModelAgent, room: Room) -> None:
        task_id = info.task_id.value
        assert task_id not in self.all, f"task id {task_id} is used twice"
        task = self.all[task_id] = Task(task_id, info.name, agent, room)
        agent.tasks[task_id] = task
        assert not [other for other in self.of(task.launch_id) if other.lives], f"{task.launch_id} has two live tasks"
        if agent.link is not Link.UP:
            return
        task.actual = "TASK_STAGING"
        at, now = self._master.at, self._master.now
        if info.name == FAILS:
            at(now + STARTING_AFTER, lambda: self.push(task, "TASK_FAILED"))
        elif info.name != SILENT:
            at(now + STARTING_AFTER, lambda: self.push(task, "TASK_STARTING"))
            at(now + RUNNING_AFTER, lambda: self.push(task, "TASK_RUNNING"))
            if info.name == QUICKLY:
                at(now + QUICK, lambda: self.push(task, "TASK_FINISHED"))

    def never_launched(self, info: TaskInfo, message: str) -> None:
        status = TaskStatus(
            info.task_id,
            "TASK_DROPPED",
            message=f"Task launched with invalid offers: {message}",
            source="SOURCE_MASTER",
            reason="REASON_INVALID_OFFERS",
            agent_id=info.agent_id,
        )
        self._master.emit(Update(status))

    def of(self, launch_id: str) -> list[Task]:
        return [task for task in self.all.values() if task.launch_id == launch_id]

    # -- updates

    def push(self, task: Task, state: str) -> None:
        """The agent's executor says so; in order, and nothing after the end."""
        if not task.lives or task.actual == state:
            return
        task.actual = state
        reason = "REASON_COMMAND_EXECUTOR_FAILED" if state == "TASK_FAILED" else None
        task.to_send.append(task.status(state, uuid=f"u{next(self._uuids)}", source="SOURCE_EXECUTOR", reason=reason))
        self._pump(task)

    def _pump(self, task: Task) -> None:
        if task.in_flight is not None or not task.to_send or task.agent.link is not Link.UP:
            return
        task.in_flight = task.to_send.popleft()
        task.retries = 0
        self._send(task, task.in_flight)

    def _send(self, task: Task, status: TaskStatus) -> None:
        if status is not task.in_flight:
            return
        self._at_master(task, status.state)
        self._master.emit(Update(status))
        self.reported.append(status)
        task.retries += 1
        self._master.at(self._master.now + RETRY * 2 ** (task.retries - 1), lambda: self._again(task, status))

    def _again(self, task: Task, status: TaskStatus) -> None:
        if task.agent.link is Link.UP:
            self._send(task, status)

    def _at_master(self, task: Task, state: str) -> None:
        task.state = state
        if state in TERMINAL and not task.freed:
            task.freed = True
            self._master.touch()

    def resend(self) -> None:
        """A new subscription: what is not acknowledged comes at once."""
        for task in self.all.values():
            if task.in_flight is not None and task.agent.link is Link.UP:
                self._master.emit(Update(task.in_flight))

    def repeat(self, status: TaskStatus) -> None:
        """An update that came before comes again, however late."""
        if self.all[status.task_id.value].agent.link is Link.UP:
            self._master.emit(Update(status))

    def _acknowledge(self, call: Acknowledge) -> None:
        task = self.all.get(call.task_id.value)
        assert call.uuid.startswith("u"), f"{call} acknowledges what was never sent"
        if task is None or task.in_flight is None or task.in_flight.uuid != call.uuid or task.agent.link is not Link.UP:
            return
        ended = task.in_flight.state in TERMINAL
        task.in_flight = None
        if ended:
            self._forget(task)
        self._pump(task)

    def _forget(self, task: Task) -> None:
        task.known = False
        task.to_send.clear()
        task.in_flight = None
        if not task.freed:
            task.freed = True
            self._master.touch()
        task.agent.tasks.pop(task.task_id, None)

    # -- kills and questions

    def kill(self, task: Task) -> None:
        """The agent ends it."""
        self.push(task, "TASK_KILLING")
        self._master.at(self._master.now + KILLED_AFTER, lambda: self.push(task, "TASK_KILLED"))

    def _kill(self, call: Kill) -> None:
        task = self.all.get(call.task_id.value)
        if task is None or not task.known or task.agent.link in (Link.ABSENT, Link.UNREACHABLE, Link.GONE):
            self._answer(ReconcileTask(call.task_id, call.agent_id))
        elif task.agent.link is Link.UP:
            self.kill(task)

    def _reconcile(self, call: Reconcile) -> None:
        if call.tasks:
            for question in call.tasks:
                self._answer(question)
            return
        for task in self.all.values():
            if task.known and task.agent.link in (Link.UP, Link.FROZEN):
                self._master.emit(Update(_reconciled(task.status(task.state, uuid=None, source="SOURCE_MASTER"))))

    def _answer(self, question: ReconcileTask) -> None:
        """As Mesos answers; in silence while the agent has not registered with a new master."""
        task = self.all.get(question.task_id.value)
        agent = self._master.agents.get(question.agent_id.value) if question.agent_id is not None else None
        absent = any(each.link is Link.ABSENT for each in self._master.agents.values())
        if agent is None:
            if absent:
                return
            state = "TASK_UNKNOWN"
        elif agent.link is Link.ABSENT:
            return
        elif agent.link is Link.UNREACHABLE:
            state = "TASK_UNREACHABLE"
        elif agent.link is Link.GONE:
            state = "TASK_GONE_BY_OPERATOR"
        elif task is None or not task.known:
            state = "TASK_GONE"
        else:
            state = task.state
        status = TaskStatus(question.task_id, state, source="SOURCE_MASTER", agent_id=question.agent_id)
        self._master.emit(Update(_reconciled(status)))

    # -- agents

    def lose(self, agent: ModelAgent, link: Link, state: str, reason: str) -> None:
        """The master removes the agent: an update for each task, then FAILURE."""
        was_absent = agent.link is Link.ABSENT
        agent.link = link
        if was_absent and link is Link.UNREACHABLE:
            return  # after a failover: nothing is said
        for task in list(agent.tasks.values()):
            if task.state not in TERMINAL:
                task.state = state
                self._master.emit(Update(task.status(state, uuid=None, source="SOURCE_MASTER", reason=reason)))
            if link is Link.GONE:
                task.actual = task.actual and "TASK_KILLED"
                self._forget(task)
        self._master.rescind_all(agent)
        self._master.emit(Failure(ID(agent.agent_id)))

    def replace(self, agent: ModelAgent, successor: ModelAgent) -> None:
        """The agent begins anew at its address, with nothing of what it had: another id."""
        if agent.link not in (Link.UNREACHABLE, Link.GONE):
            self.lose(agent, Link.GONE, "TASK_LOST", "REASON_AGENT_REMOVED")
        agent.replaced = True
        for task in agent.tasks.values():
            task.actual = None  # what was unreachable stays so for the master
        self._master.add_agent(successor)

    def blip(self, agent: ModelAgent) -> None:
        """The agent restarts within its ping time-out: offers go, what is in flight comes twice."""
        self._master.rescind_all(agent)
        for task in agent.tasks.values():
            if task.in_flight is not None:
                self._master.emit(Update(task.in_flight))
                self._master.emit(Update(task.in_flight))
        self._master.touch()

    def register(self, agent: ModelAgent) -> None:
        """The agent is back with the master: what runs there is told where it was unreachable."""
        if agent.link in (Link.GONE, Link.UP) or agent.replaced:
            return
        was, agent.link = agent.link, Link.UP
        for task in list(agent.tasks.values()):
            if task.actual is None:
                self._forget(task)  # its launch was lost: nothing is ever said
            elif was is Link.UNREACHABLE and task.lives:
                task.state = task.actual
                status = task.status(task.state, uuid=None, source="SOURCE_MASTER", reason="REASON_AGENT_REREGISTERED")
                self._master.emit(Update(status))
            if task.in_flight is not None:
                self._at_master(task, task.in_flight.state)
                self._master.emit(Update(task.in_flight))
                self._master.emit(Update(task.in_flight))
            self._pump(task)
        if was is not Link.FROZEN:
            self._master.add_agent(agent)
        self._master.touch()


def _reconciled(status: TaskStatus) -> TaskStatus:
    return TaskStatus(
        status.task_id,
        status.state,
        message="Reconciliation: Latest task state",
        source="SOURCE_MASTER",
        reason="REASON_RECONCILIATION",
        agent_id=status.agent_id,
    )

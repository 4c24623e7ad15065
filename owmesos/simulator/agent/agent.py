"""A Mesos agent as pure decisions: it registers, runs tasks, and sends their updates until they are acknowledged.

What a real agent writes to its disk (its id, tasks, updates) survives `crash`; the rest is lost.
"""

from __future__ import annotations

import base64
import random
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from owmesos.mesos.messages import ID, ContainerID, ContainerStatus, IPAddress, NetworkInfo, TaskStatus
from owmesos.simulator import protocol
from owmesos.simulator.agenda import Agenda, AgendaEntry, cancel
from owmesos.simulator.agent.runs import Key, TaskRun
from owmesos.simulator.agent.settings import AgentSettings
from owmesos.simulator.pieces import Pieces
from owmesos.simulator.protocol import AgentDescription, StatusUpdate, WireMessage, grace_of

RESEND = 10.0  # seconds; before an update is sent again, doubling
LONGEST_RESEND = 600.0  # seconds


class TaskRunner(Protocol):
    """Runs tasks, and reports to the agent with `executor_registered`, `began` and `ended`, or `never_began`."""

    def start(self, agent: SimulatedAgent, run: TaskRun) -> None: ...

    def kill(self, agent: SimulatedAgent, run: TaskRun, grace: float) -> None:
        """TERM now, KILL after `grace` seconds."""

    def freeze(self, run: TaskRun) -> None:
        """Everything in its container stands still."""

    def thaw(self, run: TaskRun) -> None: ...

    def destroy(self, run: TaskRun) -> None:
        """KILL now, without a report to the agent."""


@dataclass(slots=True, eq=False)
class SimulatedAgent:
    """`send` sends its messages to the master; `left` is called when the master removes it."""

    description: AgentDescription
    settings: AgentSettings
    agenda: Agenda
    chance: random.Random
    runner: TaskRunner
    send: Callable[[WireMessage], None]
    id: str | None = None
    up: bool = False
    registered: bool = False
    runs: dict[Key, TaskRun] = field(default_factory=dict)
    left: Callable[[], None] | None = None
    total: Pieces | None = None  # after reservations were made
    draining: protocol.Drain | None = None
    starting: AgendaEntry | None = None

    # -- its process

    def start(self) -> None:
        """Begins; it registers as soon as it has recovered."""
        self.up = True
        pause = self.settings.recovery if self.runs else self.settings.boot
        self.starting = self.agenda.after(pause, self._register_first)

    def _register_first(self) -> None:
        for run in list(self.runs.values()):
            if run.frozen:
                self._give_up_executor(run)
        self.register()

    def register(self) -> None:
        """With the current master, reporting all its tasks."""
        self.registered = False
        tasks = tuple(
            protocol.KnownTask(
                run.framework_id, run.info, run.role, run.pieces, run.state, run.last or next(iter(run.pending), None)
            )
            for run in self.runs.values()
        )
        frameworks = {run.framework_id: run.framework for run in self.runs.values()}
        self.send(protocol.Register(self.description, self.id, tasks, tuple(frameworks.values()), self.total))

    def crash(self) -> None:
        """SIGKILL: tasks survive, except those of frameworks that do not checkpoint."""
        self.up = self.registered = False
        cancel(self.starting)
        for run in list(self.runs.values()):
            cancel(run.destroying, run.launching)
            if run.launching is not None:
                del self.runs[run.key]  # it was never begun, and nobody will begin it
            elif not run.framework.checkpoint:
                self.forget(run)
            else:
                cancel(run.resend)

    def power_off(self) -> None:
        """Its machine stops: no task survives."""
        self.up = self.registered = False
        cancel(self.starting)
        self._destroy_all()

    def wipe(self) -> None:
        """Empties its disk."""
        self._destroy_all()
        self.id = self.total = self.draining = None

    def _destroy_all(self) -> None:
        for run in list(self.runs.values()):
            self.forget(run)

    def forget(self, run: TaskRun) -> None:
        """Destroys its container, without any update."""
        cancel(run.launching, run.resend, run.destroying)
        self.runner.destroy(run)
        self.runs.pop(run.key, None)

    # -- what the master says

    def receive(self, message: WireMessage) -> None:
        self._ACTS[type(message)](self, message)

    def _kill_task(self, message: protocol.KillTask) -> None:
        run = self.runs.get((message.framework_id, message.task_id))
        if run is not None:
            self._kill(run, message.grace)

    def _send_again_to(self, message: protocol.FrameworkBack) -> None:
        for run in self._of(message.framework_id):
            self._send_first(run)

    def _end_framework(self, message: protocol.EndFramework) -> None:
        for run in self._of(message.framework_id):
            self.forget(run)

    def _of(self, framework_id: str) -> list[TaskRun]:
        return [run for run in self.runs.values() if run.framework_id == framework_id]

    def _drain(self, message: protocol.Drain) -> None:
        self.draining = message
        for run in list(self.runs.values()):
            self._kill(run, message.grace)

    def _undrain(self, _message: protocol.Undrain) -> None:
        self.draining = None

    def _reserved(self, message: protocol.Reserved) -> None:
        self.total = message.total

    def _leave(self, _message: protocol.Leave) -> None:
        self._destroy_all()
        self.up = self.registered = False
        cancel(self.starting)
        if self.left is not None:
            self.left()

    def _registered(self, message: protocol.Registered) -> None:
        self.id = message.agent_id
        self.registered = True
        for framework_id, task_id in message.unknown:
            if (framework_id, task_id) in self.runs:
                continue  # it came after we had said what we have
            text = "Reconciliation: Task is unknown to the agent"
            status = self._status(ID(task_id), "TASK_DROPPED", text, "SOURCE_AGENT", "REASON_RECONCILIATION")
            self.send(StatusUpdate(self.id, framework_id, status, "TASK_DROPPED"))
        for run in list(self.runs.values()):
            if run.pending:
                self._send_first(run)
                if run.ended_unseen:  # once from the disk, and once from the executor
                    self._send_first(run)
                    run.ended_unseen = False

    # -- tasks

    def _run(self, message: protocol.RunTask) -> None:
        container = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        run = TaskRun(message.framework, message.info, message.role, message.pieces, container)
        self.runs[run.key] = run
        if self.settings.launch_delay:
            run.launching = self.agenda.after(self.settings.launch_delay, self._begin, run)
        else:
            self._begin(run)

    def _begin(self, run: TaskRun) -> None:
        run.launching = None
        self.runner.start(self, run)

    def _kill(self, run: TaskRun, asked: float | None) -> None:
        """`asked`: the grace that whoever kills wants. Mesos's executor of commands is not told of it (V0ToV1Adapter
        leaves it out), only that of Docker containers is."""
        if run.over:
            return
        if run.launching is not None:
            run.launching.cancel()
            run.launching = None
            text = "Killed before delivery to the executor"
            self._update(run, "TASK_KILLED", text, "SOURCE_AGENT", "REASON_TASK_KILLED_DURING_LAUNCH")
            return
        if run.frozen:
            run.unheard.append(lambda: self._kill(run, asked))
            return
        if not run.killed and run.can("TASK_KILLING_STATE"):
            self._update(run, "TASK_KILLING")
        run.killed = True
        told = run.info.container is not None and run.info.container.type == "DOCKER"
        graces = (asked if told else None, grace_of(run.info.kill_policy), self.settings.kill_grace)
        self.runner.kill(self, run, next(grace for grace in graces if grace is not None))

    def executor_registered(self, run: TaskRun) -> None:
        """Called by the runner: TASK_STARTING."""
        self._say(run, "TASK_STARTING")

    def began(self, run: TaskRun, pid: int | None) -> None:
        """Called by the runner."""
        run.pid = pid
        self._say(run, "TASK_RUNNING")

    def _say(self, run: TaskRun, state: str) -> None:
        if run.frozen:
            run.unheard.append(lambda: self._update(run, state))
        else:
            self._update(run, state)

    def never_began(self, run: TaskRun, state: str, reason: str) -> None:
        """Called by the runner: its executor does not start, as where its user or image does not exist."""
        self._update(run, state, None, "SOURCE_AGENT", reason)

    def failed_to_begin(self, run: TaskRun, why: str) -> None:
        """Called by the runner: the program does not exist."""
        self._update(run, "TASK_RUNNING")
        self._update(run, "TASK_FAILED", f"Command failed to start: {why}")

    def ended(self, run: TaskRun, code: int) -> None:
        """Called by the runner, with an exit code, or minus the number of a signal."""
        if self.runs.get(run.key) is not run:
            return
        if run.frozen:
            run.unheard.append(lambda: self.ended(run, code))
            return
        text = f"Command exited with status {code}"
        if code < 0:
            text = f"Command terminated with signal {signal.strsignal(-code)}"
        if self.draining is not None:
            state = "TASK_GONE_BY_OPERATOR" if self.draining.mark_gone else "TASK_KILLED"
            self._update(run, state, text, reason="REASON_AGENT_DRAINING")
        else:
            self._update(run, "TASK_KILLED" if run.killed else "TASK_FAILED" if code else "TASK_FINISHED", text)

    # -- an executor that answers nothing

    def freeze_executor(self, run: TaskRun) -> None:
        """SIGSTOP to everything in its container."""
        if not run.frozen and run.launching is None and not run.over:
            run.frozen = True
            self.runner.freeze(run)

    def thaw_executor(self, run: TaskRun) -> None:
        """It continues, and executes what it received meanwhile."""
        if run.frozen:
            run.frozen = False
            self.runner.thaw(run)
            unheard, run.unheard = run.unheard, []
            for each in unheard:
                each()

    def _shut_down(self, message: protocol.ShutDownExecutor) -> None:
        """The executor is asked to end; if it does not, the agent destroys its container."""
        run = self.runs.get((message.framework_id, message.executor_id))
        if run is None or run.over:
            return
        asked = run.launching is None
        self._kill(run, None)
        if asked and run.destroying is None:
            run.destroying = self.agenda.after(self.settings.shutdown_grace, self.executor_dies, run)

    def _give_up_executor(self, run: TaskRun) -> None:
        """It did not register with an agent that was started anew, which destroys its container."""
        run.frozen = False
        self.runner.destroy(run)
        state = "TASK_GONE" if run.can("PARTITION_AWARE") else "TASK_LOST"
        text = f"Executor did not reregister within {self.settings.recovery:g}secs"
        self._update(run, state, text, "SOURCE_AGENT", "REASON_EXECUTOR_REREGISTRATION_TIMEOUT")

    def executor_dies(self, run: TaskRun) -> None:
        """What a SIGKILL to the executor does."""
        run.frozen = False
        self.runner.destroy(run)
        self._update(run, "TASK_FAILED", "Executor terminated", "SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED")

    # -- updates

    def _update(
        self,
        run: TaskRun,
        state: str,
        message: str | None = None,
        source: str = "SOURCE_EXECUTOR",
        reason: str | None = None,
    ) -> None:
        if run.over:
            return
        run.state = state
        of_executor: dict[str, Any] = {}
        if source == "SOURCE_EXECUTOR":
            of_executor = {"executor_id": run.info.task_id, "container_status": self._container(run)}
        run.pending.append(self._status(run.info.task_id, state, message, source, reason, **of_executor))
        run.ended_unseen = run.ended_unseen or not self.up
        if len(run.pending) == 1:
            self._send_first(run)

    def _container(self, run: TaskRun) -> ContainerStatus:
        address = NetworkInfo(ip_addresses=[IPAddress("IPv4", self.description.ip)])
        return ContainerStatus(ContainerID(run.container_id), [address], executor_pid=run.pid)

    def _status(
        self, task_id: ID, state: str, message: str | None, source: str, reason: str | None, **more: Any
    ) -> TaskStatus:
        return TaskStatus(
            task_id,
            state,
            message=message,
            source=source,
            reason=reason,
            agent_id=ID(self.id or ""),
            timestamp=self.agenda.now,
            uuid=base64.b64encode(self.chance.getrandbits(128).to_bytes(16, "big")).decode(),
            **more,
        )

    def _send_first(self, run: TaskRun) -> None:
        """The oldest that is not acknowledged; again after 10 s, then in doubling pauses."""
        run.pause = RESEND
        self._send_again(run)

    def _send_again(self, run: TaskRun) -> None:
        cancel(run.resend)
        if not run.pending or not self.up:
            return
        run.resend = self.agenda.after(run.pause, self._send_again, run)
        run.pause = min(run.pause * 2, LONGEST_RESEND)
        if self.registered:
            assert self.id is not None
            run.last = run.pending[0]
            self.send(StatusUpdate(self.id, run.framework_id, run.last, run.state))

    def _acknowledged(self, message: protocol.AcknowledgeUpdate) -> None:
        run = self.runs.get((message.framework_id, message.task_id))
        if run is None or not run.pending or run.pending[0].uuid != message.uuid:
            return
        run.pending.popleft()
        cancel(run.resend)
        if run.pending:
            self._send_first(run)
        elif run.over:
            del self.runs[run.key]

    _ACTS: ClassVar[dict[type[WireMessage], Callable[[SimulatedAgent, Any], None]]] = {
        protocol.RunTask: _run,
        protocol.AcknowledgeUpdate: _acknowledged,
        protocol.KillTask: _kill_task,
        protocol.ShutDownExecutor: _shut_down,
        protocol.Registered: _registered,
        protocol.FrameworkBack: _send_again_to,
        protocol.EndFramework: _end_framework,
        protocol.Drain: _drain,
        protocol.Undrain: _undrain,
        protocol.Reserved: _reserved,
        protocol.Leave: _leave,
    }

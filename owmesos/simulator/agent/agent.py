"""A Mesos agent as pure decisions: it registers, runs tasks, and sends their updates until they are acknowledged.

What a real one writes to its disk (its id, tasks, updates) outlives `crash`; the rest is forgotten there.
"""

from __future__ import annotations

import base64
import random
import signal
import uuid
from collections.abc import Callable

from owmesos.mesos.messages import ID, ContainerID, ContainerStatus, IPAddress, NetworkInfo, TaskStatus
from owmesos.simulator.agenda import Agenda
from owmesos.simulator.agent.runs import Key, Run, Runner
from owmesos.simulator.agent.settings import AgentSettings
from owmesos.simulator.pieces import Pieces
from owmesos.simulator.protocol import (
    AcknowledgeUpdate,
    AgentDescription,
    Drain,
    EndFramework,
    FrameworkBack,
    KillTask,
    KnownTask,
    Leave,
    Message,
    Register,
    Registered,
    Reserved,
    RunTask,
    StatusUpdate,
    Undrain,
)

RESEND = 10.0
LONGEST_RESEND = 600.0
_TERMINAL = frozenset({"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_GONE_BY_OPERATOR"})


class Agent:
    """`send` takes its messages to the master; `left` is called when the master tells it to go."""

    def __init__(
        self,
        description: AgentDescription,
        settings: AgentSettings,
        agenda: Agenda,
        chance: random.Random,
        runner: Runner,
        send: Callable[[Message], None],
    ) -> None:
        self.description = description
        self.settings = settings
        self.agenda = agenda
        self.id: str | None = None
        self.up = False
        self.registered = False
        self.runs: dict[Key, Run] = {}
        self.left: Callable[[], None] | None = None
        self._chance = chance
        self._runner = runner
        self._send = send
        self._total: Pieces | None = None
        self._draining: Drain | None = None
        self._life = 0

    # -- its process

    def start(self) -> None:
        """Begins; it registers as soon as it has recovered."""
        self.up = True
        self._life += 1
        pause = self.settings.recovery if self.runs else self.settings.boot
        self.agenda.after(pause, self._register_first, self._life)

    def _register_first(self, life: int) -> None:
        if self.up and life == self._life:
            self.register()

    def register(self) -> None:
        """At whatever master there is, with all that it has."""
        self.registered = False
        tasks = tuple(
            KnownTask(run.framework_id, run.info, run.role, run.pieces, run.state, run.last or _first(run))
            for run in self.runs.values()
        )
        frameworks = {run.framework_id: run.framework for run in self.runs.values()}
        self._send(Register(self.description, self.id, tasks, tuple(frameworks.values()), self._total))

    def crash(self) -> None:
        """SIGKILL: tasks live on, but for those of frameworks that do not checkpoint."""
        self.up = self.registered = False
        for run in list(self.runs.values()):
            if run.launching is not None:
                run.launching.cancel()
                del self.runs[run.key]  # it was never begun, and nobody will begin it
            elif not run.framework.checkpoint:
                self._destroy(run)
            elif run.resend is not None:
                run.resend.cancel()

    def wipe(self) -> None:
        """Its disk is empty."""
        for run in list(self.runs.values()):
            self._destroy(run)
        self.id = self._total = self._draining = None

    def _destroy(self, run: Run) -> None:
        """Without any update."""
        for entry in (run.launching, run.resend):
            if entry is not None:
                entry.cancel()
        self._runner.destroy(self, run)
        self.runs.pop(run.key, None)

    # -- what the master says

    def receive(self, message: Message) -> None:
        if isinstance(message, RunTask):
            self._run(message)
        elif isinstance(message, AcknowledgeUpdate):
            self._acknowledged(message)
        elif isinstance(message, KillTask):
            run = self.runs.get((message.framework_id, message.task_id))
            if run is not None:
                self._kill(run, message.grace)
        elif isinstance(message, Registered):
            self._registered(message)
        elif isinstance(message, FrameworkBack):
            for run in self._of(message.framework_id):
                self._send_first(run)
        elif isinstance(message, EndFramework):
            for run in self._of(message.framework_id):
                self._destroy(run)
        else:
            self._receive_from_operator(message)

    def _receive_from_operator(self, message: Message) -> None:
        if isinstance(message, Drain):
            self._draining = message
            for run in list(self.runs.values()):
                if run.state not in _TERMINAL:
                    self._kill(run, _shorter(message.grace, self._grace(run)))
        elif isinstance(message, Undrain):
            self._draining = None
        elif isinstance(message, Reserved):
            self._total = message.total
        elif isinstance(message, Leave):
            self.wipe_tasks()
            self.up = self.registered = False
            if self.left is not None:
                self.left()

    def wipe_tasks(self) -> None:
        for run in list(self.runs.values()):
            self._destroy(run)

    def _of(self, framework_id: str) -> list[Run]:
        return [run for run in self.runs.values() if run.framework_id == framework_id]

    def _registered(self, message: Registered) -> None:
        self.id = message.agent_id
        self.registered = True
        for framework_id, task_id in message.unknown:
            if (framework_id, task_id) in self.runs:
                continue  # it came after we had said what we have
            text = "Reconciliation: Task is unknown to the agent"
            status = TaskStatus(
                ID(task_id),
                "TASK_DROPPED",
                message=text,
                source="SOURCE_AGENT",
                reason="REASON_RECONCILIATION",
                agent_id=ID(self.id),
                timestamp=self.agenda.now,
                uuid=self._uuid(),
            )
            self._send(StatusUpdate(self.id, framework_id, status, "TASK_DROPPED"))
        for run in list(self.runs.values()):
            if run.pending:
                self._send_first(run)
                if run.ended_unseen:  # once from the disk, and once from the executor
                    self._send_first(run)
                    run.ended_unseen = False

    # -- tasks

    def _run(self, message: RunTask) -> None:
        container = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        run = Run(message.framework, message.info, message.role, message.pieces, container)
        self.runs[run.key] = run
        if self.settings.launch_delay:
            run.launching = self.agenda.after(self.settings.launch_delay, self._begin, run)
        else:
            self._begin(run)

    def _begin(self, run: Run) -> None:
        run.launching = None
        self._update(run, "TASK_STARTING")
        self._runner.start(self, run)

    def _kill(self, run: Run, grace: float | None) -> None:
        if run.state in _TERMINAL:
            return
        if run.launching is not None:
            run.launching.cancel()
            run.launching = None
            text = "Killed before delivery to the executor"
            self._update(run, "TASK_KILLED", text, "SOURCE_AGENT", "REASON_TASK_KILLED_DURING_LAUNCH")
            return
        if not run.killed and any(each.type == "TASK_KILLING_STATE" for each in run.framework.capabilities):
            self._update(run, "TASK_KILLING")
        run.killed = True
        self._runner.kill(self, run, self._grace(run) if grace is None else grace)

    def _grace(self, run: Run) -> float:
        policy = run.info.kill_policy
        if policy is None or policy.grace_period is None:
            return self.settings.kill_grace
        return policy.grace_period.nanoseconds / 1e9

    def began(self, run: Run, pid: int | None) -> None:
        """Called by the runner."""
        run.pid = pid
        self._update(run, "TASK_RUNNING")

    def failed_to_begin(self, run: Run, why: str) -> None:
        """Called by the runner: there is no such program."""
        self._update(run, "TASK_RUNNING")
        self._update(run, "TASK_FAILED", f"Command failed to start: {why}")

    def ended(self, run: Run, code: int) -> None:
        """Called by the runner, with an exit code, or minus the number of a signal."""
        if self.runs.get(run.key) is not run:
            return
        text = f"Command exited with status {code}"
        if code < 0:
            text = f"Command terminated with signal {signal.strsignal(-code)}"
        if self._draining is not None:
            state = "TASK_GONE_BY_OPERATOR" if self._draining.mark_gone else "TASK_KILLED"
            self._update(run, state, text, reason="REASON_AGENT_DRAINING")
        else:
            self._update(run, "TASK_KILLED" if run.killed else "TASK_FAILED" if code else "TASK_FINISHED", text)

    def executor_dies(self, run: Run) -> None:
        """What a SIGKILL to the executor does."""
        self._runner.destroy(self, run)
        self._update(run, "TASK_FAILED", "Executor terminated", "SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED")

    # -- updates

    def _update(
        self,
        run: Run,
        state: str,
        message: str | None = None,
        source: str = "SOURCE_EXECUTOR",
        reason: str | None = None,
    ) -> None:
        if run.state in _TERMINAL:
            return
        run.state = state
        by_executor = source == "SOURCE_EXECUTOR"
        status = TaskStatus(
            run.info.task_id,
            state,
            message=message,
            source=source,
            reason=reason,
            agent_id=ID(self.id or ""),
            executor_id=run.info.task_id if by_executor else None,
            timestamp=self.agenda.now,
            uuid=self._uuid(),
            container_status=self._container(run) if by_executor else None,
        )
        run.pending.append(status)
        run.ended_unseen = run.ended_unseen or not self.up
        if len(run.pending) == 1:
            self._send_first(run)

    def _container(self, run: Run) -> ContainerStatus:
        address = NetworkInfo(ip_addresses=[IPAddress("IPv4", self.description.ip)])
        return ContainerStatus(ContainerID(run.container_id), [address], executor_pid=run.pid)

    def _uuid(self) -> str:
        return base64.b64encode(self._chance.getrandbits(128).to_bytes(16, "big")).decode()

    def _send_first(self, run: Run) -> None:
        """The oldest that is not acknowledged; again after 10 s, then in doubling pauses."""
        run.pause = RESEND
        self._send_again(run)

    def _send_again(self, run: Run) -> None:
        if run.resend is not None:
            run.resend.cancel()
            run.resend = None
        if not run.pending or not self.up:
            return
        run.resend = self.agenda.after(run.pause, self._send_again, run)
        run.pause = min(run.pause * 2, LONGEST_RESEND)
        if self.registered:
            assert self.id is not None
            run.last = run.pending[0]
            self._send(StatusUpdate(self.id, run.framework_id, run.last, run.state))

    def _acknowledged(self, message: AcknowledgeUpdate) -> None:
        run = self.runs.get((message.framework_id, message.task_id))
        if run is None or not run.pending or run.pending[0].uuid != message.uuid:
            return
        run.pending.popleft()
        if run.resend is not None:
            run.resend.cancel()
            run.resend = None
        if run.pending:
            self._send_first(run)
        elif run.state in _TERMINAL:
            del self.runs[run.key]


def _first(run: Run) -> TaskStatus | None:
    return run.pending[0] if run.pending else None


def _shorter(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)

"""A task on its agent: its request, its state, and its unacknowledged updates."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from owmesos.mesos.messages import FrameworkInfo, TaskInfo, TaskStatus
from owmesos.simulator.agenda import AgendaEntry
from owmesos.simulator.pieces import Pieces
from owmesos.simulator.protocol import TERMINAL

Key = tuple[str, str]
"""Framework id and task id."""


@dataclass(slots=True, eq=False)
class TaskRun:
    """`pending` are updates in order: only the first of them has been sent."""

    framework: FrameworkInfo
    info: TaskInfo
    role: str
    pieces: Pieces
    container_id: str
    state: str = "TASK_STAGING"
    pending: deque[TaskStatus] = field(default_factory=deque)
    last: TaskStatus | None = None  # that was sent
    launching: AgendaEntry | None = None
    resend: AgendaEntry | None = None
    pause: float = 0.0
    killed: bool = False
    ended_unseen: bool = False  # while its agent was down
    pid: int | None = None
    sandbox: str | None = None  # its folder
    work: AgendaEntry | None = None  # of its runner
    frozen: bool = False  # its executor answers nothing
    unheard: list[Callable[[], None]] = field(default_factory=list)  # what it will do once it is thawed
    destroying: AgendaEntry | None = None  # after SHUTDOWN

    @property
    def framework_id(self) -> str:
        assert self.framework.id is not None
        return self.framework.id.value

    @property
    def task_id(self) -> str:
        return self.info.task_id.value

    @property
    def key(self) -> Key:
        return self.framework_id, self.task_id

    @property
    def over(self) -> bool:
        return self.state in TERMINAL

    def can(self, capability: str) -> bool:
        return any(each.type == capability for each in self.framework.capabilities)

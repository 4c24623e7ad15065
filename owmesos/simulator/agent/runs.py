"""A task on its agent: what was asked for, how far it is, and which updates of it are not acknowledged yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from owmesos.mesos.messages import FrameworkInfo, TaskInfo, TaskStatus
from owmesos.simulator.agenda import Entry
from owmesos.simulator.pieces import Pieces

if TYPE_CHECKING:
    from owmesos.simulator.agent.agent import Agent

Key = tuple[str, str]
"""Framework id and task id."""


@dataclass(slots=True, eq=False)
class Run:
    """`pending` are updates in their order: only the first of them is under way."""

    framework: FrameworkInfo
    info: TaskInfo
    role: str
    pieces: Pieces
    container_id: str
    state: str = "TASK_STAGING"
    pending: deque[TaskStatus] = field(default_factory=deque)
    last: TaskStatus | None = None  # that was sent
    launching: Entry | None = None
    resend: Entry | None = None
    pause: float = 0.0
    killed: bool = False
    ended_unseen: bool = False  # while its agent was down
    pid: int | None = None
    sandbox: str | None = None  # its folder
    work: Entry | None = None  # of a runner without processes

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


class Runner(Protocol):
    """What makes tasks run: it tells the agent by `began` and `ended`."""

    def start(self, agent: Agent, run: Run) -> None: ...

    def kill(self, agent: Agent, run: Run, grace: float) -> None:
        """TERM now, KILL after `grace` seconds."""
        ...

    def destroy(self, agent: Agent, run: Run) -> None:
        """KILL now, and the agent is not told."""
        ...

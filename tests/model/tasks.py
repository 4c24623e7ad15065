"""What the tasks of the tests do by themselves, by their names, on the simulator's agents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from owmesos.mesos.messages import TaskInfo
from owmesos.simulator.agent.agent import SimulatedAgent
from owmesos.simulator.agent.plays import Play, Plays
from owmesos.simulator.agent.runs import TaskRun

STARTING_AFTER, RUNNING_AFTER, SLOW, QUICK = 0.02, 0.06, 25.0, 3.0  # seconds
NEVER_START = {"fails": "TASK_FAILED", "dropped": "TASK_DROPPED"}  # wherever it goes; the second has no such user
_REASONS = {"TASK_FAILED": "REASON_COMMAND_EXECUTOR_FAILED", "TASK_DROPPED": "REASON_EXECUTOR_TERMINATED"}
SILENT = "silent"
PLAYS = {"quick": Play(RUNNING_AFTER, duration=QUICK), "slow": Play(SLOW)}


class Task(NamedTuple):
    """One that reached its agent: it may have run."""

    agent: SimulatedAgent
    run: TaskRun

    @property
    def task_id(self) -> str:
        return self.run.task_id

    @property
    def launch_id(self) -> str:
        return launch_of(self.task_id)

    @property
    def lives(self) -> bool:
        return not self.run.over and self.agent.runs.get(self.run.key) is self.run

    @property
    def hangs(self) -> bool:
        """Its executor does nothing."""
        return self.run.frozen

    def hang(self) -> None:
        self.agent.freeze_executor(self.run)

    def wake(self) -> None:
        self.agent.thaw_executor(self.run)

    def forget(self) -> None:
        """Its agent loses it without a word."""
        self.agent.forget(self.run)

    def says(self, state: str) -> None:
        """Its executor does, unless that hangs."""
        agent, run = self.agent, self.run
        if not self.lives or run.state == state:
            return
        if state == "TASK_STARTING":
            agent.executor_registered(run)
        elif state == "TASK_RUNNING":
            agent.began(run, None)
        else:
            run.killed = run.killed or state == "TASK_KILLED"
            agent.ended(run, state == "TASK_FAILED")


def _play_of(info: TaskInfo) -> Play:
    return PLAYS.get(info.name, Play(RUNNING_AFTER))


@dataclass(frozen=True)
class Runner(Plays):
    """`all` are the tasks that ever reached an agent, by id; `broken` the state in which every start on a machine ends,
    by its name, or SILENT."""

    play_of: Callable[[TaskInfo], Play] = _play_of
    all: dict[str, Task] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def start(self, agent: SimulatedAgent, run: TaskRun) -> None:
        task = Task(agent, run)
        assert run.task_id not in self.all, f"task id {run.task_id} is used twice"
        others = [each.task_id for each in self.of(task.launch_id) if each.lives]
        assert not others, f"{task.launch_id} has two live tasks"
        self.all[run.task_id] = task
        end = self.broken.get(agent.description.name) or NEVER_START.get(run.info.name)
        if SILENT in (end, run.info.name):
            return
        if end is not None:
            run.work = agent.agenda.after(STARTING_AFTER, agent.never_began, run, end, _REASONS[end])
        else:
            run.work = agent.agenda.after(STARTING_AFTER, Plays.start, self, agent, run)

    def of(self, launch_id: str) -> list[Task]:
        return [task for task in self.all.values() if task.launch_id == launch_id]

    def living(self) -> list[Task]:
        return [task for task in self.all.values() if task.lives]


def launch_of(task_id: str) -> str:
    return task_id.rpartition(".")[0]

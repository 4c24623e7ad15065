"""Tasks without processes: they last as long as their command says, and use no resources.

`sleep 10` ends after 10 s, `true`, `false` and `exit 3` at once, everything else runs until it is killed.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from owmesos.mesos.messages import TaskInfo
from owmesos.simulator.agenda import cancel
from owmesos.simulator.agent.agent import SimulatedAgent
from owmesos.simulator.agent.runs import TaskRun

_OBEYS_AFTER = 0.003
"""Seconds from TERM to the end: what was measured of a process that obeys."""


@dataclass(frozen=True)
class Play:
    """The course of a task: seconds until it runs, seconds that it then runs (None: without end), and how it ends.

    A task that ignores TERM is killed after its grace period.
    """

    starts_after: float = 0.0
    duration: float | None = None
    code: int = 0
    obeys: bool = True


def from_command(info: TaskInfo) -> Play:
    command = (info.command.value or "").strip() if info.command is not None else ""
    match = re.fullmatch(
        r"(?:exec )?(?:sleep (?P<time>\d+(?:\.\d+)?)|(?P<word>true|false)|exit (?P<code>\d+))", command
    )
    if match is None:
        return Play()
    if match["time"]:
        return Play(duration=float(match["time"]))
    return Play(duration=0.0, code=int(match["code"] or match["word"] == "false"))


@dataclass(frozen=True)
class Plays:
    """Runs tasks by the agenda alone."""

    play_of: Callable[[TaskInfo], Play]

    def start(self, agent: SimulatedAgent, run: TaskRun) -> None:
        agent.executor_registered(run)
        play = self.play_of(run.info)
        if play.starts_after:
            run.work = agent.agenda.after(play.starts_after, self._begin, agent, run, play)
        else:
            self._begin(agent, run, play)

    def _begin(self, agent: SimulatedAgent, run: TaskRun, play: Play) -> None:
        agent.began(run, None)
        if play.duration is not None:
            run.work = agent.agenda.after(play.duration, agent.ended, run, play.code)

    def kill(self, agent: SimulatedAgent, run: TaskRun, grace: float) -> None:
        obeys = self.play_of(run.info).obeys
        self.destroy(run)
        number = signal.SIGTERM if obeys else signal.SIGKILL
        run.work = agent.agenda.after(min(grace, _OBEYS_AFTER) if obeys else grace, agent.ended, run, -number)

    def freeze(self, run: TaskRun) -> None:
        """It goes on without reporting anything."""

    def thaw(self, run: TaskRun) -> None: ...

    def destroy(self, run: TaskRun) -> None:
        cancel(run.work)

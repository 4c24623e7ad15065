"""Tasks without processes: they take the time that their command says, and cost nothing.

`sleep 10` ends after 10 s, `true`, `false` and `exit 3` at once, everything else runs until it is killed.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from owmesos.mesos.messages import TaskInfo
from owmesos.simulator.agent.agent import Agent
from owmesos.simulator.agent.runs import Run

_OBEYS_AFTER = 0.003
"""Seconds from TERM to the end: what was measured of a process that obeys."""


@dataclass(frozen=True)
class Play:
    """How a task goes: seconds until it runs, seconds that it then runs (None: for ever), and how it ends.

    One that ignores TERM is killed after its grace.
    """

    starts_after: float = 0.0
    duration: float | None = None
    code: int = 0
    obeys: bool = True


def from_command(info: TaskInfo) -> Play:
    """What the task's command would do."""
    command = (info.command.value or "").strip() if info.command is not None else ""
    match = re.fullmatch(
        r"(?:exec )?(?:sleep (?P<time>\d+(?:\.\d+)?)|(?P<word>true|false)|exit (?P<code>\d+))", command
    )
    if match is None:
        return Play()
    if match["time"]:
        return Play(duration=float(match["time"]))
    return Play(duration=0.0, code=int(match["code"] or match["word"] == "false"))


class Plays:
    """Runs tasks by the agenda alone."""

    def __init__(self, play_of: Callable[[TaskInfo], Play] = from_command) -> None:
        self._play_of = play_of

    def start(self, agent: Agent, run: Run) -> None:
        play = self._play_of(run.info)
        if play.starts_after:
            run.work = agent.agenda.after(play.starts_after, self._begin, agent, run, play)
        else:
            self._begin(agent, run, play)

    def _begin(self, agent: Agent, run: Run, play: Play) -> None:
        run.work = None
        agent.began(run, None)
        if play.duration is not None:
            run.work = agent.agenda.after(play.duration, agent.ended, run, play.code)

    def kill(self, agent: Agent, run: Run, grace: float) -> None:
        obeys = self._play_of(run.info).obeys
        self.destroy(agent, run)
        number = signal.SIGTERM if obeys else signal.SIGKILL
        run.work = agent.agenda.after(min(grace, _OBEYS_AFTER) if obeys else grace, agent.ended, run, -number)

    def destroy(self, agent: Agent, run: Run) -> None:
        if run.work is not None:
            run.work.cancel()
            run.work = None

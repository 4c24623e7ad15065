"""What tasks and actions tell of themselves, in files that only they write; and what of them still runs.

A line is appended by one write, and so outlives every kill -9 of a process (a crash of the machine is not played).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_ATTEMPT = re.compile(r"/executors/([^/]+)\.[0-9]+/runs/")
_TASK = """#!/bin/sh
# FILE SECONDS STATUS: says when it starts and ends, and runs that long. SIGTERM ends it with 143.
file=$1 seconds=$2 status=$3
say() {
    at=  # a `date` that is killed before this shell is says nothing
    until [ "$at" ]; do at=$(date +%s.%N); done
    echo "$1 $OWMESOS_LAUNCH_ID $MESOS_EXECUTOR_ID $$ $at $2" >>"$file"
}
trap 'say end 143; exit 143' TERM
say start -
sleep "$seconds" & wait $!
say end "$status"
exit "$status"
"""
ACTION = """
import os, time

def main(args):
    def say(what):
        line = f"{what} {os.environ['__OW_ACTIVATION_ID']} {args['number']} {os.getpid()} {time.time()} -\\n"
        file = os.open(args["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line.encode())
        os.close(file)
    say("start")
    time.sleep(args["seconds"])
    say("end")
    return {"number": args["number"]}
"""


@dataclass(frozen=True)
class Line:
    """`what` is `start` or `end`; `owner` is a launch's or an activation's id, `attempt` the task's id or the
    invocation's number; `status` is that of a task's end."""

    what: str
    owner: str
    attempt: str
    pid: int
    at: float
    status: int | None


class Evidence:
    """The folder where it is kept: a file for each launch asked for, and one for each action."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self._script = folder.parent / "task.sh"
        self._script.write_text(_TASK, encoding="ascii")
        self._script.chmod(0o755)

    def command(self, name: str, seconds: float, status: int) -> str:
        """What a launch of that name runs."""
        return f"exec {shlex.join([str(self._script), str(self.file(name)), f'{seconds:g}', str(status)])}"

    def file(self, name: str) -> Path:
        return self._folder / name

    def lines(self) -> list[Line]:
        """All that was said up to now."""
        return [line for file in sorted(self._folder.iterdir()) for line in parse(file.read_text(encoding="ascii"))]


def parse(text: str) -> Iterable[Line]:
    """Raises ValueError for what no task wrote."""
    for line in text.splitlines():
        what, owner, attempt, pid, at, status = line.split()
        yield Line(what, owner, attempt, int(pid), float(at), None if status == "-" else int(status))


@dataclass(frozen=True)
class Running:
    """A process that an agent started for a launch: the task's, or with `executor` the one that Mesos puts before it.
    `sandbox` is the folder of this attempt."""

    pid: int
    sandbox: str
    launch_id: str
    executor: bool


def running(state: Path) -> list[Running]:
    """The processes that the agents of the cluster in the folder `state` started, of this user."""
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = _variables(entry)
            command = (entry / "cmdline").read_bytes()
            ended = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is not ours
        sandbox = variables.get("MESOS_DIRECTORY", "")
        attempt = _ATTEMPT.search(sandbox)
        if sandbox.startswith(f"{state}/") and attempt is not None and not ended:
            found.append(Running(int(entry.name), sandbox, attempt[1], b"executor.py" in command))
    return found


def _variables(entry: Path) -> dict[str, str]:
    content = (entry / "environ").read_bytes().decode(errors="replace")
    return dict(each.split("=", 1) for each in content.split("\0") if "=" in each)

"""Processes of this machine as Linux shows them in /proc: which still run, and which belong to which cluster."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_POLL = 0.05  # seconds
_GRACE = 2.0  # seconds; from SIGTERM to SIGKILL


def started_at(pid: int) -> int | None:
    """When the process began, in clock ticks since the boot; None if it has ended (a zombie has).

    With the pid it names one process for ever, where a pid alone is used again.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def with_variable(name: str, prefix: str) -> list[int]:
    """The pids of processes in whose environment `name` begins with `prefix`; those of other users are left out."""
    wanted = f"\0{name}={prefix}".encode()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = b"\0" + (entry / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or not ours
        if wanted in environment:
            found.append(int(entry.name))
    return found


def end_tasks(state: Path) -> None:
    """Ends the executors and tasks of agents that have their state below a folder: SIGTERM once, then SIGKILL."""
    deadline = time.monotonic() + _GRACE
    asked: set[int] = set()
    while running := with_variable("MESOS_DIRECTORY", f"{state}/"):
        overdue = time.monotonic() >= deadline
        for pid in running:
            if overdue or pid not in asked:
                with suppress(ProcessLookupError):  # it ended meanwhile
                    os.kill(pid, signal.SIGKILL if overdue else signal.SIGTERM)
        asked.update(running)
        time.sleep(_POLL)

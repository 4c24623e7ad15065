"""Ends the tasks of a simulator that was killed: run as a process of its own, with a pipe from the simulator.

It reads `+PID` and `-PID`, a line each, and when the pipe ends it kills the process groups that are left. The standard
library only: it is started as `python -I -S guard.py`.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        if line.startswith("+"):
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    for group in groups:
        signal_group(group)


def signal_group(group: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Without effect where it has ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()

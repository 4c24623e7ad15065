"""Why a process ends."""

from __future__ import annotations

from typing import NamedTuple


class Stopped(NamedTuple):
    """Why the process ends, in one line, and with which exit code."""

    reason: str
    exit_code: int

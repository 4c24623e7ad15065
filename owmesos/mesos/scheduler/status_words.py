"""Texts about a task's status, with what its executor does not say.

Mesos's docker executor gives no reason for an end (src/docker/executor.cpp; measured). Status 137 is 128 and SIGKILL: a
container gets it by a KILL that it does not obey, by a health check that fails, and by its memory limit.
"""

from __future__ import annotations

import re

from owmesos.mesos.messages import TaskStatus

_KILLED = re.compile(r"Container exited with status 137\b")
MEMORY_LIMIT = "killed by the machine, most likely because its memory limit was exceeded"
HEALTH_CHECK = "killed because its health check failed"
_NOT_RUN = re.compile(r"Container exited with status 125\b")
UNHEALTHY = "its health check fails"


def story_text(status: TaskStatus) -> str:
    health = {None: None, True: "healthy", False: "unhealthy"}[status.healthy]
    parts = [status.state, status.reason, health, status.message]
    return " ".join(part for part in parts if part)


def is_not_run(status: TaskStatus) -> bool:
    """`docker run` itself failed (status 125): mostly because another process has a port that it should publish."""
    return status.message is not None and _NOT_RUN.match(status.message) is not None


def end_message(status: TaskStatus, *, asked: bool) -> str | None:
    """Why its task ended. `asked`: we had asked for its end."""
    message = status.message
    if status.healthy is False:
        return f"{message}: {HEALTH_CHECK}" if message else HEALTH_CHECK
    if status.state == "TASK_FAILED" and not asked and message and _KILLED.match(message):
        return f"{message}: {MEMORY_LIMIT}"
    return message

"""What a master refuses a task for, in Mesos's words."""

from __future__ import annotations

from collections.abc import Iterable

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import AllocationInfo, Resource, TaskInfo
from owmesos.resources import MILLI
from owmesos.simulator.master.framework_checks import id_error
from owmesos.simulator.master.records import FrameworkRecord
from owmesos.simulator.pieces import NO_PIECES, Pieces, from_resources, to_text


def resources_error(infos: Iterable[TaskInfo], role: str) -> str | None:
    """One resource that cannot be spoils every task of its LAUNCH."""
    for resource in (each for info in infos for each in info.resources if not _is_nothing(each)):
        if resource.scalar is not None and round(resource.scalar.value * MILLI) <= 0:
            what = f"{resource.name}(allocated: {role}):0"
            return f"Resource '{what}' is invalid: Invalid scalar resource: value <= 0"
    return None


def task_error(
    info: TaskInfo, framework: FrameworkRecord, agent_id: str, role: str, left: Pieces
) -> tuple[str | None, Pieces]:
    """Why the task cannot be launched, or None; and what it takes of what is `left` of its offers."""
    error = (
        id_error(info.task_id.value)
        or _duplicate_error(info, framework)
        or _agent_error(info, agent_id)
        or _command_error(info)
    )
    if error is not None:
        return error, NO_PIECES
    wanted = [each for each in info.resources if not _is_nothing(each)]
    if not wanted:
        return "Task uses no resources", NO_PIECES
    try:
        pieces = from_resources(wanted)
    except InvalidInput as reason:
        return f"Task uses invalid resources: {reason}", NO_PIECES
    foreign = any(each.allocation_info not in (None, AllocationInfo(), AllocationInfo(role)) for each in wanted)
    if foreign or not left.covers(pieces):
        wanting = f"Total resources {to_text(pieces, role)} required by task and its executor"
        return f"{wanting} is more than available {to_text(left, role)}", NO_PIECES
    return None, pieces


def _duplicate_error(info: TaskInfo, framework: FrameworkRecord) -> str | None:
    known = info.task_id.value in framework.tasks or info.task_id.value in framework.unreachable
    return f"Task has duplicate ID: {info.task_id.value}" if known else None


def _agent_error(info: TaskInfo, agent_id: str) -> str | None:
    if info.agent_id.value != agent_id:
        return f"Task uses invalid agent {info.agent_id.value} while agent {agent_id} is expected"
    return None


def _command_error(info: TaskInfo) -> str | None:
    if (info.command is None) == (info.executor is None):
        return "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
    return None


def _is_nothing(resource: Resource) -> bool:
    """cpus of exactly 0 are dropped; those that only round to 0 are an error."""
    return resource.scalar is not None and resource.scalar.value == 0

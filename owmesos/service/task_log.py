"""Where a Mesos task's log is, and why there may be none."""

from __future__ import annotations

from collections.abc import Callable

from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.service.container_log import ContainerLog, Stream
from owmesos.service.errors import LogMissing, LogUnreadable
from owmesos.service.shell import Shell


async def log_of_task(
    shell: Shell, record: LaunchRecord, name: str, stream: Stream, live: Callable[[], bool] | None = None
) -> ContainerLog:
    """The log of the launch's last task, whose id `name` may be. `live`: whether more may come, if that is not for the
    task to say. Raises LogMissing and LogUnreadable."""
    if record.task_id is None:
        raise LogMissing(f"launch {record.id} has no log: {_why_no_task(record)}")
    if name != record.task_id and shell.scheduler.state.launch_of(name) == record.id:
        raise LogMissing(f"{name} was an earlier attempt: only the log of the last one, {record.task_id}, is known")
    place, task_id = f"agent {record.agent_id} ({record.hostname})", record.task_id
    streams = await shell.find_files(record)
    if streams is None:
        raise LogUnreadable(
            f"the log of {task_id} is on {place}, whose address is unknown: the agent is gone, or no "
            "master is connected"
        )

    def missing() -> str:
        if record.state.ended:
            return f"the sandbox of {task_id} on {place} is gone: agents remove it some time after the task's end"
        return f"{task_id} has no {stream} on {place} yet: it is {record.state.value}"

    def runs() -> bool:
        return record.task_id == task_id and not record.state.ended

    return ContainerLog(streams, stream, place, missing, live if live is not None else runs)


def _why_no_task(record: LaunchRecord) -> str:
    if record.state.ended:
        return f"it is {record.state.value} and never had a task"
    return f"it is {record.state.value}, see `owmesos explain {record.id}`"

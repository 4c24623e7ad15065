"""The last line that a failed task wrote to stderr: executors report only an exit status.

Only there does a command say why it ended, and `docker run` why it did not start (a port in use, an invalid
parameter). It is read before the end is judged, in bounded time; if it cannot be read, the update stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import re

import msgspec

from owmesos.errors import OwmesosError
from owmesos.mesos.messages import Update
from owmesos.mesos.scheduler.state import SchedulerState
from owmesos.mesos.wire.agent_files import TaskFiles, is_executors
from owmesos.system.tasks import within

_log = logging.getLogger("owmesos.service")
_WITHIN = 2.0  # seconds
_BARE = re.compile(r"(Command|Container) (exited with status \d+|terminated with signal [\w ()]+)$")
"""All that Mesos's executors report about a failed task."""
_NOISE = re.compile(r"See '.*--help'\.?$|time=\S+ level=")  # hints, and what its client logs beside
_MOST = 500  # characters


def needs_last_words(update: Update, state: SchedulerState) -> bool:
    """Whether a task failed by itself and reports only its exit status. Containers that ran are left out: their runs
    wait for their end, and have logs of their own."""
    status = update.status
    if status.state != "TASK_FAILED" or _BARE.match(status.message or "") is None:
        return False
    record = state.launches.get(state.launch_of(status.task_id.value) or "")
    return record is not None and record.kill_requested_at is None and not (record.managed and record.ran)


def last_line(text: str) -> str | None:
    """The last line that is neither the executor's nor only a hint; None if there is none."""
    lines = [line.strip() for line in text.splitlines() if not is_executors(line.encode())]
    said = [line for line in lines if line and not _NOISE.match(line)]
    return said[-1].removeprefix("docker: ")[:_MOST] if said else None


async def added_reason(update: Update, files: TaskFiles) -> Update:
    """The update, with the reason in its message if that can be read in time."""
    status = update.status
    try:
        words = last_line(await within(files.tail("stderr"), _WITHIN))
    except (OwmesosError, asyncio.TimeoutError) as error:
        why = str(error) or "no answer"
        _log.info("task %s failed; its reason cannot be read: %s", status.task_id.value, why)
        return update
    if words is None:
        return update
    return Update(msgspec.structs.replace(status, message=f"{status.message}: {words}"))

"""A task's output, as its agent serves it. docs/sandbox.md, docs/endpoints/files/read.md."""

from __future__ import annotations

from typing import Any

import aiohttp

from owmesos.mesos.messages import ID, Offer, TaskInfo
from tests.waiting import eventually_async


def stdout_path(framework_id: ID, task: TaskInfo) -> str:
    """The virtual path that every agent knows, whatever its work folder. A command's executor has its task's id."""
    return f"/frameworks/{framework_id.value}/executors/{task.task_id.value}/runs/latest/stdout"


async def read(offer: Offer, path: str, **where: int) -> tuple[int, dict[str, Any]]:
    """The HTTP status and, if that is 200, the document of /files/read at the agent that `offer` is of."""
    assert offer.url is not None
    address = offer.url.address
    parameters = {"path": path, **{name: str(value) for name, value in where.items()}}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
        url = f"{offer.url.scheme}://{address.ip}:{address.port}/files/read"
        async with session.get(url, params=parameters) as answer:
            document: dict[str, Any] = await answer.json() if answer.status == 200 else {}
            return answer.status, document


async def has_said(offer: Offer, framework_id: ID, task: TaskInfo, line: str) -> None:
    """Waits until the task has written that line."""

    async def said() -> bool:
        status, document = await read(offer, stdout_path(framework_id, task), offset=0)
        return status == 200 and line in document["data"].splitlines()

    await eventually_async(said, what=f"{task.task_id.value} says {line!r}")

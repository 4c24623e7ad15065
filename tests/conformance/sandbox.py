"""A task's output, as its agent serves it."""

from __future__ import annotations

import aiohttp

from owmesos.mesos.messages import ID, Offer, TaskInfo
from tests.waiting import eventually_async


async def stdout_of(offer: Offer, framework_id: ID, task: TaskInfo) -> str:
    """What the task, launched with `offer`, has written until now; empty when there is no such file yet."""
    assert offer.url is not None
    address = offer.url.address
    path = f"/frameworks/{framework_id.value}/executors/{task.task_id.value}/runs/latest/stdout"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
        url = f"{offer.url.scheme}://{address.ip}:{address.port}/files/read"
        async with session.get(url, params={"path": path, "offset": "0"}) as answer:
            if answer.status == 404:
                return ""
            assert answer.status == 200, await answer.text()
            data: str = (await answer.json())["data"]
            return data


async def has_said(offer: Offer, framework_id: ID, task: TaskInfo, line: str) -> None:
    """Waits until the task has written that line."""

    async def said() -> bool:
        return line in (await stdout_of(offer, framework_id, task)).splitlines()

    await eventually_async(said, what=f"{task.task_id.value} says {line!r}")

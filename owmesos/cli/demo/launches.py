"""The demo of a framework: twenty containers of mixed sizes, more than the cluster holds at once.

Each is placed when it fits and not before; what waits can say why; and when all have run nothing is left behind.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Sequence

from owmesos.cli.demo.framework import DemoFailed, subscribed
from owmesos.cli.demo.launch_view import Lines, Scene, picture
from owmesos.cli.demo.screen import View, view_for
from owmesos.cli.documents import Document
from owmesos.core.launch import Launch
from owmesos.service.framework import Framework

_DEADLINE = 60.0
_FRAME = 0.1
_SIZES = (
    ("small", 6, 0.2, 96, 0, 2),
    ("medium", 6, 0.5, 256, 0, 2),
    ("web", 4, 0.5, 320, 1, 1),
    ("large", 4, 1.2, 640, 0, 2),
)
"""Name, how many, cpus, MB, ports, seconds."""


async def show(master: str) -> str:
    """All of it; the closing line. Raises DemoFailed."""
    view = view_for(sys.stdout.isatty(), picture, Lines().say)
    async with Framework(master=master, name="owmesos-demo") as framework:
        await subscribed(framework)
        began = time.monotonic()
        ids = [handle.id for handle in await framework.launch_many(_launches())]
        with view:
            await _watch(framework, ids, view)
        seconds = time.monotonic() - began
        framework_id, agents, rows = framework.framework_id, len(framework.nodes()), framework.launches(ids)
    failed = _failed(rows)
    if failed:
        first = failed[0]
        raise DemoFailed(
            f"{len(failed)} of {len(rows)} did not finish: {first['launch_id']} is {first['state']}"
            f" ({first['message'] or first['reason']})"
        )
    return (
        f"{len(rows)} containers ran on {agents} agents in {seconds:.1f} s, each where it fitted;"
        f" framework {framework_id} is torn down"
    )


def _failed(rows: Sequence[Document]) -> list[Document]:
    return [row for row in rows if row["ended_at"] is not None and row["state"] != "FINISHED"]


async def _watch(framework: Framework, ids: Sequence[str], view: View[Scene]) -> None:
    """Until all have ended, or one has failed."""
    began = time.monotonic()
    finished = asyncio.ensure_future(framework.finished())
    try:
        while True:
            launches = framework.launches(ids)
            waiting = [row for row in launches if row["queue_position"] is not None]
            waiting.sort(key=lambda row: row["queue_position"])
            why = framework.explain(waiting[0]["launch_id"])["summary"] if waiting else None
            seconds = time.monotonic() - began
            view.update(Scene(seconds, framework.nodes(), framework.reservations(), launches, waiting, why))
            if all(row["ended_at"] is not None for row in launches) or _failed(launches):
                return
            await asyncio.wait([finished], timeout=_FRAME)
            if finished.done():
                raise DemoFailed(finished.result().reason)
    finally:
        finished.cancel()


def _launches() -> list[Launch]:
    """In an order that is mixed, and always the same."""
    wanted = [
        Launch(name=name, command=f"sleep {seconds}", cpus=cpus, mem=mem, ports=ports, deadline=_DEADLINE)
        for name, count, cpus, mem, ports, seconds in _SIZES
        for _ in range(count)
    ]
    random.Random(1).shuffle(wanted)
    return wanted

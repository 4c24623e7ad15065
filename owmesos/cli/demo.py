"""`owmesos demo`: the main job in one command, for one who wants to see it before reading on.

Twenty containers of mixed sizes, more than the cluster holds at once. Each is placed when it fits and not before; what
waits can say why; and when all have run nothing is left behind.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from owmesos.cli.connection import MASTER_FORMS, credentials_allowed
from owmesos.cli.documents import Document
from owmesos.cli.embedded import embedded_cluster
from owmesos.errors import InvalidInput, OwmesosError

if TYPE_CHECKING:
    from owmesos.cli.demo_view import View
    from owmesos.core.launch import Launch
    from owmesos.service.framework import Framework

_AGENTS = 3
_SUBSCRIBE_WITHIN = 20.0
_DEADLINE = 60.0
_FRAME = 0.1
_SIZES = (
    ("small", 6, 0.2, 96, 0, 2),
    ("medium", 6, 0.5, 256, 0, 2),
    ("web", 4, 0.5, 320, 1, 1),
    ("large", 4, 1.2, 640, 0, 2),
)
"""Name, how many, cpus, MB, ports, seconds."""


class DemoFailed(OwmesosError):
    """Not everything ran."""


@click.command()
@click.option(
    "--engine", type=click.Choice(["simulator", "mesos"]), help="Start a cluster of three agents.  [default: simulator]"
)
@click.option("--master", metavar="M", help=f"Use this cluster instead: {MASTER_FORMS}.")
@click.pass_context
def demo(ctx: click.Context, /, engine: str | None, master: str | None) -> None:
    """Run twenty containers, more than fit at once, and show how they are placed. Takes half a minute at most.

    The engine `simulator` is owmesos's own and needs nothing; `mesos` is Apache Mesos 1.11.0 on this machine, built on
    first use. Nothing is left behind.
    """
    if engine is not None and master is not None:
        raise InvalidInput("give --engine or --master, not both")
    from owmesos.cli.demo_view import LiveView, PlainView
    from owmesos.mesos.address import parse_master

    if master is not None:
        parse_master(master, credentials_allowed=credentials_allowed(ctx))
    logging.basicConfig(level=logging.ERROR)
    with ExitStack() as stack:
        if master is None:
            engine = engine or "simulator"
            what = "Apache Mesos 1.11.0 on this machine" if engine == "mesos" else "a simulated Mesos"
            click.echo(f"starting {what}: a master and {_AGENTS} agents")
            master = stack.enter_context(embedded_cluster(engine, agents=_AGENTS)).master
        view = LiveView() if sys.stdout.isatty() else PlainView()
        try:
            click.echo(asyncio.run(_show(master, view)))
        except asyncio.CancelledError:
            raise DemoFailed("interrupted; the framework is torn down") from None


async def _show(master: str, view: View) -> str:
    """All of it; the closing line. Raises DemoFailed."""
    from owmesos.service.framework import Framework

    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    async with Framework(master=master, name="owmesos-demo") as framework:
        await _subscribed(framework)
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


async def _subscribed(framework: Framework) -> None:
    finished = asyncio.ensure_future(framework.finished())
    try:
        for _ in range(int(_SUBSCRIBE_WITHIN / _FRAME)):
            if framework.subscribed:
                return
            await asyncio.wait([finished], timeout=_FRAME)
            if finished.done():
                raise DemoFailed(finished.result().reason)
        raise DemoFailed(f"no master took us within {_SUBSCRIBE_WITHIN:g} s")
    finally:
        finished.cancel()


async def _watch(framework: Framework, ids: Sequence[str], view: View) -> None:
    """Until all have ended, or one has failed."""
    from owmesos.cli.demo_view import Scene

    finished = asyncio.ensure_future(framework.finished())
    try:
        while True:
            launches = framework.launches(ids)
            waiting = [row for row in launches if row["queue_position"] is not None]
            waiting.sort(key=lambda row: row["queue_position"])
            why = framework.explain(waiting[0]["launch_id"])["summary"] if waiting else None
            view.update(Scene(framework.nodes(), framework.reservations(), launches, waiting, why))
            if all(row["ended_at"] is not None for row in launches) or _failed(launches):
                return
            await asyncio.wait([finished], timeout=_FRAME)
            if finished.done():
                raise DemoFailed(finished.result().reason)
    finally:
        finished.cancel()


def _launches() -> list[Launch]:
    """In an order that is mixed, and always the same."""
    from owmesos.core.launch import Launch

    wanted = [
        Launch(name=name, command=f"sleep {seconds}", cpus=cpus, mem=mem, ports=ports, deadline=_DEADLINE)
        for name, count, cpus, mem, ports, seconds in _SIZES
        for _ in range(count)
    ]
    random.Random(1).shuffle(wanted)
    return wanted

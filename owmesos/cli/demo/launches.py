"""The demo of a framework: twenty containers of mixed sizes, more than the cluster holds at once.

Each is placed when it fits and not before; what waits can say why; and when all have run nothing is left behind.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from owmesos.cli import columns
from owmesos.cli.columns import Document, number, short_ids
from owmesos.cli.demo.framework import DemoFailed, framed, subscribed, until, view
from owmesos.cli.table import Window, table
from owmesos.mesos.scheduler.launch import Launch
from owmesos.service.framework import Framework

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType

_QUEUE_SHOWN = 5
_NODES_EVERY = 1.0  # seconds
_DEADLINE = 60.0  # seconds
_SIZES = (
    ("small", 6, 0.2, 96, 0, 2),
    ("medium", 6, 0.5, 256, 0, 2),
    ("web", 4, 0.5, 320, 1, 1),
    ("large", 4, 1.2, 640, 0, 2),
)
"""Name, how many, cpus, MB, ports, seconds."""


async def show(master: str) -> str:
    """Run the demo and return the closing line. Raises DemoFailed."""
    async with Framework(master=master, name="owmesos-demo") as framework:
        await subscribed(framework)
        began = time.monotonic()
        ids = [handle.id for handle in await framework.launch_many(_launches())]
        with view(picture, LaunchLines().say) as show_scene:
            await _watch(framework, ids, show_scene)
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
        f"{len(rows)} containers ran on {agents} agents in {seconds:.1f} s, each where it fit;"
        f" framework {framework_id} is torn down"
    )


def _failed(rows: Sequence[Document]) -> list[Document]:
    return [row for row in rows if row["ended_at"] is not None and row["state"] != "FINISHED"]


async def _watch(framework: Framework, ids: Sequence[str], show_scene: Callable[[Scene], None]) -> None:
    """Return when all have ended or one has failed."""
    began = time.monotonic()

    def over() -> bool:
        launches = framework.launches(ids)
        waiting = [row for row in launches if row["queue_position"] is not None]
        waiting.sort(key=lambda row: row["queue_position"] or 0)
        why = framework.explain(waiting[0]["launch_id"])["summary"] if waiting else None
        seconds = time.monotonic() - began
        show_scene(Scene(seconds, framework.nodes(), framework.reservations(), launches, waiting, why))
        return all(row["ended_at"] is not None for row in launches) or bool(_failed(launches))

    await until(framework, over)


def _launches() -> list[Launch]:
    """In a mixed order that is always the same."""
    wanted = [
        Launch(name=name, command=f"sleep {seconds}", cpus=cpus, mem=mem, ports=ports, deadline=_DEADLINE)
        for name, count, cpus, mem, ports, seconds in _SIZES
        for _ in range(count)
    ]
    random.Random(1).shuffle(wanted)
    return wanted


# -- what is shown: the listings of the command line, or a line for each change


class Scene(NamedTuple):
    """What to show at one moment. `waiting` is in queue order; `why` says why the first one waits."""

    seconds: float
    nodes: Sequence[Document]
    reservations: Sequence[Document]
    launches: Sequence[Document]
    waiting: Sequence[Document]
    why: str | None


def picture(scene: Scene, console: Console) -> Group:
    """The picture for a terminal."""
    from rich.text import Text

    sections: list[RenderableType] = []
    for title, rows, listing in (
        ("Nodes", scene.nodes, columns.NODES),
        ("Reservations", scene.reservations, columns.RESERVATIONS),
        (f"Queue ({len(scene.waiting)})", scene.waiting[:_QUEUE_SHOWN], columns.LAUNCHES),
    ):
        made = table(rows, listing, Window(console.width))
        sections += [Text(f"\n{title}", style="bold cyan"), Text(made.heading, "bold"), *map(Text, made.lines)]
    ended = sum(row["ended_at"] is not None for row in scene.launches)
    why = f"the first waits: {short_ids(scene.why)}" if scene.why else ""
    return framed(f"{scene.seconds:4.1f} s  {_counts(scene)}", len(scene.launches), ended, *sections, Text(why))


class LaunchLines:
    """A line for each change, and the nodes now and then."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._nodes = ""
        self._next_nodes = 0.0

    def say(self, scene: Scene) -> None:
        now = scene.seconds
        for row in scene.launches:
            if self._states.get(row["launch_id"]) != row["state"]:
                self._states[row["launch_id"]] = row["state"]
                if row["started_at"] is not None or row["ended_at"] is not None:
                    click.echo(f"{now:4.1f} s  {_said(row)}; {_counts(scene)}")
        text = "; ".join(_node(node) for node in scene.nodes)
        if text != self._nodes and now >= self._next_nodes:
            self._nodes, self._next_nodes = text, now + _NODES_EVERY
            click.echo(f"{now:4.1f} s  free: {text}")
            if scene.why:
                click.echo(f"{now:4.1f} s  {scene.waiting[0]['launch_id']} waits: {short_ids(scene.why)}")


def _counts(scene: Scene) -> str:
    launches = scene.launches
    waiting = sum(row["state"] in ("PENDING", "RESERVED") for row in launches)
    running = sum(row["state"] == "RUNNING" for row in launches)
    ended = sum(row["ended_at"] is not None for row in launches)
    starting = len(launches) - waiting - running - ended
    return f"{waiting} wait, {starting} start, {running} run, {ended} ended, {len(scene.reservations)} reservations"


def _said(row: Document) -> str:
    size = f"{number(row['resources']['cpus'])} cpus, {number(row['resources']['mem'])} MB"
    return f"{row['launch_id']:<15} {row['state']:<8} {row['hostname'] or ''} ({size})"


def _node(node: Document) -> str:
    free = node["available"]
    return f"{node['hostname']} {number(free['cpus'])} cpus, {number(free['mem'])} MB"

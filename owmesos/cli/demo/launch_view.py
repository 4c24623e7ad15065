"""What the demo of plain containers shows: the listings of the command line, or a line for each change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from owmesos.cli import documents
from owmesos.cli.documents import Document, number
from owmesos.cli.output import table_of

if TYPE_CHECKING:
    from rich.console import Console, Group

_QUEUE_SHOWN = 5
_NODES_EVERY = 1.0


class Scene(NamedTuple):
    """What there is to show at one moment. `waiting` in the order of the queue; `why` the first of them waits."""

    seconds: float
    nodes: Sequence[Document]
    reservations: Sequence[Document]
    launches: Sequence[Document]
    waiting: Sequence[Document]
    why: str | None


def picture(scene: Scene, console: Console) -> Group:
    """For a terminal."""
    from rich.console import Group, RenderableType
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    width = console.width
    ended = sum(row["ended_at"] is not None for row in scene.launches)
    parts: list[RenderableType] = [
        Text(f"{scene.seconds:4.1f} s  {_counts(scene)}", style="bold"),
        ProgressBar(total=len(scene.launches), completed=ended, width=60),
        Text("\nNodes", style="bold cyan"),
        table_of(scene.nodes, documents.NODES, width),
        Text("\nReservations", style="bold cyan"),
        table_of(scene.reservations, documents.RESERVATIONS, width),
        Text(f"\nQueue ({len(scene.waiting)})", style="bold cyan"),
        table_of(scene.waiting[:_QUEUE_SHOWN], documents.LAUNCHES, width),
        Text(f"the first waits: {scene.why}" if scene.why else ""),
    ]
    return Group(*parts)


class Lines:
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
                click.echo(f"{now:4.1f} s  {scene.waiting[0]['launch_id']} waits: {scene.why}")


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

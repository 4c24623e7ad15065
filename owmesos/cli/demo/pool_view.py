"""What the demo of actions shows of the pool: which containers are where, or a line each second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from owmesos.cli.documents import Document, number

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from owmesos.service.standalone import Counts

_EVERY = 1.0  # seconds
_STATES = ("starting", "prewarmed", "warming", "warm", "busy", "stopping")


class PoolScene(NamedTuple):
    """What there is to show at one moment. `cluster` says what became of it, `why` the first run waits."""

    seconds: float
    total: int
    ended: int
    counts: Counts
    nodes: Sequence[Document]
    containers: Sequence[Document]
    cluster: str
    why: str | None


def picture(scene: PoolScene, console: Console) -> Group:
    """For a terminal."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    return Group(
        Text(f"{scene.seconds:4.1f} s  {_runs(scene)}; {scene.cluster}", style="bold"),
        ProgressBar(total=scene.total, completed=scene.ended, width=60),
        Text(f"\n{_pool(scene)}\n"),
        _agents(scene),
        Text(f"\nthe first waits: {scene.why}" if scene.why else ""),
    )


class Lines:
    """A line each second, and one for each change of the cluster."""

    def __init__(self) -> None:
        self._next = 0.0
        self._cluster = ""
        self._why: str | None = None

    def say(self, scene: PoolScene) -> None:
        if scene.cluster != self._cluster:
            self._cluster = scene.cluster
            click.echo(f"{scene.seconds:4.1f} s  {scene.cluster}")
        elif scene.seconds < self._next:
            return
        self._next = scene.seconds + _EVERY
        click.echo(f"{scene.seconds:4.1f} s  {_runs(scene)}; {_pool(scene)}")
        if scene.why != self._why:
            self._why = scene.why
            if scene.why is not None:
                click.echo(f"        the first waits: {scene.why}")


def _runs(scene: PoolScene) -> str:
    counts = scene.counts
    return f"{scene.ended} of {scene.total} ended, {counts.running} run, {counts.waiting} wait"


def _pool(scene: PoolScene) -> str:
    counts, states = scene.counts, Counter(row["state"] for row in scene.containers)
    kinds = ", ".join(f"{states[state]} {state}" for state in _STATES if states[state]) or "none"
    return (
        f"containers: {kinds}; starts: {counts.warm} warm, {counts.prewarmed} prewarmed, {counts.cold} cold;"
        f" {counts.evicted} evicted"
    )


def _agents(scene: PoolScene) -> Table:
    """A row for each agent, with its containers: how many of an action, and how many of these have a run."""
    from rich.table import Table

    table = Table("AGENT", "STATE", "FREE MB", "CONTAINERS", box=None, header_style="bold cyan", padding=(0, 2, 0, 0))
    for node in scene.nodes:
        here = [row for row in scene.containers if row["agent_id"] == node["agent_id"]]
        groups: dict[str, list[Document]] = {}
        for row in here:
            groups.setdefault(row["action"] or f"{row['kind']} ({row['state']})", []).append(row)
        texts = []
        for name, rows in sorted(groups.items()):
            busy = sum(row["active"] > 0 for row in rows)
            texts.append(f"{name} x{len(rows)}" + (f" ({busy} busy)" if busy else ""))
        table.add_row(node["hostname"], node["state"], number(node["available"]["mem"]), ", ".join(texts) or "-")
    return table

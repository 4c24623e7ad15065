"""What the demo shows of a pool: a picture on a terminal, and a line each second where there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

import click

from owmesos.cli.documents import Document, number
from owmesos.cli.output import console_of_stdout

if TYPE_CHECKING:
    from rich.console import Group
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


class PoolView(Protocol):
    """A context manager that shows until its end."""

    def __enter__(self) -> PoolView: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, scene: PoolScene) -> None: ...


class LivePoolView:
    """Redraws one picture."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(console=console_of_stdout(), refresh_per_second=10)

    def __enter__(self) -> LivePoolView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, scene: PoolScene) -> None:
        self._live.update(_picture(scene))


class PlainPoolView:
    """A line each second, and one for each change of the cluster."""

    def __init__(self) -> None:
        self._next = 0.0
        self._cluster = ""
        self._why: str | None = None

    def __enter__(self) -> PlainPoolView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, scene: PoolScene) -> None:
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


def _picture(scene: PoolScene) -> Group:
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

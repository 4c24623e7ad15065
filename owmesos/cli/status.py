"""`owmesos status`: one screen of 80 columns for somebody on call."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import click

from owmesos.cli.columns import Document, ago, is_agent, megabytes, node_state, number, short_id, short_ids, since
from owmesos.cli.connection import AdminAccess, admin_client
from owmesos.cli.full_screen import can_draw, given_back
from owmesos.cli.options import Option, with_options
from owmesos.cli.output import Output, show_object
from owmesos.cli.table import COLOURS
from owmesos.cli.text import json_text, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

WIDTH = 80
_NAMED = 8  # nodes in trouble that a screen has room for
_ROOM = ("total", "used", "reserved", "buffer", "available")
REFUSES = {
    "starting": "it has not started reading",
    "stopping": "it is stopping",
    "stopped": "it has stopped",
    "disabled": "it is disabled",
    "pressure": "there is no room for containers",
    "kafka": "Kafka is unavailable",
}
"""Why an invoker accepts no activations."""
_MANAGERS = {"mesos": "Master", "kubernetes": "API server"}


@click.command()
@with_options
def status(
    *,
    admin: AdminAccess,
    output: Output = "table",
    watch: Annotated[
        float | None,
        click.FloatRange(min=0.1),
        Option("Refresh every S seconds until Ctrl-C. [1 if no S is given]", "[S]", is_flag=False, flag_value=1.0),
    ] = None,
) -> None:
    """Show on one screen whether all is well.

    It shows the master, what waits and why, servers, containers and nodes in trouble.

    The exit code is 1 if the framework is not connected to a master, the master is silent, or the state cannot be
    written.
    """
    client = admin_client(admin)
    if watch is not None:
        _watch(lambda: client.watched("status"), output, watch)
    document = client.get("status")
    _show(document, output)
    cluster = document["cluster"]
    if not cluster["connected"] or cluster.get("silent_since") or document.get("state_trouble"):
        raise click.exceptions.Exit(1)


def _show(document: Document, output: str) -> None:
    if output == "table":
        print_for_people(screen(document))
    else:
        show_object(document, output)


def _watch(ask: Callable[[], Document], output: str, pause: float) -> NoReturn:
    if output == "table" and can_draw():
        from rich.live import Live

        with given_back(Live(screen(ask()), console=console_of_screen(), auto_refresh=False, screen=True)) as live:
            while True:
                live.refresh()
                time.sleep(pause)
                live.update(screen(ask()))
    while True:
        document = ask()
        if output == "json":
            click.echo(json_text(document))
        else:
            _show(document, output)
            click.echo("---" if output == "yaml" else "")
        time.sleep(pause)


def console_of_screen() -> Console:
    """As wide as the terminal; 80 columns and no colours if stdout is not one."""
    from rich.console import Console

    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    return Console(highlight=False, width=width)


def print_for_people(what: RenderableType) -> None:
    """On stdout, without blanks at the ends of lines."""
    console = console_of_screen()
    with console.capture() as captured:
        console.print(what)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), color=True)


def screen(document: Document) -> RenderableType:
    """What `owmesos status` shows of a StatusDocument."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column(overflow="fold")
    for label, text in _lines(document):
        lines.add_row(label, Text.assemble(*text))
    parts: list[RenderableType] = [Text.assemble(*_heading(document)), lines, Text(), _room(document)]
    if document["nodes"]["trouble"]:
        parts += [Text(), _trouble(document["nodes"])]
    return Group(*parts)


def _heading(document: Document) -> list[Any]:
    roles = f", role {', '.join(document['roles'])}" if document["roles"] else ""
    return [
        (visible(document["name"]), "bold"),
        visible(f"  owmesos {document['version']}, up {since(document['started_at'])}{roles}"),
    ]


def _lines(document: Document) -> Iterator[tuple[str, list[Any]]]:
    """Label and text. A text is a list of strings, or of pairs of a string and its style."""
    cluster = document["cluster"]
    word = "connected" if cluster["connected"] else "not connected"
    yield _MANAGERS.get(cluster["manager"], "Cluster"), [*_since(word, cluster), *_silence(cluster), *_why(cluster)]
    launching = cluster["manager"] == "mesos"
    away = document.get("state_trouble")
    if away is not None:
        lasting = f" for {since(away['since'])}: nothing new is launched or ended"
        yield "State", [(visible(away["reason"]), "bold red"), lasting]
    if launching:
        yield "Framework", [document["framework_id"] or "none yet"]
    invoker = document["invoker"]
    if invoker is not None:
        yield from _invoker(invoker)
    if document["runs"] is not None:
        runs = document["runs"]
        yield from _queue("Activations", runs, f"{runs['running']} running, ")
        yield "Containers", _counts(document["containers"])
    if launching:
        yield "Launches", _counts(document["launches"], document["unreadable"])
        yield from _queue("Queue", document["queue"])
    states = {node_state({"state": state}): count for state, count in document["nodes"]["states"].items()}
    well = states and states.keys() <= {"fresh", "known"}
    yield "Nodes", _counts(states) + ([", none in trouble"] if well else [])


def _invoker(invoker: Document) -> Iterator[tuple[str, list[Any]]]:
    if invoker["invoker"] is not None:
        why = invoker["refuses"]
        accepts = "accepts activations" if why is None else f"accepts no activations: {REFUSES.get(why, why)}"
        yield "Invoker", [f"{visible(invoker['invoker'])} ", (accepts, "green" if why is None else "bold red")]
    for label, name in (("Kafka", "kafka"), ("CouchDB", "couchdb")):
        if invoker[name] is not None:
            yield label, [*_since(invoker[name]["state"], invoker[name]), *_why(invoker[name])]
    yield "Records", [f"{invoker['records_waiting']} waiting to be written"]


def _since(word: str, server: Document) -> list[Any]:
    """`up for 3h, kafka1:9092`"""
    lasting = f" for {since(server['since'])}" if server["since"] is not None else ""
    return [(word, COLOURS.get(word, "")), f"{lasting}, {visible(server['address'])}"]


def _silence(cluster: Document) -> list[Any]:
    silent = cluster.get("silent_since")
    return [": ", (f"silent for {since(silent)}", "bold red")] if silent else []


def _why(server: Document) -> list[Any]:
    texts = [server[key] for key in ("reason", "advice") if server.get(key)]
    return [f": {visible(': '.join(texts))}"] if texts else []


def _counts(counts: Mapping[str, int], set_aside: int = 0) -> list[Any]:
    """`3 PENDING, 40 RUNNING`"""
    parts = [(f"{count} {state}", COLOURS.get(state, "")) for state, count in counts.items()]
    if set_aside:
        parts.append((f"{set_aside} set aside, see `owmesos launches --unreadable`", "bold red"))
    return [each for part in parts for each in (", ", part)][1:] or ["none"]


def _queue(label: str, queue: Document, before: str = "") -> Iterator[tuple[str, list[Any]]]:
    """How many wait, which is the oldest, and below that why it waits."""
    oldest = queue["oldest"]
    if oldest is None:
        yield label, [before, "nothing waits"]
        return
    waits = "1 waits" if queue["length"] == 1 else f"{queue['length']} wait"
    name = "" if oldest["id"].startswith(oldest["name"]) else f" ({oldest['name']})"
    what = visible(f"{oldest['id']}{name}")
    yield label, [before, (waits, "yellow"), f", the oldest for {ago(oldest['wait_s'])}: {what}"]
    yield "", [visible(short_ids(oldest["reason"]))]


def _room(document: Document) -> Table:
    """What all nodes together have, by kind of resource."""
    from rich.table import Table

    sums = document["nodes"]["sums"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("ROOM", *_ROOM):
        table.add_column(title.upper(), justify="left" if title == "ROOM" else "right", no_wrap=True)
    kinds = [("CPUs", "cpus", number), ("memory, MB", "mem", megabytes), ("disk, MB", "disk", megabytes)]
    if sums["total"]["gpus"]:
        kinds.append(("GPUs", "gpus", number))
    if document["cluster"]["manager"] == "kubernetes":
        kinds.append(("pods", "pods", number))
    for label, kind, text in kinds:
        table.add_row(label, *(text(sums[amount][kind]) for amount in _ROOM))
    return table


def _trouble(nodes: Document) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown = nodes["trouble"][:_NAMED]
    with_ids = any(map(is_agent, shown))
    for title in ("IN TROUBLE", *(("AGENT",) if with_ids else ()), "STATE"):
        table.add_column(title, no_wrap=True)
    table.add_column("WHY", overflow="fold")
    for node in shown:
        state = Text(node["state"], COLOURS.get(node["state"], ""))
        texts = (node["hostname"], short_id(node["agent_id"])) if with_ids else (node["hostname"],)
        table.add_row(*(Text(visible(text)) for text in texts), state, Text(visible(short_ids(node["reason"]))))
    left = nodes["in_trouble"] - _NAMED
    if left > 0:
        table.add_row(f"{left} more: see `owmesos nodes`")
    return table

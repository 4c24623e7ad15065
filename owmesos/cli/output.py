"""Documents on stdout: as a table for people, as JSON, YAML or TSV for programs; once or again and again."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from owmesos.cli.documents import Listing, flat, headings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FORMATS = ("table", "json", "yaml", "tsv")
WATCH_INTERVAL = 1.0
_GAP = 2
_NARROWEST = 100
Document = Mapping[str, Any]
F = TypeVar("F", bound=Callable[..., Any])


def output_option(command: F) -> F:
    option = click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="json: one array (or object); tsv: with a heading.",
    )
    return option(command)


def watch_option(command: F) -> F:
    help_text = "Show it anew every second, until Ctrl-C; with json one array a line."
    return click.option("--watch", is_flag=True, help=help_text)(command)


def show(rows: Sequence[Document], listing: Listing, style: str) -> None:
    if style == "table":
        _print_table(rows, listing)
    elif style == "tsv":
        lines = ["\t".join(headings(listing)), *("\t".join(flat(row, listing).values()) for row in rows)]
        click.echo("\n".join(lines))
    else:
        show_object(list(rows), style)


def show_object(document: Any, style: str) -> None:
    """One object, or an array with each of its rows on a line, as json or yaml."""
    if style == "yaml":
        import msgspec.yaml

        click.echo(msgspec.yaml.encode(document).decode(), nl=False)
    elif isinstance(document, list) and document:
        click.echo("[\n" + ",\n".join(_compact(row) for row in document) + "\n]")
    else:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _compact(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(", ", ": "))


def watch(rows: Callable[[], Sequence[Document]], listing: Listing, style: str) -> None:
    """Until Ctrl-C, which is its proper end. What `rows` raises ends it too."""
    try:
        if style == "table" and sys.stdout.isatty():
            _watch_live(rows, listing)
        while True:
            if style == "json":
                click.echo(_compact(rows()))
            else:
                show(rows(), listing, style)
                click.echo("---" if style == "yaml" else "")
            time.sleep(WATCH_INTERVAL)
    except KeyboardInterrupt:
        return


def _watch_live(rows: Callable[[], Sequence[Document]], listing: Listing) -> None:
    from rich.live import Live

    console = console_of_stdout()
    with Live(table_of(rows(), listing, console.width), console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(table_of(rows(), listing, console.width), refresh=True)
            time.sleep(WATCH_INTERVAL)


def _print_table(rows: Sequence[Document], listing: Listing) -> None:
    if not rows:
        click.echo(listing.nothing, err=True)
        return
    console = console_of_stdout()
    with console.capture() as captured:
        console.print(table_of(rows, listing, console.width))
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def table_of(rows: Sequence[Document], listing: Listing, window: int) -> Table:
    """What is long is cut off where the window ends; all else is never."""
    from rich.table import Table
    from rich.text import Text

    cells = [[column.text(row) for row in rows] for column in listing.columns]
    widths = [
        max(len(text) for text in (column.title, *texts)) for column, texts in zip(listing.columns, cells, strict=True)
    ]
    others = sum(width + _GAP for column, width in zip(listing.columns, widths, strict=True) if not column.long)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column, width in zip(listing.columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column.number else "left"
        shown = max(len(column.title), min(width, window - others - _GAP)) if column.long else width
        table.add_column(column.title, justify=justify, no_wrap=True, overflow="ellipsis", width=shown)
    for texts in zip(*cells, strict=True):
        table.add_row(*map(Text, texts))
    return table


def console_of_stdout() -> Console:
    """As wide as the terminal, if that is wide enough to read; without one nothing is cut off."""
    from rich.console import Console

    width = max(shutil.get_terminal_size().columns, _NARROWEST) if sys.stdout.isatty() else 10_000
    return Console(highlight=False, width=width)

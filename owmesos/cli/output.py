"""Documents on stdout: as a table for people, as JSON, YAML or TSV for programs; once or repeatedly."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, NoReturn

import click

from owmesos.cli.columns import Listing, flat
from owmesos.cli.full_screen import can_draw, given_back
from owmesos.cli.options import Option
from owmesos.cli.table import painted, table, window_of_stdout
from owmesos.cli.text import cell, json_text

WATCH_INTERVAL = 1.0  # seconds
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the other screen, without a cursor
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
Document = Mapping[str, Any]
Output = Annotated[
    Literal["table", "json", "yaml", "tsv"],
    Option("Output format; json is one array (or object), tsv has a heading.", None, "-o", "--output"),
]
Watch = Annotated[bool, Option("Refresh every second until Ctrl-C; with json, print one array a line.")]


Wide = Annotated[bool, Option("Show ids whole, and leave nothing out of a table.")]


def show(rows: Sequence[Document], listing: Listing, style: str, *, wide: bool | None = None) -> None:
    """`wide`: a table has ids whole, and nothing is cut or left out; None if the command has no --wide."""
    if style == "table":
        _print_table(rows, listing, wide=wide)
    elif style == "tsv":
        headings = flat(dict.fromkeys(listing.fields), listing)
        lines = ["\t".join(headings), *("\t".join(flat(row, listing).values()) for row in rows)]
        click.echo("\n".join(lines))
    else:
        show_object(list(rows), style)


def show_object(document: Any, style: str) -> None:
    """One object, or (json, yaml) an array with each of its rows on a line; tsv has a line for each field."""
    if style == "tsv":
        click.echo("\n".join(f"{key}\t{cell(value)}" for key, value in document.items()))
    elif style == "yaml":
        import msgspec.yaml

        click.echo(msgspec.yaml.encode(document).decode(), nl=False)
    elif isinstance(document, list) and document:
        click.echo("[\n" + ",\n".join(map(json_text, document)) + "\n]")
    else:
        click.echo(json_text(document, indent=2))


def watch(rows: Callable[[], Sequence[Document]], listing: Listing, style: str, *, wide: bool = False) -> NoReturn:
    """Show rows until `rows` raises, or Ctrl-C."""
    if style == "table" and can_draw():
        _watch_live(rows, listing, wide=wide)
    while True:
        if style == "json":
            click.echo(json_text(rows()))
        else:
            show(rows(), listing, style, wide=wide)
            click.echo("---" if style == "yaml" else "")
        time.sleep(WATCH_INTERVAL)


def _watch_live(rows: Callable[[], Sequence[Document]], listing: Listing, *, wide: bool) -> NoReturn:
    with given_back(_other_screen()):
        while True:
            screen = screen_of(rows(), listing, shutil.get_terminal_size().lines, wide=wide)
            sys.stdout.write(_HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in screen[:-1]))
            sys.stdout.write(f"{screen[-1]}{_REST_OF_LINE}{_REST}")
            sys.stdout.flush()
            time.sleep(WATCH_INTERVAL)


@contextmanager
def _other_screen() -> Iterator[None]:
    sys.stdout.write(_ENTER)
    try:
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def screen_of(rows: Sequence[Document], listing: Listing, height: int, *, wide: bool = False) -> list[str]:
    """The table in at most `height` lines: the latest rows stay, and the last line says what is left out."""
    if not rows:
        return [listing.nothing]
    window = window_of_stdout(wide=wide)
    made = table(rows, listing, window, wide=wide)
    room = max(1, height - 1)  # beside the heading
    said = _left_out(made.left_out)
    if len(made.lines) > room or said:
        room = max(1, room - 1)
    hidden = max(0, len(made.lines) - room)
    lines = made.lines[:room] if listing.latest_first else made.lines[len(made.lines) - room if hidden else 0 :]
    if hidden:
        rest = "earlier rows" if listing.latest_first is not None else "rows"
        said = f"{hidden} {rest} do not fit" + (f"; {said}" if said else "")
    return [made.heading, *lines, *([painted(said, "dim", window.colour)] if said else [])]


def _print_table(rows: Sequence[Document], listing: Listing, *, wide: bool | None) -> None:
    if not rows:
        click.echo(listing.nothing, err=True)
        return
    window = window_of_stdout(wide=bool(wide))
    made = table(rows, listing, window, wide=bool(wide))
    click.echo("\n".join([made.heading, *made.lines]), color=window.colour)
    said = _left_out(made.left_out, "-o json" if wide is None else "--wide")
    if said:
        click.echo(painted(said, "dim", window.colour), err=True, color=window.colour)


def _left_out(titles: Sequence[str], option: str = "--wide") -> str:
    return f"no room for {', '.join(titles)}: {option} shows all" if titles else ""

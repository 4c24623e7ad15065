"""Tables for people, as lines.

IDs are never cut, so that they can be copied: a narrow window leaves out whole columns (`Listing.spare`) and cuts only
long ones. Colours are for terminals, unless NO_COLOR is set (https://no-color.org). Not rich's tables: 10,000 rows took
57 s, and every command its import.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from owmesos.cli.columns import Column, Listing
from owmesos.cli.text import visible, wrapped

_GAP = 2
_LEAST = 24  # characters of a long column, below which other columns are left out
_CUT = "…"
COLOURS: Mapping[str, str] = {
    **dict.fromkeys(("up", "connected", "RUNNING", "fresh", "warm", "busy", "running", "success"), "green"),
    **dict.fromkeys(("unknown", "draining", "closed", "UNREACHABLE", "stopping", "PENDING", "waiting"), "yellow"),
    **dict.fromkeys(("down", "not connected", "gone", "backoff", "FAILED", "LOST", "ERROR"), "bold red"),
    **dict.fromkeys(("application error", "developer error", "internal error"), "bold red"),
}
"""By state, in rich's names."""
_CODES = {"green": "32", "yellow": "33", "bold red": "1;31", "bold": "1", "dim": "2"}


class Window(NamedTuple):
    """What a table is written to. `width` in characters; None is unlimited."""

    width: int | None = None
    colour: bool = False


def window_of_stdout(*, wide: bool = False) -> Window:
    terminal = sys.stdout.isatty()
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Window(shutil.get_terminal_size().columns if terminal and not wide else None, colour)


class TableText(NamedTuple):
    """A table as text. `left_out`: titles of the columns that did not fit."""

    heading: str
    lines: list[str]
    left_out: list[str]


def table(rows: Sequence[Mapping[str, Any]], listing: Listing, window: Window, *, wide: bool = False) -> TableText:
    """Render `rows`. `wide`: with whole ids."""
    columns = [each for each in listing.columns if not each.rare or any(map(each.text, rows))]
    shown = [each.whole if wide and each.whole is not None else each.text for each in columns]
    cells = {column.title: [visible(text(row)) for row in rows] for column, text in zip(columns, shown, strict=True)}
    widths = {title: max(map(width_of, (title, *texts))) for title, texts in cells.items()}
    left_out = _left_out(columns, widths, listing.spare, window.width)
    columns = [each for each in columns if each.title not in left_out]
    if window.width is not None:
        _shorten(columns, widths, window.width)
    heading = _line([_Cell(each.title, "bold") for each in columns], columns, widths, window.colour)
    lines = [
        _line(
            [_Cell(text, COLOURS.get(text) if each.state else None) for each, text in zip(columns, texts, strict=True)],
            columns,
            widths,
            window.colour,
        )
        for row in zip(*(cells[each.title] for each in columns), strict=True)
        for texts in _lines_of(row, columns, widths)
    ]
    return TableText(heading, lines, left_out)


def width_of(text: str) -> int:
    """Columns that the text takes in a terminal; East Asian characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(each) in "WF" else 0 if unicodedata.combining(each) else 1 for each in text
    )


def painted(text: str, style: str | None, colour: bool) -> str:
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if colour and style is not None and text else text


def _lines_of(row: Sequence[str], columns: Sequence[Column], widths: Mapping[str, int]) -> Sequence[Sequence[str]]:
    """The row, and below it what is left of columns that wrap."""
    if not any(each.wraps for each in columns):
        return [row]
    pieces = [
        wrapped(text, widths[each.title]) if each.wraps else [text] for each, text in zip(columns, row, strict=True)
    ]
    return list(zip_longest(*pieces, fillvalue=""))


class _Cell(NamedTuple):
    text: str
    style: str | None


def _left_out(
    columns: Sequence[Column], widths: Mapping[str, int], spare: Sequence[str], window: int | None
) -> list[str]:
    """As few of the spare columns as must be left out, the first ones of `spare` before others."""
    there = [each.title for each in columns]
    out: list[str] = []
    if window is None:
        return out

    def needed(without: Sequence[str]) -> int:
        least = (min(widths[each.title], _LEAST) if each.long else widths[each.title] for each in columns)
        kept = [width for each, width in zip(columns, least, strict=True) if each.title not in without]
        return sum(kept) + _GAP * (len(kept) - 1)

    for title in spare:
        if needed(out) <= window:
            break
        if title in there:
            out.append(title)
    for title in reversed(out):  # a narrow one may fit beside what a wide one has left
        fewer = [each for each in out if each != title]
        if needed(fewer) <= window:
            out = fewer
    return out


def _shorten(columns: Sequence[Column], widths: dict[str, int], window: int) -> None:
    """Long columns share the width that the others leave."""
    long = [each.title for each in columns if each.long]
    if not long:
        return
    others = sum(widths[each.title] for each in columns if not each.long) + _GAP * (len(columns) - 1)
    share = max(0, window - others) // len(long)
    for title in long:
        widths[title] = min(widths[title], max(len(title), share))


def _line(cells: Sequence[_Cell], columns: Sequence[Column], widths: Mapping[str, int], colour: bool) -> str:
    parts = []
    for cell, column in zip(cells, columns, strict=True):
        text, width = _cut(cell.text, widths[column.title]), widths[column.title]
        blanks = " " * (width - width_of(text))
        shown = painted(text, cell.style, colour)
        parts.append(blanks + shown if column.number else shown + blanks)
    return (" " * _GAP).join(parts).rstrip()


def _cut(text: str, most: int) -> str:
    if width_of(text) <= most:
        return text
    while text and width_of(text) > most - 1:
        text = text[: min(len(text) - 1, most - 1)]
    return text + _CUT

"""Rows of a benchmark as a table of Markdown with two directions: what was measured, and where."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.row import Row, number


def matrix(corner: str, rows: list[Row], place: Callable[[Row], tuple[str, str]]) -> list[str]:
    """`place` gives each row its line and its column; what was not measured stays empty."""
    lines: dict[str, dict[str, Row]] = {}
    columns: dict[str, None] = {}
    for row in rows:
        line, column = place(row)
        lines.setdefault(line, {})[column] = row
        columns[column] = None
    made = ["| " + " | ".join((corner, *columns)) + " |", "|---|" + "---:|" * len(columns)]
    for line, found in lines.items():
        unit = next(iter(found.values())).unit
        cells = (number(found[each].ours) if each in found else "" for each in columns)
        made.append(f"| {', '.join(filter(None, (line, unit)))} | " + " | ".join(cells) + " |")
    return made

"""The runs as tables: one line for each setting, all seeds together, and one for each run.

With `dead`, a column says how many starts were on a dead machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks.overprovisioning.summaries import of_setting
from owmesos.sizing.summary import Summary

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
ON_DEAD = "on a dead machine"
COLUMNS = (
    "setting",
    "starts",
    "over-provisioned",
    ON_DEAD,
    "refused",
    "failed starts",
    "waits over a minute",
    "failed activations",
    "median, s",
    "99th percentile, s",
    "memory used",
    "busy",
    "cold starts",
    "evictions",
)


def settings_of(summaries: list[Summary]) -> list[str]:
    return list(dict.fromkeys(each.setting for each in summaries))


def columns_of(*, dead: bool) -> tuple[str, ...]:
    return COLUMNS if dead else tuple(each for each in COLUMNS if each != ON_DEAD)


def by_setting(summaries: list[Summary], *, dead: bool = False) -> Table:
    """Counts are summed over the seeds, shares and percentiles are the mean of the runs'."""
    lines = []
    for setting in settings_of(summaries):
        runs = of_setting(summaries, setting)
        lines.append((setting, *_cells(_sum_over(runs), _mean_over(runs), dead=dead)))
    return columns_of(dead=dead), lines


def by_run(summaries: list[Summary], *, dead: bool = False) -> Table:
    lines = []
    for each in sorted(summaries, key=lambda run: run.seed):
        where = f"{each.seed}{' *' if each.neighbour else ''}"
        memory = "" if each.user_memory is None else f" ({each.user_memory:,} MB)"
        cells = _cells(_sum_over([each]), _mean_over([each]), dead=dead)
        lines.append((where, f"{each.setting}{memory}", *cells))
    return ("seed", *columns_of(dead=dead)), lines


def _sum_over(runs: list[Summary]) -> Callable[[Callable[[Summary], int]], int]:
    return lambda get: sum(map(get, runs))


def _mean_over(runs: list[Summary]) -> Callable[[Callable[[Summary], float]], float]:
    return lambda get: statistics.fmean(map(get, runs))


def _cells(
    count: Callable[[Callable[[Summary], int]], int], mean: Callable[[Callable[[Summary], float]], float], *, dead: bool
) -> tuple[str, ...]:
    return (
        f"{count(lambda run: run.starts):,}",
        f"{count(lambda run: run.overprovisioned):,}",
        *([f"{count(lambda run: run.on_dead):,}"] if dead else []),
        f"{count(lambda run: run.refused):,}",
        f"{count(lambda run: run.failed_starts):,}",
        f"{count(lambda run: run.long_waits):,}",
        f"{count(lambda run: run.failed):,}",
        f"{mean(lambda run: run.median):.2f}",
        f"{mean(lambda run: run.p99):.1f}",
        f"{mean(lambda run: run.held):.1%}",
        f"{mean(lambda run: run.busy):.1%}",
        f"{mean(lambda run: run.cold):.1%}",
        f"{count(lambda run: run.evictions):,}",
    )


def markdown(table: Table) -> str:
    columns, lines = table
    rows = ["| " + " | ".join(columns) + " |", "|" + "---|" + "---:|" * (len(columns) - 1)]
    return "\n".join([*rows, *("| " + " | ".join(line) + " |" for line in lines)])


def html(table: Table) -> str:
    columns, lines = table
    head = "".join(f"<th>{each}</th>" for each in columns)
    body = "".join("<tr>" + "".join(f"<td>{each}</td>" for each in line) + "</tr>" for line in lines)
    return f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"

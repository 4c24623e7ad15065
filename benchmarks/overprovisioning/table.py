"""The runs as tables: one line for each setting, all seeds together, and one for each run."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks.overprovisioning.summary import Summary, of_setting

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
COLUMNS = (
    "setting",
    "starts",
    "over-provisioned",
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


def by_setting(summaries: list[Summary]) -> Table:
    """Counts are summed over the seeds, shares and percentiles are the mean of the runs'."""
    lines = []
    for setting in settings_of(summaries):
        runs = of_setting(summaries, setting)
        lines.append((setting, *_cells(lambda get, runs=runs: sum(map(get, runs)), _mean_over(runs))))
    return COLUMNS, lines


def by_run(summaries: list[Summary]) -> Table:
    lines = []
    for each in sorted(summaries, key=lambda run: run.seed):
        where = f"{each.seed}{' *' if each.neighbour else ''}"
        memory = "" if each.user_memory is None else f" ({each.user_memory:,} MB)"
        cells = _cells(lambda get, run=each: get(run), lambda get, run=each: get(run))
        lines.append((where, f"{each.setting}{memory}", *cells))
    return ("seed", *COLUMNS), lines


def _mean_over(runs: list[Summary]) -> Callable[[Callable[[Summary], float]], float]:
    return lambda get: statistics.fmean(map(get, runs))


def _cells(
    count: Callable[[Callable[[Summary], int]], int], mean: Callable[[Callable[[Summary], float]], float]
) -> tuple[str, ...]:
    return (
        f"{count(lambda run: run.starts):,}",
        f"{count(lambda run: run.overprovisioned):,}",
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

"""The result as a table for people, and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

from chaos.plan import OWMESOS, Kind, fault_name
from chaos.run import Result
from chaos.verdict import Counts

_SHOWN = 40
_COLUMNS = ("", "asked", "ran", "lost", "twice", "orphans", "wrongly reported")


def table(result: Result) -> str:
    """What was done, the table, how things ended, and each fault that was found."""
    wanted = result.wanted
    done = ", ".join(f"{count} {name}" for name, count in sorted(result.faults.items()))
    rows = [_COLUMNS, _row("launches", result.launches)]
    if wanted.standalone:
        rows.append(_row("invocations", result.activations))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        f"seed {wanted.seed}, engine {wanted.engine}, {wanted.agents} agents, {result.seconds:.0f} s",
        f"{result.kills} kill -9; {result.unanswered} requests without an answer",
        f"of owmesos: {_of_owmesos(result.faults)}",
        f"faults: {done}",
        f"ends: {', '.join(f'{count} {name}' for name, count in sorted(result.ended.items()))}",
        "",
        *("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows),
    ]
    found = [*result.failures, *result.launches.faults, *result.activations.faults]
    lines += [f"FAULT: {text}" for text in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"FAULT: and {len(found) - _SHOWN} more, see --json")
    lines.append("clean" if result.clean else "NOT clean")
    return "\n".join(lines)


def as_json(result: Result) -> dict[str, Any]:
    return {
        **asdict(replace(result, faults=Counter(), ended=Counter())),  # asdict cannot copy a Counter
        "faults": dict(result.faults),
        "ended": dict(result.ended),
        "clean": result.clean,
    }


def _of_owmesos(faults: Counter[str]) -> str:
    """How often one of its processes was killed, and how often frozen."""
    of = {kind: faults[fault_name(kind, OWMESOS)] for kind in Kind}
    killed = sum(count for kind, count in of.items() if kind.kills)
    return f"{killed} kill -9; frozen {of[Kind.FREEZE] + of[Kind.FREEZE_THEN_KILL]} times"


def _row(name: str, counts: Counts) -> tuple[str, ...]:
    found = (counts.asked, counts.ran, len(counts.lost), len(counts.twice), len(counts.orphans), len(counts.wrong))
    return (name, *map(str, found))

"""Reads a trace: a file of our own columns, or one of the two formats that Azure has published of its Functions.

Which it is, its header says. Our own (`owmesos activation export` writes it) has a line for each activation: `at`, when
it came, in seconds from any beginning; `action`; `duration`, its run in seconds, without waiting and /init; and, if
wanted, `namespace`, `kind` and `memory` in MB. Lines may be in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from owmesos.errors import InvalidInput
from owmesos.sizing import azure
from owmesos.sizing.csv_file import CsvFile, OnRead, shown, with_path
from owmesos.sizing.trace import DEFAULT_MEMORY, LONGEST_RUN, Trace, TraceBuilder, TracePart

REQUIRED = ("at", "action", "duration")
OPTIONAL = ("namespace", "kind", "memory")
LATEST = 10.0**11  # seconds: an `at` in milliseconds of the epoch is a mistake
MOST_MEMORY = 1_048_576  # MB
KIND = "python:3"
_LONGEST_NAME = 500


class Line(NamedTuple):
    """One invocation. `at` and `duration` in seconds, `memory` in MB."""

    at: float
    namespace: str
    action: str
    kind: str
    memory: int
    duration: float


def read_trace(
    path: Path, part: TracePart, *, memory: int = DEFAULT_MEMORY, seed: int = 0, on_read: OnRead = lambda size: None
) -> Trace:
    """`memory` in MB is that of actions of which the trace does not say it. Raises InvalidInput."""
    with CsvFile(path) as file:
        columns = set(file.header)
        counts, ends = columns >= azure.HAS_COUNTS, bool(columns & azure.HAS_ENDS)
        if not counts:
            file.require(*((azure.ENDS,) if ends else (REQUIRED, OPTIONAL)))
    if counts:
        return azure.read_counts(path, part, memory=memory, seed=seed, on_read=on_read)
    lines = _ends if ends else _own
    return _read_lines(path, part, on_read, lambda file: lines(file, memory))


def _read_lines(path: Path, part: TracePart, on_read: OnRead, lines: Callable[[CsvFile], Iterator[Line]]) -> Trace:
    """With a part of the time it is read twice: lines are in no order, and the part counts from the earliest."""
    begin = None
    if part.timed:
        with CsvFile(path, on_read) as file:
            begin = min((line.at for line in lines(file)), default=0.0)
    builder = TraceBuilder(part, begin)
    try:
        with CsvFile(path, on_read) as file:
            for line in lines(file):
                if builder.has(line.at) and part.has_function(line.action):
                    function = builder.function(line.namespace, line.action, line.kind, line.memory)
                    builder.add(line.at, function, line.duration)
        return builder.built()
    except InvalidInput as error:
        raise with_path(error, path) from None


def _own(file: CsvFile, memory: int) -> Iterator[Line]:
    position = file.position
    namespace_at, kind_at, memory_at = (position.get(each) for each in OPTIONAL)
    for row in file.rows():
        action = row[position["action"]]
        if not action or len(action) > _LONGEST_NAME:
            file.fail(f"action is {shown(action)}: write a name of 1 to {_LONGEST_NAME} characters")
        given = memory_at is not None and row[memory_at] != ""
        yield Line(
            file.number(row, "at", LATEST, unit="seconds"),
            (row[namespace_at] if namespace_at is not None else "") or "_",
            action,
            (row[kind_at] if kind_at is not None else "") or KIND,
            int(file.number(row, "memory", MOST_MEMORY, least=1.0, unit="MB")) if given else memory,
            file.number(row, "duration", LONGEST_RUN, unit="seconds"),
        )


def _ends(file: CsvFile, memory: int) -> Iterator[Line]:
    """Azure's trace of 2021: `func` is unique within its `app`."""
    app, func = file.position["app"], file.position["func"]
    for row in file.rows():
        duration = file.number(row, "duration", LONGEST_RUN, unit="seconds")
        at = file.number(row, "end_timestamp", LATEST, unit="seconds") - duration
        yield Line(at, row[app][:_LONGEST_NAME], f"{row[app]}/{row[func]}"[:_LONGEST_NAME], KIND, memory, duration)

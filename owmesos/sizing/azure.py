"""The two traces of Azure Functions that Microsoft has published (github.com/Azure/AzurePublicDataset).

2021: a line for each invocation, with its end and its duration in seconds; nothing is said of memory.

2019: three files for a day. `invocations_per_function_md.anon.d01.csv` has a count for each minute. Two beside it have
percentiles: of each function's average durations in ms (`function_durations_percentiles.anon.d01.csv`), and of each
application's memory in MB (`app_memory_percentiles.anon.d01.csv`, which days 13 and 14 lack). Times within a minute
and durations are drawn by seed. The published files have functions without durations, applications without memory,
lines that are there twice and negative averages, which their publishers know of (issues 13, 23 and 40 there): the
average is not read, the first line counts, and what is missing is assumed and said.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from owmesos.errors import InvalidInput
from owmesos.sizing.csv_file import CsvFile, OnRead, shown, with_path
from owmesos.sizing.trace import LONGEST_RUN, MOST_FUNCTIONS, Trace, TraceBuilder, TracePart
from owmesos.sizing.workload import limit_for

ENDS = ("app", "func", "end_timestamp", "duration")
HAS_ENDS = {"end_timestamp", "func"}
HAS_COUNTS = {"HashFunction", "Trigger"}
_OWNER, _APP, _FUNCTION = "HashOwner", "HashApp", "HashFunction"
_COUNTS = (_OWNER, _APP, _FUNCTION, "Trigger")
_SHARES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
_PERCENTILES = tuple(f"percentile_Average_{100 * share:.0f}" for share in _SHARES)
_DURATIONS = (_OWNER, _APP, _FUNCTION, "Average", "Count", "Minimum", "Maximum", *_PERCENTILES)
_MEMORY_USED = "AverageAllocatedMb"
_MEMORY = (_OWNER, _APP, "SampleCount", _MEMORY_USED)
_MEMORY_PERCENTILES = tuple(f"{_MEMORY_USED}_pct{each}" for each in (1, 5, 25, 50, 75, 95, 99, 100))
_PREFIX, _DURATION_PREFIX, _MEMORY_PREFIX = (
    "invocations_per_function_md",
    "function_durations_percentiles",
    "app_memory_percentiles",
)
USUAL_DURATION = 0.684  # seconds; the median that is published of all functions
MOST_IN_A_MINUTE = 10**7
KIND = "azure"
_MS = 1_000.0
Percentiles = tuple[float, ...]
"""Seconds, at `_SHARES`."""


def read_counts(path: Path, part: TracePart, *, memory: int, seed: int, on_read: OnRead) -> Trace:
    """The day whose counts are in the file. Raises InvalidInput."""
    durations_file, memory_file = _beside(path)
    with CsvFile(durations_file, on_read) as file:
        durations = _durations(file, part)
    memories = dict[str, int]()
    if memory_file.exists():
        with CsvFile(memory_file, on_read) as file:
            memories = _memories(file)
    chance, builder = random.Random(seed), TraceBuilder(part, 0.0)
    unknown_duration, unknown_memory = set[str](), set[str]()
    try:
        with CsvFile(path, on_read) as file:
            for app, function, calls in _calls(file, part, chance):
                percentiles = durations.get(f"{app}/{function}")
                if percentiles is None:
                    unknown_duration.add(function)
                if app not in memories:
                    unknown_memory.add(app)
                number = builder.function(app, f"{app}/{function}", KIND, memories.get(app, memory))
                for at in calls:
                    duration = USUAL_DURATION if percentiles is None else value_at(percentiles, chance.random())
                    builder.add(at, number, min(duration, LONGEST_RUN))
        return builder.built(_notes(len(unknown_duration), len(unknown_memory), memory))
    except InvalidInput as error:
        raise with_path(error, path) from None


def _notes(durations: int, apps: int, memory: int) -> list[str]:
    notes = []
    if durations:
        notes.append(f"{durations:,} functions have no durations: they run for {USUAL_DURATION:g} s.")
    if apps:
        notes.append(f"{apps:,} applications have no memory: their functions have {memory} MB.")
    return notes


def _beside(path: Path) -> tuple[Path, Path]:
    """The files of durations and of memory of the same day. Raises InvalidInput without the former."""
    if not path.name.startswith(_PREFIX):
        raise InvalidInput(f"{path}: its name must begin with {_PREFIX}, for the files beside it to be found")
    rest = path.name[len(_PREFIX) :]
    durations, memory = path.with_name(_DURATION_PREFIX + rest), path.with_name(_MEMORY_PREFIX + rest)
    if not durations.exists():
        raise InvalidInput(f"{durations} does not exist: the durations to {path.name} must be beside it")
    return durations, memory


def _durations(file: CsvFile, part: TracePart) -> dict[str, Percentiles]:
    """By application and function, of those that are taken."""
    file.require(_DURATIONS)
    app, function = file.position[_APP], file.position[_FUNCTION]
    found: dict[str, Percentiles] = {}
    for row in file.rows():
        name = f"{row[app]}/{row[function]}"
        if name not in found and part.has_function(name):
            _bound(file, len(found))
            found[name] = tuple(max(0.0, file.number(row, each, 1e12, least=-1e12)) / _MS for each in _PERCENTILES)
    return found


def _memories(file: CsvFile) -> dict[str, int]:
    """The limit in MB of each application's functions."""
    file.require(_MEMORY, _MEMORY_PERCENTILES)
    app, found = file.position[_APP], dict[str, int]()
    for row in file.rows():
        if row[app] not in found:
            _bound(file, len(found))
            found[row[app]] = limit_for(file.number(row, _MEMORY_USED, 1e9))
    return found


def _bound(file: CsvFile, size: int) -> None:
    if size == MOST_FUNCTIONS:
        file.fail(f"more than {MOST_FUNCTIONS:,} functions: take a share of them with --sample")


def _calls(file: CsvFile, part: TracePart, chance: random.Random) -> Iterator[tuple[str, str, Iterator[float]]]:
    """Application, function, and the times of its invocations within the part, as seconds of the day."""
    minutes = len(file.header) - len(_COUNTS)
    file.require((*_COUNTS, *(str(minute) for minute in range(1, minutes + 1))))
    first = file.position["1"] if minutes else file.fail("there is no minute: the columns after Trigger are 1 to 1440")
    begin, end = int(min(part.skip, 60.0 * minutes) // 60), int(-(-min(part.end, 60.0 * minutes) // 60))
    app, function = file.position[_APP], file.position[_FUNCTION]
    for row in file.rows():
        if part.has_function(f"{row[app]}/{row[function]}"):
            counts = [_count(file, minute + 1, row[first + minute]) for minute in range(begin, end)]
            if any(counts):
                yield row[app], row[function], _times(counts, begin, part, chance)


def _count(file: CsvFile, minute: int, text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) > MOST_IN_A_MINUTE:
        file.fail(f"the count of minute {minute} is {shown(text)}: write a whole number up to {MOST_IN_A_MINUTE:,}")
    return int(text)


def _times(counts: list[int], begin: int, part: TracePart, chance: random.Random) -> Iterator[float]:
    for minute, count in enumerate(counts, begin):
        for _ in range(count):
            at = 60.0 * (minute + chance.random())
            if part.skip <= at < part.end:
                yield at


def value_at(percentiles: Percentiles, share: float) -> float:
    """The value that this share stays below: straight between the percentiles."""
    above = min(bisect_right(_SHARES, share), len(_SHARES) - 1)
    low, high = _SHARES[above - 1], _SHARES[above]
    return percentiles[above - 1] + (share - low) / (high - low) * (percentiles[above] - percentiles[above - 1])

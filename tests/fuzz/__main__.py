"""`scripts/fuzz [TARGET…] --inputs 100000`: tries many inputs on each target, prints a table, keeps what fails."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import logging
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests.fuzz import corpus
from tests.fuzz.mutation import LONGEST, Mutator
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

SLOW = 2.0  # seconds of CPU; a good input takes at most some milliseconds
_MANY = 20  # failures of one target that are kept


class Hangs(Exception):
    """An input took longer than SLOW."""


@dataclass
class Row:
    """What was seen of one target. `slowest` in seconds of CPU, `grown` in MB of resident memory."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    grown: float = 0.0
    found: dict[str, str] = field(default_factory=dict)  # by where it failed: what, and the file of the input


def _hangs(*_: object) -> NoReturn:
    raise Hangs(f"it takes more than {SLOW:g} s of CPU")


def _place(error: BaseException) -> str:
    """Failures of one place are one failure."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "owmesos/" in each.filename] or [None]
    last = frames[-1]
    where = f"{last.filename.rpartition('owmesos/')[2]}:{last.lineno}" if last is not None else "?"
    return f"{type(error).__name__} at {where}"


def attempt(target: Target, data: bytes, row: Row) -> None:
    """One input."""
    began = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, SLOW)
    try:
        target.run(data)
    except Exception as error:  # noqa: BLE001  (that is what is looked for)
        place = _place(error)
        if place not in row.found and len(row.found) < _MANY:
            row.found[place] = f"{error!s:.150} ({corpus.keep(target.name, data)})"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    row.slowest = max(row.slowest, time.process_time() - began)
    row.inputs += 1


def _memory() -> float:
    """MB, resident now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**20


def mutated(target: Target, inputs: int, until: float, seed: int) -> Row:
    """By our own loop. `until`: of time.monotonic."""
    row, mutator = Row(target.name), Mutator(target.seeds, seed)
    began, settled = time.monotonic(), 0.0
    while row.inputs < inputs and time.monotonic() < until:
        if row.inputs == min(2000, inputs // 2):  # by then what is made once is made
            settled = _memory()
        attempt(target, mutator.next(), row)
    row.seconds, row.grown = time.monotonic() - began, _memory() - settled
    return row


def guided(target: Target, inputs: int, seed: int) -> NoReturn:
    """By atheris, which looks for inputs that reach new code; it ends the process, with its own report."""
    atheris = importlib.import_module("atheris")
    mutator, row = Mutator(target.seeds, seed), Row(target.name)

    def one(data: bytes) -> None:
        target.run(data)

    def custom(data: bytes, longest: int, number: int) -> Any:
        return mutator.next()[:longest] if number % 2 else atheris.Mutate(data, longest)

    atheris.instrument_all()
    atheris.Setup([row.target, f"-runs={inputs}", f"-max_len={LONGEST}", f"-seed={seed}"], one, custom_mutator=custom)
    atheris.Fuzz()
    sys.exit(0)


def table(rows: list[Row]) -> Iterator[str]:
    """As it is printed."""
    yield f"{'target':20} {'inputs':>8} {'a second':>9} {'slowest':>9} {'memory':>9}  faults"
    for row in rows:
        rate = row.inputs / row.seconds if row.seconds else 0.0
        slowest = f"{row.slowest * 1000:.1f} ms"
        yield f"{row.target:20} {row.inputs:8} {rate:9.0f} {slowest:>9} {row.grown:+6.1f} MB  {len(row.found)}"
        for place, what in row.found.items():
            yield f"    {place}: {what}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"[default: all] {', '.join(sorted(TARGETS))}")
    parser.add_argument("--inputs", type=int, default=100_000, help="for each target [default: 100000]")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at most, for each target")
    parser.add_argument("--seed", type=int, default=1, help="repeats the inputs of our own loop [default: 1]")
    parser.add_argument("--atheris", action="store_true", help="for one TARGET: by atheris, if it is installed")
    found = parser.parse_args()
    unknown = [name for name in found.targets if name not in TARGETS]
    if unknown:
        parser.error(f"unknown target {unknown[0]}: choose from {', '.join(sorted(TARGETS))}")
    if found.atheris and len(found.targets) != 1:
        parser.error("--atheris needs one TARGET: it ends the process after it")
    if found.atheris and importlib.util.find_spec("atheris") is None:
        parser.error(f"atheris is not installed for {sys.executable}: leave --atheris out")
    return found


def _show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Exit code 1 if anything was found."""
    arguments = _arguments()
    logging.disable(logging.CRITICAL)
    targets = [TARGETS[name] for name in arguments.targets or sorted(TARGETS)]
    if arguments.atheris:
        guided(targets[0], arguments.inputs, arguments.seed)
    signal.signal(signal.SIGVTALRM, _hangs)
    rows = []
    with contextlib.suppress(KeyboardInterrupt):
        for number, target in enumerate(targets):
            rows.append(mutated(target, arguments.inputs, time.monotonic() + arguments.minutes * 60, arguments.seed))
            for line in list(table(rows[-1:]))[number > 0 :]:
                _show(line)
    found = sum(len(row.found) for row in rows)
    _show(f"{sum(row.inputs for row in rows)} inputs, seed {arguments.seed}: {found or 'no'} faults")
    sys.exit(found > 0)


if __name__ == "__main__":
    main()

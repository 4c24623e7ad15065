"""`scripts/fuzz [TARGET…] --inputs 100000`: tries many inputs on each target, prints a table, keeps what fails."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import logging
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.fuzz.attempts import Attempts, Row, bound_memory, watch_for_hangs
from tests.fuzz.guided import guided, instrumented
from tests.fuzz.mutation import Mutator

if TYPE_CHECKING:  # atheris must see the first import of owmesos
    from tests.fuzz.target import Target


@contextlib.contextmanager
def plain() -> Iterator[dict[str, Target]]:
    """All targets."""
    yield importlib.import_module("tests.fuzz.targets").TARGETS


def mutated(target: Target, inputs: int, minutes: float, seed: int) -> Row:
    """By our own loop."""
    attempts, mutator = Attempts(target, inputs), Mutator(target.seeds, seed)
    until = time.monotonic() + minutes * 60
    while attempts.row.inputs < inputs and time.monotonic() < until:
        attempts.attempt(mutator.next())
    return attempts.measured()


def table(rows: list[Row]) -> Iterator[str]:
    """As it is printed."""
    yield f"{'target':30} {'inputs':>8} {'CPU':>8} {'slowest':>9} {'peak':>7} {'grown':>9} {'branches':>13}  faults"
    for row in rows:
        measured = (
            f"{row.inputs:8} {row.seconds:6.0f} s {row.slowest * 1000:6.1f} ms {row.peak:4.0f} MB {row.grown:+6.1f} MB"
        )
        branches = f"{row.branches[0]} to {row.branches[1]}" if row.branches else ""
        yield f"{row.target:30} {measured} {branches:>13}  {len(row.found)}"
        for place, what in row.found.items():
            yield f"    {place}: {what}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="[default: all]")
    parser.add_argument("--inputs", type=int, default=100_000, help="for each target [default: 100000]")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at most, for each target")
    parser.add_argument("--seed", type=int, default=1, help="repeats the inputs [default: 1]")
    parser.add_argument("--atheris", action="store_true", help="let atheris look for inputs that reach new code")
    return parser


def _show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Exit code 1 if anything was found."""
    parser = _parser()
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if arguments.atheris and importlib.util.find_spec("atheris") is None:
        parser.error(f"atheris is not installed for {sys.executable}: scripts/fuzz --atheris installs it")
    watch_for_hangs()
    rows = []
    with (instrumented if arguments.atheris else plain)() as known:
        unknown = [name for name in arguments.targets if name not in known]
        if unknown:
            parser.error(f"unknown target {unknown[0]}: choose from {', '.join(sorted(known))}")
        bound_memory()
        try_inputs = guided if arguments.atheris else mutated
        with contextlib.suppress(KeyboardInterrupt):
            for number, name in enumerate(arguments.targets or sorted(known)):
                rows.append(try_inputs(known[name], arguments.inputs, arguments.minutes, arguments.seed))
                for line in list(table(rows[-1:]))[number > 0 :]:
                    _show(line)
    found = sum(len(row.found) for row in rows)
    _show(f"{sum(row.inputs for row in rows)} inputs, seed {arguments.seed}: {found or 'no'} faults")
    sys.exit(found > 0)


if __name__ == "__main__":
    main()

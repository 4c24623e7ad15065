"""`scripts/soak`: see `--help`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from soak.run import Plan, Report, soak


def _plan(arguments: Sequence[str] | None = None) -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    usual = Plan()
    parser.add_argument("--minutes", type=float, default=20.0, help="[default: 20]")
    parser.add_argument("--agents", type=int, default=usual.agents, help=f"[default: {usual.agents}]")
    parser.add_argument(
        "--launches", type=float, default=usual.launches, help=f"a second [default: {usual.launches:g}]"
    )
    parser.add_argument(
        "--activations", type=float, default=usual.activations, help=f"a second, warm [default: {usual.activations:g}]"
    )
    parser.add_argument("--seed", type=int, default=usual.seed, help=f"of load and faults [default: {usual.seed}]")
    parser.add_argument("--state", type=Path, help="folder for the state [default: a temporary one]")
    found = parser.parse_args(arguments)
    plan = Plan(
        seconds=found.minutes * 60,
        warm_up=min(120.0, found.minutes * 60 / 4),
        agents=found.agents,
        launches=found.launches,
        activations=found.activations,
        seed=found.seed,
    )
    return plan, found.state


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    plan, state = _plan()
    gc.freeze()  # as `owmesos run` does
    with tempfile.TemporaryDirectory(prefix="owmesos-soak-") as folder:
        report: Report = asyncio.run(soak(plan, state or Path(folder), _show))
    faults = report.faults()
    for line in faults:
        _show(f"FAULT: {line}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

"""Inputs by atheris (https://github.com/google/atheris), which goes on with those that reach new code of owmesos."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fuzz import corpus
from tests.fuzz.attempts import Attempts, Row
from tests.fuzz.mutation import LONGEST, Mutator

if TYPE_CHECKING:  # atheris must see the first import of owmesos
    from tests.fuzz.target import Target

_HANGS = 120  # seconds until C code that does not return is ended; Python code is by attempts.SLOW


@contextlib.contextmanager
def instrumented() -> Iterator[dict[str, Target]]:
    """All targets, while modules of owmesos tell atheris which branches they take."""
    assert "owmesos" not in sys.modules
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["owmesos"]):
        with contextlib.redirect_stderr(io.StringIO()):  # a line for each module
            targets = importlib.import_module("tests.fuzz.targets").TARGETS
        yield targets


def guided(target: Target, inputs: int, minutes: float, seed: int) -> Row:
    """In a process of its own, which libFuzzer ends."""
    importlib.import_module("tests.fuzz.target").folder_of_files()
    with tempfile.TemporaryDirectory(prefix="owmesos-fuzz-") as name:
        folder = Path(name)
        child = os.fork()
        if child == 0:
            _search(target, inputs, minutes, seed, folder)
        os.waitpid(child, 0)
        log = (folder / "log").read_text(errors="replace")
        if not (folder / "row").exists():
            return _ended(target, folder, log)
        row = Row(**json.loads((folder / "row").read_text()))
        reached = [int(each) for each in re.findall(r"\bcov: (\d+)", log)]
        row.branches = (reached[0], reached[-1]) if reached else None
        return row


def _ended(target: Target, folder: Path, log: str) -> Row:
    """Before all inputs were tried: by the bound for C code's time, by its faults, or by a fault of this module."""
    kept = [str(corpus.keep(target.name, file.read_bytes())) for file in folder.glob("failed-*")]
    return Row(target.name, found={f"the process ended ({', '.join(kept) or 'without an input'})": log[-2000:]})


def _search(target: Target, inputs: int, minutes: float, seed: int, folder: Path) -> None:
    """Does not return."""
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    atheris: Any = importlib.import_module("atheris")
    until = time.monotonic() + minutes * 60
    attempts, mutator = Attempts(target, inputs), Mutator(target.seeds, seed)

    def custom(data: bytes, longest: int, number: int) -> bytes:
        if number % 4 == 0:
            return bytes(atheris.Mutate(data, longest))
        # It keeps few seeds: it does not see into C code, so that most reach nothing new.
        changed = mutator.next() if number % 4 == 1 else mutator.changed(data)
        return changed[:longest]

    def one(data: bytes) -> None:
        attempts.attempt(data)
        if attempts.row.inputs == inputs or time.monotonic() > until:
            (folder / "row").write_text(json.dumps(dataclasses.asdict(attempts.measured())))
            os._exit(0)  # what the parent has registered to be done at its end is not done here

    seeds = folder / "seeds"
    seeds.mkdir()
    old = [file.read_bytes() for name, file in corpus.entries() if name == target.name]
    for number, data in enumerate((*target.seeds, *old)):
        (seeds / str(number)).write_bytes(data)
    options = {
        "max_len": LONGEST,
        "seed": seed,
        "rss_limit_mb": 0,  # see attempts.bound_memory
        "timeout": _HANGS,
        "artifact_prefix": f"{folder}/failed-",
    }
    atheris.Setup(
        [target.name, *(f"-{name}={value}" for name, value in options.items()), str(seeds)],
        one,
        custom_mutator=custom,
    )
    try:
        atheris.Fuzz()
    finally:
        traceback.print_exc()
        os._exit(1)

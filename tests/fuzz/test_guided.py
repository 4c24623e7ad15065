"""`scripts/fuzz --atheris`, with a module in atheris's place that tries what it is given and does not look for more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FAKE = """
import contextlib, os, sys
from pathlib import Path

def instrument_imports(include):
    return contextlib.nullcontext()

def Mutate(data, longest):
    return data[::-1]

def Setup(arguments, one, custom_mutator):
    global search
    folder = Path(arguments[-1])
    def search():
        inputs = [b"", *(each.read_bytes() for each in folder.iterdir())]
        sys.stderr.write("#9 INITED cov: 12 ft: 20\\n")
        if os.environ["FAKE"] == "dies":
            at = next(each for each in arguments if each.startswith("-artifact_prefix=")).partition("=")[2]
            Path(at + "oom").write_bytes(b"much")
            sys.stderr.write("out of memory\\n")
            os._exit(71)
        for number in range(10**6):
            data = inputs[number % len(inputs)]
            one(data if number < len(inputs) else custom_mutator(data, 4096, number))
            sys.stderr.write("#10 NEW cov: 15 ft: 30\\n")

def Fuzz():
    search()
"""

DRIVER = """
import sys
from pathlib import Path

from tests.fuzz import __main__, corpus

corpus.CORPUS = Path(sys.argv.pop(1))
__main__.main()
"""
Fuzz = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def fuzz(tmp_path: Path, pytestconfig: pytest.Config) -> Fuzz:
    (tmp_path / "atheris.py").write_text(FAKE, encoding="utf-8")

    def run(fake: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", DRIVER, str(tmp_path / "corpus"), "--atheris", *arguments]
        files = tmp_path / "files"
        files.mkdir()
        paths = f"{tmp_path}{os.pathsep}{pytestconfig.rootpath}"
        environment = os.environ | {"PYTHONPATH": paths, "FAKE": fake, "OWMESOS_FUZZ_FILES": str(files)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_says_what_was_reached_of_each_target(fuzz: Fuzz) -> None:
    done = fuzz("runs", "sizes", "quantities", "--inputs", "50")
    assert done.returncode == 0, done.stderr
    _, *rows, last = done.stdout.splitlines()
    assert [row.split()[:2] for row in rows] == [["sizes", "50"], ["quantities", "50"]]
    assert all(" 12 to 15 " in row for row in rows)
    assert last == "100 inputs, seed 1: no faults"


@pytest.mark.parametrize("fake", ["runs", "dies"])
def test_leaves_none_of_the_files_that_targets_read(fuzz: Fuzz, tmp_path: Path, fake: str) -> None:
    done = fuzz(fake, "pod-templates", "proxy-archives", "--inputs", "50")
    assert "pod-templates" in done.stdout, done.stderr
    assert list((tmp_path / "files").iterdir()) == []


def test_keeps_the_input_that_ended_the_process(fuzz: Fuzz, tmp_path: Path) -> None:
    done = fuzz("dies", "sizes", "--inputs", "50")
    assert done.returncode == 1
    (kept,) = (tmp_path / "corpus" / "sizes").iterdir()
    assert kept.read_bytes() == b"much"
    assert str(kept) in done.stdout
    assert "out of memory" in done.stdout

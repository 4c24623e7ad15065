"""What counts as a failure, and that the input is kept."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from owmesos.errors import InvalidInput, InvariantBroken
from tests.fuzz import attempts, corpus
from tests.fuzz.attempts import Attempts
from tests.fuzz.target import Target


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(corpus, "CORPUS", tmp_path)
    before = signal.getsignal(signal.SIGVTALRM)
    attempts.watch_for_hangs()
    yield
    signal.signal(signal.SIGVTALRM, before)


def read(data: bytes) -> None:
    if data == b"ours":
        raise InvalidInput("no")
    if data == b"books":
        raise InvariantBroken("two owners")
    while data == b"hang":
        with contextlib.suppress(Exception):
            while True:
                pass
    {b"good": 1}[data]


def test_an_error_of_ours_is_no_failure() -> None:
    tried = Attempts(Target("t", read, ()), 2)
    tried.attempt(b"good")
    tried.attempt(b"ours")
    row = tried.measured()
    assert (row.inputs, row.found) == (2, {})
    assert row.peak > 0


def test_other_errors_and_wrong_books_are_kept_once_for_each_kind(tmp_path: Path) -> None:
    tried = Attempts(Target("t", read, ()), 3)
    for data in (b"bad", b"worse", b"books"):
        tried.attempt(data)
    found = tried.measured().found
    assert [place.split()[0] for place in found] == ["KeyError", "InvariantBroken"]
    assert sorted(file.read_bytes() for file in (tmp_path / "t").iterdir()) == [b"bad", b"books"]


def test_an_input_that_hangs_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "SLOW", 0.05)
    tried = Attempts(Target("t", read, ()), 1)
    tried.attempt(b"hang")
    assert [place.split()[0] for place in tried.measured().found] == ["Hangs"]
    assert [file.read_bytes() for file in (tmp_path / "t").iterdir()] == [b"hang"]


@pytest.mark.parametrize("error", [MemoryError, InvariantBroken, AssertionError])
def test_some_errors_are_failures_even_where_any_is_expected(error: type[Exception]) -> None:
    def fail(data: bytes) -> None:
        raise error("no")

    tried = Attempts(Target("t", fail, (), expected=(Exception,)), 1)
    tried.attempt(b"")
    assert [place.split()[0] for place in tried.measured().found] == [error.__name__]


def test_an_input_that_takes_much_memory_is_a_failure() -> None:
    program = """
from tests.fuzz.attempts import MEMORY, bound_memory

bound_memory()
try:
    bytes((MEMORY + 1) * 2**20)
except MemoryError:
    print("bounded")
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "bounded\n"

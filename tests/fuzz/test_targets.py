"""No input from outside raises what is not ours, hangs, or leaves the books wrong. `scripts/fuzz` tries many more."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.fuzz import attempts, corpus
from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Nothing is logged: of each input a line would be."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_each_seed(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_is_nearly_right(name: str) -> None:
    mutator = Mutator(TARGETS[name].seeds, seed=1)
    for _ in range(examples(200)):
        data = mutator.next()
        try:
            TARGETS[name].run(data)
        except Exception as error:
            file = corpus.keep(name, data)
            raise AssertionError(f"{type(error).__name__}: {error}; the input is kept in {file}") from error


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_any_bytes(name: str) -> None:
    @settings(max_examples=examples(50), derandomize=True, database=None)
    @given(st.one_of(st.binary(max_size=300), st.sampled_from(TARGETS[name].seeds).flatmap(_cut_open)))
    def holds(data: bytes) -> None:
        TARGETS[name].run(data)

    holds()


def _cut_open(seed: bytes) -> st.SearchStrategy[bytes]:
    """`seed` with some bytes in the place of others."""
    places = st.integers(0, len(seed))
    return st.builds(
        lambda at, to, new: seed[: min(at, to)] + new + seed[max(at, to) :], places, places, st.binary(max_size=9)
    )


@pytest.mark.parametrize(("name", "file"), list(corpus.entries()), ids=lambda each: getattr(each, "name", each))
def test_what_once_failed(name: str, file: Path) -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    attempts.watch_for_hangs()
    try:
        attempts.run(TARGETS[name], file.read_bytes())
    finally:
        signal.signal(signal.SIGVTALRM, before)

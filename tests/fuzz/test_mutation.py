"""Whatever an input was changed to, it can be changed once more."""

from __future__ import annotations

import pytest

from tests.fuzz.mutation import LONGEST, Mutator

WIDE = b"[" + b",".join([b'{"a":[1,"' + b"x" * 90 + b'"]}'] * 500) + b"]"


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[" * 900 + b"1" + b"]" * 900, b"9" * 4300, b"[%s]" % (b"9" * 4299), WIDE, bytes(LONGEST)],
    ids=["empty", "no text", "deep", "many digits", "many digits in a list", "wide", "long"],
)
@pytest.mark.parametrize("seeds", [[b"\xff\0"], [b'{"a":[1,{"b":null}]}', b"text"]], ids=["bytes", "documents"])
def test_any_data_can_be_changed(seeds: list[bytes], data: bytes) -> None:
    mutator = Mutator(seeds, seed=1)
    changed = [mutator.changed(data) for _ in range(100)]
    assert len(set(changed)) > 20
    assert max(map(len, changed)) <= LONGEST


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, second = (Mutator([b'{"a":[1]}', b"text"], seed=7) for _ in range(2))
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]


def test_a_change_of_a_change_does_not_grow_without_end() -> None:
    mutator, data = Mutator([WIDE], seed=1), WIDE
    for _ in range(200):
        data = mutator.changed(data) or WIDE
    assert len(data) <= LONGEST

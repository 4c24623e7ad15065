"""A histogram counts each value once, in the first bucket whose bound is not below it."""

from __future__ import annotations

from math import inf

from owmesos.core.histogram import SECONDS, Histogram


def test_a_bound_belongs_to_its_bucket() -> None:
    measured = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 1e9):
        measured.observe(value)
    assert list(measured.at_most()) == [(1.0, 2), (2.0, 4), (inf, 6)]
    assert measured.count == 6
    assert measured.sum == 0.0 + 1.0 + 1.5 + 2.0 + 2.1 + 1e9


def test_without_values_every_bucket_is_empty() -> None:
    assert list(Histogram().at_most()) == [(bound, 0) for bound in (*SECONDS, inf)]

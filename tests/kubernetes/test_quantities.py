from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.errors import InvalidInput
from owmesos.kubernetes.quantities import (
    MB,
    count_down,
    milli_down,
    milli_mb_down,
    milli_mb_up,
    milli_up,
    parse,
)
from owmesos.resources import MAX_MILLI, MAX_PODS


@pytest.mark.parametrize(
    ("text", "thousandths"),
    [
        ("0", 0),
        ("1", 1000),
        ("100m", 100),
        ("0.1", 100),
        (".5", 500),
        ("2.", 2000),
        ("+3", 3000),
        ("1e3", 1_000_000),
        ("1E3", 1_000_000),
        ("12E-1", 1200),
        ("2k", 2_000_000),
        ("1500m", 1500),
        ("-0", 0),
    ],
)
def test_cpus_are_exact_to_a_thousandth(text: str, thousandths: int) -> None:
    assert milli_up(text) == milli_down(text) == thousandths


@pytest.mark.parametrize(("text", "up", "down"), [("12n", 1, 0), ("1u", 1, 0), ("100100u", 101, 100), ("0.0005", 1, 0)])
def test_what_is_needed_is_rounded_up_and_what_there_is_down(text: str, up: int, down: int) -> None:
    assert (milli_up(text), milli_down(text)) == (up, down)


@pytest.mark.parametrize(
    ("text", "up", "down"),
    [
        ("1Mi", 1000, 1000),
        ("1Gi", 1_024_000, 1_024_000),
        ("0.5Ki", 1, 0),
        ("256M", 244_141, 244_140),
        (str(MB), 1000, 1000),
        ("1", 1, 0),
        ("128974848", 123_000, 123_000),
        ("129e6", 123_024, 123_023),
    ],
)
def test_one_mb_is_one_mib(text: str, up: int, down: int) -> None:
    assert (milli_mb_up(text), milli_mb_down(text)) == (up, down)


def test_exa_and_exponents_are_told_apart() -> None:
    assert parse("1E") == (10**18, 1)
    assert parse("1E1") == (10, 1)


def test_what_is_too_large_to_count_counts_as_the_most() -> None:
    assert milli_up("1E") == milli_mb_down("16Ei") == MAX_MILLI
    assert count_down("1e20") == MAX_PODS
    assert count_down("110.7") == 110


@pytest.mark.parametrize(
    "text",
    ["", "m", ".", "1 Gi", "1Gib", "1KI", "1K", "0x10", "1e", "e3", "1e+", "1.2.3", "\u0661", "1\n", "NaN", "1" * 65],
)
def test_what_is_no_quantity_is_rejected(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a quantity"):
        parse(text)


@pytest.mark.parametrize("text", ["-1", "-100m", "-0.5Gi"])
def test_a_negative_one_is_rejected(text: str) -> None:
    with pytest.raises(InvalidInput, match="negative"):
        parse(text)


def test_an_exponent_without_bounds_is_rejected() -> None:
    with pytest.raises(InvalidInput, match="exponent"):
        parse("1e999")


_POWERS = {"": 1, "n": Fraction(1, 10**9), "m": Fraction(1, 1000), "k": 1000, "Ki": 1024, "Gi": 2**30, "E": 10**18}


@given(
    st.integers(0, 10**9), st.integers(0, 9), st.sampled_from(sorted(_POWERS)), st.sampled_from([milli_up, milli_mb_up])
)
def test_rounding_never_crosses_the_value(digits: int, decimals: int, suffix: str, up: object) -> None:
    text = f"{Fraction(digits, 10**decimals).numerator}{suffix}"
    value = Fraction(digits, 10**decimals).numerator * Fraction(_POWERS[suffix])
    unit, down = (Fraction(1), milli_down) if up is milli_up else (Fraction(MB), milli_mb_down)
    exact = value * 1000 / unit
    assert callable(up)
    if exact <= MAX_MILLI:
        assert down(text) <= exact <= up(text)
        assert up(text) - down(text) <= 1

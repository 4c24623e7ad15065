"""For how long a connection may be used again, by what the server says."""

from __future__ import annotations

import pytest

from owmesos.system.idle_connections import LONGEST, REUSE_WITHIN, reuse_within


@pytest.mark.parametrize(
    ("keep_alive", "seconds"),
    [
        ("timeout=5", 4.0),
        ("timeout=5, max=100", 4.0),
        ("max=100,timeout=20", 19.0),
        ("max=100;Timeout = 20", 19.0),
        ('timeout="20"', 19.0),
        ("timeout=1", 0.0),
        ("timeout=0", 0.0),
        ("timeout=999999999", LONGEST),
    ],
)
def test_a_server_that_says_its_time_has_it_less_a_second(keep_alive: str, seconds: float) -> None:
    assert reuse_within(keep_alive) == seconds


@pytest.mark.parametrize(
    "keep_alive", [None, "", "max=5", "timeout", "timeout=", "timeout=-5", "timeout=x", "mytimeout=60", "9" * 5000]
)
def test_one_that_does_not_has_less_than_the_usual_five_seconds(keep_alive: str | None) -> None:
    assert reuse_within(keep_alive) == REUSE_WITHIN < 5.0


def test_a_number_of_any_length_is_no_error() -> None:
    assert reuse_within("timeout=" + "9" * 5000) == REUSE_WITHIN

"""The waits between two tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from owmesos.system.retry_pause import RetryPause


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_every_wait_is_between_half_a_second_and_fifteen(chances: list[float]) -> None:
    source = iter(chances)
    backoff = RetryPause(chance=lambda: next(source))
    for _ in chances:
        assert RetryPause.shortest <= backoff.next() <= RetryPause.longest


def test_waits_double_up_to_the_longest() -> None:
    backoff = RetryPause(chance=lambda: 1.0)
    assert [backoff.next() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_a_wait_is_jittered_down_to_half_its_step() -> None:
    backoff = RetryPause(chance=lambda: 0.0)
    assert [backoff.next() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 7.5, 7.5]


def test_a_subscription_that_dies_young_does_not_shorten_the_waits() -> None:
    backoff = RetryPause(chance=lambda: 1.0)
    backoff.next()
    backoff.lived(1.0)
    assert backoff.next() == 2.0


def test_a_subscription_that_lived_starts_the_waits_anew() -> None:
    backoff = RetryPause(chance=lambda: 1.0)
    for _ in range(5):
        backoff.next()
    backoff.lived(60.0)
    assert backoff.next() == 1.0

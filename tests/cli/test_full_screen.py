"""`given_back`: signals at every moment, and the screen is left as it was."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from owmesos.cli.full_screen import given_back


class Screen:
    """Counts how often it was entered and left whole; signals come within."""

    def __init__(self, entering: int = 0, leaving: int = 0) -> None:
        self.entered = self.left = 0
        self._entering = entering
        self._leaving = leaving

    @contextmanager
    def shown(self) -> Iterator[str]:
        _raise(self._entering)
        self.entered += 1
        try:
            yield "screen"
        finally:
            _raise(self._leaving)
            self.left += 1


def show(screen: Screen, number: int = 0) -> None:
    with given_back(screen.shown()) as shown:
        assert shown == "screen"
        _raise(number)


def _raise(number: int) -> None:
    if number:
        signal.raise_signal(number)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("moment", ["entering", "inside", "leaving"])
def test_a_signal_leaves_no_half_screen(number: signal.Signals, error: type[BaseException], moment: str) -> None:
    screen = Screen(**({moment: number} if moment != "inside" else {}))
    before = signal.getsignal(number)
    with pytest.raises(error):
        show(screen, number if moment == "inside" else 0)
    assert screen.entered == screen.left == 1
    assert signal.getsignal(number) is before


def test_a_second_signal_does_not_stop_the_first_ones_end() -> None:
    screen = Screen(leaving=signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        show(screen, signal.SIGINT)
    assert screen.left == 1


def test_without_a_signal_nothing_is_raised() -> None:
    screen = Screen()
    show(screen)
    assert screen.left == 1

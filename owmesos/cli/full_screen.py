"""A terminal that is given back as it was, whenever a signal ends or suspends the command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from types import FrameType

T = TypeVar("T")
ENDING: Mapping[int, Callable[[], BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: lambda: SystemExit(128 + signal.SIGTERM),
}


def can_draw() -> bool:
    """Whether stdout is a terminal whose cursor can be moved."""
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


@contextmanager
def given_back(
    screen: AbstractContextManager[T], signals: Mapping[int, Callable[[], BaseException]] = ENDING
) -> Iterator[T]:
    """`screen` is entered and left whole: a signal's exception is raised in the block, once, or else after its end."""
    inside = False
    late: list[BaseException] = []

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal inside
        error = signals[number]()
        if not inside:
            late.append(error)
            return
        inside = False
        raise error

    before = {number: signal.signal(number, handle) for number in signals}
    try:
        with screen as entered:
            inside = True
            if late:
                inside = False
                raise late.pop()
            try:
                yield entered
            finally:
                inside = False
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if late:
            raise late[-1]

"""What both demos share: their error, the wait for something, and the view, a picture on a terminal or else lines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, TypeVar

from owmesos.errors import OwmesosError
from owmesos.service.framework import Framework

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType

S = TypeVar("S")
SUBSCRIBE_WITHIN = 20.0  # seconds
_FRAME = 0.1


class DemoFailed(OwmesosError):
    """The demo did not run to its end, or a result was wrong."""


async def until(framework: Framework, reached: Callable[[], bool], within: float = inf) -> bool:
    """Ask `reached` ten times a second: whether it became true within these seconds.

    Raises DemoFailed when the framework ends first.
    """
    finished = asyncio.ensure_future(framework.finished())
    end = time.monotonic() + within
    try:
        while not reached():
            if time.monotonic() > end:
                return False
            await asyncio.wait([finished], timeout=_FRAME)
            if finished.done():
                raise DemoFailed(finished.result().reason)
        return True
    finally:
        finished.cancel()


async def subscribed(framework: Framework) -> None:
    """Return when a master has accepted the framework. Raises DemoFailed."""
    if not await until(framework, lambda: framework.subscribed, SUBSCRIBE_WITHIN):
        raise DemoFailed(f"no master accepted the framework within {SUBSCRIBE_WITHIN:g} s")


@contextmanager
def view(picture: Callable[[S, Console], RenderableType], say: Callable[[S], None]) -> Iterator[Callable[[S], None]]:
    """Takes scenes until the block's end: a terminal shows the `picture` of the last one, else `say` prints lines."""
    if not sys.stdout.isatty():
        yield say
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, refresh_per_second=10) as live:
        yield lambda scene: live.update(picture(scene, console))


def framed(title: str, total: int, ended: int, *parts: RenderableType) -> Group:
    """A picture: its title, the progress, and what is below."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    return Group(Text(title, style="bold"), ProgressBar(total=total, completed=ended, width=60), *parts)

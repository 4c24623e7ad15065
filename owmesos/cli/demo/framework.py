"""What both demos share: how they end, and their framework's beginning."""

from __future__ import annotations

import asyncio

from owmesos.errors import OwmesosError
from owmesos.service.framework import Framework

SUBSCRIBE_WITHIN = 20.0
"""Seconds."""
_POLL = 0.1


class DemoFailed(OwmesosError):
    """Not everything ran."""


async def subscribed(framework: Framework) -> None:
    """Returns when a master has taken it. Raises DemoFailed."""
    finished = asyncio.ensure_future(framework.finished())
    try:
        for _ in range(int(SUBSCRIBE_WITHIN / _POLL)):
            if framework.subscribed:
                return
            await asyncio.wait([finished], timeout=_POLL)
            if finished.done():
                raise DemoFailed(finished.result().reason)
        raise DemoFailed(f"no master took us within {SUBSCRIBE_WITHIN:g} s")
    finally:
        finished.cancel()

"""What is measured: memory and its slope, the event loop's lag, subscriptions, and the sizes of all tables."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from owmesos.service.framework import Framework

LAG_EVERY = 0.02  # seconds between two measurements of the lag
_DEPTH = 9
_TABLES = (dict, set, frozenset, list, deque)


def memory() -> float:
    """MB of this process, resident."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def slope(points: Sequence[tuple[float, float]]) -> float:
    """MB a minute, by least squares; `points`: seconds and MB."""
    if len(points) < 2:
        return 0.0
    middle = [sum(column) / len(points) for column in zip(*points, strict=True)]
    spread = sum((at - middle[0]) ** 2 for at, _ in points)
    return 60 * sum((at - middle[0]) * (mb - middle[1]) for at, mb in points) / spread if spread else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def tables(roots: Mapping[str, object], least: int = 200) -> dict[str, int]:
    """The entries of every table that objects of owmesos hold, from `roots` on, by its path; without small ones."""
    found: dict[str, int] = {}
    seen: set[int] = set()

    def look(value: object, path: str, depth: int) -> None:
        if id(value) in seen or depth > _DEPTH:
            return
        if isinstance(value, _TABLES):
            seen.add(id(value))
            if len(value) >= least:
                found[path] = len(value)
            for each in list(value.values() if isinstance(value, dict) else value)[:3]:
                look(each, f"{path}[]", depth + 1)
        elif type(value).__module__.startswith("owmesos."):
            seen.add(id(value))
            for name, inner in _fields(value):
                look(inner, f"{path}.{name}", depth + 1)

    for name, root in roots.items():
        look(root, name, 0)
    return found


def _fields(value: object) -> Iterator[tuple[str, Any]]:
    names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    names += list(getattr(value, "__dict__", ()))
    for name in dict.fromkeys(names):
        if name not in ("__dict__", "__weakref__") and hasattr(value, name):
            yield name, getattr(value, name)


class Seen(msgspec.Struct):
    """What one process saw of itself. Seconds."""

    memory: list[tuple[float, float]]  # seconds and MB
    lag_median: float  # of the event loop
    lag_p99: float
    lag_most: float
    subscriptions: int
    tables: dict[str, int]


class Meter:
    """Measures in the running loop until it is cancelled. `roots` are where its tables are looked for. Seconds."""

    def __init__(self, framework: Framework, roots: Mapping[str, object]) -> None:
        self.memory: list[tuple[float, float]] = []
        self.lags: deque[float] = deque(maxlen=1_000_000)
        self.subscriptions = 0
        self.framework = framework
        self._roots = roots
        self._since: float | None = None
        self._began = time.monotonic()

    async def run(self) -> None:
        measured = 0.0
        while True:
            due = time.monotonic() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            now = time.monotonic()
            self.lags.append(max(0.0, now - due))
            self._look()
            if now - measured >= 1.0:
                measured = now
                self.memory.append((now - self._began, memory()))

    def _look(self) -> None:
        state = self.framework.shell.scheduler.state
        if state.connected and state.connection.since != self._since:
            self._since = state.connection.since
            self.subscriptions += 1

    def settled(self) -> None:
        """What came before does not count: what is made once is made."""
        gc.collect()
        self.lags.clear()
        self.memory.clear()

    def seen(self) -> Seen:
        median, p99, most = (percentile(self.lags, share) for share in (0.5, 0.99, 1.0))
        return Seen(list(self.memory), median, p99, most, self.subscriptions, tables(self._roots))

"""The StatusDocument of a running process, made at a bounded cost however often it is requested."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

from owmesos.documents import InvokerStatus, StatusDocument

_SHARE = 0.05
"""Share of the event loop's time that making documents may take."""
_CHEAP = 0.005  # seconds of CPU; a document that takes less is always made anew
own_version = cache(version)


class StatusSource:
    """One process's documents. A document that took long is reused, so that making them takes at most 5 % of the time:
    with 5,000 nodes it is reused for about two seconds. What others do on the machine does not count."""

    def __init__(
        self,
        make: Callable[[], StatusDocument],
        now: Callable[[], float] = time.perf_counter,
        cpu_time: Callable[[], float] = time.thread_time,
    ) -> None:
        """`make` makes one without an invoker's part. `now` and `cpu_time` return seconds."""
        self._make = make
        self._now = now
        self._cpu_time = cpu_time
        self._made: StatusDocument | None = None
        self._until = 0.0

    def document(self, invoker: InvokerStatus | None) -> StatusDocument:
        now = self._now()
        if self._made is None or now >= self._until:
            begun = self._cpu_time()
            self._made = self._make()
            took = self._cpu_time() - begun
            self._until = now + took / _SHARE if took > _CHEAP else 0.0
        return {**self._made, "invoker": invoker}

"""How long to wait before the next try, so that a thousand frameworks do not fall upon a master that comes
back.

Exponential with jitter, from half a second to 15 s, and for every cause: a master that takes SUBSCRIBE and
closes at once must not be asked 5,000 times in two seconds. docs/scheduler-http-api.md, "Disconnections".
"""

from __future__ import annotations

import random
from collections.abc import Callable

SHORTEST = 0.5
LONGEST = 15.0
SETTLED = 30.0


class Backoff:
    """The waits of one subscription's retries, in seconds: a step doubles, the wait is its upper half, at
    random.
    """

    def __init__(
        self,
        shortest: float = SHORTEST,
        longest: float = LONGEST,
        settled: float = SETTLED,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._first = 2 * shortest
        self._longest = longest
        self._settled = settled
        self._chance = chance
        self._step = self._first

    def next(self) -> float:
        """The wait before the next try."""
        step = min(self._step, self._longest)
        self._step = 2 * step
        return step * (0.5 + 0.5 * self._chance())

    def lived(self, seconds: float) -> None:
        """Tells that a try succeeded and its subscription lived so long: if long enough, waits are short
        again.
        """
        if seconds >= self._settled:
            self._step = self._first

"""The pauses between tries, so that a thousand frameworks do not overload a master that comes back.

Exponential with jitter, from half a second to 15 s, whatever the cause: a master that accepts SUBSCRIBE and closes at
once must not be asked 5,000 times in two seconds. docs/scheduler-http-api.md, "Disconnections".
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class RetryPause:
    """The pauses of one subscription, in seconds: the step doubles, and a pause is between half and all of it."""

    shortest: float = 0.5
    longest: float = 15.0
    settled: float = 30.0  # that a subscription must live
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self._step = 2 * self.shortest

    def next(self) -> float:
        step = min(self._step, self.longest)
        self._step = 2 * step
        return step * (0.5 + 0.5 * self.chance())

    def lived(self, seconds: float) -> None:
        """A try succeeded, and its subscription lived so long: after `settled`, pauses are short again."""
        if seconds >= self.settled:
            self._step = 2 * self.shortest

"""Every number that the pool decides by. Times in seconds, memory in MB."""

from __future__ import annotations

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.core.containers import Action, Shape
from owmesos.resources import MILLI, Ask


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`cpus_per_gb`: OpenWhisk's own formula gives 2/1024 of a cpu when user-memory is infinite."""

    max_starts: int = 20
    max_starts_on_agent: int = 5
    start_timeout: float = 60.0  # a start that takes longer no longer counts against max_starts
    start_timeout_image: float = 300.0
    start_attempts: int = 3
    idle_grace: float = 10.0  # a container is no victim before
    idle_timeout: float = 600.0
    drain_after: float = 5.0  # of the head's waiting: grace is waived on its agent, which takes no new runs
    round_wait: float = 2.5  # after a round's last stop: the factory's offer_wait, and a moment
    max_rounds: int = 3
    stop_wait: float = 5.0  # a stop that takes longer is not counted on, nor is anything else on its agent
    prewarm_pause: float = 60.0  # after an eviction
    max_wait: float | None = None
    pressure_after: float | None = None
    cpus_per_gb: float = 0.25
    ports: int = 1
    constraints: tuple[Constraint, ...] = ()
    blackbox_constraints: tuple[Constraint, ...] = ()

    def ask(self, shape: Shape) -> Ask:
        """What one container of the shape needs."""
        cpus = max(0.01, shape.memory * self.cpus_per_gb / 1024)
        return Ask(round(cpus * MILLI), shape.memory * MILLI, 0, 0, self.ports)

    def constraints_of(self, shape: Shape) -> tuple[Constraint, ...]:
        """Managed and blackbox images may live on different agents (whisk.mesos)."""
        return self.constraints if shape.image is None else self.blackbox_constraints

    def waits_at_most(self, action: Action) -> float:
        """The Controller's forced completion is after twice max(time-out, 60 s) plus 1 min; ours comes 10 s before."""
        if self.max_wait is not None:
            return self.max_wait
        return max(action.timeout, 60.0) * 2 + 60.0 - 10.0

    def counts_as_start(self, shape: Shape) -> float:
        return self.start_timeout if shape.image is None else self.start_timeout_image

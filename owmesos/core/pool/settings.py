"""The numbers that the pool decides by; those of its back-off are in `owmesos.core.backoff`."""

from __future__ import annotations

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.events import Run
from owmesos.resources import MILLI, Ask

USUAL_LIMIT = 60.0  # seconds; TimeLimit.STD_DURATION of OpenWhisk
FORCED_FACTOR = 2  # a Controller's `whisk.loadbalancer.timeout-factor`, where nobody set it
FORCED_ADDON = 60.0  # seconds; its `timeout-addon`
MARGIN = 10.0  # seconds before a forced completion: for two ways through Kafka, a cold start, and the log


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    max_starts: int = 20  # under way at once
    max_starts_on_agent: int = 5  # of these on one node
    start_timeout: float = 60.0  # a start that takes longer no longer counts against max_starts
    start_timeout_image: float = 300.0  # the same for a user's own image
    start_attempts: int = 3  # that may fail before the run does
    trial: float = 10.0  # a start that takes longer no longer keeps others like it from being tried
    idle_grace: float = 10.0  # a container that was used more recently is not stopped to make room; see drain_after
    idle_timeout: float = 600.0  # a container that serves nothing for so long stops
    drain_after: float = 5.0  # a head blocked for so long: its node takes no new runs, and idle_grace is waived there
    round_wait: float = 2.5  # after a round's last stop: the factory's offer_wait, and a moment
    max_rounds: int = 3  # of stops for one run
    stop_wait: float = 5.0  # a stop that takes longer is not counted on, nor is anything else on its node
    prewarm_pause: float = 60.0  # after an eviction, in which prewarming leaves room for such a need
    max_wait: float | None = None  # of a run for its container; None: see `waits_at_most`
    pressure_after: float | None = None  # of the oldest run's waiting for room; None: never
    cpus_per_gb: float = 0.25  # OpenWhisk's own formula gives 2/1024 of a cpu when user-memory is infinite
    ports: int = 1  # of each container
    pods: int = 0  # of each container: 1 on Kubernetes, where a node takes a bounded number of them
    constraints: tuple[Constraint, ...] = ()
    blackbox_constraints: tuple[Constraint, ...] = ()

    def ask(self, shape: ContainerShape) -> Ask:
        """What one container of the shape asks for; see `PoolState.ask`."""
        cpus = max(0.01, shape.memory * self.cpus_per_gb / 1024)
        return Ask(round(cpus * MILLI), shape.memory * MILLI, 0, 0, self.ports, self.pods)

    def constraints_of(self, shape: ContainerShape) -> tuple[Constraint, ...]:
        """Managed and blackbox images may live on different nodes (whisk.mesos)."""
        return self.constraints if shape.image is None else self.blackbox_constraints

    def waits_at_most(self, run: Run) -> float:
        """Seconds. Without `max_wait` and a bound of its own a run waits until 10 s before a Controller with
        OpenWhisk's default settings would give it up."""
        bounds = [bound for bound in (self.max_wait, run.start_within) if bound is not None]
        return min(bounds) if bounds else max(run.action.timeout, USUAL_LIMIT) * FORCED_FACTOR + FORCED_ADDON - MARGIN

    def counts_as_start(self, shape: ContainerShape) -> float:
        return self.start_timeout if shape.image is None else self.start_timeout_image

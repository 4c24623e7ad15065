"""The seam between a cluster manager and an invoker: what each needs of the other, whatever the cluster is.

Mesos (`owmesos.mesos.container_factory`, `owmesos.service`) is the first that fulfils it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, get_args

import msgspec

from owmesos.core.capacity import Capacity
from owmesos.core.constraints import Constraint
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool import events
from owmesos.core.pool.pool import Pool
from owmesos.errors import OwmesosError
from owmesos.resources import Ask

ClusterRequest = events.StartContainer | events.StopContainer | events.SetAside | events.WaitingForRoom
"""What a pool asks of a cluster. Room it asks for through `Capacity`."""

ClusterEvent = (
    events.ContainerStarted | events.ContainerStopped | events.StartRefused | events.StartFailed | NodeStatsUpdate
)
"""What a cluster tells a pool."""

InvokerEvent = (
    events.Dispatch
    | events.RunFailed
    | events.FeedMore
    | events.Backpressure
    | events.ContainerStarted
    | events.ContainerStopped
)
"""What an invoker hears: from its pool what is to be done, from the cluster which containers there are."""
FOR_INVOKER = get_args(InvokerEvent)
PoolInput = events.PoolEvent | NodeStatsUpdate

CONTAINERS_STOP = 10.0  # seconds; for the containers of a pool to end, when the process does


class HealthCheckSettings(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """The cluster connects to a container's port, and ends the container when that fails. Times in seconds."""

    delay: float = 0.0
    interval: float = 1.0
    timeout: float = 1.0
    grace_period: float = 25.0
    max_consecutive_failures: int = 3


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be started for a `StartContainer`: a Docker image, or a command where there is none."""

    name: str
    ask: Ask
    image: str | None = None
    command: str | None = None
    uris: tuple[str, ...] = ()  # fetched for a command
    force_pull: bool = False
    network: str | None = None  # of an image: `host`, `bridge` or a name
    port: int | None = None  # where it listens inside its network
    parameters: tuple[tuple[str, str], ...] = ()  # those of `docker run`, which may repeat
    health_check: HealthCheckSettings | None = None
    constraints: tuple[Constraint, ...] = ()
    env: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    role: str | None = None  # whose room it gets; None leaves it to the cluster
    user: str | None = None  # whom it runs as; the same
    deadline: float  # seconds to its start, at most
    kill_grace: float | None = None  # seconds from TERM to KILL


class PoolRecipe(NamedTuple):
    """A pool for whichever cluster carries it out: first comes the cluster, since it has the room.

    `spec_of` raises InvalidInput for what cannot be started. `samples` show all that the settings bring into specs: a
    cluster that cannot start these rejects them before it begins.
    """

    build: Callable[[Capacity], Pool]
    spec_of: Callable[[events.StartContainer], ContainerSpec]
    samples: tuple[ContainerSpec, ...] = ()


class StreamUnreadable(OwmesosError):
    """The cluster does not give a container's stream."""


class StreamRefused(StreamUnreadable):
    """`node` gives us none at all."""

    def __init__(self, message: str, node: str) -> None:
        super().__init__(message)
        self.node = node


class StreamAway(StreamUnreadable):
    """The node does not listen, or does not know the container, as for some seconds after it was restarted."""


class StreamMissing(StreamAway):
    """The node answers but does not have it: not yet, no longer, or not yet again after a restart."""


class StreamPart(NamedTuple):
    """`size`: bytes of the whole stream by now."""

    size: int
    data: bytes


class ContainerStreams(Protocol):
    """A container's `stdout` and `stderr`, as files that only grow. `str` of it names them for people."""

    @property
    def remain(self) -> bool:
        """Whether they can be read after the container's end too."""

    async def read(self, stream: str, offset: int) -> StreamPart:
        """From byte `offset` on, as much as comes at once; of a negative one only the size. Raises StreamUnreadable."""

    def is_foreign(self, stream: str, line: bytes) -> bool:
        """Whether the line is the cluster manager's own, which it wrote into the container's stream."""


class InvokerHost(Protocol):
    """The process that an invoker runs in: the pool, its cluster, the clock. Everything in one event loop."""

    @property
    def pool(self) -> Pool:
        """The pool, which may be read."""

    @property
    def pool_listeners(self) -> list[Callable[[InvokerEvent], None]]:
        """Called with each event, in this order. To be added to, and removed from."""

    def now(self) -> float:
        """Seconds since the epoch, which never go back."""

    def observe(self, event: events.PoolEvent) -> None:
        """Pass an event to the pool. Raises nothing."""

    def stop(self, reason: str, exit_code: int) -> None:
        """End the process, with `reason` in one line."""

    def logs_of(self, container_id: str) -> ContainerStreams | None:
        """The container's streams; None if nobody knows how to get them."""

    async def stop_containers(self, timeout: float = CONTAINERS_STOP) -> bool:
        """The pool decides nothing more, and all its containers are stopped, whatever is in them.

        False when not all were seen to end within `timeout` seconds; the next start sees to the others.
        """


class Hosting(Protocol):
    """What an invoker is started in: a framework."""

    @property
    def host(self) -> InvokerHost: ...

"""The containers that the pool knows: their states as one table, and the indices that decisions ask.

Theory of operation. A container starts without a run (late binding): once it is started it is PREWARMED, whoever it was
started for, and takes the oldest waiting run that fits. The first run initializes it (WARMING); from then on it serves
one action in one namespace, up to the action's concurrency at once (WARM while there is room, BUSY when not).
OpenWhisk's own invoker scans all containers for each run; here every question is a look into an index.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

import msgspec
from sortedcontainers import SortedDict

from owmesos.core.placement import Slot
from owmesos.errors import InvariantBroken
from owmesos.resources import Ask

NEVER = float("inf")
_LAST = "\U0010ffff"  # after every id


class ContainerState(str, Enum):
    """As `owmesos containers` shows it."""

    STARTING = "starting"
    PREWARMED = "prewarmed"
    WARMING = "warming"
    WARM = "warm"
    BUSY = "busy"
    STOPPING = "stopping"
    GONE = "gone"


class Step(str, Enum):
    """What happens to a container."""

    STARTED = "started"
    ASSIGNED = "assigned"
    INITIALIZED = "initialized"
    FILLED = "filled"
    EASED = "eased"
    STOPPED = "stopped"
    GONE = "gone"


_ENDS = {Step.STOPPED: ContainerState.STOPPING, Step.GONE: ContainerState.GONE}
STEPS: dict[ContainerState, dict[Step, ContainerState]] = {
    ContainerState.STARTING: {Step.STARTED: ContainerState.PREWARMED, **_ENDS},
    ContainerState.PREWARMED: {Step.ASSIGNED: ContainerState.WARMING, **_ENDS},
    ContainerState.WARMING: {Step.INITIALIZED: ContainerState.WARM, **_ENDS},
    ContainerState.WARM: {Step.FILLED: ContainerState.BUSY, **_ENDS},
    ContainerState.BUSY: {Step.EASED: ContainerState.WARM, **_ENDS},
    ContainerState.STOPPING: {Step.GONE: ContainerState.GONE},
    ContainerState.GONE: {},
}


class ContainerShape(NamedTuple):
    """What a container is before it is initialized: a run fits one of exactly its kind, memory and image.

    `memory` in MB; `image` only for blackbox actions.
    """

    kind: str
    memory: int
    image: str | None = None

    @property
    def start_key(self) -> str:
        """What decides whether one can start: those that have it in common start or fail alike."""
        return f"kind {self.kind}" if self.image is None else f"image {self.image}"


class PoolAction(msgspec.Struct, frozen=True, gc=False):
    """An action as the pool needs it. `timeout` in seconds, `concurrency` how many runs one container takes at once.

    `digest` is of all that a container has of it: with another it is another action, whatever its version says.
    """

    name: str
    version: str
    shape: ContainerShape
    concurrency: int = 1
    timeout: float = 60.0
    digest: bytes = b""


class ActionKey(NamedTuple):
    """Whose runs a warm container serves.

    The revision of the document plays no part, what stands in it does (OpenWhisk, ContainerPool): an action that is
    deleted and created anew has its first version again.
    """

    namespace: str
    name: str
    version: str
    digest: bytes = b""


class Container(msgspec.Struct, eq=False):
    """One container. Times in seconds."""

    id: str
    shape: ContainerShape
    ask: Ask
    slot: Slot
    created_at: float
    state: ContainerState = ContainerState.STARTING
    address: str | None = None  # host:port, once it runs
    key: ActionKey | None = None  # whose runs it serves, once it has had one
    concurrency: int = 1  # the most runs at once
    timeout: float = 0.0  # of its action
    active: int = 0  # the runs that it has
    last_used: float = 0.0
    expires_at: float = NEVER  # if it is still prewarmed by then
    prewarm: bool = False  # it is kept ready for nobody yet
    replaces: bool = False  # others were stopped for it
    doomed: bool = False  # it serves the runs that it has, and no other
    stopping_since: float = NEVER  # it was asked to stop

    @property
    def idle(self) -> bool:
        """Whether it could be stopped without anybody noticing."""
        return self.state is ContainerState.PREWARMED or (self.state is ContainerState.WARM and not self.active)

    @property
    def spare(self) -> bool:
        """Whether it can take another run of its action."""
        return (
            self.state in (ContainerState.WARM, ContainerState.WARMING)
            and self.active < self.concurrency
            and not self.doomed
        )

    def step(self, step: Step) -> None:
        """Raises InvariantBroken when the table does not have it, and then nothing changed."""
        to = STEPS[self.state].get(step)
        if to is None:
            raise InvariantBroken(f"container {self.id} cannot be {step.value} while {self.state.value}")
        self.state = to

    def warmed_up(self) -> None:
        """Note that it is initialized: it is WARM, or BUSY if it has as many runs as it takes."""
        self.step(Step.INITIALIZED)
        if self.active >= self.concurrency:
            self.step(Step.FILLED)


class Containers:
    """All that are not gone. Whoever changes a container does it between `unindex` and `put`."""

    def __init__(self) -> None:
        self.by_id: dict[str, Container] = {}
        self.starting: dict[str, Container] = {}
        self.stopping: dict[str, Container] = {}
        self.on_agent: dict[str, dict[str, Container]] = {}
        self.idle_on: dict[Slot, dict[str, Container]] = {}  # on each slot, in the order of their last use
        self.memory = 0  # MB, of all that are not gone
        self.changed: set[Slot] = set()  # where the idle ones, or all, changed
        self._warm: dict[ActionKey, dict[str, Container]] = {}
        self._warming: dict[ActionKey, dict[str, Container]] = {}
        self._prewarmed: dict[ContainerShape, SortedDict[tuple[float, str], Container]] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self.by_id.values()))

    def put(self, container: Container) -> None:
        """Put it into every index of its state. The one put last is found first: the others may grow old."""
        if container.state is ContainerState.GONE:
            return
        if container.id not in self.by_id:
            self.memory += container.shape.memory
        self.by_id[container.id] = container
        self.on_agent.setdefault(container.slot.agent_id, {})[container.id] = container
        self.changed.add(container.slot)
        state = container.state
        if state is ContainerState.STARTING:
            self.starting[container.id] = container
        elif state is ContainerState.STOPPING:
            self.stopping[container.id] = container
        elif state is ContainerState.PREWARMED:
            same = self._prewarmed.setdefault(container.shape, SortedDict())
            same[(container.expires_at, container.id)] = container
        elif container.spare:
            assert container.key is not None
            ready = self._warm if state is ContainerState.WARM else self._warming
            ready.setdefault(container.key, {})[container.id] = container
        if container.idle:
            self.idle_on.setdefault(container.slot, {})[container.id] = container

    def unindex(self, container: Container) -> None:
        """Take it out of every index but `by_id`, so that it may be changed."""
        self.starting.pop(container.id, None)
        self.stopping.pop(container.id, None)
        _drop(self.idle_on, container.slot, container.id)
        _drop(self.on_agent, container.slot.agent_id, container.id)
        if container.key is not None:
            _drop(self._warm, container.key, container.id)
            _drop(self._warming, container.key, container.id)
        _drop(self._prewarmed, container.shape, (container.expires_at, container.id))
        self.changed.add(container.slot)

    def drop(self, container: Container) -> None:
        """Forget a container that is gone."""
        self.unindex(container)
        if self.by_id.pop(container.id, None) is not None:
            self.memory -= container.shape.memory

    def warm(self, key: ActionKey, avoid: str | None = None) -> Container | None:
        """A warm container of the action with room, the last used first; else one that is still warming."""
        for ready in (self._warm, self._warming):
            same = ready.get(key)
            if same:
                for container in reversed(same.values()):
                    if container.slot.agent_id != avoid:
                        return container
        return None

    def prewarmed(self, shape: ContainerShape, avoid: str | None = None) -> Container | None:
        """The prewarmed container of the shape that expires first."""
        same = self._prewarmed.get(shape)
        if same:
            for container in same.values():
                if container.slot.agent_id != avoid:
                    return container
        return None

    def prewarmed_count(self, shape: ContainerShape) -> int:
        """How many are prewarmed, or are started to be."""
        starting = sum(1 for container in self.starting.values() if container.prewarm and container.shape == shape)
        return len(self._prewarmed.get(shape, ())) + starting

    def expired(self, now: float) -> list[Container]:
        """The prewarmed containers whose time is over, in order of expiry."""
        found = [key for same in self._prewarmed.values() for key in same.irange(maximum=(now, _LAST))]
        return [self.by_id[container_id] for _, container_id in sorted(found)]


def _drop(index, key, item) -> None:  # type: ignore[no-untyped-def]
    """Take `item` out of `index[key]`, and the key when nothing is left."""
    same = index.get(key)
    if same is not None and same.pop(item, None) is not None and not same:
        del index[key]

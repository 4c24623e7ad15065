"""What an invoker on Kafka and one without have in common: their containers' pool, their own files, and their end."""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec
from prometheus_client import Metric

from owmesos.core.capacity import Capacity
from owmesos.core.container_factory import InvokerHost, PoolRecipe
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.settings import PoolSettings
from owmesos.core.texts import the_one_that_begins
from owmesos.documents import ActivationStory
from owmesos.errors import InvalidInput
from owmesos.invoker.ended import EndedActivation
from owmesos.invoker.invoker import Invoker
from owmesos.invoker.metrics import request_metrics
from owmesos.invoker.unfinished import story_of_ended, story_of_run
from owmesos.openwhisk.container.access import variables_of
from owmesos.openwhisk.container_specs import Launching, LaunchSettings
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.store.activation_journal import ActivationJournal
from owmesos.system.tasks import is_set_within

DRAIN = 30.0
"""Seconds that running activations have to end when the process is stopped."""
_LOOK = 0.05  # seconds
STOPPED = "The invoker was stopped before the activation ended."
T = TypeVar("T")
_log = logging.getLogger("owmesos.invoker")


def container_pool(
    manifest: Manifest, launches: LaunchSettings | None = None, settings: PoolSettings | None = None
) -> PoolRecipe:
    """Containers are started as `launches` says, and prewarmed as the manifest's stem cells do. Where containers may
    live is from `launches`, whatever `settings` says of it. Raises InvalidInput for constraints that are not valid.
    """
    launches = launches or LaunchSettings()
    launching = Launching(launches, manifest, variables_of)
    decided = msgspec.structs.replace(
        settings or PoolSettings(),
        constraints=launches.parsed_constraints(),
        blackbox_constraints=launches.parsed_blackbox_constraints(),
    )

    def build(capacity: Capacity) -> Pool:
        # What a cluster stored of containers is kept: ids of an earlier life must not come again.
        return Pool(capacity, decided, manifest.prewarm(), prefix=f"{secrets.token_hex(4)}-")

    return PoolRecipe(build, launching, launching.samples())


class InvokerExtension(ABC):
    """The part of an `Extension` that does not depend on where activations come from."""

    def __init__(
        self, manifest: Manifest, launches: LaunchSettings | None, pool: PoolSettings | None, folder: Path | None
    ) -> None:
        """`folder`: the framework's state; without one the files end with the process. Raises InvalidInput."""
        self._recipe = container_pool(manifest, launches, pool)
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._host: InvokerHost | None = None
        self._invoker: Invoker | None = None
        self._journal: ActivationJournal | None = None
        self._hurried = asyncio.Event()

    @property
    def pool(self) -> PoolRecipe:
        return self._recipe

    def metrics(self) -> Iterable[Metric]:
        return request_metrics(self._invoker.request_times) if self._invoker is not None else ()

    def _files(self) -> Path:
        """The folder for files of its own. To be asked for once."""
        if self._folder is not None:
            return self._folder
        self._temporary = tempfile.TemporaryDirectory(prefix="owmesos-invoker-")
        return Path(self._temporary.name)

    async def whole_id(self, name: str) -> str | None:
        """See `StoredLogs`."""
        in_flight = started(self._invoker).in_flight
        if in_flight.find(name) is not None:
            return name
        ids = {*in_flight.ids(), *await self._ended_that_begin(name)}
        return name if name in ids else the_one_that_begins(name, ids)

    async def story(self, name: str) -> ActivationStory | None:
        """The story of an activation, by its id or a unique beginning; None if it is unknown. Raises Ambiguous."""
        activation_id = await self.whole_id(name)
        if activation_id is None:
            return None
        run = started(self._invoker).in_flight.find(activation_id)
        if run is not None:
            return story_of_run(run, started(self._host).pool, started(self._host).now())
        return story_of_ended(await self._ended_one(activation_id))

    @abstractmethod
    async def _ended_that_begin(self, text: str) -> Collection[str]:
        """Ids of activations that have ended; enough to tell whether one of them is meant."""

    @abstractmethod
    async def _ended_one(self, activation_id: str) -> EndedActivation:
        """Raises NotKnown where it is not known any more."""

    def hurry(self) -> None:
        self._hurried.set()

    async def _drained(self, left: Callable[[], int], seconds: float) -> int:
        """How many are left after `seconds`, or once `hurry` is called."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (count := left()) and loop.time() < until and not self._hurried.is_set():
            await is_set_within(self._hurried, _LOOK)
        return count

    async def _stop_containers(self) -> None:
        """No other process knows what they hold."""
        if self._host is not None and not await self._host.stop_containers():
            _log.warning(
                "not all containers have ended yet: those that were told to are killed after their kill grace, and the"
                " next start removes what is left"
            )

    async def _close_files(self) -> None:
        if self._journal is not None:
            await self._journal.close()
        if self._temporary is not None:
            self._temporary.cleanup()


def started(part: T | None) -> T:
    """A part that is there from `start` on. Raises InvalidInput before."""
    if part is None:
        raise InvalidInput("the invoker is not started: await `start` first")
    return part

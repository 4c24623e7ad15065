"""What a framework process can do besides launches on demand: be an invoker, of one kind or another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.scheduler import Scheduler
from owmesos.service.framework import Framework


class Work(Protocol):
    """One framework's. `pool` is for the framework's making; `start` comes after the framework's, `close` before its
    stop."""

    @property
    def pool(self) -> Callable[[Scheduler], PooledScheduler]: ...

    async def start(self, framework: Framework) -> None: ...

    async def close(self) -> None: ...

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Routes of its own for the admin API. Called after `start`."""
        ...

"""What the shells around the decisions share on any cluster manager: who is notified, the table of effects, the timers,
and how the process ends."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from owmesos.core.container_factory import FOR_INVOKER, InvokerEvent
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool.events import PoolEvent
from owmesos.dashboard.feed import DashboardFeed
from owmesos.errors import InvariantBroken
from owmesos.service import long_waits
from owmesos.service.listeners import notify
from owmesos.service.loop_lag import LoopLag
from owmesos.service.stopped import Stopped
from owmesos.system.clock import Clock

EventT = TypeVar("EventT")
_LOOK = 0.05  # seconds
_log = logging.getLogger("owmesos.service")


class BaseShell(ABC, Generic[EventT]):
    """It calls those in `changed` with the id of each launch or container that changes, those in `stats` with
    NodeStats, those in `pool_listeners` with what the pool wants of its invoker, those in `pool_inputs` with what an
    invoker told the pool, those in `ended` at the end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.pool_listeners: list[Callable[[InvokerEvent], None]] = []
        self.pool_inputs: list[Callable[[PoolEvent], None]] = []
        self.changed: list[Callable[[str], None]] = []
        self.stats: list[Callable[[NodeStatsUpdate], None]] = []
        self.ended: list[Callable[[Stopped], None]] = []
        self.loop_lag = LoopLag()
        self._closed = False
        self._stopped: asyncio.Future[Stopped] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            **self._by_effect(),
            **dict.fromkeys(FOR_INVOKER, partial(notify, self.pool_listeners)),
        }

    @abstractmethod
    def _by_effect(self) -> dict[type[Any], Callable[[Any], None]]:
        """What carries out each effect."""

    @abstractmethod
    def _longest_waits(self) -> list[long_waits.LongWait]:
        """The oldest launch and the oldest activation that wait; without listing what else waits."""

    @abstractmethod
    def observe(self, event: EventT) -> None: ...

    # -- life

    def now(self) -> float:
        return self.clock.now()

    def _begin(self) -> None:
        self._stopped = asyncio.get_running_loop().create_future()
        self.loop_lag.start()

    async def finished(self) -> Stopped:
        """Returns when the process should end."""
        assert self._stopped is not None
        return await asyncio.shield(self._stopped)

    @property
    def _stopping(self) -> bool:
        return self._stopped is not None and self._stopped.done()

    def stop(self, reason: str, exit_code: int) -> None:
        if self._stopped is not None and not self._stopped.done():
            stopped = Stopped(reason, exit_code)
            self._stopped.set_result(stopped)
            notify(self.ended, stopped)

    def _end_timers(self) -> None:
        self._closed = True
        self.loop_lag.stop()
        for timer in (self._timer, self._next_look):
            if timer is not None:
                timer.cancel()

    async def _wait_until_stopped(
        self, living: Callable[[], object], timeout: float, hopeless: Callable[[], bool] = lambda: False
    ) -> bool:
        """Whether nothing is `living` any more within `timeout` seconds; False at once when it is `hopeless`."""
        until = asyncio.get_running_loop().time() + timeout
        while living():
            if hopeless() or asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(_LOOK)
        return True

    # -- who is notified

    def show_on(self, feed: DashboardFeed) -> None:
        """From now on `feed` is told what happens."""
        self.changed.append(feed.launch_changed)
        self.stats.append(feed.stats_changed)
        self.pool_inputs.append(feed.pool_told)
        self.pool_listeners.append(feed.pool_says)

    # -- timers

    def _set_timers(self, wake: float | None, tick: EventT, *, waits: bool) -> None:
        """`tick` is observed at `wake` (seconds since the epoch); long waits are looked for while anything `waits`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            return
        if wake is not None:
            pause = max(0.0, wake - self.now())
            self._timer = asyncio.get_running_loop().call_later(pause, self.observe, tick)
        if waits and self._next_look is None:
            self._look_again(long_waits.AFTER)

    def _look_again(self, pause: float) -> None:
        self._next_look = asyncio.get_running_loop().call_later(pause, self._look_for_long_waits)

    def _look_for_long_waits(self) -> None:
        lines, again = long_waits.look(self._longest_waits(), self.now())
        for line in lines:
            _log.warning("%s", line)
        self._next_look = None
        if again is not None and not self._closed:
            self._look_again(again)

    # -- effects

    def _carry_out(self, wanted: Sequence[object]) -> None:
        """Raises InvariantBroken for an effect that nothing here carries out."""
        for effect in wanted:
            carry_out = self._handlers.get(type(effect))
            if carry_out is None:
                raise InvariantBroken(f"the shell cannot carry out {type(effect).__name__}")
            carry_out(effect)

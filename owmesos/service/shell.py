"""The thin shell around the scheduler: it delivers events with the time, and carries out the effects in order.

All waiting is here and nothing is decided. One event loop; the store has a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple, TypeVar

from owmesos.core.launches import LaunchRecord
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.mesos import effects
from owmesos.mesos.container_factory import Effect, PooledScheduler, PoolInput
from owmesos.mesos.driver import Driver
from owmesos.mesos.events import AgentSeen, AgentsSeen, CallNotTaken, Tick
from owmesos.mesos.messages import Call, Event
from owmesos.mesos.operator import OperatorClient, OperatorFailed, usable
from owmesos.mesos.pieces import pieces_of, total_of
from owmesos.mesos.scheduler import Scheduler
from owmesos.service.clock import Clock
from owmesos.service.outbox import Outbox
from owmesos.storage import ForgetLaunch, SaveFramework, SaveLaunch, Store

T = TypeVar("T")

_log = logging.getLogger("owmesos.service")
_CLOSING = 2.0


class Stopped(NamedTuple):
    """Why the process ends, in one line, and with which exit code."""

    reason: str
    exit_code: int


class Shell:
    """Runs one scheduler on one driver. `changed` is told of launches, `stats` of NodeStats."""

    def __init__(
        self,
        scheduler: Scheduler,
        driver: Driver,
        operator: OperatorClient | None,
        store: Store,
        clock: Clock,
        pooled: PooledScheduler | None = None,
    ) -> None:
        """With `pooled` the pool decides too; what it wants of the outside world goes to `of_pool`."""
        self.scheduler = scheduler
        self.pooled = pooled
        self.of_pool: list[Callable[[Effect], None]] = []
        self.clock = clock
        self.changed: list[Callable[[str], None]] = []
        self.stats: list[Callable[[NodeStatsUpdate], None]] = []
        self._driver = driver
        self._operator = operator
        self._outbox = Outbox(store, driver, self._not_taken)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped: asyncio.Future[Stopped] | None = None
        self._asking = False
        self._closed = False

    # -- life

    def start(self) -> None:
        """Begin to subscribe."""
        self._stopped = asyncio.get_running_loop().create_future()
        if self.pooled is not None:
            self._carry_out(self.pooled.orphans(self.clock.now()))
        self._spawn(self._pump(), "the master's events")
        self._outbox.start(lambda error: self.stop(str(error), 1))

    async def finished(self) -> Stopped:
        """Returns when the process should end."""
        assert self._stopped is not None
        return await asyncio.shield(self._stopped)

    async def close(self) -> None:
        """Ends everything without TEARDOWN: what is decided is stored and sent, tasks live on."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._outbox.close()
        finally:
            await self._driver.close()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_CLOSING)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._operator is not None:
                await self._operator.close()

    def stop(self, reason: str, exit_code: int) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(Stopped(reason, exit_code))

    # -- events

    def deliver(self, event: Event | PoolInput) -> None:
        """Hand `event` to the decisions and begin what they want done. Raises what they raise."""
        now = self.clock.now()
        if self.pooled is not None:
            self._carry_out(self.pooled.handle(event, now))
        else:
            assert isinstance(event, Event)
            self._carry_out(self.scheduler.handle(event, now))
        self._set_timer()

    def retire(self) -> None:
        """The pool decides nothing more, and its containers are stopped."""
        if self.pooled is not None:
            self._carry_out(self.pooled.retire(self.clock.now()))
            self._set_timer()

    async def call(self, call: Call) -> None:
        """One call beside the scheduler's own. Raises CallFailed."""
        await self._driver.call(call)

    async def flushed(self) -> None:
        """Returns when everything that was decided until now is durable."""
        await self._outbox.flushed()

    def observe(self, event: Event | PoolInput) -> None:
        """Hand on what came from outside: whatever is in it, the process lives on."""
        try:
            self.deliver(event)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is logged and the process lives on)
            _log.exception("%s could not be handled, subscribing anew: %s", type(event).__name__, error)
            self._spawn(self._driver.resubscribe("an event could not be handled"), "resubscription")
            self._set_timer()

    async def _pump(self) -> None:
        async for event in self._driver.events():
            self.observe(event)
            del event  # it may be large, and the next one long in coming

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        when = (self.pooled or self.scheduler).next_wake()
        if when is not None and not self._closed:
            pause = max(0.0, when - self.clock.now())
            self._timer = asyncio.get_running_loop().call_later(pause, self.observe, Tick())

    def _not_taken(self, call: Call, status: int | None, reason: str) -> None:
        if not self._closed:
            self.observe(CallNotTaken(call, status, reason))

    # -- effects

    def _carry_out(self, wanted: Sequence[Effect]) -> None:
        for effect in wanted:
            if isinstance(effect, effects.Send):
                self._outbox.send(effect.call)
            elif isinstance(effect, effects.StoreLaunch):
                self._store_launch(effect.record)
            elif isinstance(effect, effects.Changed):
                self._log_change(effect.launch_id)
                _tell(self.changed, effect.launch_id)
            elif isinstance(effect, effects.StatsChanged):
                _tell(self.stats, effect.update)
            else:
                self._carry_out_rare(effect)

    def _store_launch(self, record: LaunchRecord) -> None:
        self._outbox.store(("launch", record.id), lambda: SaveLaunch(record.id, record.stored_form()))

    def _log_change(self, launch_id: str) -> None:
        record = self.scheduler.books.launches.get(launch_id)
        if record is not None and record.story:
            level = logging.DEBUG if record.managed else logging.INFO
            _log.log(level, "launch %s is %s: %s", launch_id, record.state.value, record.story[-1].text)

    def _carry_out_rare(self, effect: Effect) -> None:
        if isinstance(effect, effects.Note):
            ending = self._stopped is not None and self._stopped.done()
            level = logging.DEBUG if ending else logging.getLevelName(effect.level.upper())
            _log.log(level, "%s", effect.text)
        elif isinstance(effect, effects.StoreFramework):
            framework_id = effect.framework_id
            self._outbox.store("framework", lambda: SaveFramework(framework_id))
        elif isinstance(effect, effects.ForgetLaunch):
            launch_id = effect.launch_id
            self._outbox.store(("launch", launch_id), lambda: ForgetLaunch(launch_id))
        elif isinstance(effect, effects.StartRefused):
            _log.info("launch %s waits on: %s", effect.launch_id, effect.reason)
        elif isinstance(effect, effects.AskAgents):
            self._spawn(self._ask_agents(), "GET_AGENTS")
        elif isinstance(effect, effects.Resubscribe):
            self._spawn(self._driver.resubscribe(effect.reason), "resubscription")
        elif isinstance(effect, effects.Stop):
            self.stop(effect.reason, effect.exit_code)
        else:
            _tell(self.of_pool, effect)

    async def _ask_agents(self) -> None:
        """GET_AGENTS, once at a time."""
        if self._asking:
            return
        self._asking = True
        try:
            if self._operator is None:
                self.observe(AgentsSeen(None, "the operator API is not used"))
                return
            answer = await self._operator.agents()
        except OperatorFailed as error:
            self.observe(AgentsSeen(None, str(error)))
            return
        finally:
            self._asking = False
        roles = self.scheduler.books.info.roles
        infos = [agent.agent_info for agent in answer.agents]
        totals = [agent.total_resources or agent.agent_info.resources for agent in answer.agents]
        infos += answer.recovered_agents
        totals += [info.resources for info in answer.recovered_agents]
        seen = tuple(
            AgentSeen(info.id.value, info.hostname, total_of(pieces_of(usable(total, roles))))
            for info, total in zip(infos, totals, strict=True)
            if info.id is not None
        )
        self.observe(AgentsSeen(seen))

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001  (a fault of ours: it is logged, and the process ends in order)
                _log.exception("%s broke", name)
                self.stop(f"{name} broke: {error}", 1)

        task = asyncio.get_running_loop().create_task(guarded(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _tell(listeners: Sequence[Callable[[T], None]], what: T) -> None:
    for listener in listeners:
        _tell_one(listener, what)


def _tell_one(listener: Callable[[T], None], what: T) -> None:
    """If it breaks, that takes nothing from the others, nor from the effects that follow."""
    try:
        listener(what)
    except Exception:  # noqa: BLE001  (a fault of ours: it is logged, and the process lives on)
        _log.exception("a listener broke when it was told %s", type(what).__name__)

"""The shell around the scheduler: it passes events and the time to the scheduler, and carries out the effects in
order.

All waiting is here, and no decisions. It uses one event loop; the store has its own thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from owmesos.core.container_factory import CONTAINERS_STOP, PoolInput
from owmesos.core.pool.events import PoolEvent
from owmesos.core.pool.pool import Pool
from owmesos.errors import InvalidInput
from owmesos.mesos import listings
from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.messages import Event, Offers, Update
from owmesos.mesos.messages.operator import GetAgents
from owmesos.mesos.offer_resources import pieces_of, total_of
from owmesos.mesos.scheduler import effects
from owmesos.mesos.scheduler.events import AgentSeen, AgentsSeen, CallNotTaken, Tick
from owmesos.mesos.scheduler.launches import LaunchRecord, StoryLine
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.task_info import own_executor
from owmesos.mesos.wire.agent_files import AgentFiles, TaskFiles
from owmesos.mesos.wire.driver import Driver
from owmesos.mesos.wire.operator_client import OperatorClient, OperatorFailed, usable
from owmesos.service import long_waits
from owmesos.service.base_shell import BaseShell
from owmesos.service.failure_reason import added_reason, needs_last_words
from owmesos.service.listeners import notify
from owmesos.service.outbox import Outbox
from owmesos.storage import Answer, ForgetAnswer, ForgetLaunch, SaveFramework, SaveLaunch, Store, Write
from owmesos.system.clock import Clock
from owmesos.system.tasks import cancel_all, keep

_log = logging.getLogger("owmesos.service")
_CLOSING = 2.0  # seconds; for tasks to end by themselves
_TURN = 0.01  # seconds that the master's events may take before others have their turn
MOST_OFFERS = 250  # in one step: 15 ms, where a REVIVE brings thousands


class Shell(BaseShell[Event | PoolInput]):
    """Runs one scheduler on one driver."""

    def __init__(
        self,
        scheduler: Scheduler,
        driver: Driver,
        operator: OperatorClient | None,
        store: Store,
        clock: Clock,
        pooled: PooledScheduler | None = None,
        files: AgentFiles | None = None,
    ) -> None:
        """With `pooled` the pool decides too; what it wants of its invoker goes to `pool_listeners`. With `files` a
        failed start says why, and containers have logs."""
        super().__init__(clock)
        self.scheduler = scheduler
        self.pooled = pooled
        self.let_go = False
        """Whether the framework is not, or no longer, this process's: the master refuses it, or another has its id."""
        self.tearing_down = False
        """Whether TEARDOWN is on its way: the master closes the stream then, which is nothing to warn of."""
        self.driver = driver
        self._operator = operator
        self._files = files
        self.outbox = Outbox(store, driver, self._not_taken)
        self._tasks: set[asyncio.Task[None]] = set()
        self._logged: dict[str, tuple[str, StoryLine]] = {}
        self._asking = False
        self._forgotten = False

    # -- life

    def start(self) -> None:
        """Begin to subscribe."""
        self._begin()
        if self.pooled is not None:
            self._carry_out(self.pooled.orphans(self.clock.now()))
        self._spawn(self._pump(), "the master's events")
        self.outbox.start(lambda error: self.stop(str(error), 1))

    async def close(self) -> None:
        """End everything without TEARDOWN: what is decided is stored and sent, tasks live on."""
        self._end_timers()
        try:
            await self.outbox.close()
        finally:
            await self.driver.close()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_CLOSING)
            await cancel_all(self._tasks)
            if self._operator is not None:
                await self._operator.close()
            if self._files is not None:
                await self._files.close()

    # -- events

    def deliver(self, event: Event | PoolInput) -> None:
        """Pass `event` to the scheduler and start to carry out the effects. Raises what the scheduler raises."""
        now = self.clock.now()
        if self.pooled is not None:
            self._carry_out(self.pooled.handle(event, now))
            if isinstance(event, PoolEvent):
                notify(self.pool_inputs, event)
        else:
            assert isinstance(event, Event)
            self._carry_out(self.scheduler.handle(event, now))
        self._set_timer()

    # -- for an invoker (`InvokerHost`)

    @property
    def pool(self) -> Pool:
        assert self.pooled is not None
        return self.pooled.pool

    async def stop_containers(self, timeout: float = CONTAINERS_STOP) -> bool:
        if self.pooled is None or self._forgotten:  # the master has killed them, and nothing more may be stored
            return True
        self._carry_out(self.pooled.retire(self.now()))
        self._set_timer()
        await self.outbox.flushed()
        return await self._wait_until_stopped(self.pooled.living, timeout, lambda: not self.scheduler.state.connected)

    async def forget(self) -> None:
        """Store that the framework has ended, and nothing after it. Raises StoreFailed."""
        self._forgotten = True
        await self.outbox.forget()

    def observe(self, event: Event | PoolInput) -> None:
        """Handle an event from outside; an error in it does not end the process."""
        try:
            self.deliver(event)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is logged and the process lives on)
            _log.exception("%s could not be handled, subscribing again: %s", type(event).__name__, error)
            self._resubscribe("an event could not be handled")
            self._set_timer()

    def logs_of(self, launch_id: str) -> TaskFiles | None:
        """The streams of its current task; None if its agent's address is unknown."""
        state = self.scheduler.state
        record = state.launches.get(launch_id)
        agent = state.ledger.agents.get(record.agent_id or "") if record is not None else None
        if record is None or agent is None or not agent.address:
            return None
        return self._files_at(record, agent.hostname, agent.address)

    async def find_files(self, record: LaunchRecord) -> TaskFiles | None:
        """As `logs_of`, but ask the master for an agent that has not offered anything since this process began."""
        known = self.logs_of(record.id)
        if known is not None or self._operator is None:
            return known
        try:
            agents = (await self._operator.agents()).agents
        except OperatorFailed as error:
            _log.info("the address of agent %s is unknown: %s", record.agent_id, error)
            return None
        for each in agents:
            if each.agent_info.id is not None and each.agent_info.id.value == record.agent_id and each.pid is not None:
                return self._files_at(record, each.agent_info.hostname, each.pid.rpartition("@")[2])
        return None

    def _files_at(self, record: LaunchRecord, hostname: str, address: str) -> TaskFiles | None:
        framework_id = self.scheduler.state.info.id
        if self._files is None or record.task_id is None or framework_id is None:
            return None
        executor_id = own_executor(record.template) or record.task_id
        return self._files.of_task(hostname, address, framework_id.value, executor_id)

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async for event in self.driver.events():
            files = None
            if isinstance(event, Update) and needs_last_words(event, self.scheduler.state):
                files = self.logs_of(self.scheduler.state.launch_of(event.status.task_id.value) or "")
            if isinstance(event, Update) and files is not None:
                self._spawn(self._observe_with_reason(event, files), "reading the reason of a failed task")
            else:
                for part in event.parts(MOST_OFFERS) if isinstance(event, Offers) else (event,):
                    self.observe(part)
                    if loop.time() > begun + _TURN:
                        await asyncio.sleep(0)
                        begun = loop.time()
                del part
            del event  # it may be large, and the next one long in coming

    async def _observe_with_reason(self, event: Update, files: TaskFiles) -> None:
        """Observe the event with the reason from the task's log. It may take its time: the next update waits for it."""
        self.observe(await added_reason(event, files))

    def _set_timer(self) -> None:
        waits = bool(self.scheduler.state.queue) or (self.pooled is not None and bool(self.pool.state.buffer))
        self._set_timers((self.pooled or self.scheduler).next_wake(), Tick(), waits=waits)

    def _longest_waits(self) -> list[long_waits.LongWait]:
        state, pool = self.scheduler.state, self.pooled.pool if self.pooled is not None else None
        found = (
            long_waits.of_queue(state),
            long_waits.of_pool(pool, listings.connection_trouble(state)) if pool is not None else None,
        )
        return [each for each in found if each is not None]

    def _not_taken(self, event: CallNotTaken) -> None:
        if not self._closed:
            self.observe(event)

    # -- effects

    def _by_effect(self) -> dict[type[Any], Callable[[Any], None]]:
        return {
            effects.SendCall: lambda effect: self.outbox.send(effect.call, effect.accepted_at),
            effects.StoreLaunch: lambda effect: self._store_launch(effect.record),
            effects.StoreFramework: lambda effect: self._store("framework", SaveFramework(effect.framework_id)),
            effects.ForgetRecord: lambda effect: self._store(
                ("launch", effect.launch_id), ForgetLaunch(effect.launch_id)
            ),
            effects.StatsChanged: lambda effect: notify(self.stats, effect.update),
            effects.LaunchRefused: lambda effect: _log.info("launch %s waits on: %s", effect.launch_id, effect.reason),
            effects.AskAgents: lambda effect: self._spawn(self._ask_agents(), "GET_AGENTS"),
            effects.Resubscribe: lambda effect: self._resubscribe(effect.reason),
            effects.Stop: self._stop_at,
            effects.Note: self._note,
        }

    def store_answer(self, answer: Answer, forgotten: Iterable[str]) -> None:
        """Store an answer in the same commit as the event that was just delivered."""
        for key in forgotten:
            self._store(("answer", key), ForgetAnswer(key))
        self._store(("answer", answer.key), answer)

    def _store(self, key: object, write: Write) -> None:
        self.outbox.store(key, lambda: write)

    def _store_launch(self, record: LaunchRecord) -> None:
        self.outbox.store(("launch", record.id), lambda: SaveLaunch(record.id, record.stored_form()))
        self._log_change(record)
        notify(self.changed, record.id)

    def _log_change(self, record: LaunchRecord) -> None:
        if not record.story:
            return
        step = (record.state.value, record.story[-1])
        if self._logged.get(record.id) == step:
            return  # another field changed, not the step
        if record.state.ended:
            self._logged.pop(record.id, None)
        else:
            self._logged[record.id] = step
        level = logging.DEBUG if record.managed else logging.INFO
        _log.log(level, "launch %s is %s: %s", record.id, record.state.value, record.story[-1].text)

    def _resubscribe(self, reason: str) -> None:
        self._spawn(self.driver.resubscribe(reason), "resubscription")

    def _stop_at(self, effect: effects.Stop) -> None:
        self.let_go = True
        self.stop(effect.reason, effect.exit_code)

    def _note(self, effect: effects.Note) -> None:
        ending = self.tearing_down or self._stopping
        level = logging.DEBUG if ending else logging.getLevelName(effect.level.upper())
        _log.log(level, "%s", effect.text)

    async def _ask_agents(self) -> None:
        """Ask for the agents by GET_AGENTS, once at a time."""
        if self._asking:
            return
        self._asking = True
        try:
            if self._operator is None:
                seen = AgentsSeen(None, "the operator API is not in use")
            else:
                seen = agents_in(await self._operator.agents(), self.scheduler.state.info.roles)
        except OperatorFailed as error:
            seen = AgentsSeen(None, str(error))
        finally:
            self._asking = False
        self.observe(seen)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001  (an internal error: it is logged, and the process ends in order)
                _log.exception("%s broke", name)
                self.stop(f"internal error in {name}: {error}", 1)

        keep(asyncio.get_running_loop().create_task(guarded(), name=name), self._tasks)


def agents_in(answer: GetAgents, roles: Sequence[str]) -> AgentsSeen:
    """Each agent with its resources that are not reserved for other roles."""
    agents = [(agent.agent_info, agent.total_resources) for agent in answer.agents]
    agents += [(info, info.resources) for info in answer.recovered_agents]
    seen, unusable = [], []
    for info, total in agents:
        if info.id is None:
            continue
        try:
            room = total_of(pieces_of(usable(total or info.resources, roles)))
            seen.append(AgentSeen(info.id.value, info.hostname, room))
        except InvalidInput as error:
            unusable.append((info.id.value, str(error)))
    return AgentsSeen(tuple(seen), unusable=tuple(unusable))

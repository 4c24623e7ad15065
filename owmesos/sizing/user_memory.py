"""Today's invoker on Mesos: `user-memory` decides, and what it starts queues at the cluster.

As OpenWhisk's MesosContainerFactory did it: a start names no agent, it goes wherever an offer fits, and it fails when
it does not run within 45 s (`whisk.mesos.timeouts.task-launch`), and its activation with it. The pool and the
scheduler are the same code as owmesos's own: the queue is tried in order at every offer, and offers are asked for
while it holds anything, which is better than what the original did. For the pool user-memory is a node of that size
(`UserMemory`), whose owner counts a container's room as free as soon as a stop is asked for: a number that nobody
checks. Two things are kinder than today's invoker, which stops all that is idle and may then exceed its user-memory:
nothing is stopped that would not help, and no start is throttled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec import structs

from owmesos.core.capacity import Capacity
from owmesos.core.ledger import Buffer, Ledger
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.placement import Slot
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.settings import PoolSettings
from owmesos.mesos.container_factory import PooledEffect
from owmesos.mesos.messages import Event
from owmesos.mesos.scheduler import effects
from owmesos.mesos.scheduler.events import KillLaunches, Submit, Submits, Tick
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.task_info import template
from owmesos.resources import MILLI, Resources

PLENTY = Resources.of(cpus=10**6, ports=[(1, 65535)], pods=10**6)
SETTINGS = PoolSettings(
    start_attempts=1, max_starts=10**9, max_starts_on_agent=10**9, idle_grace=0.0, drain_after=0.0, round_wait=0.0
)
FactoryInput = Event | pool_events.PoolEvent | NodeStatsUpdate


class UserMemory:
    """`memory` MB; every container counts from its start until it is asked to stop."""

    def __init__(self, memory: int) -> None:
        self.slot = Slot("user-memory", "*")
        self._memory = memory * MILLI
        self._held: dict[str, int] = {}  # container id → thousandths of MB
        self._ledger = Ledger(Buffer(share=0.0))
        self.capacity = Capacity(self._ledger)
        self.capacity.known = True
        self._seen(0.0)

    def take(self, start: pool_events.StartContainer, now: float) -> None:
        self._ledger.release(start.container_id)
        self._held[start.container_id] = start.ask.milli_mem
        self._seen(now)

    def give_back(self, container_id: str, now: float) -> NodeStatsUpdate:
        self._ledger.release(container_id)
        self._held.pop(container_id, None)
        return self._seen(now)

    def _seen(self, now: float) -> NodeStatsUpdate:
        free = structs.replace(PLENTY, milli_mem=self._memory - sum(self._held.values()))
        self._ledger.offer(self.slot, free, now)
        return NodeStatsUpdate((self._ledger.stats(self._ledger.account(self.slot)),))


class FixedFactory:
    """A pool with a fixed user-memory on a scheduler that knows nothing of it. `handle` takes the events of both."""

    def __init__(
        self,
        scheduler: Scheduler,
        pool: Pool,
        launch_of: Callable[[pool_events.StartContainer], Launch],
        memory: UserMemory,
    ) -> None:
        self.scheduler = scheduler
        self.pool = pool
        self._memory = memory
        self._launch_of = launch_of
        self._started: set[str] = set()

    def handle(self, event: FactoryInput, now: float) -> list[PooledEffect]:
        done: list[PooledEffect] = []
        to_do: deque[FactoryInput] = deque([event])
        if isinstance(event, Tick):
            to_do.append(pool_events.PoolTick())
        while to_do:
            item = to_do.popleft()
            if isinstance(item, Event):
                for effect in self.scheduler.handle(item, now):
                    done.append(effect)
                    to_do.extend(self._for_pool(effect, now))
            else:
                wanted = self.pool.handle(item, now)
                done += wanted
                to_do.extend(self._carry_out(wanted, now))
        return done

    def next_wake(self) -> float | None:
        times = [when for when in (self.scheduler.next_wake(), self.pool.next_wake()) if when is not None]
        return min(times, default=None)

    def _carry_out(self, wanted: list[pool_events.PoolEffect], now: float) -> list[FactoryInput]:
        """Stops before starts, as the pool wants them. For the pool, what is asked to stop is gone."""
        given: list[FactoryInput] = []
        starts = []
        for effect in wanted:
            if isinstance(effect, pool_events.StopContainer):
                if effect.container_id in self.scheduler.state.launches:
                    given.append(KillLaunches((effect.container_id,)))
                given.append(pool_events.ContainerStopped(effect.container_id, "asked to stop"))
                given.append(self._memory.give_back(effect.container_id, now))
            elif isinstance(effect, pool_events.StartContainer):
                self._memory.take(effect, now)
                launch = self._launch_of(effect)
                starts.append(Submit(effect.container_id, launch, template(launch)))
        return [*given, Submits(tuple(starts))] if starts else given

    def _for_pool(self, effect: effects.Effect, now: float) -> list[FactoryInput]:
        if not isinstance(effect, effects.StoreLaunch) or effect.record.id not in self.pool.containers.by_id:
            return []
        record = effect.record
        if record.state is State.RUNNING and record.id not in self._started:
            self._started.add(record.id)
            return [pool_events.ContainerStarted(record.id, self._memory.slot, str(record.hostname))]
        if not record.state.ended and record.state is not State.UNREACHABLE:
            return []
        reason = record.message or record.reason or record.state.value
        if record.id in self._started or record.kill_requested_at is not None:
            self._started.discard(record.id)
            return [pool_events.ContainerStopped(record.id, reason), self._memory.give_back(record.id, now)]
        return [pool_events.StartFailed(record.id, reason), self._memory.give_back(record.id, now)]

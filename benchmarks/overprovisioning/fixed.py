"""Today's invoker on Mesos: `user-memory` decides, and what it starts queues at the cluster.

As OpenWhisk's MesosContainerFactory did it: a start names no agent, it goes wherever an offer fits, and it fails when
it does not run within 45 s (`whisk.mesos.timeouts.task-launch`), and its activation with it. The pool and the
scheduler are the same code as owmesos's own: the queue is tried in order at every offer, and offers are asked for
while it holds anything, which is better than what the original did.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from owmesos.core import pool_events as pool_of
from owmesos.core.capacity import HERE
from owmesos.core.launch import Launch
from owmesos.core.lifecycle import State
from owmesos.core.pool import Pool
from owmesos.mesos import effects
from owmesos.mesos.container_factory import Effect
from owmesos.mesos.events import KillLaunch, Submit, Submits, Tick
from owmesos.mesos.messages import Event
from owmesos.mesos.scheduler import Scheduler
from owmesos.mesos.task_info import template


class FixedFactory:
    """A pool with a fixed user-memory on a scheduler that knows nothing of it. `handle` takes the events of both."""

    def __init__(self, scheduler: Scheduler, pool: Pool, launch_of: Callable[[pool_of.StartContainer], Launch]) -> None:
        self.scheduler = scheduler
        self.pool = pool
        self._launch_of = launch_of
        self._started: set[str] = set()

    def handle(self, event: Event | pool_of.PoolEvent, now: float) -> list[Effect]:
        done: list[Effect] = []
        to_do: deque[Event | pool_of.PoolEvent] = deque([event])
        if isinstance(event, Tick):
            to_do.append(pool_of.Tick())
        while to_do:
            item = to_do.popleft()
            if isinstance(item, Event):
                for effect in self.scheduler.handle(item, now):
                    done.append(effect)
                    to_do.extend(self._for_pool(effect))
            else:
                wanted = self.pool.handle(item, now)
                done += wanted
                to_do.extend(self._for_scheduler(wanted))
        return done

    def next_wake(self) -> float | None:
        times = [when for when in (self.scheduler.next_wake(), self.pool.next_wake()) if when is not None]
        return min(times, default=None)

    def _for_scheduler(self, wanted: list[pool_of.PoolEffect]) -> list[Event]:
        """Stops before starts, as the pool wants them."""
        given: list[Event] = []
        starts = []
        for effect in wanted:
            if isinstance(effect, pool_of.StopContainer) and effect.container_id in self.scheduler.books.launches:
                given.append(KillLaunch(effect.container_id))
            elif isinstance(effect, pool_of.StartContainer):
                launch = self._launch_of(effect)
                starts.append(Submit(effect.container_id, launch, template(launch)))
        return [*given, Submits(tuple(starts))] if starts else given

    def _for_pool(self, effect: effects.Effect) -> list[pool_of.PoolEvent]:
        if not isinstance(effect, effects.Changed):
            return []
        record = self.scheduler.books.launches.get(effect.launch_id)
        if record is None or record.id not in self.pool.containers.by_id:
            return []
        if record.state is State.RUNNING and record.id not in self._started:
            self._started.add(record.id)
            return [pool_of.ContainerStarted(record.id, HERE, str(record.hostname))]
        if not record.state.ended and record.state is not State.UNREACHABLE:
            return []
        reason = record.message or record.reason or record.state.value
        if record.id in self._started or record.kill_requested_at is not None:
            self._started.discard(record.id)
            return [pool_of.ContainerStopped(record.id, reason)]
        return [pool_of.StartFailed(record.id, reason)]

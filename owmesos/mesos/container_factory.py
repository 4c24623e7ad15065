"""Mesos as the pool's container factory: the pool on the scheduler, still without any I/O.

Theory of operation. What the pool wants becomes events for the scheduler, and what the scheduler does becomes events
for the pool, round and round until both are quiet; what is left of the effects is the shell's. A container is a
launch with the container's id. The pool decides where it starts and reserves the room; the scheduler may move it to
another agent whose offer comes first, and when no fitting offer comes the start is refused and the pool decides
again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from owmesos.core import pool_events as pool_of
from owmesos.core.launch import Launch
from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool import Pool
from owmesos.mesos import effects
from owmesos.mesos.events import KillLaunch, PoolWaits, Submit, Submits, Tick
from owmesos.mesos.messages import Event
from owmesos.mesos.scheduler import Scheduler
from owmesos.mesos.statuses import START_REFUSED
from owmesos.mesos.task_info import template

Effect = effects.Effect | pool_of.PoolEffect | pool_of.ContainerStarted | pool_of.ContainerStopped
PoolInput = pool_of.PoolEvent | NodeStatsUpdate


class PooledScheduler:
    """Scheduler and pool as one: `handle` takes the events of both. The pool's capacity is the scheduler's.

    `launch_of` gives the launch that starts a container.
    """

    def __init__(self, scheduler: Scheduler, pool: Pool, launch_of: Callable[[pool_of.StartContainer], Launch]) -> None:
        self.scheduler = scheduler
        self.pool = pool
        self._launch_of = launch_of
        self._started: set[str] = set()
        self._waits = False
        self._hold: str | None = None
        self._retired = False

    def handle(self, event: Event | PoolInput, now: float) -> list[Effect]:
        """What is to be done, in order. Effects between pool and scheduler are carried out already.

        Containers that started or stopped are told among the effects.
        """
        if self._retired:
            return list(self.scheduler.handle(event, now)) if isinstance(event, Event) else []
        done: list[Effect] = []
        to_do: deque[Event | PoolInput] = deque([event])
        if isinstance(event, Tick):
            to_do.append(pool_of.Tick())
        while to_do:
            item = to_do.popleft()
            if isinstance(item, Event):
                for effect in self.scheduler.handle(item, now):
                    done.append(effect)
                    to_do.extend(self._for_pool(effect))
            else:
                if isinstance(item, (pool_of.ContainerStarted, pool_of.ContainerStopped)):
                    done.append(item)  # whoever speaks with the container hears of it before its runs are dispatched
                wanted = self.pool.handle(item, now)
                done += [effect for effect in wanted if isinstance(effect, _SHELLS)]
                to_do.extend(given for effect in wanted for given in self._for_scheduler(effect))
                starts = tuple(self._submit(effect) for effect in wanted if isinstance(effect, pool_of.StartContainer))
                if starts:  # first of all: their room is reserved, and nothing may meet it without its launch
                    to_do.appendleft(Submits(starts))
        return done

    def next_wake(self) -> float | None:
        if self._retired:
            return self.scheduler.next_wake()
        times = [when for when in (self.scheduler.next_wake(), self.pool.next_wake()) if when is not None]
        return min(times, default=None)

    def orphans(self, now: float) -> list[Effect]:
        """After a restart: the containers of an earlier life are stopped, for nobody knows what is in them."""
        known = self.pool.containers.by_id
        return [
            effect
            for record in self.living()
            if record.id not in known
            for effect in self.handle(KillLaunch(record.id), now)
        ]

    def retire(self, now: float) -> list[Effect]:
        """Before the end: the pool decides nothing more, and all containers are stopped, whatever is in them."""
        self._retired = True
        kills = [KillLaunch(record.id) for record in self.living()]
        return [effect for event in (PoolWaits(False, None), *kills) for effect in self.handle(event, now)]

    def living(self) -> list[LaunchRecord]:
        """The containers' launches that have not ended."""
        records = self.scheduler.books.launches.values()
        return [record for record in records if record.managed and not record.state.ended]

    def validate(self) -> None:
        """Raises InvariantBroken."""
        self.scheduler.validate()
        self.pool.validate()

    # -- from the pool

    def _submit(self, effect: pool_of.StartContainer) -> Submit:
        launch = self._launch_of(effect)
        return Submit(effect.container_id, launch, template(launch), effect.slot)

    def _for_scheduler(self, effect: pool_of.PoolEffect) -> list[Event]:
        if isinstance(effect, pool_of.StopContainer):
            return [KillLaunch(effect.container_id)] if effect.container_id in self.scheduler.books.launches else []
        if isinstance(effect, pool_of.WaitingForRoom):
            self._waits = effect.waiting
        elif isinstance(effect, pool_of.SetAside):
            self._hold = effect.agent_id
        else:
            return []
        return [PoolWaits(self._waits, self._hold)]

    # -- from the scheduler

    def _for_pool(self, effect: Effect) -> list[PoolInput | Event]:
        if isinstance(effect, effects.StatsChanged):
            return [effect.update]
        if isinstance(effect, effects.StartRefused):
            return [pool_of.StartRefused(effect.launch_id, effect.reason)]
        if isinstance(effect, effects.Changed):
            record = self.scheduler.books.launches.get(effect.launch_id)
            if record is not None and record.managed:
                known = record.id in self.pool.containers.by_id
                return self._of_container(record) if known else self._of_stranger(record)
        return []

    @staticmethod
    def _of_stranger(record: LaunchRecord) -> list[PoolInput | Event]:
        """The pool gave it up when its agent could not be reached. Now it is back, and would hold its room for ever."""
        back = record.state in (State.STAGING, State.RUNNING) and record.kill_requested_at is None
        return [KillLaunch(record.id)] if back else []

    def _of_container(self, record: LaunchRecord) -> list[PoolInput | Event]:
        if record.state is State.RUNNING and record.id not in self._started:
            assert record.slot is not None
            self._started.add(record.id)
            port = next(iter(record.resources.ports), None) if record.resources is not None else None
            address = f"{record.hostname}:{port}" if port is not None else str(record.hostname)
            return [pool_of.ContainerStarted(record.id, record.slot, address)]
        if record.state is State.UNREACHABLE:
            self._started.discard(record.id)
            return [pool_of.ContainerStopped(record.id, f"agent {record.agent_id} is unreachable")]
        if not record.state.ended:
            return []
        reason = record.message or record.reason or record.state.value
        if record.id in self._started or record.kill_requested_at is not None:
            self._started.discard(record.id)
            return [pool_of.ContainerStopped(record.id, reason)]
        if record.reason == START_REFUSED:
            return []  # the refusal was told
        return [pool_of.StartFailed(record.id, reason)]


_SHELLS = (pool_of.Dispatch, pool_of.RunFailed, pool_of.FeedMore, pool_of.Backpressure)

"""Mesos as the pool's container factory: the pool on the scheduler, still without any I/O.

Theory of operation. What the pool wants becomes events for the scheduler, and what the scheduler does becomes events
for the pool, round and round until both are quiet; what is left of the effects is the shell's. A container is a
launch with the container's id. The pool decides where it starts and reserves the room; the scheduler may move it to
another agent whose offer comes first, and when no fitting offer comes the start is refused and the pool decides
again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from owmesos.core.container_factory import (
    FOR_INVOKER,
    ClusterEvent,
    ContainerSpec,
    HealthCheckSettings,
    PoolInput,
    PoolRecipe,
)
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.pool import Pool
from owmesos.core.texts import MAX_NAME, check_text
from owmesos.errors import InvalidInput, InvariantBroken
from owmesos.mesos.messages import Event, HealthCheck, Parameter, TaskInfo, TCPCheckInfo
from owmesos.mesos.scheduler import effects
from owmesos.mesos.scheduler.events import KillLaunches, PoolWaits, PortTaken, Served, Submit, Submits, Tick
from owmesos.mesos.scheduler.launch import MAX_SECONDS, Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.status_words import MEMORY_LIMIT
from owmesos.mesos.scheduler.task_info import template
from owmesos.mesos.scheduler.task_updates import START_REFUSED
from owmesos.resources import MILLI, check_number

PooledEffect = effects.Effect | pool_events.PoolEffect | pool_events.ContainerStarted | pool_events.ContainerStopped
_FOR_SHELL: tuple[type[effects.Effect], ...] = (
    effects.AskAgents,
    effects.ForgetRecord,
    effects.Note,
    effects.Resubscribe,
    effects.SendCall,
    effects.Stop,
    effects.StoreFramework,
)
"""What of the scheduler tells a pool nothing."""
_MEMORY_SWAP = "memory-swap"  # of memory and swap together
_LEAST_MEMORY = 32  # MB that Mesos gives a container (src/docker/docker.cpp, MIN_MEMORY)


class PooledScheduler:
    """Scheduler and pool as one: `handle` takes the events of both. The pool's capacity is the scheduler's.

    `launch_of` gives the launch that starts a container.
    """

    def __init__(
        self, scheduler: Scheduler, pool: Pool, launch_of: Callable[[pool_events.StartContainer], Launch]
    ) -> None:
        self.scheduler = scheduler
        self.pool = pool
        self._launch_of = launch_of
        self._started: set[str] = set()
        self._waits = False
        self._hold: str | None = None
        self._retired = False
        self._translators: dict[type[effects.Effect], Callable[[Any], Sequence[ClusterEvent | Event]]] = {
            **dict.fromkeys(_FOR_SHELL, lambda effect: []),
            effects.StatsChanged: lambda effect: [effect.update],
            effects.LaunchRefused: lambda effect: [pool_events.StartRefused(effect.launch_id, effect.reason)],
            effects.StoreLaunch: lambda effect: self._of_launch(effect.record),
        }

    @classmethod
    def of(cls, recipe: PoolRecipe, scheduler: Scheduler) -> PooledScheduler:
        return cls(scheduler, recipe.build(scheduler.state.capacity), lambda start: launch_of(recipe.spec_of(start)))

    def handle(self, event: Event | PoolInput, now: float) -> list[PooledEffect]:
        """What is to be done, in order. Effects between pool and scheduler are carried out already.

        Containers that started or stopped are told among the effects.
        """
        if self._retired:
            return list(self.scheduler.handle(event, now)) if isinstance(event, Event) else []
        done: list[PooledEffect] = []
        to_do: deque[Event | PoolInput] = deque([event])
        if isinstance(event, Tick):
            to_do.append(pool_events.PoolTick())
        elif isinstance(event, pool_events.Reschedule) and event.failed_start:
            to_do.appendleft(PortTaken(event.container_id, event.reason))
        elif isinstance(event, pool_events.Initialized):
            to_do.append(Served(event.container_id))
        while to_do:
            item = to_do.popleft()
            if isinstance(item, Event):
                for effect in self.scheduler.handle(item, now):
                    done.append(effect)
                    to_do.extend(self._for_pool(effect))
            else:
                if isinstance(item, (pool_events.ContainerStarted, pool_events.ContainerStopped)):
                    done.append(item)  # the container's client is notified before its runs are dispatched
                wanted, starts = self._decided(item, now)
                done += [effect for effect in wanted if isinstance(effect, FOR_INVOKER)]
                to_do.extend(given for effect in wanted for given in self._for_scheduler(effect))
                if starts:  # first of all: their room is reserved, and nothing may meet it without its launch
                    to_do.appendleft(Submits(tuple(starts)))
        return done

    def next_wake(self) -> float | None:
        if self._retired:
            return self.scheduler.next_wake()
        times = [when for when in (self.scheduler.next_wake(), self.pool.next_wake()) if when is not None]
        return min(times, default=None)

    def orphans(self, now: float) -> list[PooledEffect]:
        """After a restart: stop the containers of the earlier process, because nobody knows what they hold."""
        known = self.pool.containers.by_id
        return self.handle(KillLaunches(tuple(each.id for each in self.living() if each.id not in known)), now)

    def retire(self, now: float) -> list[PooledEffect]:
        """Before the end: the pool decides nothing more, and all containers are stopped, whatever is in them."""
        self._retired = True
        living = tuple(record.id for record in self.living())
        return [*self.handle(PoolWaits(False, None), now), *self.handle(KillLaunches(living), now)]

    def living(self) -> list[LaunchRecord]:
        """The containers' launches that have not ended."""
        records = self.scheduler.state.launches.values()
        return [record for record in records if record.managed and not record.state.ended]

    # -- from the pool

    def _decided(self, event: PoolInput, now: float) -> tuple[list[pool_events.PoolEffect], list[Submit]]:
        """What the pool wants, and the launches of its starts. A start that no launch can be made of has failed."""
        wanted: list[pool_events.PoolEffect] = []
        submits: list[Submit] = []
        events: deque[PoolInput] = deque([event])
        while events:
            effects_of_one = self.pool.handle(events.popleft(), now)
            wanted += effects_of_one
            for effect in effects_of_one:
                if isinstance(effect, pool_events.StartContainer):
                    try:
                        launch = self._launch_of(effect)
                        submits.append(Submit(effect.container_id, launch, template(launch), effect.slot))
                    except InvalidInput as error:
                        events.append(pool_events.StartFailed(effect.container_id, str(error)))
        return wanted, submits

    def _for_scheduler(self, effect: pool_events.PoolEffect) -> list[Event]:
        if isinstance(effect, pool_events.StopContainer):
            known = effect.container_id in self.scheduler.state.launches
            return [KillLaunches((effect.container_id,))] if known else []
        if isinstance(effect, pool_events.WaitingForRoom):
            self._waits = effect.waiting
        elif isinstance(effect, pool_events.SetAside):
            self._hold = effect.agent_id
        elif isinstance(effect, (pool_events.StartContainer, *FOR_INVOKER)):
            return []
        else:
            raise InvariantBroken(f"the container factory has no rule for {type(effect).__name__}")
        return [PoolWaits(self._waits, self._hold)]

    # -- from the scheduler

    def _for_pool(self, effect: effects.Effect) -> Sequence[ClusterEvent | Event]:
        """Raises InvariantBroken for an effect that nothing here has a rule for."""
        translate = self._translators.get(type(effect))
        if translate is None:
            raise InvariantBroken(f"the container factory has no rule for {type(effect).__name__}")
        return translate(effect)

    def _of_launch(self, record: LaunchRecord) -> Sequence[ClusterEvent | Event]:
        if not record.managed:
            return []
        if record.id in self.pool.containers.by_id:
            return self._of_container(record)
        # The pool gave it up when its agent could not be reached. If it is back, it would hold its room for ever.
        back = record.state in (State.STAGING, State.RUNNING) and record.kill_requested_at is None
        return [KillLaunches((record.id,))] if back else []

    def _of_container(self, record: LaunchRecord) -> list[ClusterEvent]:
        if record.state is State.RUNNING and record.id not in self._started:
            self._started.add(record.id)
            slot, _, resources, _ = record.attempt
            address = ":".join([str(record.hostname), *map(str, resources.ports)][:2])
            return [pool_events.ContainerStarted(record.id, slot, address, is_mapped(record.launch))]
        if record.state is State.UNREACHABLE:
            self._started.discard(record.id)
            reason = f"agent {record.agent_id} is unreachable"
            return [pool_events.ContainerStopped(record.id, reason, pool_events.StopCause.LOST)]
        if not record.state.ended:
            return []
        reason = record.message or record.reason or record.state.value
        if record.id in self._started or (record.kill_requested_at is not None and not record.overdue):
            self._started.discard(record.id)
            return [pool_events.ContainerStopped(record.id, reason, _cause(record))]
        if record.reason == START_REFUSED:
            return []  # the refusal was told
        return [pool_events.StartFailed(record.id, reason, record.agent_id)]


def _cause(record: LaunchRecord) -> pool_events.StopCause:
    """Why a container that ran has ended. Executors and agents say it by a reason (mesos.proto, Reason) or a text."""
    said = f"{record.reason} {record.message}".lower()
    if any(words in said for words in _MEMORY):
        return pool_events.StopCause.OUT_OF_MEMORY
    if record.state is State.LOST:
        return pool_events.StopCause.LOST
    if any(words in said for words in _EXECUTOR_GONE):
        return pool_events.StopCause.SUPERVISOR_GONE
    return pool_events.StopCause.ENDED


_MEMORY = ("reason_container_limitation_memory", "memory limit exceeded", MEMORY_LIMIT)
_EXECUTOR_GONE = ("reason_executor_terminated", "executor terminated")


def launch_of(spec: ContainerSpec) -> Launch:
    """Raises InvalidInput for a spec that no launch can have."""
    return Launch(
        name=spec.name,
        cpus=spec.ask.milli_cpus / MILLI,
        mem=spec.ask.milli_mem / MILLI,
        ports=spec.ask.ports,
        constraints=[str(constraint) for constraint in spec.constraints],
        env=spec.env,
        labels=spec.labels,
        role=spec.role,
        user=spec.user,
        kill_grace=spec.kill_grace,
        deadline=spec.deadline,
        **(_docker(spec) if spec.image is not None else _command(spec)),
    )


def is_mapped(launch: Launch) -> bool:
    """Whether Docker maps a port of the agent to its container, and so has it before the container runs."""
    return launch.network not in (None, "host")


def _command(spec: ContainerSpec) -> dict[str, Any]:
    return {"command": spec.command, "uris": spec.uris, "task_info": _fetched_once}


def _docker(spec: ContainerSpec) -> dict[str, Any]:
    parameters = [Parameter(name, value) for name, value in spec.parameters]
    for parameter in parameters:
        check_text("a parameter of docker run", parameter.key, MAX_NAME)
        check_text(f"docker run's {parameter.key}", parameter.value, MAX_NAME)
    check = _health_check(spec.health_check, spec.port) if spec.health_check is not None else None
    return {
        "image": spec.image,
        "force_pull": spec.force_pull,
        "network": spec.network,
        "container_ports": () if spec.network == "host" or spec.port is None else (spec.port,),
        "task_info": partial(_finish_docker, spec.ask.milli_mem // MILLI, parameters, check),
    }


def _finish_docker(memory: int, given: list[Parameter], check: HealthCheck | None, info: TaskInfo) -> None:
    """Docker takes a parameter several times, which a launch's mapping of texts cannot say.

    Mesos sets `--memory` to `memory` MB; without `--memory-swap` Docker lets a container have as much swap beside.
    """
    assert info.container is not None
    assert info.container.docker is not None
    docker = info.container.docker
    names = {each.key for each in given}
    parameters = [*(each for each in docker.parameters if each.key not in names), *given]
    if all(each.key != _MEMORY_SWAP for each in parameters):
        parameters = [*parameters, Parameter(_MEMORY_SWAP, f"{max(memory, _LEAST_MEMORY)}m")]
    docker.parameters = parameters
    if check is not None:
        info.health_check = check


def _fetched_once(info: TaskInfo) -> None:
    """An agent keeps what it fetched for the next container: Mesos's fetcher cache."""
    assert info.command is not None
    info.command.uris = [msgspec.structs.replace(uri, cache=True) for uri in info.command.uris]


def _health_check(settings: HealthCheckSettings, port: int | None) -> HealthCheck:
    """Raises InvalidInput."""
    for name in ("delay", "interval", "timeout", "grace_period"):
        check_number(f"health-check's {name}", getattr(settings, name), 0, MAX_SECONDS)
    check_number("health-check's max-consecutive-failures", settings.max_consecutive_failures, 0, 2**31 - 1)
    return HealthCheck(
        type="TCP",
        tcp=TCPCheckInfo(port or 0),
        delay_seconds=settings.delay,
        interval_seconds=settings.interval,
        timeout_seconds=settings.timeout,
        grace_period_seconds=settings.grace_period,
        consecutive_failures=settings.max_consecutive_failures,
    )

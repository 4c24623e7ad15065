"""The random histories fail when any single rule is broken: each mutation here breaks one, and must be caught."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from owmesos.core.capacity import Capacity
from owmesos.core.ledger import Buffer
from owmesos.core.pool.containers import Container, Containers, ContainerState
from owmesos.core.pool.events import Dispatch, FeedMore
from owmesos.core.pool.eviction import Eviction, ParallelEvictions
from owmesos.core.pool.eviction_planner import EvictionPlanner, Round
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.prewarm import Prewarm, PrewarmSetting
from owmesos.core.pool.queued_starts import QueuedStarts
from owmesos.core.pool.run_buffer import RunBuffer, Waiting
from owmesos.core.pool.settings import PoolSettings
from owmesos.core.pool.starts import Starts
from owmesos.core.pool.state import PoolState, StopRound
from tests.core.pool.queueing_cluster import QueueingCluster
from tests.core.pool.test_pool_machine import PREWARMS, PoolMachine
from tests.mutations import Mutations, nothing, wrap

mutation = Mutations()


# -- room


@mutation
def a_stop_is_credited_before_its_room_is_seen(patch: pytest.MonkeyPatch) -> None:
    def stop(original: Any, self: PoolState, container: Container, *args: Any) -> None:
        original(self, container, *args)
        stopping.append(container)

    def find(original: Any, self: Capacity, ask: Any, *args: Any, **named: Any) -> Any:
        credited = [each.slot for each in stopping if each.ask.milli_mem >= ask.milli_mem]
        return original(self, ask, *args, **named) or (credited[-1] if credited else None)

    stopping: list[Container] = []
    wrap(patch, PoolState, "stop", stop)
    wrap(patch, Capacity, "find", find)


@mutation
def a_run_that_found_no_room_never_looks_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Starts, "room_may_have_come", nothing)


@mutation
def a_start_is_not_reserved_when_it_is_decided(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Capacity, "reserve", nothing)


@mutation
def a_reservation_is_never_released(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Capacity, "release", nothing)


@mutation
def an_agent_in_back_off_gets_starts(patch: pytest.MonkeyPatch) -> None:
    def find(original: Any, self: Capacity, *args: Any, **named: Any) -> Any:
        closed, self.closed = self.closed, {}
        try:
            return original(self, *args, **named)
        finally:
            self.closed = closed

    wrap(patch, Capacity, "find", find)


@mutation
def a_start_goes_to_an_agent_that_is_set_aside_for_another(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PoolState, "aside_of_others", nothing)


@mutation
def max_starts_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Starts, "may_start", lambda self, now, *, share=1.0: True)


@mutation
def the_most_starts_on_one_agent_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Starts, "avoided", lambda self, agent_id=None: set() if agent_id is None else {agent_id})


# -- who is stopped, and when


@mutation
def the_oldest_anywhere_are_stopped(patch: pytest.MonkeyPatch) -> None:
    def cheapest(original: Any, self: EvictionPlanner, shape: Any, *args: Any, **named: Any) -> Any:
        ask = self._state.settings.ask(shape)
        found = original(self, shape, *args, **named)
        idle = [each for same in self._containers.idle_on.values() for each in same.values() if each.key is not None]
        victims, freed = [], 0
        for container in sorted(idle, key=lambda each: (each.last_used, each.id)):
            if freed * 1000 < ask.milli_mem:
                victims.append(container)
                freed += container.shape.memory
        return Round(found.slot, victims, []) if found is not None and freed * 1000 >= ask.milli_mem else found

    wrap(patch, EvictionPlanner, "cheapest", cheapest)


@mutation
def more_are_stopped_than_are_needed(patch: pytest.MonkeyPatch) -> None:
    def round_on(original: Any, self: EvictionPlanner, slot: Any, *args: Any, **named: Any) -> Any:
        found = original(self, slot, *args, **named)
        return found if found is None else found._replace(victims=list(self._containers.idle_on.get(slot, {}).values()))

    wrap(patch, EvictionPlanner, "round_on", round_on)


@mutation
def what_is_free_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    """As today: as much is stopped as is needed, whatever is free."""

    def round_on(original: Any, self: EvictionPlanner, slot: Any, ask: Any, *args: Any, **named: Any) -> Any:
        available = self._state.capacity.available(slot)
        more = msgspec.structs.replace(ask, milli_mem=ask.milli_mem + max(0, available.milli_mem))
        found = original(self, slot, ask, *args, **named)
        return found and (original(self, slot, more, *args, **named) or found)

    wrap(patch, EvictionPlanner, "round_on", round_on)


@mutation
def grace_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def round_on(original: Any, self: EvictionPlanner, *args: Any, waived: bool) -> Any:
        return original(self, *args, waived=True)

    wrap(patch, EvictionPlanner, "round_on", round_on)


@mutation
def a_container_with_room_for_more_runs_counts_as_idle(patch: pytest.MonkeyPatch) -> None:
    idle = property(lambda self: self.state in (ContainerState.PREWARMED, ContainerState.WARM))
    patch.setattr(Container, "idle", idle)


@mutation
def the_one_used_last_is_stopped_first(patch: pytest.MonkeyPatch) -> None:
    def oldest_first(original: Any, self: EvictionPlanner, *args: Any) -> Any:
        return original(self, *args)[::-1]

    wrap(patch, EvictionPlanner, "_oldest_first", oldest_first)


@mutation
def a_round_is_given_no_time(patch: pytest.MonkeyPatch) -> None:
    def over(self: EvictionPlanner, each: StopRound, now: float) -> bool:
        return not any(victim in self._containers.by_id for victim in each.victims)

    patch.setattr(EvictionPlanner, "_is_over", over)


@mutation
def a_round_begins_before_the_last_is_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EvictionPlanner, "_is_over", lambda self, each, now: True)


@mutation
def rounds_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    def make_room(original: Any, self: Eviction, head: Waiting, now: float) -> None:
        head.rounds = 0
        original(self, head, now)

    wrap(patch, Eviction, "_make_room", make_room)


@mutation
def unknown_is_taken_for_full(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Capacity, "known", property(lambda self: True, lambda self, known: None), raising=False)


@mutation
def an_agent_stays_set_aside_when_its_head_is_served(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Eviction, "settle", lambda self, now: False)


@mutation
def an_emptied_agents_containers_take_runs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PoolState, "draining_agent", nothing)


@mutation
def containers_that_may_serve_again_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "_feed_all", nothing)


@mutation
def parallel_evictions_use_the_agent_of_the_head(patch: pytest.MonkeyPatch) -> None:
    def begin(original: Any, self: ParallelEvictions, waiting: Waiting, now: float) -> bool:
        aside, self._state.aside = self._state.aside, None
        try:
            return bool(original(self, waiting, now))
        finally:
            self._state.aside = aside

    wrap(patch, ParallelEvictions, "_begin", begin)


# -- starts that the cluster queues


@mutation
def a_queued_start_is_never_withdrawn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QueuedStarts, "settle", lambda self, now: False)


@mutation
def a_queued_start_comes_after_nothing(patch: pytest.MonkeyPatch) -> None:
    def start(original: Any, self: Starts, *args: Any, after: tuple[str, ...] = (), **named: Any) -> Any:
        return original(self, *args, **named)

    wrap(patch, Starts, "start", start)


@mutation
def a_debt_admits_others(patch: pytest.MonkeyPatch) -> None:
    def reserve(original: Any, self: Capacity, container_id: str, slot: Any, ask: Any, now: float) -> None:
        if ask.fits(self.available(slot)):
            original(self, container_id, slot, ask, now)

    wrap(patch, Capacity, "reserve", reserve)


@mutation
def a_withdrawn_start_gives_its_room_back_at_once(patch: pytest.MonkeyPatch) -> None:
    def withdraw(original: Any, self: QueuedStarts, container: Container, *args: Any) -> Any:
        self._state.capacity.release(container.id)
        return original(self, container, *args)

    wrap(patch, QueuedStarts, "_withdraw", withdraw)


@mutation
def the_head_is_started_for_once_more(patch: pytest.MonkeyPatch) -> None:
    def begin(original: Any, self: QueuedStarts, found: Round, waiting: Waiting, now: float) -> bool:
        return bool(original(self, found, waiting, now)) and bool(original(self, found, waiting, now) or True)

    wrap(patch, QueuedStarts, "begin", begin)


@mutation
def queued_starts_are_not_throttled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QueuedStarts, "_may_start", lambda self, found, waiting, now: True)


@mutation
def a_start_is_queued_where_the_cluster_holds_none(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Capacity, "queues_starts", property(lambda self: True, lambda self, it: None), raising=False)


@mutation
def a_withdrawn_start_that_is_refused_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QueuedStarts, "ended", nothing)


# -- who goes first


@mutation
def a_container_takes_the_youngest_run(patch: pytest.MonkeyPatch) -> None:
    def youngest(self: RunBuffer, shape: Any) -> Waiting | None:
        places = self._by_shape.get(shape)
        return self._all[places[-1]] if places else None

    patch.setattr(RunBuffer, "oldest_of_shape", youngest)


@mutation
def a_run_that_comes_back_goes_to_the_end(patch: pytest.MonkeyPatch) -> None:
    def seat(original: Any, self: Pool, waiting: Waiting, now: float) -> Any:
        waiting.place = max([waiting.place, *(each.place for each in self.state.buffer)]) + 1
        return original(self, waiting, now)

    wrap(patch, Pool, "_seat", seat)


@mutation
def health_tests_are_not_first(patch: pytest.MonkeyPatch) -> None:
    def arrived(original: Any, self: PoolState, run: Any, now: float) -> Waiting:
        waiting: Waiting = original(self, run, now)
        waiting.place = self._next_place
        return waiting

    wrap(patch, PoolState, "arrived", arrived)


@mutation
def a_run_that_comes_back_looks_for_no_container(patch: pytest.MonkeyPatch) -> None:
    def reschedule(original: Any, self: Pool, event: Any, now: float) -> None:
        ready, self._ready_for = self._ready_for, lambda waiting: (None, None)  # type: ignore[method-assign]
        try:
            original(self, event, now)
        finally:
            self._ready_for = ready  # type: ignore[method-assign]

    wrap(patch, Pool, "_reschedule", reschedule)


@mutation
def a_start_that_was_refused_still_covers_its_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Starts, "uncover", lambda self, container_id: [])


@mutation
def a_start_whose_run_was_served_covers_no_other(patch: pytest.MonkeyPatch) -> None:
    def served(original: Any, self: Starts, waiting: Waiting) -> None:
        original(self, waiting)
        self._covers = {container_id: covered for container_id, covered in self._covers.items() if covered}

    def started(original: Any, self: Pool, event: Any, now: float) -> None:
        self._feed_container, kept = nothing, self._feed_container  # type: ignore[method-assign]
        original(self, event, now)
        self._feed_container = kept  # type: ignore[method-assign]

    wrap(patch, Starts, "served", served)
    wrap(patch, Pool, "_started", started)


@mutation
def more_runs_than_a_container_takes(patch: pytest.MonkeyPatch) -> None:
    spare = property(lambda self: self.state in (ContainerState.WARM, ContainerState.WARMING) and not self.doomed)
    patch.setattr(Container, "spare", spare)


@mutation
def a_doomed_container_takes_runs(patch: pytest.MonkeyPatch) -> None:
    def spare(self: Container) -> bool:
        return self.state in (ContainerState.WARM, ContainerState.WARMING) and self.active < self.concurrency

    patch.setattr(Container, "spare", property(spare))


@mutation
def a_container_of_another_memory_is_used(patch: pytest.MonkeyPatch) -> None:
    def prewarmed(original: Any, self: Containers, shape: Any, avoid: Any = None) -> Any:
        other = next((each for each in self if each.state is ContainerState.PREWARMED), None)
        return original(self, shape, avoid) or other

    wrap(patch, Containers, "prewarmed", prewarmed)


@mutation
def nobody_waits_too_long(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, Pool, "_fail", nothing)


@mutation
def the_feed_is_told_of_each_dispatch(patch: pytest.MonkeyPatch) -> None:
    def emit(original: Any, self: PoolState, effect: Any) -> None:
        original(self, effect)
        if isinstance(effect, Dispatch):
            original(self, FeedMore())

    wrap(patch, PoolState, "emit", emit)


@mutation
def memory_is_freed_when_a_stop_is_asked_for(patch: pytest.MonkeyPatch) -> None:
    def stop(original: Any, self: PoolState, container: Container, *args: Any) -> None:
        original(self, container, *args)
        self.containers.memory -= container.shape.memory

    wrap(patch, PoolState, "stop", stop)


# -- prewarmed containers


@mutation
def prewarms_go_ahead_of_waiting_runs(patch: pytest.MonkeyPatch) -> None:
    def run_pass(original: Any, self: Pool, now: float) -> None:
        self._prewarming.run(now)
        original(self, now)

    wrap(patch, Pool, "_pass", run_pass)


@mutation
def prewarms_take_the_room_of_an_eviction(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Prewarm, "_leaves_room", lambda self, slot, ask, now: True)


@mutation
def prewarms_use_all_starts(patch: pytest.MonkeyPatch) -> None:
    def may_start(original: Any, self: Starts, now: float, *, share: float = 1.0) -> Any:
        return original(self, now)

    wrap(patch, Starts, "may_start", may_start)


@mutation
def prewarms_start_before_the_cluster_is_known(patch: pytest.MonkeyPatch) -> None:
    def run(original: Any, self: Prewarm, now: float) -> None:
        self._begun = True
        capacity = self._state.capacity
        known, capacity.known = capacity.known, True
        original(self, now)
        capacity.known = known

    wrap(patch, Prewarm, "run", run)


# -- that they are caught


class SmallPoolMachine(PoolMachine):
    """One or two small agents and a short patience: rooms are made, and fail to be made, in nearly every history."""

    @initialize(
        sizes=st.lists(st.sampled_from([256, 768]), min_size=1, max_size=2),
        prewarm=PREWARMS,
        starts=st.sampled_from([2, 20]),
        settled=st.booleans(),
    )
    def begin(self, sizes: list[int], prewarm: tuple[PrewarmSetting, ...], starts: int, settled: bool) -> None:  # type: ignore[override]
        impatient = PoolSettings(max_starts=starts, idle_grace=1.0, drain_after=1.0)
        super().begin(sizes, prewarm, impatient, Buffer(share=0.0), settled=settled)


class SmallQueueingPoolMachine(SmallPoolMachine):
    """The same, on a cluster that queues starts."""

    cluster = QueueingCluster


@pytest.mark.parametrize("name", mutation)
def test_the_random_histories_catch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.is_caught(name, {SmallPoolMachine: 120, SmallQueueingPoolMachine: 100, PoolMachine: 500}, monkeypatch)

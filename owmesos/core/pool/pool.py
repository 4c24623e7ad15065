"""The container pool: which run gets which container, which containers start, and which stop to make room.

Theory of operation. Run order: a warm container of the same action and namespace with room, then a prewarmed one of
the same kind and memory, then a cold start if one node has room, then make room and wait. The first two are never
gated by the cluster's capacity. A cold start is reserved when it is decided. What waits stands in the run buffer:
health tests first, then in order; runs that can go warm pass a blocked head, and later cold runs may use nodes that
are not set aside for it.

`handle` writes an event into the state; then one pass decides, whatever the event was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from owmesos.core.capacity import Capacity
from owmesos.core.explanation import Explanation
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool import events
from owmesos.core.pool.containers import NEVER, Container, Containers, ContainerState, Step
from owmesos.core.pool.events import StartKind
from owmesos.core.pool.eviction import Eviction
from owmesos.core.pool.prewarm import Prewarm, PrewarmSetting
from owmesos.core.pool.run_buffer import Waiting
from owmesos.core.pool.settings import PoolSettings
from owmesos.core.pool.starts import Starts
from owmesos.core.pool.state import PoolState, PoolTimer
from owmesos.errors import InvalidInput, InvariantBroken

_NOT_AGAIN = "it must not serve again"
# A run that ends frees room only when its container stops, which is an event of its own.
_MAKE_NO_ROOM = (events.Run, events.CancelRun, events.Initialized, events.RunDone)


class Pool:
    """One invoker's pool. Its state may be read between events."""

    def __init__(
        self,
        capacity: Capacity,
        settings: PoolSettings | None = None,
        prewarm: tuple[PrewarmSetting, ...] = (),
        *,
        prefix: str = "c",
    ) -> None:
        self.state = PoolState(capacity, settings or PoolSettings())
        self.containers: Containers = self.state.containers
        self._starts = Starts(self.state, prefix)
        self._eviction = Eviction(self.state, self._starts)
        self._prewarming = Prewarm(self.state, self._starts, prewarm)
        self._passing = True  # whether the event leaves something to decide
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            events.Run: self._run,
            events.CancelRun: self._cancel,
            events.Initialized: self._initialized,
            events.RunDone: self._done,
            events.ContainerUnfit: self._unfit,
            events.Reschedule: self._reschedule,
            events.ContainerStarted: self._started,
            events.ContainerStopped: self._stopped,
            events.StartRefused: self._start_refused,
            events.StartFailed: self._start_failed,
            NodeStatsUpdate: self._stats_changed,
            events.PoolTick: _look_again,
        }
        self._timed: dict[PoolTimer, Callable[[Any, float], None]] = dict.fromkeys(PoolTimer, _look_again) | {
            PoolTimer.IDLE: self._idle_too_long,
            PoolTimer.MAX_WAIT: self._waited_too_long,
            PoolTimer.PREWARM: lambda subject, now: self._prewarming.check(now),
        }

    def handle(self, event: object, now: float) -> list[events.PoolEffect]:
        """Write the event into the state and return what is to be done, in order. `now` in seconds.

        Raises InvariantBroken for an event or a timer without a rule.
        """
        self._passing = True
        handler = self._handlers.get(type(event))
        if handler is None:
            raise InvariantBroken(f"the pool has no rule for {type(event).__name__}")
        if type(event) not in _MAKE_NO_ROOM:
            self._starts.room_may_have_come()
        handler(event, now)
        for key in self.state.timers.due(now):
            self._passing = True
            self._starts.room_may_have_come()
            name, subject = key if isinstance(key, tuple) else (key, "")
            action = self._timed.get(name)
            if action is None:
                raise InvariantBroken(f"the pool has no rule for timer {name!r}")
            action(subject, now)
        if self._passing:
            self._pass(now)
        return self.state.take_effects()

    def next_wake(self) -> float | None:
        return self.state.timers.next()

    def explain(self, run_id: str) -> Explanation | None:
        """Why a run waits; None when it does not."""
        waiting = self.state.buffer.by_id.get(run_id)
        return self.state.explain(waiting) if waiting is not None else None

    # -- runs

    def _run(self, event: events.Run, now: float) -> None:
        state = self.state
        if event.run_id in state.running or event.run_id in state.buffer.by_id:
            raise InvalidInput(f"run {event.run_id} is here already")
        # A run that goes warm changes nothing for those that wait: neither what is free, nor what could be.
        self._passing = not self._seat(state.arrived(event, now), now)

    def _seat(self, waiting: Waiting, now: float) -> bool:
        """Give the run to a container that is ready, or let it wait in its place. Returns whether it went warm."""
        state = self.state
        if now >= waiting.start_before:
            self._fail(waiting, _TOO_LATE, no_room=True)
            return False
        container, kind = self._ready_for(waiting)
        if container is not None:
            self._dispatch(waiting, container, kind, now)
            return kind is not StartKind.PREWARMED
        state.buffer.add(waiting)
        state.counts.waited += 1
        if self._ends_at_once(waiting, now):
            return False
        state.timers.set((PoolTimer.MAX_WAIT, waiting.run.run_id), waiting.start_before)
        self._starts.share(waiting)
        return False

    def _ends_at_once(self, waiting: Waiting, now: float) -> bool:
        """End a run whose image was tried often enough: it would only learn the same a minute later."""
        backoff, shape = self.state.backoff, waiting.shape
        fault = backoff.launch_pause(shape.start_key, now) if backoff.exhausted(shape.start_key) else None
        if shape.image is None or fault is None:
            return False
        self._fail(waiting, fault.reason, start_failed=fault.reason)
        return True

    def _ready_for(self, waiting: Waiting) -> tuple[Container | None, StartKind]:
        """The warm container for the run, else a prewarmed one. Nodes that drain for the head take no new runs."""
        state = self.state
        avoid = state.draining_agent()
        container = state.containers.warm(waiting.key, avoid)
        if container is not None:
            warm = container.state is ContainerState.WARM
            return container, StartKind.WARMED if warm else StartKind.WARMING
        return state.containers.prewarmed(waiting.shape, avoid), StartKind.PREWARMED

    def _dispatch(self, waiting: Waiting, container: Container, kind: StartKind, now: float) -> None:
        state, action = self.state, waiting.run.action
        if self._leave_buffer(waiting):
            state.counts.wait.observe(now - waiting.received_at)
        state.counts.starts[kind] += 1
        state.containers.unindex(container)
        initialize = container.state is ContainerState.PREWARMED
        if initialize:
            container.step(Step.ASSIGNED)
            container.key, container.concurrency = waiting.key, action.concurrency
            container.expires_at, container.prewarm = NEVER, False
        waiting.container_from, waiting.container_on = container.created_at, container.slot.agent_id
        container.timeout = action.timeout
        container.active += 1
        container.last_used = now
        if container.state is ContainerState.WARM and container.active >= container.concurrency:
            container.step(Step.FILLED)
        state.containers.put(container)
        state.running[waiting.run.run_id] = (container.id, waiting)
        state.emit(events.Dispatch(waiting.run.run_id, container.id, kind, initialize))
        if kind in (StartKind.COLD, StartKind.RECREATED):
            self._prewarming.cold_started(waiting.shape)

    def _initialized(self, event: events.Initialized, now: float) -> None:
        container = self.containers.by_id.get(event.container_id)
        if container is not None and container.state is ContainerState.WARMING:
            self.containers.unindex(container)
            container.warmed_up()
            self.containers.put(container)
            self._feed_container(container, now)

    def _off(self, container_id: str, run_id: str) -> tuple[Waiting | None, Container | None]:
        """Take the run off the container. Returns both, as far as they are known; a late report changes nothing."""
        known = self.state.running.get(run_id)
        if known is None or known[0] != container_id:
            return None, None
        del self.state.running[run_id]
        return known[1], self.state.containers.by_id.get(container_id)

    def _done(self, event: events.RunDone, now: float) -> None:
        state = self.state
        waiting, container = self._off(event.container_id, event.run_id)
        if waiting is not None:
            state.emit(events.FeedMore())
        if container is None:
            return
        self._ease(container, now, _NOT_AGAIN, reuse=event.reuse)
        if not container.doomed:
            state.timers.set_earliest((PoolTimer.IDLE, container.id), now + state.settings.idle_timeout)
            self._feed_container(container, now)

    def _unfit(self, event: events.ContainerUnfit, now: float) -> None:
        state, container = self.state, self.containers.by_id.get(event.container_id)
        if container is None or container.state is ContainerState.STOPPING:
            return
        state.containers.unindex(container)
        container.doomed = True
        state.containers.put(container)
        if not container.active:
            state.stop(container, _NOT_AGAIN, now)

    def _ease(self, container: Container, now: float, reason: str, *, reuse: bool) -> None:
        """Take one run off the container's count. Without `reuse` it stops once it has none."""
        state = self.state
        state.containers.unindex(container)
        if container.state is ContainerState.WARMING and reuse:
            container.warmed_up()
        container.active -= 1
        container.last_used = now
        if container.state is ContainerState.BUSY:
            container.step(Step.EASED)
        if not reuse:
            container.doomed = True
        state.containers.put(container)
        if container.doomed and not container.active:
            state.stop(container, reason, now)

    def _feed_container(self, container: Container, now: float, *, fresh: bool = False) -> None:
        """Give a container the oldest runs that fit, as many as it takes. `fresh`: it has just started."""
        state = self.state
        while True:
            if container.state is ContainerState.PREWARMED:
                waiting = state.buffer.oldest_of_shape(container.shape)
                kind = StartKind.PREWARMED if container.prewarm else StartKind.COLD
                if container.replaces:
                    kind = StartKind.RECREATED
            elif container.spare and container.key is not None:
                waiting = state.buffer.oldest_of_key(container.key)
                kind = StartKind.WARMED if container.state is ContainerState.WARM else StartKind.WARMING
            else:
                return
            if waiting is None or not state.may_serve(container, waiting, fresh=fresh):
                return
            self._dispatch(waiting, container, kind, now)

    def _reschedule(self, event: events.Reschedule, now: float) -> None:
        """Put a run that was not taken back in its place. Its container is dropped, and told to stop."""
        waiting, container = self._off(event.container_id, event.run_id)
        if container is not None:
            self._ease(container, now, "it could not be reached", reuse=False)
        if waiting is None:
            return
        if event.failed_start:
            waiting.container_failed(now)
        if event.failed_start and waiting.attempts >= self.state.settings.start_attempts:
            self._fail(waiting, waiting.failed_starts(event.reason))
        else:
            self._seat(waiting, now)

    def _waited_too_long(self, run_id: str, now: float) -> None:
        state = self.state
        waiting = state.buffer.by_id.get(run_id)
        if waiting is None:
            return
        placed = waiting.covered_by is not None and waiting.covered_by not in state.queued
        why = "its container is still starting" if placed else state.explain(waiting).summary
        message = f"no container within {now - waiting.received_at:.0f} s: {why}"
        self._fail(waiting, message, no_room=state.capacity.known)

    def _fail(self, waiting: Waiting, message: str, *, start_failed: str | None = None, no_room: bool = False) -> None:
        state = self.state
        at_fault = start_failed is not None and state.backoff.at_fault(waiting.shape.start_key) is not None
        self._leave_buffer(waiting)
        state.counts.failed += 1
        state.emit(events.RunFailed(waiting.run.run_id, message, start_failed, at_fault, no_room))
        state.emit(events.FeedMore())

    def _cancel(self, event: events.CancelRun, now: float) -> None:
        waiting = self.state.buffer.by_id.get(event.run_id)
        if waiting is not None:
            self._leave_buffer(waiting)
            self.state.emit(events.FeedMore())

    def _leave_buffer(self, waiting: Waiting) -> bool:
        """Returns whether it was in the buffer."""
        state = self.state
        if waiting.run.run_id not in state.buffer.by_id:
            return False
        state.buffer.remove(waiting)
        state.timers.cancel((PoolTimer.MAX_WAIT, waiting.run.run_id))
        self._starts.served(waiting)
        return True

    # -- containers

    def _started(self, event: events.ContainerStarted, now: float) -> None:
        state = self.state
        container = state.containers.by_id.get(event.container_id)
        if container is None or container.state is not ContainerState.STARTING:
            return
        state.capacity.release(container.id)
        state.containers.unindex(container)
        container.slot, container.address = event.slot, event.address
        container.ask = event.returns_at_end or container.ask
        container.step(Step.STARTED)
        container.last_used = now
        container.expires_at = self._prewarming.expiry(container, now)
        state.containers.put(container)
        state.backoff.ran(event.slot.agent_id, container.shape.start_key, now)
        state.timers.set_earliest((PoolTimer.IDLE, container.id), now + state.settings.idle_timeout)
        self._starts.uncover(container.id)  # first: the own start of the run that takes it covers the oldest then
        self._feed_container(container, now, fresh=True)

    def _stopped(self, event: events.ContainerStopped, now: float) -> None:
        """Forget a container, whether we stopped it or not. Its own client ends or reschedules the runs on it."""
        container = self.containers.by_id.get(event.container_id)
        if container is None:
            return
        if container.state is ContainerState.STARTING:
            self._did_not_start(container, event.reason)
            return
        self.state.gone(container)
        self._prewarming.removed(container)

    def _start_refused(self, event: events.StartRefused, now: float) -> None:
        """Put the run back in its old place: nobody failed, and nothing is acknowledged."""
        container = self.containers.starting.get(event.container_id)
        if container is not None:
            self.state.gone(container)
            self.state.counts.refused += 1
            self._eviction.queued.refused(container, self._starts.refused(container, event.reason))
            self._prewarming.not_started(container)
        else:
            self._eviction.queued.ended(event.container_id)

    def _start_failed(self, event: events.StartFailed, now: float) -> None:
        container = self.containers.starting.get(event.container_id)
        if container is not None:
            agent_id, key = event.agent_id or container.slot.agent_id, container.shape.start_key
            self.state.backoff.failed(agent_id, key, container.created_at, now, event.reason)
            self._did_not_start(container, event.reason)
            if self.state.backoff.exhausted(key):
                self._end_all(key, event.reason)
        else:
            self._eviction.queued.ended(event.container_id)

    def _did_not_start(self, container: Container, reason: str) -> None:
        self.state.gone(container)
        for waiting in self._starts.refused(container, reason):
            waiting.attempts += 1
            waiting.last_choice.add(container.slot.agent_id)
            if waiting.attempts >= self.state.settings.start_attempts:
                self._fail(waiting, waiting.failed_starts(reason), start_failed=reason)
        self._prewarming.not_started(container)

    def _end_all(self, key: str, reason: str) -> None:
        """End every run that waits for such a container, once there were enough attempts."""
        fault = self.state.backoff.at_fault(key)
        assert fault is not None
        for waiting in self.state.buffer:
            if waiting.shape.start_key == key:
                self._fail(waiting, fault.reason, start_failed=reason)

    def _idle_too_long(self, container_id: str, now: float) -> None:
        state = self.state
        container = state.containers.by_id.get(container_id)
        if container is None or container.state in (ContainerState.STOPPING, ContainerState.STARTING):
            return
        over_at = container.last_used + state.settings.idle_timeout
        kept = container.state is ContainerState.PREWARMED and container.prewarm
        if now < over_at:
            state.timers.set((PoolTimer.IDLE, container_id), over_at)
        elif kept or not container.idle:
            state.timers.set((PoolTimer.IDLE, container_id), now + state.settings.idle_timeout)
        else:
            state.stop(container, "idle for too long", now)

    # -- the pass

    def _stats_changed(self, event: NodeStatsUpdate, now: float) -> None:
        if event.changed:
            self._prewarming.room_was_seen(now)

    def _pass(self, now: float) -> None:
        state = self.state
        again = True
        while again:
            self._eviction.settle(now)
            self._starts.free_aside(now)
            fed = self._feed_all(now)
            blocked = self._starts.run(now)
            again = bool(state.queued) and self._eviction.queued.move(now)
            again = again or ((fed or blocked.started) and self._eviction.settle(now))
            again = again or (blocked.head is not None and self._eviction.run(blocked.head, now))
        if blocked.head is not None:
            self._eviction.run_behind(blocked.head, blocked.shapes, now)
        if not state.buffer:
            self._prewarming.run(now)
        state.emit_changed(events.WaitingForRoom(bool(blocked.shapes)))
        if state.settings.pressure_after is not None:
            state.press(bool(blocked.shapes), state.settings.pressure_after, now)

    def _feed_all(self, now: float) -> bool:
        """Give runs to the containers of a node that no longer drains. Returns whether there may be one."""
        state = self.state
        if not state.freed:
            return False
        state.freed = False
        for waiting in state.buffer:
            container, kind = self._ready_for(waiting)
            if container is not None:
                self._dispatch(waiting, container, kind, now)
        return True


_TOO_LATE = "no container: too late to end before the Controller's forced completion"


def _look_again(what: object, now: float) -> None:
    """The pass decides."""

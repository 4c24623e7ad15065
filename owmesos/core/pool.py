"""The container pool: which run gets which container, which containers start, and which stop to make room.

Theory of operation. Run order: a warm container of the same action and namespace with room, then a prewarmed one of
the same kind and memory, then a cold start if one agent has room, then make room and wait. The first two are never
gated by the cluster's capacity. A cold start is reserved when it is decided. What waits stands in the run buffer:
health tests first, then in order; runs that can go warm pass a blocked head, and later cold runs may use agents that
are not set aside for it.

`handle` writes an event into the books; then one pass decides, whatever the event was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from owmesos.core.capacity import Capacity
from owmesos.core.cold_starts import ColdStarts
from owmesos.core.containers import NEVER, Container, Containers, ContainerState, Step
from owmesos.core.eviction import Eviction
from owmesos.core.explanation import Explanation
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool_books import PoolBooks
from owmesos.core.pool_events import (
    Backpressure,
    ContainerStarted,
    ContainerStopped,
    Dispatch,
    FeedMore,
    Initialized,
    PoolEffect,
    Reschedule,
    Run,
    RunDone,
    RunFailed,
    StartFailed,
    StartKind,
    StartRefused,
    WaitingForRoom,
)
from owmesos.core.pool_settings import PoolSettings
from owmesos.core.prewarm import Prewarming, PrewarmSetting
from owmesos.core.run_buffer import Waiting
from owmesos.core.starts import Starts
from owmesos.errors import InvalidInput


class Pool:
    """One invoker's pool. Books may be read at any time between events."""

    def __init__(
        self,
        capacity: Capacity,
        settings: PoolSettings | None = None,
        prewarm: tuple[PrewarmSetting, ...] = (),
        *,
        prefix: str = "c",
    ) -> None:
        self.books = PoolBooks(capacity, settings or PoolSettings())
        self.containers: Containers = self.books.containers
        self._starts = Starts(self.books, prefix)
        self._cold_starts = ColdStarts(self.books, self._starts)
        self._eviction = Eviction(self.books)
        self._prewarming = Prewarming(self.books, self._starts, prewarm)
        self._passing = True  # whether the event leaves something to decide
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            Run: self._run,
            Initialized: self._initialized,
            RunDone: self._done,
            Reschedule: self._reschedule,
            ContainerStarted: self._started,
            ContainerStopped: self._stopped,
            StartRefused: self._start_refused,
            StartFailed: self._start_failed,
        }
        self._timed: dict[str, Callable[[str, float], None]] = {
            "idle": self._idle_too_long,
            "max wait": self._waited_too_long,
            "prewarm": lambda subject, now: self._prewarming.check(now),
        }

    def handle(self, event: object, now: float) -> list[PoolEffect]:
        """The event is written into the books; what is to be done comes back, in order. `now` in seconds.

        An event without a rule of its own (NodeStatsUpdate, Tick) only makes the pass look again.
        """
        self._passing = True
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event, now)
        for key in self.books.timers.due(now):
            self._passing = True
            name, subject = key if isinstance(key, tuple) else (key, "")
            action = self._timed.get(name)
            if action is not None:
                action(subject, now)
        if isinstance(event, NodeStatsUpdate) and event.changed:
            self._prewarming.room_was_seen(now)
        if self._passing:
            self._pass(now)
        return self.books.take_effects()

    def next_wake(self) -> float | None:
        return self.books.timers.next()

    def explain(self, run_id: str) -> Explanation | None:
        """Why a run waits; None when it does not."""
        waiting = self.books.buffer.by_id.get(run_id)
        return self.books.explain(waiting) if waiting is not None else None

    def validate(self) -> None:
        """Raises InvariantBroken."""
        self.books.validate()
        self._eviction.validate()

    # -- runs

    def _run(self, event: Run, now: float) -> None:
        books = self.books
        if event.run_id in books.running or event.run_id in books.buffer.by_id:
            raise InvalidInput(f"run {event.run_id} is here already")
        # A run that goes warm changes nothing for those that wait: neither what is free, nor what could be.
        self._passing = not self._seat(books.arrived(event, now), now)

    def _seat(self, waiting: Waiting, now: float) -> bool:
        """A run goes to a container that is ready, or waits in its place. Whether it went warm."""
        books = self.books
        container, kind = self._ready_for(waiting)
        if container is not None:
            self._dispatch(waiting, container, kind, now)
            return kind is not StartKind.PREWARMED
        books.buffer.add(waiting)
        waits = books.settings.waits_at_most(waiting.run.action)
        books.timers.set(("max wait", waiting.run.run_id), waiting.received_at + waits)
        self._starts.share(waiting)
        return False

    def _ready_for(self, waiting: Waiting) -> tuple[Container | None, StartKind]:
        """Warm, else prewarmed. A container on an agent that is draining for the head takes no new runs."""
        books = self.books
        avoid = books.draining_agent()
        container = books.containers.warm(waiting.key, avoid)
        if container is not None:
            warm = container.state is ContainerState.WARM
            return container, StartKind.WARMED if warm else StartKind.WARMING
        return books.containers.prewarmed(waiting.shape, avoid), StartKind.PREWARMED

    def _dispatch(self, waiting: Waiting, container: Container, kind: StartKind, now: float) -> None:
        books, action = self.books, waiting.run.action
        if waiting.run.run_id in books.buffer.by_id:
            books.buffer.remove(waiting)
            books.timers.cancel(("max wait", waiting.run.run_id))
            self._starts.served(waiting)
        books.containers.lift(container)
        initialize = container.state is ContainerState.PREWARMED
        if initialize:
            container.step(Step.ASSIGNED)
            container.key, container.concurrency = waiting.key, action.concurrency
            container.expires_at, container.prewarm = NEVER, False
        container.timeout = action.timeout
        container.active += 1
        container.last_used = now
        if container.state is ContainerState.WARM and container.active >= container.concurrency:
            container.step(Step.FILLED)
        books.containers.put(container)
        books.running[waiting.run.run_id] = (container.id, waiting)
        books.emit(Dispatch(waiting.run.run_id, container.id, kind, initialize))
        if kind in (StartKind.COLD, StartKind.RECREATED):
            self._prewarming.cold_started(waiting.shape)

    def _initialized(self, event: Initialized, now: float) -> None:
        container = self.containers.by_id.get(event.container_id)
        if container is not None and container.state is ContainerState.WARMING:
            self.containers.lift(container)
            self._warmed_up(container)
            self.containers.put(container)
            self._feed_container(container, now)

    @staticmethod
    def _warmed_up(container: Container) -> None:
        container.step(Step.INITIALIZED)
        if container.active >= container.concurrency:
            container.step(Step.FILLED)

    def _off(self, container_id: str, run_id: str) -> tuple[Waiting | None, Container | None]:
        """The run is no longer on the container: both, as far as they are known. A late word changes nothing."""
        known = self.books.running.get(run_id)
        if known is None or known[0] != container_id:
            return None, None
        del self.books.running[run_id]
        return known[1], self.books.containers.by_id.get(container_id)

    def _done(self, event: RunDone, now: float) -> None:
        books = self.books
        waiting, container = self._off(event.container_id, event.run_id)
        if waiting is not None:
            books.emit(FeedMore())
        if container is None:
            return
        books.containers.lift(container)
        if container.state is ContainerState.WARMING and event.reuse:
            self._warmed_up(container)
        container.active -= 1
        container.last_used = now
        if container.state is ContainerState.BUSY:
            container.step(Step.EASED)
        if not event.reuse:
            container.doomed = True
        books.containers.put(container)
        if container.doomed:
            if container.active == 0:
                books.stop(container, "it must not serve again", now)
            return
        books.timers.set_earliest(("idle", container.id), now + books.settings.idle_timeout)
        self._feed_container(container, now)

    def _feed_container(self, container: Container, now: float, *, fresh: bool = False) -> None:
        """A container can take runs: the oldest that fit, as many as it takes. `fresh`: it has just started."""
        books = self.books
        while True:
            if container.state is ContainerState.PREWARMED:
                waiting = books.buffer.oldest_of_shape(container.shape)
                kind = StartKind.PREWARMED if container.prewarm else StartKind.COLD
                if container.replaces:
                    kind = StartKind.RECREATED
            elif container.spare and container.key is not None:
                waiting = books.buffer.oldest_of_key(container.key)
                kind = StartKind.WARMED if container.state is ContainerState.WARM else StartKind.WARMING
            else:
                return
            if waiting is None or not self._may_serve(container, waiting, fresh):
                return
            self._dispatch(waiting, container, kind, now)

    def _may_serve(self, container: Container, waiting: Waiting, fresh: bool) -> bool:
        """Where containers take no new runs, they still take the one that all this is for, or an older one like it.

        One that has just started takes what is older than that: T was chosen without counting on its room.
        """
        books = self.books
        owner = books.owner()
        if owner is None or container.slot.agent_id != books.draining_agent():
            return True
        if container.shape == owner.shape and container.key in (None, owner.key):
            return True
        return fresh and waiting.place < owner.place

    def _reschedule(self, event: Reschedule, now: float) -> None:
        """The run was not taken: it stands where it stood. Its container is dropped, and told to stop."""
        books = self.books
        waiting, container = self._off(event.container_id, event.run_id)
        if container is not None:
            books.containers.lift(container)
            container.active -= 1
            container.doomed = True
            if container.state is ContainerState.BUSY:
                container.step(Step.EASED)
            books.containers.put(container)
            if container.active == 0:
                books.stop(container, "it could not be reached", now)
        if waiting is not None:
            self._seat(waiting, now)

    def _waited_too_long(self, run_id: str, now: float) -> None:
        books = self.books
        waiting = books.buffer.by_id.get(run_id)
        if waiting is None:
            return
        why = books.explain(waiting).summary if waiting.covered_by is None else "its container is still starting"
        self._fail(waiting, f"no container within {now - waiting.received_at:.0f} s: {why}")

    def _fail(self, waiting: Waiting, message: str) -> None:
        books = self.books
        books.buffer.remove(waiting)
        books.timers.cancel(("max wait", waiting.run.run_id))
        self._starts.served(waiting)
        books.emit(RunFailed(waiting.run.run_id, message))
        books.emit(FeedMore())

    # -- containers

    def _started(self, event: ContainerStarted, now: float) -> None:
        books = self.books
        container = books.containers.by_id.get(event.container_id)
        if container is None or container.state is not ContainerState.STARTING:
            return
        if not books.capacity.credits_stops:
            books.capacity.release(container.id)
        books.containers.lift(container)
        container.slot, container.address = event.slot, event.address
        container.step(Step.STARTED)
        container.last_used = now
        container.expires_at = self._prewarming.expiry(container, now)
        books.containers.put(container)
        self._starts.ended(container)
        books.timers.set_earliest(("idle", container.id), now + books.settings.idle_timeout)
        self._feed_container(container, now, fresh=True)
        self._starts.uncover(container.id)

    def _stopped(self, event: ContainerStopped, now: float) -> None:
        """Gone, whether we stopped it or not. Runs on it are the container's own business to end or to reschedule."""
        container = self.containers.by_id.get(event.container_id)
        if container is None:
            return
        if container.state is ContainerState.STARTING:
            self._did_not_start(container, event.reason)
            return
        self.books.gone(container)
        self._prewarming.removed(container)

    def _start_refused(self, event: StartRefused, now: float) -> None:
        """No failure of anybody: the run keeps its old place, and nothing is acknowledged."""
        container = self.containers.starting.get(event.container_id)
        if container is not None:
            self.books.gone(container)
            self._starts.refused(container, event.reason)
            self._prewarming.not_started(container)

    def _start_failed(self, event: StartFailed, now: float) -> None:
        container = self.containers.starting.get(event.container_id)
        if container is not None:
            self._did_not_start(container, event.reason)

    def _did_not_start(self, container: Container, reason: str) -> None:
        self.books.gone(container)
        for waiting in self._starts.failed(container, reason):
            if waiting.attempts >= self.books.settings.start_attempts:
                self._fail(waiting, f"its container did not start {waiting.attempts} times, lastly: {reason}")
        self._prewarming.not_started(container)

    def _idle_too_long(self, container_id: str, now: float) -> None:
        books = self.books
        container = books.containers.by_id.get(container_id)
        if container is None or container.state in (ContainerState.STOPPING, ContainerState.STARTING):
            return
        over_at = container.last_used + books.settings.idle_timeout
        kept = container.state is ContainerState.PREWARMED and container.prewarm
        if now < over_at:
            books.timers.set(("idle", container_id), over_at)
            return
        if not container.idle or kept:
            books.timers.set(("idle", container_id), now + books.settings.idle_timeout)
            return
        books.stop(container, "idle for too long", now)

    # -- the pass

    def _pass(self, now: float) -> None:
        books = self.books
        again = True
        while again:
            self._eviction.settle(now)
            self._feed_all(now)
            blocked = self._cold_starts.run(now)
            again = self._eviction.settle(now) or (blocked.head is not None and self._eviction.run(blocked.head, now))
        if blocked.head is not None:
            self._eviction.run_behind(blocked.head, blocked.shapes, now)
        if not books.buffer:
            self._prewarming.run(now)
        books.tell(WaitingForRoom(bool(blocked.shapes)))
        if books.settings.pressure_after is not None:
            self._press(bool(blocked.shapes), books.settings.pressure_after, now)

    def _press(self, blocked: bool, after: float, now: float) -> None:
        """Back-pressure: the oldest run is older than `after` seconds, and there is no room."""
        oldest = self.books.buffer.oldest() if blocked else None
        late = oldest is not None and now >= oldest.received_at + after
        self.books.tell(Backpressure(late))
        if oldest is not None and not late:
            self.books.timers.set_earliest("pressure", oldest.received_at + after)

    def _feed_all(self, now: float) -> None:
        """If an agent is no longer draining, its containers take runs again."""
        books = self.books
        if not books.freed:
            return
        books.freed = False
        for waiting in books.buffer:
            container, kind = self._ready_for(waiting)
            if container is not None:
                self._dispatch(waiting, container, kind, now)

"""What the dashboard shows of the past: how activations started over time, and the last launches and activations.

It is recorded all the time, whether anybody looks or not, so its time, entries and texts are bounded.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, cast

import msgspec

from owmesos.core.listings import instant
from owmesos.core.pool.events import START_WORDS, StartKind, StartWord
from owmesos.core.pool.run_buffer import Waiting
from owmesos.documents import StartsDocument, TimelineDocument

INTERVAL = 10.0  # seconds of one count of starts
INTERVALS = 360
"""How many are kept: an hour."""
KEPT = 200
"""Most launches and containers on the timeline, and most activations."""
KEPT_FOR = 900.0  # seconds after their end
NEW_RUNS = 20
"""Most warm activations per second on the timeline, which a busy invoker would otherwise fill in less than one."""
MAX_TEXT = 200  # characters
CANCELLED = "cancelled before it began"
_TIMES = ("waiting_at", "starting_at", "running_at", "ended_at")


class StartInterval(msgspec.Struct):
    """What happened within INTERVAL seconds from `at` on."""

    at: float
    warm: int = 0
    prewarmed: int = 0
    cold: int = 0
    launched: int = 0
    failed: int = 0
    waiting: int = 0  # at its end

    def document(self) -> StartsDocument:
        return cast("StartsDocument", {**msgspec.structs.asdict(self), "at": instant(self.at)})


class StartCounts:
    """Counts of the last hour, without intervals in which nothing happened."""

    def __init__(self) -> None:
        self.intervals: deque[StartInterval] = deque(maxlen=INTERVALS)

    def now(self, now: float, waiting: int) -> StartInterval:
        """The counts to add to. `waiting`: launches and activations that wait for room."""
        at = now - now % INTERVAL
        if not self.intervals or self.intervals[-1].at < at:
            self.intervals.append(StartInterval(at))
        last = self.intervals[-1]
        last.waiting = waiting
        return last

    def documents(self, now: float) -> list[StartsDocument]:
        return [each.document() for each in self.intervals if each.at > now - INTERVAL * INTERVALS]


class Span(msgspec.Struct, kw_only=True):
    """A row of the timeline, with its document's fields in their order. Times are in seconds since the epoch; None if
    it has not happened or is unknown."""

    id: str  # of the launch or activation
    kind: Literal["launch", "container", "activation"]
    name: str  # of the launch, or of the activation's action
    state: str  # a LaunchState, or waiting, starting, running, ended
    start: StartWord | None = None  # of an activation
    agent_id: str | None = None
    hostname: str | None = None
    container_id: str | None = None  # of an activation
    waiting_at: float
    starting_at: float | None = None
    running_at: float | None = None
    ended_at: float | None = None
    failed: bool = False
    message: str | None = None  # why it failed, or that it was cancelled

    def document(self) -> TimelineDocument:
        times = {name: instant(getattr(self, name)) for name in _TIMES}
        return cast("TimelineDocument", {**msgspec.structs.asdict(self), **times})


class Timeline:
    """The launches and activations that changed last."""

    def __init__(self) -> None:
        self._launches: dict[str, Span] = {}  # least recently changed first
        self._runs: dict[str, Span] = {}
        self._initializing: dict[str, str] = {}  # the run for which each container is initialized
        self._second = 0
        self._taken = 0  # warm runs in that second

    def documents(self, now: float) -> list[TimelineDocument]:
        for spans in (self._launches, self._runs):
            for old in [each for each in spans.values() if (each.ended_at or now) < now - KEPT_FOR]:
                del spans[old.id]
        return [each.document() for spans in (self._launches, self._runs) for each in spans.values()]

    # -- launches

    def launch_changed(self, span: Span) -> None:
        span.name = _cut(span.name)
        span.message = _cut(span.message) if span.message else None
        self._put(self._launches, span)

    # -- activations

    def run_waits(self, waiting: Waiting) -> None:
        self._put(self._runs, _span(waiting))

    def run_dispatched(
        self, waiting: Waiting, container_id: str, kind: StartKind, now: float, *, initialize: bool
    ) -> None:
        """The run has got a container. Only NEW_RUNS warm runs per second are shown."""
        word = START_WORDS[kind]
        if word == "warm" and waiting.run.run_id not in self._runs and not self._has_room(now):
            return
        cold_from = max(waiting.received_at, waiting.container_from) if word == "cold" else now
        span = _span(waiting)
        span.state = "starting" if initialize else "running"
        span.starting_at = cold_from if initialize else None
        span.running_at = None if initialize else now
        span.start, span.agent_id, span.container_id = word, waiting.container_on, container_id
        self._put(self._runs, span)
        if initialize:
            self._initializing[container_id] = waiting.run.run_id

    def initialized(self, container_id: str, now: float) -> None:
        span = self._runs.get(self._initializing.pop(container_id, ""))
        if span is not None:
            span.running_at, span.state = now, "running"

    def run_cancelled(self, run_id: str, now: float) -> None:
        """It has not begun, and has not failed."""
        self.run_ended(run_id, now)
        if (span := self._runs.get(run_id)) is not None:
            span.message = CANCELLED

    def run_ended(self, run_id: str, now: float, message: str | None = None) -> None:
        """`message`: why it failed without a container."""
        span = self._runs.get(run_id)
        if span is None:
            return
        if span.container_id is not None:
            self._initializing.pop(span.container_id, None)
        span.state, span.ended_at = "ended", now
        if message is not None:
            span.failed, span.message = True, _cut(message)

    def _has_room(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        self._taken += 1
        return self._taken <= NEW_RUNS

    def _put(self, spans: dict[str, Span], span: Span) -> None:
        spans.pop(span.id, None)
        spans[span.id] = span
        if len(spans) > KEPT:
            dropped = spans.pop(next(iter(spans)))
            self._initializing.pop(dropped.container_id or "", None)


def _span(waiting: Waiting) -> Span:
    run = waiting.run
    return Span(
        id=run.run_id,
        kind="activation",
        name=_cut(run.action.name),
        state="waiting",
        waiting_at=waiting.received_at,
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"

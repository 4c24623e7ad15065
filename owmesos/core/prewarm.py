"""Prewarmed containers: how many there should be of each shape, and when they may start.

The settings are OpenWhisk's (stemCells of the runtimes manifest; PrewarmingConfig). Unlike there, they start only once
NodeStats were seen, only where they are launchable, never ahead of waiting runs, and not into room that was just made.
"""

from __future__ import annotations

import msgspec

from owmesos.core.containers import NEVER, Container, Shape
from owmesos.core.placement import Slot
from owmesos.core.pool_books import PoolBooks
from owmesos.core.starts import Starts
from owmesos.errors import InvalidInput
from owmesos.resources import Ask


class Reactive(msgspec.Struct, frozen=True):
    """Counts follow the cold starts: `increment` for each `threshold` of them, within `min_count` and `max_count`.

    `ttl` in seconds.
    """

    min_count: int
    max_count: int
    ttl: float
    threshold: int
    increment: int

    def __post_init__(self) -> None:
        if not 0 <= self.min_count <= self.max_count or self.threshold < 1 or self.increment < 1 or self.ttl <= 0:
            raise InvalidInput(
                "reactive prewarming needs 0 <= minCount <= maxCount, and threshold, increment and ttl above 0"
            )


class PrewarmSetting(msgspec.Struct, frozen=True):
    """One stem cell."""

    shape: Shape
    initial_count: int
    reactive: Reactive | None = None


class Prewarming:
    """Decides on the books. `check_interval` in seconds; `expiration_limit` bounds the removals of one check."""

    check_interval = 60.0
    expiration_limit = 100

    def __init__(self, books: PoolBooks, starts: Starts, settings: tuple[PrewarmSetting, ...]) -> None:
        self._books = books
        self._starts = starts
        self._settings = settings
        self._desired = {setting.shape: setting.initial_count for setting in settings}
        self._cold: dict[Shape, int] = {}
        self._resting: set[Shape] = set()  # one did not start: no more until the next check
        self._begun = False

    def room_was_seen(self, now: float) -> None:
        """NodeStats came: from now on prewarmed containers may start."""
        if not self._begun and self._settings:
            self._begun = True
            self._books.timers.set("prewarm", now + self.check_interval)

    def expiry(self, container: Container, now: float) -> float:
        """When a prewarmed container that has just started expires."""
        setting = self._of(container.shape)
        if not container.prewarm or setting is None or setting.reactive is None:
            return NEVER
        return now + setting.reactive.ttl

    def cold_started(self, shape: Shape) -> None:
        """A run found no prewarmed container of its shape."""
        if shape in self._desired:
            self._cold[shape] = self._cold.get(shape, 0) + 1

    def not_started(self, container: Container) -> None:
        """One failed or was refused: another one at once would fare alike."""
        if container.prewarm:
            self._resting.add(container.shape)

    def removed(self, container: Container) -> None:
        """One is gone: the count falls back to its floor."""
        setting = self._of(container.shape)
        if setting is not None and container.prewarm and setting.reactive is not None:
            self._desired[container.shape] = max(setting.reactive.min_count, self._cold_demand(setting))

    def check(self, now: float) -> None:
        """Periodically: expire, then count anew from the cold starts of the last interval."""
        self._expire(now)
        for setting in self._settings:
            if setting.reactive is not None:
                self._desired[setting.shape] = self._cold_demand(setting)
        self._cold.clear()
        self._resting.clear()
        self._books.timers.set("prewarm", now + self.check_interval)

    def run(self, now: float) -> None:
        """Start what is missing. Only called while no run waits."""
        books = self._books
        if books.capacity.credits_stops:
            self.room_was_seen(now)
        if not self._begun or not books.capacity.known:
            return
        for setting in self._settings:
            shape = setting.shape
            missing = self._desired[shape] - books.containers.prewarmed_count(shape)
            for _ in range(missing if shape not in self._resting else 0):
                if not self._start(shape, now):
                    break

    def _start(self, shape: Shape, now: float) -> bool:
        books = self._books
        if not self._starts.may_start(now, share=0.5):
            return False
        ask, constraints = books.settings.ask(shape), books.settings.constraints_of(shape)
        slot = books.capacity.find(ask, constraints, avoid=self._starts.avoided(None))
        if slot is None or not self._leaves_room(slot, ask, now):
            return False
        self._starts.start(shape, slot, now, prewarm=True)
        return True

    def _leaves_room(self, slot: Slot, ask: Ask, now: float) -> bool:
        """Soon after an eviction: room for what was evicted for stays, with `ask` taken from `slot`."""
        books = self._books
        pause = books.settings.prewarm_pause
        for shape in [shape for shape, when in books.evicted.items() if when + pause <= now]:
            del books.evicted[shape]
        if not books.evicted:
            return True
        books.capacity.reserve("prewarm?", slot, ask, now)
        stays = all(
            books.capacity.find(books.settings.ask(shape), books.settings.constraints_of(shape)) is not None
            for shape in books.evicted
        )
        books.capacity.release("prewarm?")
        if not stays:
            books.timers.set_earliest("prewarm pause", min(books.evicted.values()) + pause)
        return stays

    def _expire(self, now: float) -> None:
        books = self._books
        for container in books.containers.expired(now)[: self.expiration_limit]:
            books.stop(container, "its time as a prewarmed container is over", now)

    def _cold_demand(self, setting: PrewarmSetting) -> int:
        reactive = setting.reactive
        assert reactive is not None
        cold = self._cold.get(setting.shape, 0)
        if not cold:
            return reactive.min_count
        return min(max(reactive.min_count, cold // reactive.threshold * reactive.increment), reactive.max_count)

    def _of(self, shape: Shape) -> PrewarmSetting | None:
        return next((setting for setting in self._settings if setting.shape == shape), None)

"""Prewarmed containers: how many there should be of each shape, and when they may start.

The settings are OpenWhisk's (stemCells of the runtimes manifest; PrewarmingConfig). Unlike there, they start only once
NodeStats were seen, only where they are launchable, never ahead of waiting runs, and not into room that was just made.
"""

from __future__ import annotations

import msgspec

from owmesos.core.placement import Slot
from owmesos.core.pool.containers import NEVER, Container, ContainerShape
from owmesos.core.pool.starts import Starts
from owmesos.core.pool.state import PoolState, PoolTimer
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

    shape: ContainerShape
    initial_count: int
    reactive: Reactive | None = None


class Prewarm:
    """Decides on the state. `check_interval` in seconds; `expiration_limit` bounds the removals of one check."""

    check_interval = 60.0
    expiration_limit = 100

    def __init__(self, state: PoolState, starts: Starts, settings: tuple[PrewarmSetting, ...]) -> None:
        self._state = state
        self._starts = starts
        self._settings = {setting.shape: setting for setting in settings}
        self._desired = {setting.shape: setting.initial_count for setting in settings}
        self._cold: dict[ContainerShape, int] = {}
        self._resting: set[ContainerShape] = set()  # one did not start: no more until the next check
        self._begun = False

    def room_was_seen(self, now: float) -> None:
        """Note that NodeStats came: from now on prewarmed containers may start."""
        if not self._begun and self._settings:
            self._begun = True
            self._state.timers.set(PoolTimer.PREWARM, now + self.check_interval)

    def expiry(self, container: Container, now: float) -> float:
        """When a prewarmed container that has just started expires."""
        setting = self._settings.get(container.shape)
        if not container.prewarm or setting is None or setting.reactive is None:
            return NEVER
        return now + setting.reactive.ttl

    def cold_started(self, shape: ContainerShape) -> None:
        """Count a run that found no prewarmed container of its shape."""
        if shape in self._desired:
            self._cold[shape] = self._cold.get(shape, 0) + 1

    def not_started(self, container: Container) -> None:
        """Pause after one that failed or was refused: another one at once would fare alike."""
        if container.prewarm:
            self._resting.add(container.shape)

    def removed(self, container: Container) -> None:
        """Let the count fall back to its floor, since one is gone."""
        setting = self._settings.get(container.shape)
        if setting is not None and container.prewarm and setting.reactive is not None:
            self._desired[container.shape] = max(setting.reactive.min_count, self._cold_demand(setting))

    def check(self, now: float) -> None:
        """Expire, then count anew from the cold starts of the last interval. To be called periodically."""
        for container in self._state.containers.expired(now)[: self.expiration_limit]:
            self._state.stop(container, "its time as a prewarmed container is over", now)
        for setting in self._settings.values():
            if setting.reactive is not None:
                self._desired[setting.shape] = self._cold_demand(setting)
        self._cold.clear()
        self._resting.clear()
        self._state.timers.set(PoolTimer.PREWARM, now + self.check_interval)

    def run(self, now: float) -> None:
        """Start what is missing. Only called while no run waits."""
        state = self._state
        if not self._begun or not state.capacity.known:
            return
        for shape in self._settings:
            missing = self._desired[shape] - state.containers.prewarmed_count(shape)
            for _ in range(missing if shape not in self._resting else 0):
                if not self._start(shape, now):
                    break

    def _start(self, shape: ContainerShape, now: float) -> bool:
        state = self._state
        if not self._starts.may_start(now, share=0.5) or self._starts.rests(shape, now):
            return False
        ask = state.ask(shape)
        slot = self._starts.find(shape, self._starts.avoided(), now)
        if slot is None or not self._leaves_room(slot, ask, now):
            return False
        self._starts.start(shape, slot, now, prewarm=True)
        return True

    def _leaves_room(self, slot: Slot, ask: Ask, now: float) -> bool:
        """Whether room stays for what was evicted for a moment ago, with `ask` taken from `slot`."""
        state = self._state
        pause = state.settings.prewarm_pause
        for shape in [shape for shape, when in state.evicted.items() if when + pause <= now]:
            del state.evicted[shape]
        if not state.evicted:
            return True
        state.capacity.reserve("prewarm?", slot, ask, now)
        stays = all(state.find(shape) is not None for shape in state.evicted)
        state.capacity.release("prewarm?")
        if not stays:
            state.timers.set_earliest(PoolTimer.PREWARM_PAUSE, min(state.evicted.values()) + pause)
        return stays

    def _cold_demand(self, setting: PrewarmSetting) -> int:
        reactive = setting.reactive
        assert reactive is not None
        cold = self._cold.get(setting.shape, 0)
        if not cold:
            return reactive.min_count
        return min(max(reactive.min_count, cold // reactive.threshold * reactive.increment), reactive.max_count)

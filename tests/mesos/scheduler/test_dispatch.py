"""Every event and timer has a rule; one without is a fault of ours, and raises."""

from __future__ import annotations

from enum import Enum

import pytest

from owmesos.core.capacity import Capacity
from owmesos.core.ledger import Buffer, Ledger
from owmesos.core.pool.events import PoolEffect, PoolEvent, PoolTick
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.state import PoolTimer
from owmesos.errors import InvariantBroken
from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.messages import Event, FrameworkInfo
from owmesos.mesos.scheduler.effects import Effect
from owmesos.mesos.scheduler.events import Tick
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings
from owmesos.mesos.scheduler.state import SchedulerTimer


class Strange(Event, frozen=True):
    """No event of Mesos or of ours."""


class StrangeForPool(PoolEvent, frozen=True):
    """No event of the pool."""


class StrangeWish(PoolEffect, frozen=True):
    """Nothing that a pool wants."""


class StrangeEffect(Effect, frozen=True):
    """Nothing that a scheduler wants."""


class Unheard(str, Enum):
    TIMER = "unheard of"


def scheduler() -> Scheduler:
    return Scheduler(Settings(), FrameworkInfo("root", "test"))


def pool() -> Pool:
    return Pool(Capacity(Ledger(Buffer())))


def test_an_event_that_the_scheduler_does_not_know_raises() -> None:
    with pytest.raises(InvariantBroken, match="no rule for Strange"):
        scheduler().handle(Strange(), 1.0)


def test_an_event_that_the_pool_does_not_know_raises() -> None:
    with pytest.raises(InvariantBroken, match="no rule for StrangeForPool"):
        pool().handle(StrangeForPool(), 1.0)


def test_an_effect_of_the_pool_that_the_factory_does_not_know_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    its_pool = pool()
    pooled = PooledScheduler(scheduler(), its_pool, lambda start: Launch(command="serve"))
    monkeypatch.setattr(its_pool, "handle", lambda event, now: [StrangeWish()])
    with pytest.raises(InvariantBroken, match="no rule for StrangeWish"):
        pooled.handle(PoolTick(), 1.0)


def test_an_effect_of_the_scheduler_that_the_factory_does_not_know_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    its_scheduler = scheduler()
    pooled = PooledScheduler(its_scheduler, pool(), lambda start: Launch(command="serve"))
    monkeypatch.setattr(its_scheduler, "handle", lambda event, now: [StrangeEffect()])
    with pytest.raises(InvariantBroken, match="no rule for StrangeEffect"):
        pooled.handle(Tick(), 1.0)


def test_the_factory_has_a_rule_for_every_effect_of_the_scheduler() -> None:
    pooled = PooledScheduler(scheduler(), pool(), lambda start: Launch(command="serve"))
    known = {kind for kind in Effect.__subclasses__() if kind.__module__.startswith("owmesos.")}
    assert known == set(pooled._translators)


@pytest.mark.parametrize("made", [scheduler, pool])
def test_a_timer_that_is_not_known_raises(made: object) -> None:
    decisions = made()  # type: ignore[operator]
    decisions.state.timers.set(Unheard.TIMER, 1.0)
    event = next(kind for kind in decisions._handlers if kind.__name__ in ("Tick", "PoolTick"))
    with pytest.raises(InvariantBroken, match="no rule for timer"):
        decisions.handle(event(), 2.0)


def test_every_timer_has_a_rule() -> None:
    assert set(scheduler()._timed) == set(SchedulerTimer)
    assert set(pool()._timed) == set(PoolTimer)


def test_every_event_of_mesos_and_of_the_driver_has_a_rule() -> None:
    known = {kind for kind in Event.__subclasses__() if kind.__module__.startswith("owmesos.mesos.")}
    assert known == set(scheduler()._handlers)


def test_every_event_of_the_pool_has_a_rule() -> None:
    known = {kind for kind in PoolEvent.__subclasses__() if kind.__module__.startswith("owmesos.")}
    assert known < set(pool()._handlers)

"""Histories in which random ones once found a fault of the pool, as they were found."""

from __future__ import annotations

from owmesos.core.ledger import Buffer
from owmesos.core.pool.settings import PoolSettings
from tests.core.pool.test_pool_machine import PoolMachine, QueueingPoolMachine


def begun() -> PoolMachine:
    """What both have in common."""
    state = PoolMachine()
    state.begin(
        sizes=[256],
        chosen=PoolSettings(),
        buffer=Buffer(milli_mem=0, milli_cpus=0, share=0.0),
        prewarm=(),
        settled=True,
    )
    state.container_dies(any_=0)
    state.agent_joins(size=256)
    state.neighbours_are_greedy(idle=0, memory=128, seconds=5.0)
    state.one_comes_back_while_a_container_is_ready()
    return state


def test_a_fresh_container_serves_the_next_run_when_its_node_is_set_aside_for_another() -> None:
    """The node was draining for a run that cannot start: it is given up in the pass that sets it aside anew."""
    state = begun()
    state.agent_leaves(any_=10)
    state.neighbours_are_greedy(idle=3, memory=256, seconds=40.0)
    state.agent_joins(size=1024)
    state.runs_of_an_image(count=3, lasts=30.0, memory=128)
    state.agent_leaves(any_=3)
    state.neighbours(any_=9, mem=512)
    state.container_dies(any_=7)
    state.agent_joins(size=1024)
    state.next_starts(fates=["fails", "fails", "fails"])
    state.image(missing=False)
    state.runs_of_an_image(count=1, lasts=3.0, memory=128)
    state.agent_joins(size=256)
    state.neighbours_are_greedy(idle=0, memory=128, seconds=40.0)
    state.teardown()


def test_a_run_gets_no_more_rounds_by_taking_over_those_of_a_younger_one() -> None:
    """It had two of its own when it took the place of the head of its shape, which had one."""
    state = begun()
    state.next_starts(fates=["refused"])
    state.one_comes_back_while_a_container_is_ready()
    state.wait_long(seconds=20.0)
    state.one_comes_back_while_a_container_is_ready()
    state.agent_leaves(any_=0)
    state.reschedule(any_=7)
    state.container_dies(any_=2)
    state.wait_long(seconds=65.0)
    state.next_starts(fates=["refused", "fails"])
    state.wait_long(seconds=65.0)
    state.one_comes_back_while_a_container_is_ready()
    state.container_dies(any_=5)
    state.next_starts(fates=["starts", "refused", "refused"])
    state.container_dies(any_=2)
    state.reschedule(any_=4)
    state.neighbours_are_greedy(idle=5, memory=128, seconds=40.0)
    state.agent_backs_off(any_=4, closed=True)
    state.one_comes_back_while_a_container_is_ready()
    state.reschedule(any_=7)
    state.wait_long(seconds=65.0)
    state.runs(concurrency=1, count=5, kind="python:3", lasts=3.0, memory=256, name="b")
    state.agent_backs_off(any_=11, closed=False)
    state.neighbours_are_greedy(idle=3, memory=128, seconds=5.0)
    state.reschedule(any_=9)
    state.one_comes_back_while_a_container_is_ready()
    state.reschedule(any_=5)
    state.one_comes_back_while_a_container_is_ready()
    state.container_dies(any_=4)
    state.agent_backs_off(any_=3, closed=True)
    state.container_dies(any_=4)
    state.container_dies(any_=4)
    state.neighbours_are_greedy(idle=1, memory=128, seconds=5.0)
    state.agent_joins(size=512)
    state.agent_leaves(any_=7)
    state.agent_joins(size=1024)
    state.agent_joins(size=256)
    state.neighbours_are_greedy(idle=5, memory=256, seconds=5.0)
    state.runs(concurrency=2, count=1, kind="nodejs:20", lasts=30.0, memory=512, name="a")
    state.reschedule(any_=6)
    state.next_starts(fates=["fails"])
    state.neighbours_are_greedy(idle=0, memory=256, seconds=40.0)
    state.one_comes_back_while_a_container_is_ready()
    state.next_starts(fates=["fails", "fails", "fails"])
    state.neighbours_are_greedy(idle=1, memory=256, seconds=40.0)
    state.teardown()


def test_room_is_made_at_once_for_no_more_runs_than_may_start() -> None:
    """A start that waits for its room counts among them."""
    state = QueueingPoolMachine()
    state.begin(
        sizes=[1024, 256, 1024, 1024],
        chosen=PoolSettings(max_starts=2, max_starts_on_agent=1),
        buffer=Buffer(milli_mem=0, milli_cpus=0, share=0.0),
        prewarm=(),
        settled=True,
    )
    state.runs(name="a", memory=512, kind="python:3", concurrency=1, count=2, lasts=3.0)
    state.runs(name="a", memory=512, kind="python:3", concurrency=1, count=2, lasts=3.0)
    state.runs(name="a", memory=512, kind="python:3", concurrency=1, count=2, lasts=0.1)
    state.runs(name="a", memory=512, kind="python:3", concurrency=3, count=5, lasts=30.0)
    state.runs(name="a", memory=512, kind="python:3", concurrency=2, count=5, lasts=30.0)
    state.teardown()

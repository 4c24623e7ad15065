"""The record of an activation in flight: what may follow what, and what those who wait for it learn."""

from __future__ import annotations

import pytest

from owmesos.errors import InvariantBroken
from owmesos.invoker.in_flight import FOLLOWING, InFlight, InFlightRuns, InFlightState
from owmesos.openwhisk.activation import not_run, success
from tests.openwhisk.runs import activation


@pytest.mark.parametrize("state", InFlightState)
async def test_only_what_the_table_allows_may_follow(state: InFlightState) -> None:
    for after in InFlightState:
        run = InFlight(activation(), 0.0, state=state)
        if after in FOLLOWING[state]:
            run.enter(after)
            assert run.state is after
            continue
        with pytest.raises(InvariantBroken, match=f"is {state.value}, and cannot be {after.value} next"):
            run.enter(after)
        assert run.state is state


def test_whatever_came_can_end() -> None:
    for state in set(InFlightState) - {InFlightState.ENDED, InFlightState.LEFT}:
        assert InFlightState.ENDED in FOLLOWING[state]


async def test_who_waits_is_told_the_result_before_the_end() -> None:
    runs, run = InFlightRuns(), InFlight(activation(), 0.0)
    assert runs.receive(run)
    told = not_run(run.message, success({"n": 1}), 0.0)
    run.answer(told)
    assert run.result.result() is told
    assert not run.ended.done()
    runs.end(run)
    assert run.ended.done()
    assert runs.find(run.run_id) is None


async def test_who_waits_for_what_is_left_to_the_next_process_learns_nothing_and_waits_no_longer() -> None:
    runs, run = InFlightRuns(), InFlight(activation(), 0.0)
    runs.receive(run)
    runs.end(run, state=InFlightState.LEFT)
    assert run.result.result() is None
    assert run.ended.done()


async def test_what_came_before_is_not_received_again() -> None:
    freed: list[int] = []
    runs, message = InFlightRuns(), activation()
    first = InFlight(message, 0.0)
    assert runs.receive(first)
    assert not runs.receive(InFlight(message, 0.0, lambda: freed.append(1)))
    runs.end(first)
    runs.past = {message.activation_id}
    assert not runs.receive(InFlight(message, 0.0, lambda: freed.append(2)))
    assert freed == [1, 2]

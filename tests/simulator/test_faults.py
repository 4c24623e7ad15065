"""Scheduler, simulator and faults together in virtual time: the invariants hold whatever goes wrong."""

from __future__ import annotations

import pytest

from owmesos.mesos.messages import Acknowledge, Call, Decline, Kill, Shutdown
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.simulator.master.effects import MasterAnswer
from tests.simulator.chaos import Chaos

SEEDS = 200
AT_A_TIME = 20


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(each, marks=pytest.mark.one_python) for each in range(AT_A_TIME, SEEDS, AT_A_TIME))]
)
def test_nothing_is_lost_doubled_or_leaked(first: int) -> None:
    happened: dict[str, int] = {}
    ended: dict[State, int] = {}
    for seed in range(first, first + AT_A_TIME):
        chaos = Chaos(seed)
        try:
            for state, count in chaos.run().items():
                ended[state] = ended.get(state, 0) + count
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        for what, count in chaos.faults.counts.items():
            happened[what] = happened.get(what, 0) + count
    assert {
        "cut",
        "slow_reader",
        "rescind",
        "agent_dies",
        "agent_freezes",
        "executor_freezes",
        "fail_over",
    } <= happened.keys()
    assert {"update_repeated", "accept_lost", "answer_lost", "half_open"} <= happened.keys()
    assert ended[State.FINISHED] > AT_A_TIME * 5, "hardly anything ran"


@pytest.mark.parametrize("kinds", [(Decline,), (Kill, Shutdown), (Acknowledge,)])
def test_a_scheduler_that_forgets_a_call_is_found_out(kinds: tuple[type[Call], ...]) -> None:
    """KILL alone would not be: SHUTDOWN comes after it."""
    chaos = Chaos(1)
    taken = chaos.cluster.call
    chaos.cluster.call = lambda framework_id, stream, call: (  # type: ignore[method-assign]
        MasterAnswer(202) if isinstance(call, kinds) else taken(framework_id, stream, call)
    )
    with pytest.raises(AssertionError):
        chaos.run()


def test_the_same_seed_is_the_same_run() -> None:
    first, second = Chaos(7), Chaos(7)
    assert first.run() == second.run()
    assert first.faults.counts == second.faults.counts
    assert first.ours.calls == second.ours.calls

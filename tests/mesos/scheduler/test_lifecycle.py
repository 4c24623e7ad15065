from __future__ import annotations

import re

import msgspec
import pytest

from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import STORY_LIMIT, LaunchRecord
from owmesos.mesos.scheduler.lifecycle import (
    ENDED,
    LIVE,
    TRANSITIONS,
    WAITING,
    IllegalTransition,
    State,
    Trigger,
    target,
)
from tests.docs.test_design import life_cycle

EVERY_STEP = [(state, trigger) for state in State for trigger in Trigger]
LEGAL = [(state, trigger) for state, trigger in EVERY_STEP if trigger in TRANSITIONS[state]]
ILLEGAL = [(state, trigger) for state, trigger in EVERY_STEP if trigger not in TRANSITIONS[state]]


def record(state: State, *, ran: bool = False) -> LaunchRecord:
    launch = Launch(command="true")
    return LaunchRecord(
        id="L1",
        launch=launch,
        ask=launch.ask(),
        template="",
        place=0,
        submitted_at=0.0,
        state=state,
        started_at=1.0 if ran else None,
    )


class TestTable:
    def test_every_state_waits_lives_or_has_ended(self) -> None:
        assert sorted([*WAITING, *LIVE, *ENDED]) == sorted(State)

    @pytest.mark.parametrize("state", sorted(ENDED))
    def test_nothing_follows_an_end(self, state: State) -> None:
        assert TRANSITIONS[state] == {}

    @pytest.mark.parametrize("state", sorted(WAITING | LIVE))
    def test_every_other_state_can_end(self, state: State) -> None:
        ends = {to for to in TRANSITIONS[state].values() if to.ended}
        assert {State.FAILED, State.KILLED, State.ERROR} <= ends

    def test_a_launch_runs_only_by_way_of_an_accept(self) -> None:
        for state in WAITING:
            assert Trigger.RAN not in TRANSITIONS[state]
            assert Trigger.STAGED not in TRANSITIONS[state]
        entries = [state for state, row in TRANSITIONS.items() if State.SUBMITTED in row.values()]
        assert entries == [State.RESERVED]

    def test_what_ran_is_never_queued_again(self) -> None:
        for state in State:
            assert target(state, Trigger.REQUEUED, ran=True) is None
        assert target(State.RUNNING, Trigger.REQUEUED, ran=False) is None
        for state in (State.SUBMITTED, State.STAGING, State.UNREACHABLE):
            assert target(state, Trigger.REQUEUED, ran=False) is State.PENDING

    def test_what_ran_does_not_stage_again(self) -> None:
        assert target(State.UNREACHABLE, Trigger.STAGED, ran=True) is None
        assert target(State.UNREACHABLE, Trigger.STAGED, ran=False) is State.STAGING
        assert target(State.UNREACHABLE, Trigger.RAN, ran=True) is State.RUNNING

    def test_the_diagram_draws_each_step_of_the_table(self) -> None:
        text = life_cycle()
        for state, row in TRANSITIONS.items():
            for trigger, to in row.items():
                arrow = rf"{state.value} --> (\[\*\]: .*{trigger.value} → )?{to.value}"
                assert re.search(arrow, text), (state, trigger)


class TestOwnSteps:
    @pytest.mark.parametrize(("state", "trigger"), ILLEGAL)
    def test_an_illegal_one_raises_and_changes_nothing(self, state: State, trigger: Trigger) -> None:
        launch = record(state)
        before = msgspec.json.encode(launch)
        with pytest.raises(IllegalTransition, match=f"L1 .*{trigger.value}.*{state.value}"):
            launch.step(trigger, 5.0, "text")
        assert msgspec.json.encode(launch) == before

    @pytest.mark.parametrize(("state", "trigger"), LEGAL)
    def test_a_legal_one_is_made_and_told(self, state: State, trigger: Trigger) -> None:
        launch = record(state)
        launch.step(trigger, 5.0, "text")
        assert launch.state is TRANSITIONS[state][trigger]
        assert [(line.at, line.state, line.text) for line in launch.story] == [(5.0, launch.state, "text")]


class TestWhatTheClusterReports:
    @pytest.mark.parametrize(("state", "trigger"), ILLEGAL)
    def test_what_does_not_fit_is_told_and_changes_nothing(self, state: State, trigger: Trigger) -> None:
        launch = record(state)
        assert not launch.observe(trigger, 5.0, "text")
        assert launch.state is state
        assert [line.text for line in launch.story] == ["ignored: text"]

    @pytest.mark.parametrize(("state", "trigger"), LEGAL)
    def test_what_fits_is_taken(self, state: State, trigger: Trigger) -> None:
        launch = record(state)
        assert launch.observe(trigger, 5.0, "text")
        assert launch.state is TRANSITIONS[state][trigger]

    def test_a_loss_after_running_does_not_queue_it(self) -> None:
        launch = record(State.UNREACHABLE, ran=True)
        assert not launch.observe(Trigger.REQUEUED, 5.0, "TASK_LOST")
        assert launch.state is State.UNREACHABLE


class TestStory:
    def test_it_keeps_its_beginning_and_its_end(self) -> None:
        launch = record(State.PENDING)
        for number in range(3 * STORY_LIMIT):
            launch.add_story_line(float(number), f"line {number}")
        assert len(launch.story) <= STORY_LIMIT
        assert [line.text for line in launch.story[:10]] == [f"line {number}" for number in range(10)]
        assert launch.story[-1].text == f"line {3 * STORY_LIMIT - 1}"

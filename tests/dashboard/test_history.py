"""What is kept of the past: bounded, and cut."""

from __future__ import annotations

import pytest

from owmesos.core.pool.containers import ActionKey, ContainerShape, PoolAction
from owmesos.core.pool.events import START_WORDS, Run, StartKind
from owmesos.core.pool.run_buffer import Waiting
from owmesos.dashboard.history import INTERVAL, INTERVALS, KEPT, KEPT_FOR, MAX_TEXT, NEW_RUNS, StartCounts, Timeline
from owmesos.documents import StartsDocument, TimelineDocument

SHAPE = ContainerShape("python:3", 256)


def waiting(run_id: str, *, name: str = "hello", received_at: float = 100.0, made_at: float = 0.0) -> Waiting:
    run = Run(run_id, PoolAction(name, "0.0.1", SHAPE), "guest")
    key = ActionKey("guest", name, "0.0.1")
    return Waiting(run, 0, key, received_at, 1e9, container_from=made_at, container_on="S1")


def shown(timeline: Timeline, now: float = 200.0) -> dict[str, dict[str, object]]:
    return {row["id"]: dict(row) for row in timeline.documents(now)}


def test_starts_are_counted_in_intervals() -> None:
    counts = StartCounts()
    counts.now(100.0, 3).cold += 1
    counts.now(109.9, 2).cold += 1
    counts.now(130.0, 0).warm += 1
    rows = counts.documents(130.0)
    assert [(row["at"], row["cold"], row["warm"], row["waiting"]) for row in rows] == [
        ("1970-01-01T00:01:40.000Z", 2, 0, 2),
        ("1970-01-01T00:02:10.000Z", 0, 1, 0),
    ]


def test_rows_have_the_fields_of_their_documents_in_order() -> None:
    counts, timeline = StartCounts(), Timeline()
    counts.now(100.0, 3)
    timeline.run_waits(waiting("a"))
    assert list(counts.documents(100.0)[0]) == list(StartsDocument.__annotations__)
    assert list(timeline.documents(100.0)[0]) == list(TimelineDocument.__annotations__)


def test_counts_end_after_an_hour() -> None:
    counts = StartCounts()
    for number in range(INTERVALS + 5):
        counts.now(number * INTERVAL, 0).cold += 1
    assert len(counts.intervals) == INTERVALS
    assert len(counts.documents((INTERVALS + 5) * INTERVAL)) == INTERVALS - 1
    assert counts.documents(1e9) == []


def test_a_cold_activation_waits_starts_runs_and_ends() -> None:
    timeline = Timeline()
    timeline.run_waits(waiting("a"))
    assert shown(timeline)["a"]["state"] == "waiting"
    timeline.run_dispatched(waiting("a", made_at=101.0), "c1", StartKind.COLD, 103.0, initialize=True)
    assert shown(timeline)["a"]["state"] == "starting"
    timeline.initialized("c1", 104.0)
    timeline.run_ended("a", 105.0)
    row = shown(timeline)["a"]
    assert {key: row[key] for key in ("state", "start", "agent_id", "container_id", "failed")} == {
        "state": "ended",
        "start": "cold",
        "agent_id": "S1",
        "container_id": "c1",
        "failed": False,
    }
    times = [str(row[key])[17:19] for key in ("waiting_at", "starting_at", "running_at", "ended_at")]
    assert times == ["40", "41", "44", "45"]


def test_a_run_without_a_container_has_failed() -> None:
    timeline = Timeline()
    timeline.run_waits(waiting("a"))
    timeline.run_ended("a", 160.0, "no container within 60 s")
    assert shown(timeline)["a"]["failed"] is True
    assert shown(timeline)["a"]["message"] == "no container within 60 s"


def test_a_run_that_is_cancelled_has_ended_and_not_failed() -> None:
    timeline = Timeline()
    timeline.run_waits(waiting("a"))
    timeline.run_cancelled("a", 160.0)
    row = shown(timeline)["a"]
    assert (row["state"], row["failed"], row["message"]) == ("ended", False, "cancelled before it began")


def test_the_timeline_is_bounded_and_drops_what_changed_first() -> None:
    timeline = Timeline()
    for number in range(KEPT + 50):
        timeline.run_waits(waiting(f"r{number}"))
    rows = shown(timeline)
    assert len(rows) == KEPT
    assert "r0" not in rows
    assert f"r{KEPT + 49}" in rows


def test_what_ended_long_ago_goes() -> None:
    timeline = Timeline()
    timeline.run_waits(waiting("a"))
    timeline.run_waits(waiting("b"))
    timeline.run_ended("a", 110.0)
    assert set(shown(timeline, 110.0 + KEPT_FOR + 1)) == {"b"}


def test_of_many_warm_activations_some_are_shown() -> None:
    timeline = Timeline()
    for number in range(NEW_RUNS * 3):
        timeline.run_dispatched(waiting(f"r{number}"), "c1", StartKind.WARMED, 100.5, initialize=False)
    timeline.run_dispatched(waiting("cold"), "c2", StartKind.COLD, 100.6, initialize=True)
    assert len(shown(timeline)) == NEW_RUNS + 1
    timeline.run_dispatched(waiting("later"), "c1", StartKind.WARMED, 101.5, initialize=False)
    assert "later" in shown(timeline)


def test_a_long_name_is_cut() -> None:
    timeline = Timeline()
    timeline.run_waits(waiting("a", name="x" * 5000))
    assert len(str(shown(timeline)["a"]["name"])) == MAX_TEXT


@pytest.mark.parametrize("kind", list(StartKind))
def test_every_start_kind_has_a_word(kind: StartKind) -> None:
    assert START_WORDS[kind] in ("warm", "prewarmed", "cold")

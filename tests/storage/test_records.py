"""From stored rows to launches: one that cannot be read costs no other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.mesos.scheduler.launches import MAX_ATTEMPTS
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.storage.records import read
from tests.json_faults import faulty
from tests.storage.records import a_record

GOOD = msgspec.json.decode(a_record("launch-2", 1).stored_form())


def row(document: Any) -> tuple[object, object]:
    return "launch-2", msgspec.json.encode(document)


@given(faulty(GOOD))
def test_whatever_a_record_holds_the_others_are_read(document: Any) -> None:
    first, last = a_record("launch-1", 0), a_record("launch-3", 2)
    records, unreadable = read([("launch-1", first.stored_form()), row(document), ("launch-3", last.stored_form())])
    assert first in records
    assert last in records
    assert len(records) + len(unreadable) == 3
    assert all("\n" not in each.reason for each in unreadable)


@given(st.one_of(st.binary(max_size=50), st.text(max_size=50), st.integers(), st.none(), st.floats()))
def test_whatever_a_row_holds_it_is_set_aside(data: object) -> None:
    records, unreadable = read([("launch-1", data)])
    assert not records
    assert [each.launch_id for each in unreadable] == ["launch-1"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "launch-9"}, "it holds another launch"),
        ({"attempts": 10**12}, f"attempts must be 0 to {MAX_ATTEMPTS}"),
        ({"attempts": -1}, "attempts"),
        ({"attempts": 3}, "task_id 'launch-2.2' is not that of its attempt 3"),
        ({"place": 10**30}, "place"),
        ({"submitted_at": 1e300}, "submitted_at"),
        ({"submitted_at": -1.0}, "submitted_at"),
        ({"started_at": 1e15}, "started_at"),
        ({"agent_id": None}, "on no agent"),
        ({"resources": None}, "on no agent, or with no resources"),
        ({"resources": {"ports": {"ranges": [[32000, 70000]]}}}, "not a range of ports"),
        ({"resources": {"ports": {"ranges": [[5, 6], [1, 2]]}}}, "ports are not in order"),
        ({"ask": {"milli_cpus": 10**300}}, "milli_cpus"),
        ({"ask": {"ports": 10**9}}, "ports"),
        ({"launch": GOOD["launch"] | {"deadline": 1e15}}, "deadline"),
        ({"launch": GOOD["launch"] | {"kill_grace": 1e300}}, "kill_grace"),
        ({"launch": GOOD["launch"] | {"command": "a\0b"}}, "NUL"),
        ({"constraints": [{"attribute": "a", "operator": "LIKE", "value": "(?=x)"}]}, "bad pattern"),
        ({"state": "SLEEPING"}, "SLEEPING"),
    ],
)
def test_what_no_decision_could_be_made_on_is_set_aside(change: dict[str, Any], reason: str) -> None:
    _, unreadable = read([row(GOOD | change)])
    assert len(unreadable) == 1
    assert reason in unreadable[0].reason


def test_two_launches_in_one_place_of_the_queue() -> None:
    rows = [(name, a_record(name, 5).stored_form()) for name in ("b", "a")]
    records, unreadable = read(rows)
    assert [record.id for record in records] == ["a"]
    assert unreadable == [("b", "its place 5 is that of launch a")]


def test_an_ended_launch_needs_no_place() -> None:
    ended = a_record("b", 5)
    ended.state = State.FINISHED
    records, unreadable = read([("a", a_record("a", 5).stored_form()), ("b", ended.stored_form())])
    assert [record.id for record in records] == ["a", "b"]
    assert not unreadable

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.core.constraints import Constraint
from owmesos.core.placement import Slot
from owmesos.errors import InvalidInput, InvariantBroken
from owmesos.mesos.scheduler.launch import MAX_CONSTRAINTS, MAX_ENTRIES, MAX_PORTS, MAX_STRING, Launch
from owmesos.mesos.scheduler.launches import LaunchRecord, Queue
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.resources import Ask, Resources


def record(
    place: int, *, mem: float = 64.0, constraints: tuple[str, ...] = (), role: str | None = None
) -> LaunchRecord:
    launch = Launch(command="true", mem=mem, constraints=constraints, role=role)
    return LaunchRecord(
        id=f"L{place}",
        launch=launch,
        ask=launch.ask(),
        template="{}",
        place=place,
        submitted_at=10.0,
        constraints=launch.parsed_constraints(),
    )


def queue_of(*records: LaunchRecord) -> Queue:
    queue = Queue()
    for each in records:
        queue.add(each)
    return queue


class TestQueue:
    def test_the_order_is_that_of_the_places(self) -> None:
        queue = queue_of(record(3), record(1, mem=32), record(2))
        assert [each.id for each in queue] == ["L1", "L2", "L3"]
        head = queue.head()
        assert head is not None
        assert head.id == "L1"

    def test_what_returns_stands_where_it_stood(self) -> None:
        first, second = record(1), record(2)
        queue = queue_of(first, second)
        queue.remove(first)
        assert queue.position(first) is None
        assert queue.position(second) == 0
        queue.add(first)
        assert [queue.position(first), queue.position(second)] == [0, 1]

    def test_nothing_stands_in_it_twice(self) -> None:
        queue = queue_of(record(1))
        with pytest.raises(InvariantBroken, match="L1"):
            queue.add(record(1))

    def test_removing_what_is_not_there_does_no_harm(self) -> None:
        queue = Queue()
        queue.remove(record(1))
        assert len(queue) == 0
        assert queue.head() is None

    def test_a_pass_asks_for_a_shape_until_it_fails_once(self) -> None:
        queue = queue_of(record(1), record(2, mem=512), record(3), record(4, mem=512), record(5))
        asked = []
        for each, skipped in queue.in_order():
            asked.append(each.id)
            if each.ask.milli_mem == 512_000:
                skipped.add(each.shape)
        assert asked == ["L1", "L2", "L3", "L5"]

    def test_a_pass_may_take_out_what_it_was_given(self) -> None:
        queue = queue_of(*(record(place) for place in range(5)))
        for each, _ in queue.in_order():
            queue.remove(each)
        assert len(queue) == 0
        assert queue.shapes() == []

    @given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([32, 64, 128])), unique_by=lambda pair: pair[0]))
    def test_a_pass_goes_by_place_whatever_the_shapes(self, wanted: list[tuple[int, int]]) -> None:
        queue = queue_of(*(record(place, mem=mem) for place, mem in wanted))
        assert [each.place for each, _ in queue.in_order()] == sorted(place for place, _ in wanted)


class TestShape:
    def test_constraints_in_another_order_are_the_same_shape(self) -> None:
        one = record(1, constraints=("rack == r1", "@hostname != h1"))
        other = record(2, constraints=("@hostname != h1", "rack == r1"))
        assert one.shape == other.shape

    def test_another_role_is_another_shape(self) -> None:
        assert record(1, role="web").shape != record(2).shape


class TestRecord:
    def test_it_is_the_same_after_it_was_stored(self) -> None:
        kept = record(7, constraints=("rack LIKE r[12]",), role="web")
        kept.state, kept.attempts, kept.task_id = State.STAGING, 2, "L7.2"
        kept.agent_id, kept.role, kept.hostname = "S1", "web", "h1"
        kept.resources = Resources.of(cpus=0.1, mem=64, ports=[(31000, 31001)])
        kept.offer_ids, kept.accepted_at = ("O1", "O2"), 12.5
        kept.add_story_line(13.0, "text")
        stored = msgspec.json.encode(kept)
        again = msgspec.json.decode(stored, type=LaunchRecord)
        assert msgspec.json.encode(again) == stored
        assert (again.slot, again.shape, again.story) == (kept.slot, kept.shape, kept.story)

    def test_its_slot_is_known_once_it_was_accepted(self) -> None:
        launch = record(1)
        assert launch.slot is None
        launch.agent_id, launch.role = "S1", "web"
        assert launch.slot == Slot("S1", "web")

    def test_the_deadline_counts_from_when_it_was_asked_for(self) -> None:
        assert record(1).deadline_at == 310.0


class TestLaunch:
    @pytest.mark.parametrize(
        ("asked", "text"),
        [
            ({"cpus": -1}, "cpus"),
            ({"mem": float("nan")}, "mem"),
            ({"disk": float("inf")}, "disk"),
            ({"ports": -1}, "ports"),
            ({"ports": 1.5}, "ports"),
            ({"cpus": 0, "mem": 0}, "needs cpus"),
            ({"constraints": "rack == r1"}, "constraints is a list"),
            ({"constraints": ["rack IS r1"]}, "operator"),
            ({"name": "no/slash"}, "name"),
            ({"deadline": 0}, "deadline"),
            ({"deadline": float("inf")}, "deadline"),
            ({"kill_grace": -1}, "kill_grace"),
            ({"command": None, "image": "busybox", "arguments": ["x"]}, "arguments"),
            ({"containerizer": "rkt"}, "containerizer"),
            ({"env": {"A": 1}}, "env"),
            ({"container_ports": [80]}, "container_ports"),
            ({"ports": 1, "container_ports": [70000]}, "container port"),
            ({"cpus": 10**400}, "cpus must be 0 to"),
            ({"ports": 10**400}, "ports must be 0 to 10000"),
            ({"ports": MAX_PORTS + 1}, "ports must be 0 to 10000, not 10001"),
            ({"deadline": 1e15}, "deadline must be 0.001 to 31536000, not 1e\\+15"),
            ({"deadline": 1e-300}, "deadline"),
            ({"deadline": "5"}, "deadline must be a finite number"),
            ({"kill_grace": 1e300}, "kill_grace must be 0 to 31536000, not 1e\\+300"),
            ({"kill_grace": 10**400}, "kill_grace"),
            ({"name": 5}, "name"),
            ({"command": 5}, "command must be a text"),
            ({"command": "a\0b"}, "command must not contain a NUL character"),
            ({"command": "\ud800"}, "command is not valid Unicode"),
            ({"command": "x" * (MAX_STRING + 1)}, "command has 131072 bytes"),
            ({"arguments": ["x", "a\0"]}, "argument 2 must not contain a NUL"),
            ({"arguments": [5]}, "argument 1 must be a text"),
            ({"arguments": ["x"] * (MAX_ENTRIES + 1)}, "arguments has 10001 entries"),
            ({"arguments": ["x" * 100_000] * 11}, "texts of a launch have 1100004 bytes"),
            ({"env": {"A": "\0"}}, "A in env must not contain a NUL"),
            ({"env": {"A\0": "1"}}, "a name in env must not contain a NUL"),
            ({"env": {"A=B": "1"}}, "'A=B' in env is not a name"),
            ({"env": {"": "1"}}, "'' in env is not a name"),
            ({"env": {"A": "x" * MAX_STRING}}, "A in env has 131071 bytes"),
            ({"env": [("A", "1")]}, "env maps names to texts"),
            ({"labels": {"a": "\0"}}, "labels must not contain a NUL"),
            ({"labels": {"a": "\udfff"}}, "labels is not valid Unicode"),
            ({"docker_parameters": {"a": "\0"}}, "docker_parameters must not contain a NUL"),
            ({"uris": ["http://x/\0"]}, "a uri must not contain a NUL"),
            ({"uris": "http://x"}, "uris is a list"),
            ({"user": "ro\0ot"}, "user must not contain a NUL"),
            ({"image": "web\0"}, "image must not contain a NUL"),
            ({"image": "x" * 5000}, "image has 5000 bytes"),
            ({"image": "web", "network": "n\0"}, "network must not contain a NUL"),
            ({"role": "\0"}, "role must not contain a NUL"),
            ({"constraints": ["rack == \0"]}, "a constraint must not contain a NUL"),
            ({"constraints": [f"rack != r{n}" for n in range(MAX_CONSTRAINTS + 1)]}, "constraints has 101 entries"),
            ({"constraints": [5]}, "a constraint must be a text"),
            ({"container_ports": 80}, "container_ports is a list"),
        ],
    )
    def test_what_cannot_be_is_refused_in_one_line(self, asked: dict[str, object], text: str) -> None:
        with pytest.raises(InvalidInput, match=text) as refused:
            Launch(**{"command": "true", **asked})  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)

    def test_what_it_asks_for_is_exact_in_thousandths(self) -> None:
        assert Launch(command="true", cpus=0.1, mem=64, ports=2).ask() == Ask(100, 64_000, ports=2)

    def test_its_command_may_stand_first(self) -> None:
        assert Launch("true", cpus=1) == Launch(command="true", cpus=1)

    def test_the_same_constraint_twice_is_one(self) -> None:
        launch = Launch(command="true", constraints=["rack == r1", "rack == r1"])
        assert launch.parsed_constraints() == (Constraint("rack", "==", "r1"),)


def test_a_launch_whose_edit_sets_its_executor_can_be_stored_and_read_again() -> None:
    launch = Launch(cpus=1, task_info=lambda info: info)
    record = LaunchRecord(id="l", launch=launch, ask=launch.ask(), template="{}", place=0, submitted_at=0.0)
    again = msgspec.json.decode(record.stored_form(), type=LaunchRecord)
    assert again.launch == Launch(cpus=1)
    assert again.ask == record.ask

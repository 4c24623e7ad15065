from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.core.constraints import Constraint
from owmesos.core.launch import Launch
from owmesos.core.launches import LaunchRecord, Queue
from owmesos.core.lifecycle import State
from owmesos.core.placement import Slot
from owmesos.errors import InvalidInput, InvariantBroken
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
        kept.tell(13.0, "text")
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
            ({"constraints": "rack == r1"}, "lists"),
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
        ],
    )
    def test_what_cannot_be_is_refused_in_one_line(self, asked: dict[str, object], text: str) -> None:
        with pytest.raises(InvalidInput, match=text) as refused:
            Launch(**{"command": "true", **asked})  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)

    def test_what_it_asks_for_is_exact_in_thousandths(self) -> None:
        assert Launch(command="true", cpus=0.1, mem=64, ports=2).ask() == Ask(100, 64_000, ports=2)

    def test_the_same_constraint_twice_is_one(self) -> None:
        launch = Launch(command="true", constraints=["rack == r1", "rack == r1"])
        assert launch.parsed_constraints() == (Constraint("rack", "==", "r1"),)


def test_a_launch_whose_edit_sets_its_executor_can_be_stored_and_read_again() -> None:
    launch = Launch(cpus=1, task_info=lambda info: info)
    record = LaunchRecord(id="l", launch=launch, ask=launch.ask(), template="{}", place=0, submitted_at=0.0)
    again = msgspec.json.decode(record.stored_form(), type=LaunchRecord)
    assert again.launch == Launch(cpus=1)
    assert again.ask == record.ask

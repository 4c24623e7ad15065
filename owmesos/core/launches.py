"""The launches that are known: each one's record and story, and the queue of those that wait.

The record is what is stored, so it holds everything that a restarted process needs. The queue keeps its order by
`place`, which a launch keeps for life: a requeued launch returns to where it stood. Launches of one shape (same ask,
constraints and role) fail alike, so a pass over the queue asks for each shape only until it fails once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from sortedcontainers import SortedDict

from owmesos.core.constraints import Constraint
from owmesos.core.launch import Launch
from owmesos.core.lifecycle import IllegalTransition, State, Trigger, target
from owmesos.core.placement import Slot
from owmesos.errors import InvariantBroken
from owmesos.resources import Ask, Resources

STORY_LIMIT = 200


class StoryLine(msgspec.Struct, frozen=True, gc=False):
    """What happened at `at` (seconds), and the state after it."""

    at: float
    state: State
    text: str


class LaunchRecord(msgspec.Struct):
    """All that is known of one launch. Times are seconds since the epoch.

    `template` is the cluster manager's own form of the task, as JSON, without what an attempt adds. `attempts` counts
    task ids; `alone` asks for an ACCEPT of its own after the master refused one that held it.
    `given_up` says that the launch ended while its last task may still live. A `managed` launch is decided on by the
    pool: when it cannot be placed it ends, and the pool decides again.
    """

    id: str
    launch: Launch
    ask: Ask
    template: str
    place: int
    submitted_at: float
    constraints: tuple[Constraint, ...] = ()
    state: State = State.PENDING
    attempts: int = 0
    task_id: str | None = None
    agent_id: str | None = None
    hostname: str | None = None
    role: str | None = None
    resources: Resources | None = None
    offer_ids: tuple[str, ...] = ()
    queued_at: float = 0.0
    accepted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    unreachable_at: float | None = None
    kill_requested_at: float | None = None
    overdue: bool = False
    alone: bool = False
    given_up: bool = False
    managed: bool = False
    reason: str | None = None
    message: str | None = None
    story: list[StoryLine] = []

    @property
    def ran(self) -> bool:
        return self.started_at is not None

    @property
    def deadline_at(self) -> float:
        return self.submitted_at + self.launch.deadline

    @property
    def slot(self) -> Slot | None:
        """Where its current attempt is, once it was accepted."""
        if self.agent_id is None or self.role is None:
            return None
        return Slot(self.agent_id, self.role)

    @property
    def shape(self) -> Shape:
        return Shape(self.ask, self.constraints, self.launch.role)

    def tell(self, now: float, text: str) -> None:
        """Write a line into the story. The oldest but the first few go when it grows too long."""
        self.story.append(StoryLine(now, self.state, text))
        if len(self.story) > STORY_LIMIT:
            del self.story[10 : 10 + STORY_LIMIT // 4]

    def stored_form(self) -> bytes:
        """The record as JSON. The launch's `task_info` is not in it: its effect is in the template."""
        launch = self.launch
        if launch.task_info is not None:
            launch = msgspec.structs.replace(launch, task_info=None)
        return msgspec.json.encode(msgspec.structs.replace(self, launch=launch))

    def step(self, trigger: Trigger, now: float, text: str) -> None:
        """A step of ours. Raises IllegalTransition, and then nothing changed."""
        to = target(self.state, trigger, ran=self.ran)
        if to is None:
            raise IllegalTransition(f"launch {self.id} cannot be {trigger.value} while {self.state.value}")
        self.state = to
        self.tell(now, text)

    def observe(self, trigger: Trigger, now: float, text: str) -> bool:
        """A step that the cluster reports. False, and only a line in the story, when the table does not have it."""
        to = target(self.state, trigger, ran=self.ran)
        if to is None:
            self.tell(now, f"ignored: {text}")
            return False
        self.state = to
        self.tell(now, text)
        return True


class Shape(NamedTuple):
    """What decides where a launch fits."""

    ask: Ask
    constraints: tuple[Constraint, ...]
    role: str | None


class Queue:
    """The launches that wait for room (PENDING and RESERVED), in the order of their places."""

    def __init__(self) -> None:
        self._shapes: dict[Shape, SortedDict[int, LaunchRecord]] = {}
        self._places: SortedDict[int, LaunchRecord] = SortedDict()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[LaunchRecord]:
        return iter(list(self._places.values()))

    def add(self, record: LaunchRecord) -> None:
        if record.place in self._places:
            raise InvariantBroken(f"launch {record.id} is in the queue twice")
        self._places[record.place] = record
        self._shapes.setdefault(record.shape, SortedDict())[record.place] = record

    def remove(self, record: LaunchRecord) -> None:
        if self._places.pop(record.place, None) is None:
            return
        same = self._shapes[record.shape]
        del same[record.place]
        if not same:
            del self._shapes[record.shape]

    def head(self) -> LaunchRecord | None:
        return self._places.peekitem(0)[1] if self._places else None

    def position(self, record: LaunchRecord) -> int | None:
        """0 for the head; None when it does not wait."""
        return self._places.index(record.place) if record.place in self._places else None

    def shapes(self) -> list[Shape]:
        return list(self._shapes)

    def in_order(self) -> Iterator[tuple[LaunchRecord, set[Shape]]]:
        """Each launch in order, with a set: a shape put into it is passed over from then on.

        The queue may lose the launch that was just given; nothing else may change meanwhile.
        """
        skipped: set[Shape] = set()
        heap: list[tuple[int, int, Shape]] = []
        waiting = {shape: list(same) for shape, same in self._shapes.items()}
        for number, (shape, places) in enumerate(waiting.items()):
            places.reverse()
            heap.append((places.pop(), number, shape))
        heapq.heapify(heap)
        while heap:
            place, number, shape = heap[0]
            if shape in skipped:
                heapq.heappop(heap)
                continue
            places = waiting[shape]
            if places:
                heapq.heapreplace(heap, (places.pop(), number, shape))
            else:
                heapq.heappop(heap)
            record = self._places.get(place)
            if record is not None:
                yield record, skipped

"""The launches that are known: each one's record and story, and the queue of those that wait.

The record is what is stored, so it holds everything that a restarted process needs. The queue keeps its order by
`place`, which a launch keeps for life: a requeued launch returns to where it stood. Launches of one shape (same ask,
constraints and role) fail alike, so a pass over the queue asks for each shape only until it fails once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec
from sortedcontainers import SortedDict

from owmesos.core.constraints import Constraint
from owmesos.core.placement import Slot
from owmesos.core.texts import check_text
from owmesos.errors import InvalidInput, InvariantBroken
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.lifecycle import IllegalTransition, State, Trigger, target
from owmesos.resources import Ask, Resources, check_number

STORY_LIMIT = 200  # lines
MAX_LINE = 4096
"""Characters of one line of a story, and of a message: an executor may send megabytes."""
MAX_ATTEMPTS = 10**9
MAX_PLACE = 2**60
MAX_TIME = 200_000_000_000.0
"""Seconds of the epoch: the year 8307."""


class StoryLine(msgspec.Struct, frozen=True, gc=False):
    """What happened at `at` (seconds), and the state after it."""

    at: float
    state: State
    text: str


class LaunchRecord(msgspec.Struct):
    """All that is known of one launch. Times are seconds since the epoch. From `task_id` to `offer_ids` it is about the
    latest attempt, and None or empty before the first.
    """

    id: str
    launch: Launch
    ask: Ask  # with what its executor takes
    template: str  # the TaskInfo as JSON, without what an attempt adds
    place: int  # in the queue, for life
    submitted_at: float
    constraints: tuple[Constraint, ...] = ()
    state: State = State.PENDING
    attempts: int = 0  # task ids that were given
    task_id: str | None = None
    agent_id: str | None = None
    hostname: str | None = None
    role: str | None = None  # the allocation role of its offers
    resources: Resources | None = None  # with the ports that it got
    offer_ids: tuple[str, ...] = ()  # of its ACCEPT
    queued_at: float = 0.0  # since when it waits
    accepted_at: float | None = None  # when its ACCEPT was made
    delivered: bool = False  # an executor is known to have had its task
    started_at: float | None = None  # first seen running
    ended_at: float | None = None
    unreachable_at: float | None = None  # None while its agent can be reached
    kill_requested_at: float | None = None
    overdue: bool = False  # its deadline passed before it was seen running; it ends as it ends all the same
    alone: bool = False  # it needs an ACCEPT of its own: the master refused one that held it
    given_up: bool = False  # it ended while its last task may still live
    managed: bool = False  # the pool decides on it: when it cannot be placed it ends, and the pool decides again
    reason: str | None = None  # why it ended: a word of Mesos or of ours
    message: str | None = None  # for people: why it ended or waits again
    story: list[StoryLine] = []

    def check(self) -> None:
        """For one that comes from outside: that all decisions can be made on it. Raises InvalidInput."""
        check_text("id", self.id, 256)
        check_number("place", self.place, 0, MAX_PLACE)
        check_number("attempts", self.attempts, 0, MAX_ATTEMPTS)
        for name in _TIMES:
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 0, MAX_TIME)
        self.ask.check()
        if self.resources is not None:
            self.resources.check()
        if self.state.waiting and self.ran:
            raise InvalidInput(f"it is {self.state.value} but has run")
        if self.state.live:
            if self.slot is None or self.resources is None:
                raise InvalidInput(f"it is {self.state.value} but on no agent, or with no resources")
            if not self.attempts or self.task_id != f"{self.id}.{self.attempts}":
                raise InvalidInput(f"task_id {self.task_id!r} is not that of its attempt {self.attempts}")

    @property
    def ran(self) -> bool:
        return self.started_at is not None

    @property
    def deadline_at(self) -> float:
        return self.submitted_at + self.launch.deadline

    @property
    def late(self) -> float | None:
        """Seconds from its deadline until it was first seen running, or ended without; None if it was in time."""
        seen = self.started_at if self.started_at is not None else self.ended_at
        return seen - self.deadline_at if seen is not None and seen > self.deadline_at else None

    @property
    def slot(self) -> Slot | None:
        """The slot of its current attempt, once it was accepted."""
        return Slot(self.agent_id, self.role) if self.agent_id is not None and self.role is not None else None

    @property
    def attempt(self) -> tuple[Slot, Ask, Resources, str]:
        """Where its present attempt is, what was asked for, what it has, and its task id. Only if a task may exist."""
        assert self.slot is not None
        assert self.resources is not None
        assert self.task_id is not None
        return self.slot, self.ask, self.resources, self.task_id

    @property
    def shape(self) -> LaunchShape:
        return LaunchShape(self.ask, self.constraints, self.launch.role)

    def add_story_line(self, now: float, text: str) -> None:
        """Write a line into the story. The oldest but the first few go when it grows too long."""
        self.story.append(StoryLine(now, self.state, text[:MAX_LINE]))
        if len(self.story) > STORY_LIMIT:
            del self.story[10 : 10 + STORY_LIMIT // 4]

    def stored_form(self) -> bytes:
        """The record as JSON. The launch's `task_info` is not in it: its effect is in the template."""
        launch = self.launch
        if launch.task_info is not None:
            launch = msgspec.structs.replace(launch, task_info=None)
        return msgspec.json.encode(msgspec.structs.replace(self, launch=launch))

    def step(self, trigger: Trigger, now: float, text: str) -> None:
        """Take a step of ours. Raises IllegalTransition, and then nothing changed."""
        if target(self.state, trigger, ran=self.ran) is None:
            raise IllegalTransition(f"launch {self.id} cannot be {trigger.value} while {self.state.value}")
        self.observe(trigger, now, text)

    def observe(self, trigger: Trigger, now: float, text: str) -> bool:
        """Take a step that the cluster reports. False, and only a line in the story, if the table does not have it."""
        to = target(self.state, trigger, ran=self.ran)
        if to is not None:
            self.state = to
        self.add_story_line(now, text if to is not None else f"ignored: {text}")
        return to is not None


_TIMES = tuple(name for name in LaunchRecord.__struct_fields__ if name.endswith("_at"))


class Unreadable(NamedTuple):
    """A stored launch that cannot be read. It stays in the store as it is, and its tasks are left alone."""

    launch_id: str
    reason: str


class LaunchShape(NamedTuple):
    """What decides where a launch fits."""

    ask: Ask
    constraints: tuple[Constraint, ...]
    role: str | None


class Queue:
    """The launches that wait for room (PENDING and RESERVED), in the order of their places."""

    def __init__(self) -> None:
        self._shapes: dict[LaunchShape, SortedDict[int, LaunchRecord]] = {}
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

    def first(self, count: int) -> list[LaunchRecord]:
        """Return the first `count` launches, from the head on."""
        return list(islice(self._places.values(), count))

    def position(self, record: LaunchRecord) -> int | None:
        """The launch's place in the queue: 0 for the head; None if it does not wait."""
        return self._places.index(record.place) if record.place in self._places else None

    def shapes(self) -> list[LaunchShape]:
        return list(self._shapes)

    def in_order(self) -> Iterator[tuple[LaunchRecord, set[LaunchShape]]]:
        """Each launch in order, with a set: a shape put into it is passed over from then on.

        The queue may lose the launch that was just given; nothing else may change meanwhile.
        """
        skipped: set[LaunchShape] = set()

        def places(shape: LaunchShape, waiting: list[int]) -> Iterator[int]:
            for place in waiting:
                if shape in skipped:
                    return
                yield place

        for place in heapq.merge(*[places(shape, list(same)) for shape, same in self._shapes.items()]):
            record = self._places.get(place)
            if record is not None:
                yield record, skipped

"""The run buffer: the runs that have no container yet, in the order in which they came.

A run keeps its place for life: one that comes back (its start was refused, its container died before /run) stands where
it stood. Late binding: a container that starts for a run *covers* it, so that no second one is started; but whichever
fitting container is ready first takes the oldest run. So coverage moves; it never binds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Set
from heapq import merge
from itertools import islice
from typing import TypeVar

import msgspec
from sortedcontainers import SortedDict

from owmesos.core.pool.containers import ActionKey, ContainerShape
from owmesos.core.pool.events import Run
from owmesos.errors import InvariantBroken

_BEFORE_ALL = -(2**62)
_Key = TypeVar("_Key")


class Waiting(msgspec.Struct, eq=False):
    """A run that waits, or may come back to its place. Times in seconds."""

    run: Run
    place: int
    key: ActionKey
    received_at: float
    start_before: float  # it fails when it has no container by then
    covered_by: str | None = None  # the starting container that it may get
    attempts: int = 0  # starts that failed
    reason: str | None = None  # why the last start did not come
    blocked_since: float | None = None  # when it first was the head without room
    rounds: int = 0  # rounds of stops that were made for it
    tried: set[str] = set()  # nodes where these rounds were in vain
    no_room: str | None = None  # why no further round begins
    room_on: str | None = None  # the node where a round is under way for it behind the head
    failed_at: float = -math.inf  # when a container last failed it, if that counted as an attempt
    container_from: float = -math.inf  # when the container was made that it was given last
    container_on: str | None = None  # that container's node
    last_choice: set[str] = set()  # nodes where a container failed it

    @property
    def shape(self) -> ContainerShape:
        return self.run.action.shape

    def failed_starts(self, reason: str) -> str:
        """The error of a run that ends after enough attempts."""
        return f"its container did not start {self.attempts} times, last error: {reason}"

    def container_failed(self, now: float) -> None:
        """The last container that was started for it failed. Containers started together fail once."""
        if self.container_on is not None:
            self.last_choice.add(self.container_on)
        if self.container_from >= self.failed_at:
            self.attempts += 1
            self.failed_at = now


class RunBuffer:
    """Indexed by everything that is asked: by action, by shape, and those that nothing covers.

    The indices hold places in order: mostly few to a key, for which a list is the cheapest.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Waiting] = {}
        self._all: SortedDict[int, Waiting] = SortedDict()
        self._by_key: dict[ActionKey, list[int]] = {}
        self._by_shape: dict[ContainerShape, list[int]] = {}
        self._uncovered: dict[ContainerShape, list[int]] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(list(self._all.values()))

    def first(self, count: int) -> list[Waiting]:
        """The first `count`, from the head on."""
        return list(islice(self._all.values(), count))

    def add(self, waiting: Waiting) -> None:
        if waiting.run.run_id in self.by_id:
            raise InvariantBroken(f"run {waiting.run.run_id} waits twice")
        self.by_id[waiting.run.run_id] = waiting
        self._all[waiting.place] = waiting
        _put(self._by_key, waiting.key, waiting.place)
        _put(self._by_shape, waiting.shape, waiting.place)
        if waiting.covered_by is None:
            _put(self._uncovered, waiting.shape, waiting.place)

    def remove(self, waiting: Waiting) -> None:
        del self.by_id[waiting.run.run_id]
        del self._all[waiting.place]
        _take(self._by_key, waiting.key, waiting.place)
        _take(self._by_shape, waiting.shape, waiting.place)
        if waiting.covered_by is None:
            _take(self._uncovered, waiting.shape, waiting.place)

    def cover(self, waiting: Waiting, container_id: str) -> None:
        """Note that a container starts that the run may get."""
        if waiting.covered_by is None:
            _take(self._uncovered, waiting.shape, waiting.place)
        waiting.covered_by = container_id

    def uncover(self, waiting: Waiting) -> None:
        """Note that nothing starts for the run any more."""
        if waiting.covered_by is not None:
            waiting.covered_by = None
            _put(self._uncovered, waiting.shape, waiting.place)

    def oldest(self) -> Waiting | None:
        return self._all.peekitem(0)[1] if self._all else None

    def oldest_of_key(self, key: ActionKey) -> Waiting | None:
        return self._first(self._by_key.get(key))

    def oldest_of_shape(self, shape: ContainerShape) -> Waiting | None:
        return self._first(self._by_shape.get(shape))

    def uncovered_of_shape(self, shape: ContainerShape) -> Waiting | None:
        return self._first(self._uncovered.get(shape))

    def uncovered_of_key(self, key: ActionKey) -> Iterator[Waiting]:
        """The runs of the action that nothing covers, oldest first."""
        of_key = (self._all[place] for place in self._by_key.get(key, ()))
        return (waiting for waiting in of_key if waiting.covered_by is None)

    def uncovered_shapes(self) -> set[ContainerShape]:
        """The shapes of the runs that nothing covers."""
        return set(self._uncovered)

    def uncovered_count(self) -> int:
        """How many runs nothing covers."""
        return sum(map(len, self._uncovered.values()))

    def uncovered(self, shapes: Set[ContainerShape]) -> Iterator[Waiting]:
        """Those of `shapes` that nothing covers, oldest first. A shape that is taken out meanwhile is passed over.

        Meanwhile runs of the last one's shape may be covered.
        """
        found = [self._of(shape, shapes) for shape in shapes]
        return found[0] if len(found) == 1 else merge(*found, key=lambda waiting: waiting.place)

    def _of(self, shape: ContainerShape, shapes: Set[ContainerShape]) -> Iterator[Waiting]:
        place = _BEFORE_ALL
        while shape in shapes:
            places = self._uncovered.get(shape, [])
            index = bisect_right(places, place)
            if index == len(places):
                return
            place = places[index]
            yield self._all[place]

    def _first(self, places: list[int] | None) -> Waiting | None:
        return self._all[places[0]] if places else None


def _put(index: dict[_Key, list[int]], key: _Key, place: int) -> None:
    insort(index.setdefault(key, []), place)


def _take(index: dict[_Key, list[int]], key: _Key, place: int) -> None:
    places = index[key]
    del places[bisect_left(places, place)]
    if not places:
        del index[key]

"""The run buffer: the runs that have no container yet, in the order in which they came.

A run keeps its place for life: one that comes back (its start was refused, its container died before /run) stands where
it stood. Late binding: a container that starts for a run *covers* it, so that no second one is started; but whichever
fitting container is ready first takes the oldest run. So coverage moves; it never binds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator
from heapq import merge
from typing import TypeVar

import msgspec
from sortedcontainers import SortedDict

from owmesos.core.containers import ActionKey, Shape
from owmesos.core.pool_events import Run
from owmesos.errors import InvariantBroken

BEFORE_ALL = -(2**62)
_Key = TypeVar("_Key")


class Waiting(msgspec.Struct, eq=False):
    """A run that waits. `covered_by` is the starting container that it may get; `attempts` counts failed starts.

    `blocked_since` is when it first was the head without room; `rounds` of stops were made for it, in vain on the
    agents `tried`; `no_room` says why no more are. `room_on` is where one is under way though it is not the head.
    Times in seconds.
    """

    run: Run
    place: int
    key: ActionKey
    received_at: float
    covered_by: str | None = None
    attempts: int = 0
    reason: str | None = None
    blocked_since: float | None = None
    rounds: int = 0
    tried: set[str] = set()
    no_room: str | None = None
    room_on: str | None = None

    @property
    def shape(self) -> Shape:
        return self.run.action.shape


class RunBuffer:
    """Indexed by everything that is asked: by action, by shape, and those that nothing covers.

    The indices hold places in order: mostly few to a key, for which a list is the cheapest.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Waiting] = {}
        self._by_key: dict[ActionKey, list[int]] = {}
        self._by_shape: dict[Shape, list[int]] = {}
        self._bare: dict[Shape, list[int]] = {}
        self._bare_places: SortedDict[int, Waiting] = SortedDict()
        self._all: SortedDict[int, Waiting] = SortedDict()

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(list(self._all.values()))

    def add(self, waiting: Waiting) -> None:
        if waiting.run.run_id in self.by_id:
            raise InvariantBroken(f"run {waiting.run.run_id} waits twice")
        self.by_id[waiting.run.run_id] = waiting
        self._all[waiting.place] = waiting
        _put(self._by_key, waiting.key, waiting.place)
        _put(self._by_shape, waiting.shape, waiting.place)
        if waiting.covered_by is None:
            self._bear(waiting)

    def remove(self, waiting: Waiting) -> None:
        del self.by_id[waiting.run.run_id]
        del self._all[waiting.place]
        _take(self._by_key, waiting.key, waiting.place)
        _take(self._by_shape, waiting.shape, waiting.place)
        if waiting.covered_by is None:
            self._cover(waiting)

    def cover(self, waiting: Waiting, container_id: str) -> None:
        """A container starts that it may get."""
        if waiting.covered_by is None:
            self._cover(waiting)
        waiting.covered_by = container_id

    def uncover(self, waiting: Waiting) -> None:
        """Nothing starts for it any more."""
        if waiting.covered_by is not None:
            waiting.covered_by = None
            self._bear(waiting)

    def oldest(self) -> Waiting | None:
        return self._all.peekitem(0)[1] if self._all else None

    def head(self) -> Waiting | None:
        """The oldest that nothing covers; a health test before all others."""
        return self._bare_places.peekitem(0)[1] if self._bare_places else None

    def bare_count(self) -> int:
        """How many runs nothing covers."""
        return len(self._bare_places)

    def oldest_of_key(self, key: ActionKey) -> Waiting | None:
        return self._first(self._by_key.get(key))

    def oldest_of_shape(self, shape: Shape) -> Waiting | None:
        return self._first(self._by_shape.get(shape))

    def bare_of_shape(self, shape: Shape) -> Waiting | None:
        return self._first(self._bare.get(shape))

    def bare_of_key(self, key: ActionKey) -> Iterator[Waiting]:
        """Those of the action that nothing covers, oldest first."""
        of_key = (self._all[place] for place in self._by_key.get(key, ()))
        return (waiting for waiting in of_key if waiting.covered_by is None)

    def bare_of_shapes(self, shapes: Collection[Shape]) -> Iterator[Waiting]:
        """Those of the shapes that nothing covers, oldest first. The buffer may be changed meanwhile."""
        found = [[self._all[place] for place in self._bare[shape]] for shape in shapes if shape in self._bare]
        return merge(*found, key=lambda waiting: waiting.place)

    def bare_after(self, place: int, skipped: set[Shape]) -> Waiting | None:
        """The oldest that nothing covers, after `place`, whose shape is not in `skipped`."""
        best: int | None = None
        for shape, places in self._bare.items():
            if shape in skipped:
                continue
            index = bisect_right(places, place)
            if index < len(places) and (best is None or places[index] < best):
                best = places[index]
        return self._all[best] if best is not None else None

    def _first(self, places: list[int] | None) -> Waiting | None:
        return self._all[places[0]] if places else None

    def _bear(self, waiting: Waiting) -> None:
        _put(self._bare, waiting.shape, waiting.place)
        self._bare_places[waiting.place] = waiting

    def _cover(self, waiting: Waiting) -> None:
        _take(self._bare, waiting.shape, waiting.place)
        del self._bare_places[waiting.place]

    def validate(self) -> None:
        """Raises InvariantBroken when an index is not what the runs say."""
        bare = {waiting.place for waiting in self.by_id.values() if waiting.covered_by is None}
        if bare != set(self._bare_places):
            raise InvariantBroken("the runs that nothing covers are not those that are listed so")
        for index in (self._by_key, self._by_shape):
            if sorted(place for places in index.values() for place in places) != list(self._all):
                raise InvariantBroken("an index of the run buffer lacks a run")
            if any(places != sorted(places) for places in index.values()):
                raise InvariantBroken("an index of the run buffer is out of order")


def _put(index: dict[_Key, list[int]], key: _Key, place: int) -> None:
    insort(index.setdefault(key, []), place)


def _take(index: dict[_Key, list[int]], key: _Key, place: int) -> None:
    places = index[key]
    del places[bisect_left(places, place)]
    if not places:
        del index[key]

"""Slots in the order in which a strategy tries them: the first that fits an ask is found without a scan.

Sorted by memory, in chunks that know the most cpus, ports, disk, gpus and pods that any of their slots has: where
cpus are scarce, whole chunks are passed over. A plain sorted list was measured to degrade to a scan there,
and the time of a vectorised scan grows with the nodes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from owmesos.errors import InvariantBroken
from owmesos.resources import Ask


class Slot(NamedTuple):
    """One place where a launch can go: what a node has for one allocation role."""

    agent_id: str
    role: str


# Rank by memory, then by cpus (ascending: negated to try the largest first), slot; then what judges a fit:
# cpus, ports, disk, gpus, pods. A plain tuple: it is compared and sorted far faster than any class.
Entry = tuple[int, int, Slot, int, int, int, int, int]

_KINDS = (itemgetter(3), itemgetter(4), itemgetter(5), itemgetter(6), itemgetter(7))  # what judges a fit
_ALL = (1 << len(_KINDS)) - 1
_CHUNK = 64
_DEBT = -(1 << 62)  # less than any room: what is not asked for may be owed


class RoomIndex:
    """Entries in their order, each at most once. `largest_first` says that ranks are negated."""

    __slots__ = ("_bounds", "_chunks", "_largest_first", "_lasts", "_loose")

    def __init__(self, *, largest_first: bool, entries: Iterable[Entry] = ()) -> None:
        ordered = sorted(entries)
        self._largest_first = largest_first
        self._chunks: list[list[Entry]] = []
        self._lasts: list[Entry] = []
        # Per kind of room and chunk, the most that a slot of the chunk has. Removal leaves the bounds as they
        # are, loose: may be too high, so nothing is missed. Those that are asked for are corrected when a chunk is
        # read in vain.
        self._bounds: tuple[list[int], list[int], list[int], list[int], list[int]] = ([], [], [], [], [])
        self._loose: list[int] = []  # per chunk, a bit for each kind whose bound is
        for number, begin in enumerate(range(0, len(ordered), _CHUNK)):
            self._insert_chunk(number, ordered[begin : begin + _CHUNK])

    def add(self, entry: Entry) -> None:
        """Adds an entry that is not there yet."""
        if not self._chunks:
            self._insert_chunk(0, [entry])
            return
        number = min(bisect_left(self._lasts, entry), len(self._chunks) - 1)
        chunk = self._chunks[number]
        chunk.insert(bisect_left(chunk, entry), entry)
        self._lasts[number] = chunk[-1]
        for bound, value in zip(self._bounds, entry[3:], strict=True):
            if value > bound[number]:
                bound[number] = value
        if len(chunk) > 2 * _CHUNK:
            self._replace_chunk(number, chunk[:_CHUNK])
            self._insert_chunk(number + 1, chunk[_CHUNK:])

    def remove(self, entry: Entry) -> None:
        """Takes an entry out. Raises InvariantBroken when it is not there."""
        number = bisect_left(self._lasts, entry)
        chunk = self._chunks[number] if number < len(self._chunks) else []
        position = bisect_left(chunk, entry)
        if position == len(chunk) or chunk[position] != entry:
            raise InvariantBroken(f"slot {entry[2]} is not in the placement index where its room puts it")
        del chunk[position]
        if not chunk:
            self._delete_chunk(number)
        elif len(chunk) < _CHUNK // 4 and number > 0 and len(self._chunks[number - 1]) <= _CHUNK:
            self._replace_chunk(number - 1, self._chunks[number - 1] + chunk)
            self._delete_chunk(number)
        else:
            self._lasts[number] = chunk[-1]
            self._loose[number] = _ALL

    def fitting(self, ask: Ask) -> Iterator[Entry]:
        """The entries that fit `ask`, in order. The index must not change meanwhile."""
        asked = (ask.milli_cpus, ask.ports, ask.milli_disk, ask.milli_gpus, ask.pods)
        needs = [(bound, need) for bound, need in zip(self._bounds, asked, strict=True) if need]
        kinds = [kind for kind, need in enumerate(asked) if need]
        loose = sum(1 << kind for kind in kinds)
        cpus, ports, disk, gpus, pods = (need or _DEBT for need in asked)
        number = position = 0
        last_rank = -ask.milli_mem if self._largest_first and ask.milli_mem else -_DEBT
        if ask.milli_mem and not self._largest_first:
            start = (ask.milli_mem,)
            number = bisect_left(self._lasts, start)
            if number < len(self._chunks):
                position = bisect_left(self._chunks[number], start)
        while (following := self._passing(number, needs)) < len(self._chunks):
            if following != number:
                number, position = following, 0
            chunk = self._chunks[number]
            if chunk[0][0] > last_rank:
                return
            vain = True
            for entry in chunk[position:]:
                others = entry[3] >= cpus and entry[4] >= ports and entry[5] >= disk and entry[6] >= gpus
                if others and entry[7] >= pods:
                    if entry[0] > last_rank:
                        return
                    vain = False
                    yield entry
            if vain and self._loose[number] & loose:
                for kind in kinds:
                    self._bounds[kind][number] = max(map(_KINDS[kind], chunk))
                self._loose[number] &= ~loose
            number, position = number + 1, 0

    def _passing(self, number: int, needs: list[tuple[list[int], int]]) -> int:
        """The first chunk from `number` on that has enough of each kind, if not in one slot."""
        while True:
            start = number
            for bound, need in needs:
                if number < len(bound) and bound[number] < need:
                    number = _at_least(bound, need, number + 1)
            if number == start:
                return number

    def _insert_chunk(self, number: int, chunk: list[Entry]) -> None:
        self._chunks.insert(number, chunk)
        self._lasts.insert(number, chunk[-1])
        self._loose.insert(number, 0)
        for bound, most in zip(self._bounds, _most(chunk), strict=True):
            bound.insert(number, most)

    def _replace_chunk(self, number: int, chunk: list[Entry]) -> None:
        self._chunks[number] = chunk
        self._lasts[number] = chunk[-1]
        self._loose[number] = 0
        for bound, most in zip(self._bounds, _most(chunk), strict=True):
            bound[number] = most

    def _delete_chunk(self, number: int) -> None:
        for column in (self._chunks, self._lasts, self._loose, *self._bounds):
            del column[number]


def _most(chunk: list[Entry]) -> tuple[int, ...]:
    """The most cpus, ports, disk, gpus and pods of any entry."""
    return tuple([max(map(kind, chunk)) for kind in _KINDS])


def _at_least(bound: list[int], need: int, start: int) -> int:
    """The first position from `start` with `need` or more, else the length."""
    for number in range(start, len(bound)):
        if bound[number] >= need:
            return number
    return len(bound)

"""Which records of a topic are in progress, partition by partition, and how many bytes they take.

The feed stops reading when that is too much. It commits each partition only up to the oldest record that is not
done, so after a crash everything in progress is read again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from owmesos.openwhisk.messages import ActivationMessage, Addressed


class Position(NamedTuple):
    """Where a record stands in its topic. `generation`: how often the partition had been created anew before."""

    partition: int
    offset: int
    generation: int = 0


class Received(NamedTuple):
    """An activation in progress, until `Feed.done(position)`."""

    position: Position
    message: ActivationMessage
    age: float = 0.0  # seconds since it was sent
    former_journal: str | None = None  # journal of the process that may have had it, with delivery at most once


class Rejected(NamedTuple):
    """A record that is not a valid activation. It is logged, and in progress until its Controller is answered."""

    position: Position
    reason: str
    addressed: Addressed | None  # whom to answer; None if that cannot be read


class _Open(NamedTuple):
    """A record that is in progress. `weight` in bytes; `checksum` of the record itself."""

    weight: int
    checksum: int


class Partition:
    """What is known of one partition."""

    __slots__ = ("committed", "generation", "given", "least", "next", "open")

    def __init__(self, generation: int = 0) -> None:
        self.generation = generation  # see `Position`
        self.open: dict[int, _Open] = {}  # by offset; in the order of receipt, which is that of the offsets
        self.next: int | None = None  # one after the last that was received; None before the first
        self.committed: int | None = None  # how far the group has come; None if that is not known
        self.least: int | None = None  # `committed` when the consumer that reads now was made
        self.given: int | None = None  # the last offset that this consumer gave

    @property
    def low_water(self) -> int | None:
        """All below are done; None before the first was received."""
        return next(iter(self.open), self.next)


class Offsets:
    """The state of one topic, without I/O. Threads that share it need a lock."""

    def __init__(self) -> None:
        self.weight = 0  # bytes
        self._count = 0
        self._partitions: dict[int, Partition] = defaultdict(Partition)

    def __len__(self) -> int:
        """How many records are in progress."""
        return self._count

    def __getitem__(self, partition: int) -> Partition:
        return self._partitions[partition]

    def position(self, partition: int, offset: int) -> Position:
        """The position of a record that is given now. One from before the partition began anew ends nothing."""
        return Position(partition, offset, self[partition].generation)

    def is_new(self, position: Position) -> bool:
        """Whether it was not received yet. A new consumer is given again what was received since the last commit."""
        following = self[position.partition].next
        return following is None or position.offset >= following

    def begin_reader(self) -> None:
        """Another consumer reads from now on: it begins at the group's offset."""
        for each in self._partitions.values():
            each.least, each.given = each.committed, None

    def given(self, position: Position, checksum: int = 0) -> bool:
        """The consumer gives this record. True if its partition was created anew: otherwise a consumer gives no offset
        twice, no other record where one is in progress, and none below what was committed before the consumer was made.
        What was committed later proves nothing: the record may have been in flight by then."""
        found = self[position.partition]
        in_progress = found.open.get(position.offset)
        if in_progress is not None and in_progress.checksum != checksum:
            return True
        before, found.given = found.given, position.offset
        if before is not None:
            return position.offset <= before
        return found.least is not None and position.offset < found.least

    def received(self, position: Position, weight: int, checksum: int = 0) -> None:
        found = self[position.partition]
        if found.committed is None:  # it is the first, so the group has come so far
            found.committed = position.offset
        found.given = position.offset
        found.open[position.offset] = _Open(weight, checksum)
        found.next = position.offset + 1
        self._count += 1
        self.weight += weight

    def _is_open(self, position: Position) -> bool:
        found = self[position.partition]
        return found.generation == position.generation and position.offset in found.open

    def add_bytes(self, position: Position, count: int) -> None:
        """More bytes are held for it: its action's code, its response. Has no effect if it is done."""
        if self._is_open(position):
            records = self[position.partition].open
            before = records[position.offset]
            records[position.offset] = before._replace(weight=before.weight + count)
            self.weight += count

    def done(self, position: Position) -> None:
        """Has no effect if it is already done."""
        if self._is_open(position):
            self._count -= 1
            self.weight -= self[position.partition].open.pop(position.offset).weight

    def give_back(self, position: Position) -> None:
        """It was not received after all, nor what follows in its partition."""
        self.done(position)
        found = self[position.partition]
        if found.generation == position.generation:
            found.next = position.offset

    def restart(self, partition: int) -> None:
        """The partition was created anew: earlier records are not in it."""
        found = self[partition]
        self._count -= len(found.open)
        self.weight -= sum(each.weight for each in found.open.values())
        self._partitions[partition] = Partition(found.generation + 1)

    def to_commit(self) -> dict[int, int]:
        """The low-water marks that are not committed yet, by partition."""
        return {
            number: mark
            for number, each in self._partitions.items()
            if (mark := each.low_water) is not None and mark != each.committed
        }

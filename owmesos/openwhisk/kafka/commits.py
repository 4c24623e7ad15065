"""What a consumer commits: how far each partition is done, and which activations after that may be in progress.

With delivery at most once an offset is committed when its activation has ended. So a new process gets again what its
predecessor had in progress, and must distinguish it from new activations. Before activations are handed over, the
commit's metadata (a text that Kafka stores with the offset) says up to which offset, and names the journal that
knows more.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from owmesos.openwhisk.kafka.offsets import Offsets, Position

NOBODYS = "0"
"""In place of a journal's name, where two journals know of what was handed over."""
_METADATA = re.compile(r"owmesos ([0-9a-f]{1,64}) ([0-9]{1,18})", re.ASCII)


class Handover(NamedTuple):
    """The owner of `journal` has got the offsets of one partition below `until`."""

    journal: str
    until: int


class Commits:
    """The commits of one consumer of one topic, in its thread. All methods but `former_journal` raise KafkaError."""

    def __init__(
        self,
        consumer: KafkaConsumer,
        topic: str,
        offsets: Offsets,
        lock: threading.Condition,
        journal: str | None,
        committed: Callable[[Mapping[int, int]], None],
    ) -> None:
        """`lock` guards `offsets`. `journal`: the name of this process's own; None with delivery at least once, which
        needs no metadata. `committed` is told of each commit."""
        self._consumer = consumer
        self._topic = topic
        self._offsets = offsets
        self._lock = lock
        self._journal = journal
        self._committed = committed
        self._before: dict[int, Handover] = {}  # by partition, once its commit was read

    def learn(self, partitions: Iterable[int]) -> None:
        """What was handed over before. Metadata of other programs is ignored."""
        for number in partitions:
            if self._journal is not None and number not in self._before:
                found = self._consumer.committed(TopicPartition(self._topic, number), metadata=True, timeout_ms=10_000)
                match = _METADATA.fullmatch(found.metadata or "") if found is not None else None
                self._before[number] = Handover(match[1], int(match[2])) if match is not None else Handover("", 0)

    def begin_anew(self, partition: int) -> None:
        """It was created anew: nothing of it was handed over."""
        self._before[partition] = Handover("", 0)

    def former_journal(self, position: Position) -> str | None:
        """The name of the journal that may know the activation; None for one that was not handed over before."""
        known = self._before.get(position.partition)
        return known.journal if known is not None and position.offset < known.until else None

    def hand_over(self, partitions: Iterable[int]) -> None:
        """With delivery at most once, before what was received of these partitions is handed over."""
        if self._journal is not None:
            with self._lock:
                marks = {number: self._offsets[number].low_water for number in partitions}
            self._commit({number: mark for number, mark in marks.items() if mark is not None})

    def advance(self) -> bool:
        """Commits what is done. False when that may succeed once this consumer has joined its group again."""
        with self._lock:
            offsets = self._offsets.to_commit()
        if offsets and self._journal is not None:
            # A commit replaces what the group's last one says of handovers, so that must be known first.
            self.learn(offsets.keys() & {each.partition for each in self._consumer.assignment()})
            known = {number: offset for number, offset in offsets.items() if number in self._before}
            if not known:
                return False
            offsets = known
        if offsets:
            self._commit(offsets)
        return True

    def repeat(self, partitions: Iterable[TopicPartition], *, all_received: bool) -> None:
        """Commits what the group has now, which another consumer may have moved on since ours committed.
        `all_received`: whether nothing that was read is still to be received."""
        places = {}
        for each in partitions:
            place = self._consumer.committed(each, metadata=True, timeout_ms=2000)
            # The consumer's position is also after what it has read, and may not be handed over yet.
            if place is None and all_received and not self._offsets[each.partition].open:
                offset = self._consumer.position(each, timeout_ms=2000)
                place = OffsetAndMetadata(offset, "", -1) if offset is not None else None
            if place is not None:
                places[each] = place
        if places:
            self._consumer.commit(places, timeout_ms=2000)

    def _commit(self, offsets: Mapping[int, int]) -> None:
        """`offsets` by partition."""
        asked = {
            TopicPartition(self._topic, number): OffsetAndMetadata(offset, self._metadata(number, offset), -1)
            for number, offset in offsets.items()
        }
        self._consumer.commit(asked, timeout_ms=10_000)
        self._committed(offsets)
        with self._lock:
            for number, offset in offsets.items():
                self._offsets[number].committed = offset

    def _metadata(self, partition: int, offset: int) -> str:
        """What a commit of `offset` says, when all that was received is handed over. A third process must not mistake
        uncommitted activations of our predecessor for ours, nor for new ones."""
        if self._journal is None:
            return ""
        mine = Handover(self._journal, self._offsets[partition].next or offset)
        known = self._before.get(partition)
        if known is not None and offset < known.until:
            if known.until > mine.until:
                mine = known
            elif known.journal != mine.journal:
                mine = mine._replace(journal=NOBODYS)
        return f"owmesos {mine.journal} {mine.until}"

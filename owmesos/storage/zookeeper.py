"""State in ZooKeeper: each commit is on the disks of most of its servers when it returns.

    PATH/framework         the framework id
    PATH/launches/ID       the JSON of a launch's record, and ID.1, … for what is beyond the size of a node
    PATH/answers/KEY       an answer to a request with a key
    PATH/accepts-sent      up to which time ACCEPTs may have been sent
    PATH/redo/N            a commit that is too large for one transaction

A request to ZooKeeper may have 1 MB (`jute.maxbuffer`). A larger commit is first written down as a whole below `redo`,
then marked as committed (`Owner.redo`), and only then carried out in several transactions; who takes over in between
carries it out again. So a commit is whole or not there, whatever its size.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from owmesos.errors import InvalidInput
from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.storage import store
from owmesos.storage.lines import line, write_of
from owmesos.storage.owned_nodes import FORMAT, OwnedNodes, change, create, delete
from owmesos.storage.records import read
from owmesos.storage.zookeeper_contents import (
    ANSWERS,
    FRAMEWORK,
    LAUNCHES,
    REDO,
    SENT,
    Contents,
    StoredAnswer,
    part_of,
    quoted,
)
from owmesos.storage.zookeeper_session import PATIENCE, SESSION, Operation

_log = logging.getLogger("owmesos.storage")
NODE = 400_000
"""Bytes of one node at most."""
TRANSACTION = 800_000
"""Bytes of one transaction at most, those around the data counted generously."""
_AROUND = 200  # bytes, of one operation
_MOST = 1000  # operations

Migration = Callable[[list[store.Write]], list[store.Write]]
MIGRATIONS: Mapping[int, Migration] = {}
"""From a format to the next one: all that is stored, as it was and as it is to be."""


class _Sized(NamedTuple):
    operation: Operation
    size: int


class ZooKeeperStore:
    """Owns the nodes below `address` until `close`. May be used from another thread than the one that created it."""

    def __init__(
        self,
        address: ZooKeeperPath,
        *,
        forget: bool = False,
        session: float = SESSION,
        patience: float = PATIENCE,
        wait: float | None = None,
        migrations: Mapping[int, Migration] = MIGRATIONS,
    ) -> None:
        """`forget` removes what is stored. The seconds are those of OwnedNodes.

        Raises StateInUse, StateDamaged, StateTooNew or StoreFailed.
        """
        self._address = address
        self._sent_until = -math.inf
        self._number = 0
        self._nodes = OwnedNodes(address, session=session, patience=patience, wait=wait)
        self._contents = Contents(self._nodes, address)
        try:
            for name in (LAUNCHES, ANSWERS, REDO):
                self._nodes.make(name)
            self._contents.find()
            if self._nodes.redo:
                self._carry_out()
            self._migrate(migrations)
            if forget:
                self.commit([store.ForgetFramework()])
        except BaseException:
            self.close()
            raise

    def load(self) -> store.Saved:
        framework_id = self._contents.framework_id()
        records, unreadable = read(self._contents.launches())
        known = self._contents.sent_until()
        latest = max([time.time(), *(record.accepted_at or 0.0 for record in records)])
        self.about_to_send(latest if known is None else known)
        return store.Saved(framework_id, records, unreadable, math.inf if known is None else known)

    def answers(self) -> list[store.Answer]:
        found, unreadable = self._contents.answers()
        for each in unreadable:
            _log.error("%s: it is left out", each)
        return found

    def raw(self) -> tuple[list[store.Write], float | None]:
        """All that is stored, also what `load` cannot read, and `sent_until` if it is known. Raises StoreFailed."""
        framework_id = self._contents.framework_id()
        found: list[store.Write] = [store.SaveFramework(framework_id)] if framework_id is not None else []
        found += [store.SaveLaunch(launch_id, record) for launch_id, record in self._contents.launches()]
        return [*found, *self.answers()], self._contents.sent_until()

    def commit(self, writes: Sequence[store.Write]) -> None:
        parts: dict[str, frozenset[int]] = {}
        operations = [each for write in writes for each in self._operations(write, parts)]
        if len(operations) <= _MOST and sum(each.size for each in operations) <= TRANSACTION:
            self._nodes.commit([each.operation for each in operations])
            self._contents.parts |= parts
        else:
            self._commit_in_steps(writes, None)

    def trouble(self) -> store.StoreTrouble | None:
        return self._nodes.trouble()

    def begin_sending(self, sent_until: float) -> None:
        """For a state that comes from another place: ACCEPTs of a later time were not sent."""
        self.about_to_send(sent_until)

    def about_to_send(self, accepted_at: float) -> None:
        """Stored for the machine's death too; and nobody else may own the state in the moment of sending."""
        until = max(self._sent_until, accepted_at)
        parts: dict[str, frozenset[int]] = {}
        put = self._put(self._nodes.path(SENT), repr(until).encode(), parts)
        self._nodes.commit([each.operation for each in put])
        self._contents.parts |= parts
        self._sent_until = until

    def sending(self, accepted_at: float) -> None:
        """Microseconds after `about_to_send`; if the process stood still since then, ZooKeeper is asked again."""
        if accepted_at > self._sent_until:
            self.about_to_send(accepted_at)
        self._nodes.prove()

    def watch(self, lost: Callable[[store.StoreFailed], None]) -> None:
        self._nodes.watch(lost)

    def close(self) -> None:
        self._nodes.close()

    # -- what a write does

    def _operations(self, write: store.Write, parts: dict[str, frozenset[int]]) -> Iterator[_Sized]:
        """`parts` takes which nodes are there afterwards."""
        if isinstance(write, store.SaveFramework):
            yield from self._put(self._nodes.path(FRAMEWORK), write.framework_id.encode(), parts)
        elif isinstance(write, store.SaveLaunch):
            yield from self._put(self._nodes.path(LAUNCHES, quoted(write.launch_id)), write.record, parts)
        elif isinstance(write, store.Answer):
            self._number = max(self._number + 1, time.time_ns())
            data = msgspec.json.encode(StoredAnswer(self._number, *write))
            yield from self._put(self._nodes.path(ANSWERS, quoted(write.key)), data, parts)
        elif isinstance(write, store.ForgetLaunch):
            yield from self._drop(self._nodes.path(LAUNCHES, quoted(write.launch_id)), parts)
        elif isinstance(write, store.ForgetAnswer):
            yield from self._drop(self._nodes.path(ANSWERS, quoted(write.key)), parts)
        else:
            starts = (self._nodes.path(LAUNCHES, ""), self._nodes.path(ANSWERS, ""), self._nodes.path(FRAMEWORK))
            for path in [each for each in {**self._contents.parts, **parts} if each.startswith(starts)]:
                yield from self._drop(path, parts)

    def _put(self, path: str, data: bytes, parts: dict[str, frozenset[int]]) -> Iterator[_Sized]:
        if not isinstance(data, bytes):
            raise store.StoreFailed(f"the state in {self._address} cannot hold a {type(data).__name__}")
        there = parts.get(path, self._contents.parts.get(path, frozenset()))
        pieces = [data[start : start + NODE] for start in range(0, len(data), NODE)] or [b""]
        for part, piece in enumerate(pieces):
            node = part_of(path, part)
            write = change if part in there else create
            yield _Sized(write(node, piece), len(node) + len(piece) + _AROUND)
        for part in sorted(there):
            if part >= len(pieces):
                yield _Sized(delete(part_of(path, part)), len(path) + _AROUND)
        parts[path] = frozenset(range(len(pieces)))

    def _drop(self, path: str, parts: dict[str, frozenset[int]]) -> Iterator[_Sized]:
        for part in sorted(parts.get(path, self._contents.parts.get(path, frozenset()))):
            yield _Sized(delete(part_of(path, part)), len(path) + _AROUND)
        parts[path] = frozenset()

    # -- commits of any size

    def _commit_in_steps(self, writes: Iterable[store.Write], new_format: int | None) -> None:
        data = b"\n".join(line(write) for write in writes)
        self._in_steps(self._put(self._nodes.path(REDO, "0"), data, self._contents.parts))
        self._nodes.commit(redo=len(self._contents.parts[self._nodes.path(REDO, "0")]), new_format=new_format)
        self._carry_out()

    def _carry_out(self) -> None:
        """What is marked as committed. Whatever was carried out already may be done again."""
        ((_, data),) = list(self._contents.values(REDO)) or [("", b"")]
        try:
            writes = [write_of(each) for each in data.split(b"\n") if each]
        except InvalidInput as error:
            raise store.StateDamaged(
                f"the state in {self._address} is damaged: {self._nodes.path(REDO)} cannot be read: {error}"
            ) from None
        self._in_steps(each for write in writes for each in self._operations(write, self._contents.parts))
        self._nodes.commit(redo=0)
        self._in_steps(self._drop(self._nodes.path(REDO, "0"), self._contents.parts))

    def _in_steps(self, operations: Iterable[_Sized]) -> None:
        step: list[Operation] = []
        size = 0
        for each in operations:
            if step and (size + each.size > TRANSACTION or len(step) >= _MOST):
                self._nodes.commit(step)
                step, size = [], 0
            step.append(each.operation)
            size += each.size
        if step:
            self._nodes.commit(step)

    # -- formats

    def _migrate(self, migrations: Mapping[int, Migration]) -> None:
        """The state as it was is kept in `PATH/format-N`."""
        while self._nodes.format < FORMAT:
            known = self._nodes.format
            if known not in migrations:
                raise store.StoreFailed(
                    f"the state in {self._address} has format {known}, which this owmesos cannot read: use an earlier"
                    " version, or give another --state"
                )
            before, _ = self.raw()
            copy = f"format-{known}"
            self._copy(copy, before)
            _log.info("the state in %s has format %d: migrated, with a copy in %s", self._address, known, copy)
            self._commit_in_steps([store.ForgetFramework(), *migrations[known](before)], known + 1)

    def _copy(self, name: str, writes: Iterable[store.Write]) -> None:
        """As lines. One that was not finished is made anew."""
        self._nodes.make(name)
        path = self._nodes.path(name, "lines")
        there = {child.partition(".")[2] for child in self._nodes.children(name)}
        self._contents.parts[path] = frozenset(int(each) if each.isdecimal() else 0 for each in there)
        self._in_steps(self._put(path, b"\n".join(line(write) for write in writes), self._contents.parts))

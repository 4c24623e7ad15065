"""Nodes in ZooKeeper that one process at a time owns, and that nobody else may change.

    PATH/lock    ephemeral: as long as it is there, another process that starts waits or gives up
    PATH/owner   changed in every transaction, at the version that the owner knows

The lock is for people and for the next start; `owner` is what keeps the state whole. A process that was frozen, and
whose lock went to another meanwhile, does not know its version: whatever it sends is rejected. And as `owner` names
the transaction, a process whose connection broke finds out whether its last one was done.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from kazoo.exceptions import NoAuthError

from owmesos.errors import NOT_READABLE
from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.storage.election import shown
from owmesos.storage.store import StateDamaged, StateInUse, StateTooNew, StoreFailed, StoreTrouble
from owmesos.storage.zookeeper_session import PATIENCE, SESSION, Lost, Operation, Rejection, ZooKeeperSession

_log = logging.getLogger("owmesos.storage")
FORMAT = 1
"""The format of the nodes and of what they hold."""
OWNER = "owner"
LOCK = "lock"
_LOOK = 0.2  # seconds between two looks at a lock that another process holds
_PROVEN = 3.0  # seconds; shorter than any session timeout that a server should allow
_PROVING = 5.0  # seconds
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first is Linux's


class Owner(msgspec.Struct, frozen=True):
    """Who made the last transaction. `redo` nodes hold writes that are committed, but not all carried out yet."""

    format: int
    holder: str
    token: str
    commit: int = 0
    redo: int = 0


class _Format(msgspec.Struct, frozen=True):
    """What a later owmesos has to keep, so that an earlier one can tell."""

    format: int


class OwnedNodes:
    """Owns what is below `address` until `close`. For any thread."""

    def __init__(
        self,
        address: ZooKeeperPath,
        *,
        session: float = SESSION,
        patience: float = PATIENCE,
        wait: float | None = None,
    ) -> None:
        """Seconds: `wait` for another owner's end; by default longer than the lock of a process that was killed stays.

        Raises StateInUse, StateTooNew, StateDamaged or StoreFailed.
        """
        self._address = address
        self._token = secrets.token_hex(8)
        self._holder = f"process {os.getpid()} on {socket.gethostname()}"
        self._mutex = threading.RLock()
        self._version: int | None = None
        self._locked: int | None = None  # the session that has the lock
        self._proven = -_PROVEN
        self._broken: StoreFailed | None = None
        self._owner = Owner(FORMAT, self._holder, self._token)
        self._open = False
        self._lost: Callable[[StoreFailed], None] = lambda error: None
        self._session = ZooKeeperSession(address, self._restored, session=session, patience=patience)
        try:
            self._take(session + 5.0 if wait is None else wait)
        except BaseException:
            self.close()
            raise
        self._open = True

    @property
    def format(self) -> int:
        """The format of what is stored."""
        return self._owner.format

    @property
    def redo(self) -> int:
        return self._owner.redo

    def path(self, *names: str) -> str:
        return "/".join((self._address.path, *names))

    def read(self, paths: Sequence[str]) -> list[bytes | None]:
        """None for those that do not exist. Raises StoreFailed."""
        return self._session.read_all(paths)

    def children(self, name: str) -> list[str]:
        """Raises StoreFailed."""
        return self._session.children(self.path(name))

    def make(self, name: str) -> None:
        """Raises StoreFailed."""
        self._session.make(self.path(name))

    def commit(
        self,
        operations: Sequence[Operation] = (),
        *,
        redo: int | None = None,
        new_format: int | None = None,
        patience: float | None = None,
    ) -> None:
        """All of `operations`, or none; done when it returns. Raises StateInUse and StoreFailed."""
        with self._mutex:
            if self._broken is not None:
                raise self._broken
            owner = Owner(
                self._owner.format if new_format is None else new_format,
                self._holder,
                self._token,
                self._owner.commit + 1,
                self._owner.redo if redo is None else redo,
            )
            try:
                self._do(owner, operations, self._session.deadline(patience))
            except StoreFailed as error:
                self._broken = error
                raise

    def trouble(self) -> StoreTrouble | None:
        """From any thread."""
        return self._session.trouble

    def prove(self) -> None:
        """No other process owns the nodes now, nor in the next moment. Raises StateInUse and StoreFailed."""
        if _now() - self._proven <= _PROVEN:
            return
        if not self._mutex.acquire(timeout=_PROVING):
            raise StoreFailed(f"the state in {self._address} cannot be written: ZooKeeper does not answer")
        try:
            self.commit(patience=_PROVING)
        finally:
            self._mutex.release()

    def watch(self, lost: Callable[[StoreFailed], None]) -> None:
        """`lost` is called, in a thread of its own, when a new session cannot get the lock."""
        self._lost = lost

    def close(self) -> None:
        """Gives the lock back. Has no effect if it is already closed."""
        self._open = False
        self._session.close()

    # -- one transaction

    def _do(self, owner: Owner, operations: Sequence[Operation], deadline: float) -> None:
        """Raises StateInUse and StoreFailed."""
        while True:
            self._session.wait_connected(deadline)
            session, started = self._session.id, _now()
            if session is None:
                continue  # lost again
            head = [self._sign(owner)] if session == self._locked else [self._lock, self._sign(owner)]
            fault: Rejection | None = None
            try:
                fault = self._session.transaction([*head, *operations])
                if fault is None:
                    self._done(owner, 0 if self._version is None else self._version + 1)
                    if session == self._session.id:
                        self._locked, self._proven = session, started
                    return
            except Lost:
                pass
            if fault is not None and (fault.position >= len(head) or isinstance(fault.error, NoAuthError)):
                raise self._session.failed(fault.error)
            if self._was_done(owner, session):
                return
            if time.monotonic() >= deadline:
                raise StoreFailed(
                    f"the state in {self._address} cannot be written: ZooKeeper drops the connection again and again;"
                    " its log says why"
                )
            time.sleep(_LOOK)

    def _was_done(self, owner: Owner, session: int | None) -> bool:
        """False if it is to be tried again. Raises StateInUse if another process owns the nodes."""
        found, version = self._look()
        if found is not None and found.token == self._token and found.commit == owner.commit:
            assert version is not None
            self._done(owner, version)
            return True
        if version != self._version:
            holder = found.holder if found is not None else "another program"
            raise StateInUse(f"{holder} took over the state in {self._address}, while this process was cut off from it")
        lock = self._session.read(self.path(LOCK))
        if lock is not None and session != self._locked:
            if lock[2] != session:
                raise StateInUse(self._in_use(lock[0]))
            self._locked = session
        return False

    def _done(self, owner: Owner, version: int) -> None:
        self._owner, self._version = owner, version

    def _lock(self, transaction: Any) -> None:
        transaction.create(self.path(LOCK), self._holder.encode(), ephemeral=True)

    def _sign(self, owner: Owner) -> Operation:
        def sign(transaction: Any) -> None:
            data = msgspec.json.encode(owner)
            if self._version is None:
                transaction.create(self.path(OWNER), data)
            else:
                transaction.set_data(self.path(OWNER), data, version=self._version)

        return sign

    # -- ownership

    def _take(self, wait: float) -> None:
        """Raises StateInUse if another process holds the lock after `wait` seconds, and what `__init__` raises."""
        until, said = time.monotonic() + wait, False
        found, self._version = self._look()
        self._session.make(self._address.path)
        self._session.check_private(self._address.path)  # whoever may write there first could have made the rest too
        while True:
            lock = self._session.read(self.path(LOCK))
            if lock is None:
                found, self._version = self._look()
                if self._try_to_take(found):
                    if found is None:
                        _log.info("there was no state in %s: a new one begins", self._address)
                    return
            elif time.monotonic() >= until:
                raise StateInUse(self._in_use(lock[0]))
            elif not said:
                said = True
                _log.info(
                    "%s uses the state in %s: waiting up to %g s for its end", _text(lock[0]), self._address, wait
                )
            time.sleep(_LOOK)

    def _try_to_take(self, found: Owner | None) -> bool:
        """False if another process was quicker."""
        known, redo = (found.format, found.redo) if found is not None else (FORMAT, 0)
        try:
            self._do(Owner(known, self._holder, self._token, 0, redo), (), self._session.deadline())
        except StateInUse:
            return False
        return True

    def _look(self) -> tuple[Owner | None, int | None]:
        """Who owns the nodes, and the version. Raises StateTooNew, StateDamaged and StoreFailed."""
        return look_at_owner(self._address, self._session)

    def _restored(self) -> None:
        """The connection is back. With a new session the lock has to be taken again, unless another has it."""
        if self._open:
            threading.Thread(target=self._lock_again, name="owmesos-state-lock", daemon=True).start()

    def _lock_again(self) -> None:
        try:
            if self._session.id != self._locked:
                self.commit()
        except StoreFailed as error:
            if self._open:
                self._lost(error)

    def _in_use(self, holder: bytes) -> str:
        return f"{_text(holder)} uses the state in {self._address}: stop it, or give another --name or --state"


def look_at_owner(address: ZooKeeperPath, session: ZooKeeperSession) -> tuple[Owner | None, int | None]:
    """Who owns the nodes, and the node's version; None if there is no state yet. Raises StateTooNew, StateDamaged and
    StoreFailed."""
    path = f"{address.path}/{OWNER}"
    node = session.read(path)
    if node is None:
        return None, None
    try:
        known = msgspec.json.decode(node[0], type=_Format).format
        if known > FORMAT:
            raise StateTooNew(
                f"the state in {address} was written by a later owmesos (format {known}, not {FORMAT}): use that"
                " version, or give another --state"
            )
        return msgspec.json.decode(node[0], type=Owner), node[1]
    except NOT_READABLE as error:
        raise StateDamaged(f"the state in {address} is damaged: {path} cannot be read: {error}") from None


def lock_holder(address: ZooKeeperPath, session: ZooKeeperSession) -> str | None:
    """Who has the lock. Raises StoreFailed."""
    lock = session.read(f"{address.path}/{LOCK}")
    return _text(lock[0]) if lock is not None else None


def _text(holder: bytes) -> str:
    return shown(holder.decode(errors="replace"))


def _now() -> float:
    """Seconds, those in which the machine was suspended too."""
    return time.clock_gettime(_CLOCK)


def create(path: str, data: bytes) -> Operation:
    return lambda transaction: transaction.create(path, data)


def change(path: str, data: bytes) -> Operation:
    return lambda transaction: transaction.set_data(path, data)


def delete(path: str) -> Operation:
    return lambda transaction: transaction.delete(path)

"""A ZooKeeper session that waits while the connection is lost, and says in one line what is wrong.

kazoo reconnects by itself, with a new session where the old one has expired. What was sent when the connection broke
may have been done or not: whoever changes nodes has to look (`owned_nodes`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
    SessionMovedError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry
from kazoo.security import ACL, OPEN_ACL_UNSAFE, Permissions, make_digest_acl

from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.storage.store import StoreFailed, StoreTrouble
from owmesos.system.clock import process_time

T = TypeVar("T")
_log = logging.getLogger("owmesos.storage")
_kazoo_log = logging.getLogger("owmesos.storage.kazoo")
_kazoo_log.setLevel(logging.ERROR)  # it has a line for each try

SESSION = 10.0
"""Seconds without a sign of the owner after which ZooKeeper gives its lock away. A server may allow less or more."""
PATIENCE = 60.0
"""Seconds to wait for ZooKeeper before a read or a commit fails."""
_ANSWER = 10.0  # seconds; for one request
_SAY_AFTER = 3.0  # seconds
_RECONNECT_MOST = 1.0  # seconds between two tries; with 5, launches waited 3 to 6 s after a quorum was back
_AT_ONCE = 200  # requests on their way together
NOT_PRIVATE = (
    "everybody may change its node, which was made without these credentials: name a path that does not exist yet"
    " (`owmesos state export` without credentials, then `import`, takes a state there)"
)
LOST = (
    ConnectionLoss,
    KazooTimeoutError,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
)


class ZooKeeperSession:
    """Connected to `address` until `close`. For any thread; `restored` is called in one of kazoo's after each
    reconnection, and must not block."""

    def __init__(
        self,
        address: ZooKeeperPath,
        restored: Callable[[], None],
        *,
        session: float = SESSION,
        patience: float = PATIENCE,
    ) -> None:
        self._address = address
        self._restored = restored
        self._patience = patience
        self._changed = threading.Condition()
        self.trouble: StoreTrouble | None = None
        """That the connection is lost, once there was one."""
        self._lines = ConnectionLog(_log, address, "nothing is sent until it is back")
        self._closed = False
        self._client = client_for(address, session)
        self._client.add_listener(self._on_state)
        self._client.start_async()

    @property
    def id(self) -> int | None:
        """The session's id; None while the connection is lost."""
        known = self._client.client_id
        return known[0] if known is not None else None

    def read(self, path: str) -> tuple[bytes, int, int] | None:
        """The data, its version, and the id of the session whose ephemeral node it is or 0; None if there is no such
        node. Raises StoreFailed."""
        return self._patiently(lambda: self._read(path))

    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        """None for those that do not exist. Raises StoreFailed."""
        return self._patiently(lambda: self._read_all(paths))

    def children(self, path: str) -> list[str]:
        """Sorted; empty if the node does not exist. Raises StoreFailed."""
        return self._patiently(lambda: self._children(path))

    def make(self, path: str) -> None:
        """The node and its parents, where they are missing. Raises StoreFailed."""
        self._patiently(lambda: self._client.ensure_path_async(path).get(timeout=_ANSWER))

    def check_private(self, path: str) -> None:
        """With credentials. Raises StoreFailed if everybody may change the node."""
        if self._address.credentials is not None:
            acls, _ = self._patiently(lambda: self._client.get_acls_async(path).get(timeout=_ANSWER))
            if open_to_all(acls):
                raise StoreFailed(f"the state in {self._address} cannot be used: {NOT_PRIVATE}")

    def transaction(self, operations: Sequence[Operation]) -> Rejection | None:
        """Why ZooKeeper did none of them; None if it did all.

        Raises Lost if that is unknown, or nothing was sent.
        """
        request = self._client.transaction()
        for operation in operations:
            operation(request)
        try:
            results = request.commit_async().get(timeout=_ANSWER)
        except LOST as error:
            raise Lost(str(error) or type(error).__name__) from None
        except KazooException as error:
            return Rejection(len(operations), error)
        faults = [Rejection(index, each) for index, each in enumerate(results) if isinstance(each, Exception)]
        causes = [each for each in faults if not isinstance(each.error, (RolledBackError, RuntimeInconsistency))]
        return next(iter([*causes, *faults]), None)

    def wait_connected(self, deadline: float) -> None:
        """Raises StoreFailed at `deadline`, of the monotonic clock."""
        said = False
        with self._changed:
            while not self._client.connected and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0.0:
                    raise self._silent()
                if not self._changed.wait(min(left, _SAY_AFTER)) and not said:
                    said = True
                    _log.warning("ZooKeeper at %s does not answer: waiting up to %.0f s", self._address.hosts, left)
            if self._closed:
                raise StoreFailed(f"the state in {self._address} is closed")

    def deadline(self, patience: float | None = None) -> float:
        return time.monotonic() + (self._patience if patience is None else patience)

    def failed(self, error: Exception) -> StoreFailed:
        """ZooKeeper's errors as ours."""
        if isinstance(error, (NoAuthError, AuthFailedError)):
            return StoreFailed(
                f"the state in {self._address} cannot be used: these credentials are not allowed to: give the user and"
                " password with which it was made (zk://user:password@…, in OWMESOS_STATE or the configuration file)"
            )
        if isinstance(error, (NoNodeError, NodeExistsError)):
            return StoreFailed(
                f"the state in {self._address} was changed by another program ({type(error).__name__}): start again"
            )
        return StoreFailed(f"the state in {self._address} cannot be used: {str(error) or type(error).__name__}")

    def close(self) -> None:
        """Has no effect if it is already closed."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._client.remove_listener(self._on_state)
        self._client.stop()
        self._client.close()

    # -- one try each

    def _read(self, path: str) -> tuple[bytes, int, int] | None:
        self._client.sync_async(path).get(timeout=_ANSWER)  # a server that lags behind catches up
        try:
            data, stat = self._client.get_async(path).get(timeout=_ANSWER)
        except NoNodeError:
            return None
        return data, stat.version, stat.ephemeralOwner

    def _read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for first in range(0, len(paths), _AT_ONCE):
            for answer in [self._client.get_async(path) for path in paths[first : first + _AT_ONCE]]:
                try:
                    found.append(answer.get(timeout=_ANSWER)[0])
                except NoNodeError:  # noqa: PERF203
                    found.append(None)
        return found

    def _children(self, path: str) -> list[str]:
        try:
            return sorted(self._client.get_children_async(path).get(timeout=_ANSWER))
        except NoNodeError:
            return []

    def _patiently(self, once: Callable[[], T]) -> T:
        deadline = self.deadline()
        while True:
            self.wait_connected(deadline)
            try:
                return once()
            except LOST:
                if time.monotonic() >= deadline:
                    raise self._silent() from None
            except KazooException as error:
                raise self.failed(error) from None

    def _silent(self) -> StoreFailed:
        return StoreFailed(f"ZooKeeper at {self._address.hosts} does not answer: is it running?")

    def _on_state(self, state: str) -> None:
        with self._changed:
            self._changed.notify_all()
        if state == KazooState.CONNECTED:
            self.trouble = None
            self._restored()
        elif self.trouble is None:
            self.trouble = StoreTrouble(f"ZooKeeper at {self._address.hosts} does not answer", process_time())
        if not self._closed:
            self._lines.note(state)


class ConnectionLog:
    """One line of the log when a connection to ZooKeeper is lost, and one when it is back."""

    def __init__(self, log: logging.Logger, address: ZooKeeperPath, meanwhile: str) -> None:
        self._log = log
        self._address = address
        self._meanwhile = meanwhile
        self._lost_at: float | None = None

    def note(self, state: str) -> None:
        """`state` is kazoo's, in the order of its changes."""
        if state == KazooState.SUSPENDED:
            self._lost_at = process_time()
            self._log.warning("the connection to ZooKeeper at %s is lost: %s", self._address, self._meanwhile)
        elif state == KazooState.CONNECTED and self._lost_at is not None:
            away = process_time() - self._lost_at
            self._lost_at = None
            self._log.info("the connection to ZooKeeper at %s is back, after %.0f s", self._address, away)


def client_for(address: ZooKeeperPath, session: float) -> KazooClient:
    """Not started yet; it reconnects for as long as it is open, and several times within a session's time-out: a
    server that starts again gives a session no longer. What it makes only the address's user may touch."""
    credentials = address.credentials
    pair = (credentials.principal, credentials.secret) if credentials is not None else None
    return KazooClient(
        hosts=address.hosts,
        timeout=session,
        auth_data=[("digest", ":".join(pair))] if pair is not None else None,
        default_acl=[make_digest_acl(*pair, all=True)] if pair is not None else OPEN_ACL_UNSAFE,
        connection_retry=KazooRetry(max_tries=-1, delay=0.2, max_delay=min(_RECONNECT_MOST, session / 8)),
        logger=_kazoo_log,
    )


def open_to_all(acls: Iterable[ACL]) -> bool:
    """Whether more than a node's own users may change it, or what is below it."""
    return any(each.id.scheme in ("world", "ip") and each.perms & ~Permissions.READ for each in acls)


class Rejection(NamedTuple):
    """A transaction is rejected because of the operation at `position`, or of all of them together."""

    position: int
    error: Exception


class Lost(Exception):
    """The connection broke: what was sent may have been done."""


Operation = Callable[..., None]
"""Adds itself to a transaction of kazoo."""

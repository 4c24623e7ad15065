"""This process's part in the election in ZooKeeper (`election`): kazoo and a thread of its own.

    PATH/election/TOKEN-NUMBER    one for each process, ephemeral: its name for people, and where its admin API is

It has a session of its own, with a short time-out: who leads has to be known before OpenWhisk's Controllers miss the
pings of an invoker, ten seconds after the last.

A ZooKeeper that has lost its data rejects every client that has seen a later transaction, and does not say why. So a
candidate that has no connection opens another one, as a new client, and compares the last transaction. If data is lost,
so is the state, and the process ends with the reason; so does one that is to lead and finds no state where one was.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import socket
import time
from contextlib import suppress
from typing import Any

import msgspec
from kazoo.exceptions import AuthFailedError, KazooException, NoAuthError, NoNodeError
from kazoo.protocol.states import KazooState

from owmesos.errors import NOT_READABLE
from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.storage import election
from owmesos.storage.election import CandidateListener, Election, ElectionEffect, ElectionEvent, Leader, shown
from owmesos.storage.election_thread import ElectionThread
from owmesos.storage.owned_nodes import OWNER
from owmesos.storage.store import StoreFailed
from owmesos.storage.zookeeper_session import LOST, NOT_PRIVATE, ConnectionLog, client_for, open_to_all
from owmesos.system.lease import Lease, clock

_log = logging.getLogger("owmesos.election")
SESSION = 4.0
"""Seconds without a sign of the leader after which another process leads; ZooKeeper adds up to one tick (2 s by
default). A server with that tick allows no less."""
ELECTION = "election"
_ANSWER = 5.0  # seconds; for one request
_PAUSE = 0.2  # seconds; after a request without an answer
_SAY_AFTER = 3.0  # seconds
_ASK_EVERY = 5.0  # seconds without a connection, between two questions for the last transaction
_NEW_CLIENT = 2.0  # seconds; for the connection of such a question
_GO_ON = (
    "restore ZooKeeper's data, or an export of the state by `owmesos state import`; a start without either begins a new"
    " framework"
)


class _Node(msgspec.Struct, frozen=True):
    """What a candidate's node holds. Later versions may add fields."""

    holder: str
    admin: str


class Candidate(ElectionThread):
    """Takes part from `start` to `close`."""

    def __init__(self, address: ZooKeeperPath, admin: str, lease: Lease, listener: CandidateListener) -> None:
        """`admin`: where others reach this process's admin API. `lease` is renewed while this process leads; its
        session is SESSION."""
        super().__init__(lease, listener)
        self._address = address
        self._token = secrets.token_hex(8)
        self._data = msgspec.json.encode(_Node(f"process {os.getpid()} on {socket.gethostname()}", admin))
        self._election = Election()
        self._events: queue.SimpleQueue[ElectionEvent | None] = queue.SimpleQueue()
        self._timeout = SESSION
        self._asked_at: float | None = None  # or found to be away; None while it is connected
        self._state_seen = False
        self._lines = ConnectionLog(_log, address, "who leads is not known")
        self._path = f"{address.path}/{ELECTION}"
        self._own = ""
        self._client = client_for(address, SESSION)
        self._client.add_listener(self._on_state)
        _note_timeouts(self._client, self._negotiated)

    def start(self) -> None:
        self._client.start_async()
        self._thread.start()

    def close(self) -> None:
        self._ended = True
        self._lease.end()
        self._events.put(None)
        self._client.remove_listener(self._on_state)
        self._client.stop()
        self._client.close()
        self._join(_ANSWER)

    # -- the thread

    def _take_part(self) -> None:
        said = False
        while not self._ended:
            wake = self._election.next_wake()
            try:
                event = self._events.get(timeout=max(0.0, wake - clock()) if wake is not None else _SAY_AFTER)
            except queue.Empty:
                event = election.TimePassed()
                if not said and not self._client.connected:
                    said = True
                    _log.warning("ZooKeeper at %s does not answer: waiting", self._address.hosts)
                self._look_for_lost_data(clock())
            if event is None:
                return
            for effect in self._election.handle(event, clock()):
                self._carry_out(effect)
            self._lease.others = self._election.others

    def _carry_out(self, effect: ElectionEffect) -> None:
        if isinstance(effect, election.MakeNode | election.Look | election.Prove):
            self._ask(effect)
        else:
            self._tell(effect)

    def _ask(self, effect: election.MakeNode | election.Look | election.Prove) -> None:
        """One that ZooKeeper does not answer is repeated by the next connection, or by the next TimePassed."""
        try:
            if isinstance(effect, election.MakeNode):
                self._events.put(self._register())
            elif isinstance(effect, election.Look):
                self._events.put(self._look())
            else:
                self._prove()
        except LOST as error:
            _log.debug("%s: %s", type(effect).__name__, error)
            if not isinstance(effect, election.Prove) and self._client.connected and not self._ended:
                self._events.put(self._connected())
                time.sleep(_PAUSE)
        except (NoAuthError, AuthFailedError):
            self._end(
                f"the election in {self._address} cannot be used: these credentials are not allowed to: give the user"
                " and password with which it was made, in OWMESOS_STATE or the configuration file"
            )
        except StoreFailed as error:
            self._end(str(error))
        except KazooException as error:
            if not self._ended:
                self._end(f"the election in {self._address} broke: {str(error) or type(error).__name__}")

    # -- ZooKeeper

    def _register(self) -> ElectionEvent:
        session = self._session()
        self._make_path()
        made = self._owned(session)
        if made is None:
            prefix = f"{self._path}/{self._token}-"
            made = str(self._answer(self._client.create_async(prefix, self._data, ephemeral=True, sequence=True)))
        self._own = made
        return election.NodeMade(made.rpartition("/")[2], session)

    def _owned(self, session: int) -> str | None:
        """Our node of this session, which may have been made although the answer was lost."""
        for name in self._children():
            if name.startswith(f"{self._token}-"):
                path = f"{self._path}/{name}"
                with suppress(NoNodeError):
                    if self._answer(self._client.get_async(path))[1].ephemeralOwner == session:
                        return path
        return None

    def _look(self) -> ElectionEvent:
        self._answer(self._client.sync_async(self._path))  # a server that lags behind catches up
        names = self._children(self._on_change)
        self._state_seen = self._state_seen or self._has_state()
        lowest = min(names, key=election.number_of, default=None)
        leader = self._leader(lowest) if lowest is not None and f"{self._path}/{lowest}" != self._own else None
        return election.NodesSeen(frozenset(names), leader)

    def _leader(self, name: str) -> Leader | None:
        try:
            found = msgspec.json.decode(self._answer(self._client.get_async(f"{self._path}/{name}"))[0], type=_Node)
        except (NoNodeError, *NOT_READABLE):  # gone meanwhile, or another program's
            return None
        return Leader(shown(found.holder), found.admin)

    def _prove(self) -> None:
        if not self._client.connected:
            return  # kazoo would keep it for the next session
        if self._state_seen and not self._election.leading and not self._has_state():
            raise StoreFailed(f"the state in {self._address} is gone: {_GO_ON}")
        began, timeout = clock(), self._timeout
        try:
            stat = self._answer(self._client.set_async(self._own, self._data))
        except NoNodeError:
            self._events.put(election.Gone())
            return
        if stat.ephemeralOwner == self._session():
            for effect in self._election.handle(election.Proven(began, timeout), clock()):
                self._carry_out(effect)

    def _has_state(self) -> bool:
        return self._answer(self._client.exists_async(f"{self._address.path}/{OWNER}")) is not None

    def _look_for_lost_data(self, now: float) -> None:
        if self._client.connected:
            self._asked_at = None
            return
        if self._asked_at is None:
            self._asked_at = now
        if not self._client.last_zxid or now - self._asked_at < _ASK_EVERY:
            return
        known = self._client.last_zxid  # before the look: our own client may be let in, and see more, meanwhile
        found = self._last_transaction()
        self._asked_at = clock()
        if found is not None and found < known:
            self._end(
                f"ZooKeeper at {self._address.hosts} has lost data: its last transaction is {found:#x}, and was"
                f" {known:#x} before. The state in {self._address} is gone, or an old one: {_GO_ON}"
            )

    def _last_transaction(self) -> int | None:
        """The id of ZooKeeper's last transaction, as a new client learns it; None without an answer."""
        client = client_for(self._address, SESSION)
        try:
            client.start(_NEW_CLIENT)
            client.sync_async("/").get(timeout=_NEW_CLIENT)  # a server that lags behind catches up
            client.exists_async("/").get(timeout=_NEW_CLIENT)
            return int(client.last_zxid)
        except (KazooException, *LOST) as error:
            _log.debug("ZooKeeper's last transaction is unknown: %s", error)
            return None
        finally:
            client.stop()
            client.close()

    def _children(self, watch: Any = None) -> list[str]:
        try:
            found: list[str] = self._answer(self._client.get_children_async(self._path, watch))
        except NoNodeError:
            return []
        return found

    def _make_path(self) -> None:
        """Raises StoreFailed."""
        self._answer(self._client.ensure_path_async(self._path))
        if self._address.credentials is not None:
            acls, _ = self._answer(self._client.get_acls_async(self._address.path))
            if open_to_all(acls):
                raise StoreFailed(f"the election in {self._address} cannot be used: {NOT_PRIVATE}")

    def _answer(self, asked: Any) -> Any:
        return asked.get(timeout=_ANSWER)

    def _session(self) -> int:
        known = self._client.client_id
        return known[0] if known is not None else 0

    def _connected(self) -> ElectionEvent:
        return election.Connected(self._session())

    # -- called in kazoo's threads

    def _on_state(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            self._events.put(self._connected())
        if not self._ended:
            self._lines.note(state)

    def _on_change(self, event: object) -> None:
        """Only of nodes; what becomes of the connection is told by `_on_state`."""
        if self._client.connected:
            self._events.put(election.Changed())

    def _negotiated(self, seconds: float) -> None:
        self._timeout = seconds


def _note_timeouts(client: Any, note: Any) -> None:
    """`note` is told each session's timeout, to which a server may have changed ours. kazoo does not publish it."""
    connect = client._connection._connect

    def connected(*arguments: Any, **more: Any) -> Any:
        read_timeout, rest = connect(*arguments, **more)
        note(read_timeout * 1.5 / 1000)
        return read_timeout, rest

    client._connection._connect = connected

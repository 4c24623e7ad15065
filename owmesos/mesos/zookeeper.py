"""Finds the leading master in ZooKeeper, where Mesos's masters elect it.

Each master keeps a node `json.info_<sequence>` with its MasterInfo; the lowest sequence leads. kazoo blocks,
so it lives in a thread here that tells the event loop what it learns. ZooKeeper that is away, at the start or
later, is waited for: a subscription that works does not need it. docs/high-availability.md.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoAuthError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from owmesos.mesos.address import Address, ZooKeeperMasters
from owmesos.mesos.backoff import Backoff
from owmesos.mesos.messages import MasterInfo

_log = logging.getLogger("owmesos.mesos.zookeeper")
_PREFIX = "json.info_"
_CONNECT_TIMEOUT = 10.0
_Tell = Callable[[Address | None], None]


class ZooKeeperDetector:
    """Says who leads, and when that changes."""

    def __init__(self, masters: ZooKeeperMasters, backoff: Backoff | None = None) -> None:
        self._masters = masters
        self._backoff = backoff or Backoff()
        self._leader: Address | None = None
        self._said: Address | None = None
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: _Watch | None = None

    async def candidates(self) -> Sequence[Address]:
        if self._watch is None:
            self._loop = asyncio.get_running_loop()
            self._watch = _Watch(self._masters, self._backoff, self._tell)
            self._watch.start()
        while self._leader is None:
            await self._next_news()
        self._said = self._leader
        return (self._leader,)

    def answered(self, address: Address) -> None:
        """ZooKeeper knows better."""

    def failed(self, address: Address) -> None:
        """ZooKeeper knows better."""

    async def changed(self) -> None:
        while self._leader is None or self._leader == self._said:
            await self._next_news()

    async def close(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
            await asyncio.to_thread(watch.join)

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _tell(self, leader: Address | None) -> None:
        """Called in the watch's thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._learned, leader)

    def _learned(self, leader: Address | None) -> None:
        if leader != self._leader:
            _log.info("the leading master is %s", leader or "not known")
        self._leader = leader
        self._news.set()


class _NoLeader(Exception):
    """ZooKeeper answers, but names no master that leads."""


class _Watch(threading.Thread):
    """Follows the masters' nodes until it is stopped, with a new ZooKeeper session after each failure."""

    def __init__(self, masters: ZooKeeperMasters, backoff: Backoff, tell: _Tell) -> None:
        super().__init__(name="owmesos-zookeeper", daemon=True)
        self._masters = masters
        self._backoff = backoff
        self._tell = tell
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._state = KazooState.LOST
        self._complaint: str | None = None

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            client = self._client()
            started = time.monotonic()
            try:
                self._follow(client)
            except (KazooException, KazooTimeoutError, OSError) as error:
                self._complain(str(error) or type(error).__name__)
            finally:
                client.remove_listener(self._on_state)
                client.stop()
                client.close()
            self._backoff.lived(time.monotonic() - started)
            self._stopping.wait(self._backoff.next())

    def _client(self) -> KazooClient:
        credentials = self._masters.credentials
        auth = [("digest", f"{credentials.principal}:{credentials.secret}")] if credentials else None
        return KazooClient(
            hosts=self._masters.hosts,
            auth_data=auth,
            connection_retry=KazooRetry(max_tries=-1, delay=0.5, max_delay=15.0),
            logger=logging.getLogger("owmesos.mesos.zookeeper.kazoo"),
        )

    def _follow(self, client: KazooClient) -> None:
        """Returns when stopped; raises when the session is lost or never came about."""
        client.add_listener(self._on_state)
        client.start_async()
        deadline = time.monotonic() + _CONNECT_TIMEOUT
        connected = False
        while not self._stopping.is_set():
            self._wake.clear()
            if client.connected:
                connected = True
                self._tell(self._read_leader(client))
            elif connected and self._state == KazooState.LOST:
                raise KazooTimeoutError("the session is lost")
            elif not connected and time.monotonic() >= deadline:
                raise KazooTimeoutError("it does not answer")
            self._wake.wait(None if connected else max(0.0, deadline - time.monotonic()))

    def _read_leader(self, client: KazooClient) -> Address | None:
        path = self._masters.path
        try:
            names = client.get_children(path, self._on_node)
            nodes = sorted(name for name in names if name.startswith(_PREFIX))
            if not nodes:
                raise _NoLeader("no master has registered there yet")
            data, _ = client.get(f"{path}/{nodes[0]}")
            leader = self._address(data)
        except NoNodeError:
            if client.exists(path, self._on_node) is not None:
                self._wake.set()  # it came, or its leader went, in between: look again
            self._complain("no master has registered there yet")
        except NoAuthError:
            self._complain("the credentials may not read it")
        except _NoLeader as reason:
            self._complain(str(reason))
        else:
            self._complaint = None
            return leader
        return None

    def _address(self, data: bytes) -> Address:
        try:
            info = msgspec.json.decode(data, type=MasterInfo)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _NoLeader(f"a master's node is malformed: {error}") from None
        address = info.address
        port = address.port if address else info.port
        hostname = (address.hostname if address else None) or info.hostname
        ip = address.ip if address else None
        # A certificate names the host; without TLS the plain address spares a look-up that may fail.
        host = (hostname or ip) if self._masters.scheme == "https" else (ip or hostname)
        if not host or not port:
            raise _NoLeader("a master's node names no address")
        return Address(self._masters.scheme, host, port)

    def _complain(self, reason: str) -> None:
        """Logs each new trouble once, not at every try."""
        if reason != self._complaint and not self._stopping.is_set():
            self._complaint = reason
            _log.warning("ZooKeeper at %s%s: %s; waiting", self._masters.hosts, self._masters.path, reason)

    def _on_state(self, state: str) -> None:
        self._state = state
        self._wake.set()

    def _on_node(self, event: object) -> None:
        self._wake.set()

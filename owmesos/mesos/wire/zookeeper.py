"""Finds the leading master in ZooKeeper, where Mesos's masters elect it.

Each master keeps a node `json.info_<sequence>` with its MasterInfo; the lowest sequence leads. kazoo blocks, so it runs
in a thread that tells the event loop what it learns. While ZooKeeper is not available, at the start or later, the
thread waits for it: a subscription that works does not need it. docs/high-availability.md.
"""

from __future__ import annotations

import asyncio
import contextlib
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

from owmesos.errors import NOT_READABLE, InvalidInput
from owmesos.mesos.messages import MasterInfo
from owmesos.mesos.wire.address import ServerAddress, ZooKeeperMasters
from owmesos.system.retry_pause import RetryPause

_log = logging.getLogger("owmesos.mesos.zookeeper")
_PREFIX = "json.info_"
_CONNECT_TIMEOUT = 10.0  # seconds
_Report = Callable[[ServerAddress | None], None]


class ZooKeeperDetector:
    """A `Detector` on ZooKeeper."""

    def __init__(self, masters: ZooKeeperMasters, backoff: RetryPause | None = None) -> None:
        self._masters = masters
        self._backoff = backoff or RetryPause()
        self._leader: ServerAddress | None = None
        self._said: ServerAddress | None = None
        self._news = asyncio.Event()
        self._watch: _Watch | None = None

    async def candidates(self) -> Sequence[ServerAddress]:
        if self._watch is None:
            loop = asyncio.get_running_loop()

            def report(leader: ServerAddress | None) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._learned, leader)

            self._watch = _Watch(self._masters, self._backoff, report)
            self._watch.start()
        while self._leader is None:
            await self._next_news()
        self._said = self._leader
        return (self._leader,)

    def answered(self, address: ServerAddress) -> None:
        """Only ZooKeeper tells who leads."""

    def failed(self, address: ServerAddress) -> None:
        """Only ZooKeeper tells who leads."""

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

    def _learned(self, leader: ServerAddress | None) -> None:
        if leader != self._leader:
            _log.info("the leading master is %s", leader or "not known")
        self._leader = leader
        self._news.set()


class _NoLeader(Exception):
    """ZooKeeper answers, but names no leading master."""


class _Watch(threading.Thread):
    """Watches the masters' nodes until stopped, with a new ZooKeeper session after each failure. Calls `report`."""

    def __init__(self, masters: ZooKeeperMasters, backoff: RetryPause, report: _Report) -> None:
        super().__init__(name="owmesos-zookeeper", daemon=True)
        self._masters = masters
        self._backoff = backoff
        self._report = report
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
        """Returns when stopped; raises when the session is lost or cannot be established."""
        client.add_listener(self._on_state)
        client.start_async()
        deadline = time.monotonic() + _CONNECT_TIMEOUT
        connected = False
        while not self._stopping.is_set():
            self._wake.clear()
            if client.connected:
                connected = True
                self._report(self._read_leader(client))
            elif connected and self._state == KazooState.LOST:
                raise KazooTimeoutError("the session is lost")
            elif not connected and time.monotonic() >= deadline:
                raise KazooTimeoutError("it does not answer")
            self._wake.wait(None if connected else max(0.0, deadline - time.monotonic()))

    def _read_leader(self, client: KazooClient) -> ServerAddress | None:
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
            self._complain("the credentials are not allowed to read it")
        except _NoLeader as reason:
            self._complain(str(reason))
        else:
            self._complaint = None
            return leader
        return None

    def _address(self, data: bytes) -> ServerAddress:
        try:
            info = msgspec.json.decode(data, type=MasterInfo)
        except NOT_READABLE as error:
            raise _NoLeader(f"a master's node is malformed: {error}") from None
        address = info.address
        port = address.port if address else info.port
        hostname = (address.hostname if address else None) or info.hostname
        ip = address.ip if address else None
        # A certificate names the host; without TLS the IP address avoids a look-up that may fail.
        host = (hostname or ip) if self._masters.scheme == "https" else (ip or hostname)
        try:
            return ServerAddress.checked(self._masters.scheme, host or "", port or 0)
        except InvalidInput as error:
            raise _NoLeader(f"a master's node lacks an address: {error}") from None

    def _complain(self, reason: str) -> None:
        """Logs each new reason once, not at every try."""
        if reason != self._complaint and not self._stopping.is_set():
            self._complaint = reason
            _log.warning("ZooKeeper at %s%s: %s; waiting", self._masters.hosts, self._masters.path, reason)

    def _on_state(self, state: str) -> None:
        self._state = state
        self._wake.set()

    def _on_node(self, event: object) -> None:
        self._wake.set()

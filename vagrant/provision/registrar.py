"""Registers a master in ZooKeeper, as a master does by itself that was started with `--zk`.

The Apache Mesos that we build has no ZooKeeper: its masters lead without an election. So that frameworks find one by
`zk://…` all the same, this program keeps the master's node there for as long as the master answers: an ephemeral
sequential `json.info_…` that holds its MasterInfo (docs/high-availability.md, src/master/contender/zookeeper.cpp).
It elects nobody: of several masters, each with a registrar, the first leads in ZooKeeper, and the others believe that
they lead, too.
"""

from __future__ import annotations

import json
import logging
import threading
from contextlib import suppress
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from owmesos.errors import InvalidInput
from owmesos.local.daemon import ask
from owmesos.mesos.wire.address import ZooKeeperMasters, parse_master

_PREFIX = "json.info_"
_SESSION_TIMEOUT = 10.0  # as Mesos has it: so long is a host that vanished still the leader
_POLL = 1.0  # the master logs each question
_log = logging.getLogger("owmesos.registrar")


class Registrar:
    """Keeps the node of one master right. `run` does so until `stop`, and takes the node away then."""

    def __init__(self, host: str, port: int, zookeeper: str) -> None:
        """`host` and `port` of the master's API; `zookeeper` is `zk://host:port[,…]/path`. Raises InvalidInput."""
        masters = parse_master(zookeeper, credentials_allowed=False)
        if not isinstance(masters, ZooKeeperMasters):
            raise InvalidInput(f"a master is registered at zk://host:port/path, not at {zookeeper!r}")
        self._host = host
        self._port = port
        self._path = masters.path
        self._stopping = threading.Event()
        self._said = ""
        self._client = KazooClient(
            hosts=masters.hosts,
            timeout=_SESSION_TIMEOUT,
            connection_retry=KazooRetry(max_tries=-1, delay=0.1, max_delay=2.0),
            logger=logging.getLogger("owmesos.registrar.kazoo"),
        )

    def run(self) -> None:
        """Returns after `stop`. Whatever ZooKeeper and the master do meanwhile is waited out, and logged once."""
        self._client.start_async()
        try:
            while not self._stopping.wait(_POLL):
                self._try_to_keep(self._master_info())
            self._try_to_keep(None)
        finally:
            self._client.stop()  # ends the session, and with it whatever node is left
            self._client.close()

    def stop(self) -> None:
        """May be called from any thread, and by a signal's handler."""
        self._stopping.set()

    def _master_info(self) -> bytes | None:
        """As Mesos writes it; None while the master does not answer, or does not yet know itself."""
        status, body = ask(self._host, self._port, "GET_MASTER")
        if status != 200:
            return None
        info: dict[str, Any] = json.loads(body)["get_master"]["master_info"]
        return json.dumps(info, separators=(",", ":"), sort_keys=True).encode()

    def _try_to_keep(self, wanted: bytes | None) -> None:
        session = self._client.client_id
        if session is None:
            self._say("ZooKeeper does not answer: waiting")
            return
        try:
            self._keep(wanted, session[0])
        except (KazooException, KazooTimeoutError) as error:
            self._say(f"ZooKeeper: {error or type(error).__name__}: trying again")
        else:
            where = f"{self._host}:{self._port}"
            self._say(f"{where} does not answer: not registered" if wanted is None else f"{where} is registered")

    def _keep(self, wanted: bytes | None, session: int) -> None:
        """Makes `wanted` our session's one node, going by what ZooKeeper has: an answer to us may have been lost."""
        registered = False
        for node, data in self._nodes_of(session):
            if data == wanted and not registered:
                registered = True
            else:
                with suppress(NoNodeError):
                    self._client.delete(node)
        if wanted is not None and not registered:
            self._client.create(f"{self._path}/{_PREFIX}", wanted, ephemeral=True, sequence=True, makepath=True)

    def _nodes_of(self, session: int) -> list[tuple[str, bytes]]:
        """Path and data, the first one first."""
        found = []
        with suppress(NoNodeError):
            for name in sorted(self._client.get_children(self._path)):
                node = f"{self._path}/{name}"
                data, stat = self._client.get(node)
                if name.startswith(_PREFIX) and stat.ephemeralOwner == session:
                    found.append((node, data))
        return found

    def _say(self, what: str) -> None:
        """Logs what is new."""
        if what != self._said:
            self._said = what
            _log.info("%s", what)

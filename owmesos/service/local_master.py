"""`Framework(master="local")`: a simulated cluster in this process, for first steps and for tests."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from owmesos.local.credentials import OwnCredentials
from owmesos.mesos.wire.address import Credentials, Masters, ZooKeeperMasters, parse_master

if TYPE_CHECKING:
    from owmesos.simulator.cluster import SimulatedCluster

LOCAL = "local"
ANY_PORT = "127.0.0.1:1"
"""A placeholder for the address until the cluster is up."""


class LocalMaster:
    """A master with three agents, whose tasks are processes of this machine. It has credentials of its own, so that no
    other user can run tasks there.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._cluster: SimulatedCluster | None = None
        self._lock = threading.RLock()  # cancelling the start does not end the thread that runs `up`

    def up(self) -> tuple[Masters | ZooKeeperMasters, Credentials]:
        """Start the cluster; return its address and credentials. Takes about half a second. Raises OwmesosError."""
        from owmesos.simulator.cluster import SimulatedCluster

        with self._lock:
            self._folder = tempfile.TemporaryDirectory(prefix="owmesos-local-")
            own = OwnCredentials.new(Path(self._folder.name))
            self._cluster = SimulatedCluster(
                Path(self._folder.name), master_flags=own.master_flags, agent_flags=own.agent_flags
            )
            try:
                self._cluster.up()
            except BaseException:
                self.down()
                raise
            principal, _, secret = own.pair.partition(":")
            return parse_master(self._cluster.master, credentials_allowed=False), Credentials(principal, secret)

    def down(self) -> None:
        """Stop the cluster and its tasks. Waits for `up` in another thread."""
        with self._lock:
            if self._cluster is not None:
                self._cluster.down()
            if self._folder is not None:
                self._folder.cleanup()
            self._cluster = self._folder = None

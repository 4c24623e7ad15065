"""`Framework(master="local")`: a simulated cluster in this process, for first steps and for tests."""

from __future__ import annotations

import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from owmesos.local.credentials import OwnCredentials
from owmesos.mesos.wire.address import Credentials, Masters, ZooKeeperMasters, parse_master

LOCAL = "local"
ANY_PORT = "127.0.0.1:1"
"""A placeholder for the address until the cluster is up."""


class LocalMaster:
    """A master with three agents, whose tasks are processes of this machine. It has credentials of its own, so that no
    other user can run tasks there.
    """

    def __init__(self) -> None:
        self._living = ExitStack()
        self._lock = threading.RLock()  # cancelling the start does not end the thread that runs `up`

    def up(self) -> tuple[Masters | ZooKeeperMasters, Credentials]:
        """Start the cluster; return its address and credentials. Takes about half a second. Raises OwmesosError."""
        from owmesos.simulator.cluster import SimulatedCluster

        with self._lock, ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="owmesos-local-")))
            own = OwnCredentials.new(folder)
            cluster = SimulatedCluster(folder, master_flags=own.master_flags, agent_flags=own.agent_flags)
            stack.callback(cluster.down)
            cluster.up()
            self._living = stack.pop_all()
            principal, _, secret = own.pair.partition(":")
            return parse_master(cluster.master, credentials_allowed=False), Credentials(principal, secret)

    def down(self) -> None:
        """Stop the cluster and its tasks. Waits for `up` in another thread."""
        with self._lock:
            self._living.close()

"""A cluster of one's own for as long as a command runs, simulated or Apache Mesos, on ports that are free."""

from __future__ import annotations

import random
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from owmesos.errors import OwmesosError
from owmesos.local.task_ports import resources_with, task_ports

if TYPE_CHECKING:
    from owmesos.local.cluster import MesosCluster
    from owmesos.simulator.cluster import SimulatedCluster

_RESOURCES = "cpus:2;mem:1024;disk:1024"
_PORTS = range(20000, 30000, 2)  # below the ports of tasks, and below what the kernel gives out by itself


@contextmanager
def embedded_cluster(engine: str = "simulator", *, agents: int = 3) -> Iterator[MesosCluster | SimulatedCluster]:
    """Up within the block, and gone with its folder after it, also on SIGTERM.

    `engine` is `simulator` or `mesos`. Raises BuildError, ClusterError, SimulatorError.
    """
    with (
        _terminated_in_order(),
        task_ports() as ports,
        tempfile.TemporaryDirectory(prefix="owmesos-") as folder,
    ):
        settings: dict[str, Any] = {"agents": agents}
        if ports is not None:
            settings["resources"] = resources_with(ports, agents, _RESOURCES)
        cluster = _cluster(engine, Path(folder), settings)
        try:
            cluster.up()
            yield cluster
        finally:
            with _undisturbed():
                cluster.down()


def _cluster(engine: str, folder: Path, settings: dict[str, Any]) -> MesosCluster | SimulatedCluster:
    if engine == "mesos":
        from owmesos.local.cluster import MesosCluster

        return MesosCluster(folder, master_port=_free_ports(), **settings)
    from owmesos.simulator.cluster import SimulatedCluster

    return SimulatedCluster(folder, **settings)


def _free_ports() -> int:
    """A port that is free, and the next one too: the master's and the agents'."""
    for port in random.sample(_PORTS, 100):
        if _is_free(port) and _is_free(port + 1):
            return port
    raise OwmesosError("no two ports that follow one another are free on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


@contextmanager
def _terminated_in_order() -> Iterator[None]:
    """SIGTERM unwinds the program, as Ctrl-C does."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        sys.exit(1)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Another Ctrl-C does not interrupt the clearing up, which is bounded in time."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

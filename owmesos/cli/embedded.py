"""An embedded cluster while a command runs, simulated or Apache Mesos, on free ports."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from owmesos.errors import OwmesosError
from owmesos.local.credentials import OwnCredentials
from owmesos.system.discovery import MASTER, announced
from owmesos.system.task_ports import free_ports

if TYPE_CHECKING:
    from owmesos.local.cluster import MesosCluster
    from owmesos.simulator.cluster import SimulatedCluster

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def embedded_cluster(
    engine: str = "simulator", *, credentials: bool = True, **settings: Any
) -> Iterator[MesosCluster | SimulatedCluster]:
    """The cluster runs within the block and is removed with its folder afterwards, also when SIGINT (KeyboardInterrupt)
    or SIGTERM, or SIGHUP from a terminal that closes (SystemExit), ends the block.

    `engine` is `simulator` or `mesos`, and `settings` are the cluster's. With `credentials` it has some of its own: no
    other user of the machine can run tasks there. Raises OwmesosError.
    """
    with _stopped_once(), tempfile.TemporaryDirectory(prefix="owmesos-local-") as folder:
        own = OwnCredentials.new(Path(folder)) if credentials else None
        if own is not None:
            settings |= {"master_flags": own.master_flags, "agent_flags": own.agent_flags}
        cluster = _cluster(engine, Path(folder), settings)
        try:
            cluster.up()
            with credentials_announced(cluster.master, own) if own is not None else nullcontext():
                yield cluster
        finally:
            _ignore_signals()  # the clearing up is bounded in time
            cluster.down()


@contextmanager
def credentials_announced(master: str, own: OwnCredentials) -> Iterator[None]:
    """Within the block, commands and frameworks of this user find the credentials by the master's address."""
    host, _, port = master.rpartition(":")
    with announced(MASTER, host, int(port), f"{own.pair}\n") as done:
        if not done:
            raise OwmesosError(
                "no folder for the credentials of the cluster: set XDG_RUNTIME_DIR or HOME to a folder of yours"
            )
        yield


def _cluster(engine: str, folder: Path, settings: dict[str, Any]) -> MesosCluster | SimulatedCluster:
    if engine == "simulator":
        from owmesos.simulator.cluster import SimulatedCluster

        return SimulatedCluster(folder, **settings)
    from owmesos.local.build import expected_build
    from owmesos.local.cluster import MesosCluster
    from owmesos.local.toolchain import Host, toolchain

    cluster = MesosCluster(folder, **{"master_port": free_ports(), **settings})
    toolchain(Host.here())  # raises BuildError where no build is possible
    build = expected_build()
    if not build.exists:
        click.echo(f"building Apache Mesos 1.11.0 in {build.folder.parent}, once: 27 MB to fetch", err=True)
    return cluster


@contextmanager
def _stopped_once() -> Iterator[None]:
    """The first of the signals unwinds the program, wherever it is; later ones find it clearing up already. SIGHUP
    stays ignored where `nohup` has made it so."""

    def stop(number: int, _frame: FrameType | None) -> None:
        _ignore_signals()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(1)

    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    before = {number: signal.signal(number, stop) for number in _SIGNALS if number != signal.SIGHUP or not nohup}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)

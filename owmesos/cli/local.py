"""`owmesos local`: an embedded cluster as a server in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from owmesos.errors import OwmesosError
from owmesos.local.build import expected_build
from owmesos.local.cluster import DEFAULT_ATTRIBUTES, DEFAULT_RESOURCES, MesosCluster
from owmesos.local.toolchain import Host, toolchain
from owmesos.simulator.cluster import SimulatedCluster

_WATCH_INTERVAL = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Stop(BaseException):
    """SIGINT or SIGTERM arrived."""


@click.command()
@click.option("--engine", type=click.Choice(["simulator", "mesos"]), default="simulator", show_default=True)
@click.option("--agents", type=int, default=3, show_default=True, help="How many agents.")
@click.option("--port", type=int, default=5050, show_default=True, help="The master's port; agents take the next one.")
@click.option(
    "--resources",
    default=DEFAULT_RESOURCES,
    show_default=True,
    help="Of each agent, as Mesos writes them; {ports} is the agent's share of 31000-32767, {n} its number.",
)
@click.option("--attributes", default=DEFAULT_ATTRIBUTES, show_default=True, help="Of each agent; {n} is its number.")
def local(engine: str, agents: int, port: int, resources: str, attributes: str) -> None:
    """Serve an embedded Mesos cluster on 127.0.0.1 until Ctrl-C or SIGTERM.

    The engine `simulator` is owmesos's own: it needs nothing, and runs tasks as plain processes. The engine `mesos` is
    Apache Mesos 1.11.0, built on first use (Linux x86-64 with gcc, g++ and nm). Nothing is left behind but that build.
    """
    try:
        with _stoppable(), tempfile.TemporaryDirectory(prefix="owmesos-local-") as folder:
            kind: type[MesosCluster | SimulatedCluster] = MesosCluster if engine == "mesos" else SimulatedCluster
            cluster = kind(Path(folder), master_port=port, agents=agents, resources=resources, attributes=attributes)
            _serve(cluster)
    except _Stop:
        return
    except OwmesosError as error:
        _fail(str(error), error.exit_code)


def _fail(reason: str, exit_code: int) -> NoReturn:
    click.echo(f"owmesos local: {reason}", err=True)
    raise click.exceptions.Exit(exit_code)


def _serve(cluster: MesosCluster | SimulatedCluster) -> None:
    if isinstance(cluster, MesosCluster):
        _tell_of_building()
    try:
        cluster.up()
        agents = sum(daemon.name.startswith("agent") for daemon in cluster.status())
        kind = "Mesos" if isinstance(cluster, MesosCluster) else "simulated Mesos"
        click.echo(
            f"{kind} master at {cluster.master} with {agents} agent{'' if agents == 1 else 's'}: "
            f"use it with `owmesos run --master {cluster.master}`, end it with Ctrl-C"
        )
        _watch(cluster)
    finally:
        _ignore_signals()  # the clearing up is bounded in time
        cluster.down()


def _tell_of_building() -> None:
    """It takes a while, the first time. Raises BuildError where it cannot be done."""
    toolchain(Host.here())
    build = expected_build()
    if not build.exists:
        click.echo(f"building Apache Mesos 1.11.0 in {build.folder.parent}, once: 27 MB to fetch", err=True)


def _watch(cluster: MesosCluster | SimulatedCluster) -> None:
    """Until a signal arrives. Tells once of each daemon that ends by itself; without a master it is over."""
    lost: set[str] = set()
    while True:
        for daemon in cluster.status():
            if not daemon.alive and daemon.name not in lost:
                lost.add(daemon.name)
                cluster.require_alive("master")
                click.echo(f"{daemon.name} at {daemon.address} has ended; the others go on", err=True)
        time.sleep(_WATCH_INTERVAL)


@contextmanager
def _stoppable() -> Iterator[None]:
    """The first SIGINT or SIGTERM raises _Stop, wherever the program is; later ones find it clearing up already."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        _ignore_signals()
        raise _Stop

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)

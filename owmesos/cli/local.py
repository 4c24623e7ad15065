"""`owmesos local`: an embedded cluster as a server in the foreground, until Ctrl-C or SIGTERM; and agents of one that
runs, killed, started again and added."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import click

from owmesos.cli.embedded import embedded_cluster
from owmesos.cli.local_control import Deed, ask, control
from owmesos.cli.options import Argument, Option, with_options
from owmesos.simulator.embedded import DEFAULT_ATTRIBUTES, DEFAULT_RESOURCES
from owmesos.system.task_ports import free_ports

if TYPE_CHECKING:
    from owmesos.local.cluster import MesosCluster
    from owmesos.simulator.cluster import SimulatedCluster

_WATCH_INTERVAL = 0.5  # seconds
_PORT = 5050  # Mesos's own


@click.command()
@with_options
def local(
    *,
    deed: Annotated[Deed | None, Argument("[kill|start|add]")] = None,
    name: Annotated[str | None, Argument("[AGENT]")] = None,
    engine: Annotated[Literal["simulator", "mesos"], Option("Kind of the cluster.")] = "simulator",
    agents: Annotated[int, Option("Number of agents.")] = 3,
    port: Annotated[
        int | None,
        Option("Port of the master; agents use the next one. [default: 5050, or another if one of the two is in use]"),
    ] = None,
    resources: Annotated[
        str,
        Option("Resources of each agent, as Mesos writes them; {ports} is its share of free ports, {n} its number."),
    ] = DEFAULT_RESOURCES,
    attributes: Annotated[str, Option("Attributes of each agent; {n} is its number.")] = DEFAULT_ATTRIBUTES,
    without_credentials: Annotated[
        bool, Option("Let every user of this machine run tasks as you, for frameworks that cannot authenticate.")
    ] = False,
) -> None:
    """Serve a Mesos cluster on 127.0.0.1 until Ctrl-C.

    Only you can use it: master and agents require credentials, which the commands and frameworks of owmesos find.

    The engine `simulator` is part of owmesos and runs tasks as plain processes. The engine `mesos` is Apache Mesos
    1.11.0, built on first use (Linux x86-64 with gcc, g++ and nm). Only that build is left behind.

    `owmesos local kill agent1` kills an agent of a running cluster, as kill -9 does; `start agent1` starts it again,
    and `add` adds one; also of the cluster of `owmesos run --master local`. --port is needed if several run.
    """
    if deed is not None:
        if (deed == "add") is not (name is None):
            raise click.UsageError(f"{deed} {'takes no' if deed == 'add' else 'needs an'} AGENT")
        click.echo(ask(port, deed, name))
        return
    with (
        suppress(KeyboardInterrupt, SystemExit),  # Ctrl-C, SIGTERM, or a terminal that closes
        embedded_cluster(
            engine,
            credentials=not without_credentials,
            master_port=port if port is not None else free_ports(_PORT),
            agents=agents,
            resources=resources,
            attributes=attributes,
        ) as cluster,
        control(cluster.state, int(cluster.master.rpartition(":")[2]), cluster) as serve,
    ):
        count = sum(daemon.name.startswith("agent") for daemon in cluster.status())
        click.echo(
            f"{'Mesos' if engine == 'mesos' else 'simulated Mesos'} master at {cluster.master} with {count}"
            f" agent{'' if count == 1 else 's'}: use it with `owmesos run --master {cluster.master}`,"
            " end it with Ctrl-C"
        )
        _watch(cluster, serve)


def _watch(cluster: MesosCluster | SimulatedCluster, serve: Callable[[float], None]) -> NoReturn:
    """Report once each daemon that ends by itself. Raises when the master has ended."""
    lost: set[str] = set()
    while True:
        for daemon in cluster.status():
            if daemon.alive:
                lost.discard(daemon.name)
            elif daemon.name not in lost:
                lost.add(daemon.name)
                cluster.require_alive("master")
                click.echo(f"{daemon.name} at {daemon.address} has ended; the others continue", err=True)
        serve(_WATCH_INTERVAL)

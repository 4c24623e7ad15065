"""`owmesos demo`: the main job in one command, for one who wants to see it before reading on.

Three actions and a burst of invocations on a cluster that holds far fewer containers, and that shrinks and grows; or
twenty plain containers. Nothing is left behind.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from contextlib import ExitStack

import click

from owmesos.cli.connection import MASTER_FORMS, credentials_allowed
from owmesos.cli.embedded import embedded_cluster
from owmesos.errors import InvalidInput

_AGENTS = 3


@click.command()
@click.option(
    "--engine", type=click.Choice(["simulator", "mesos"]), help="Start a cluster of three agents.  [default: simulator]"
)
@click.option("--master", metavar="M", help=f"Use this cluster instead, for plain containers: {MASTER_FORMS}.")
@click.option("--launches", is_flag=True, help="Run plain containers, and no actions.")
@click.pass_context
def demo(ctx: click.Context, /, engine: str | None, master: str | None, launches: bool) -> None:
    """Deploy three actions, invoke them 300 times at once, and show how the pool gives each run a container.

    The cluster holds far fewer containers; half-way it loses an agent, and gets it back. With --launches or --master
    twenty plain containers are run, more than fit at once. Either takes half a minute at most.

    The engine `simulator` is owmesos's own and needs nothing; `mesos` is Apache Mesos 1.11.0 on this machine, built on
    first use. Nothing is left behind.
    """
    if engine is not None and master is not None:
        raise InvalidInput("give --engine or --master, not both")
    from owmesos.cli.demo import actions
    from owmesos.cli.demo import launches as containers
    from owmesos.cli.demo.framework import DemoFailed
    from owmesos.mesos.address import parse_master

    if master is not None:
        parse_master(master, credentials_allowed=credentials_allowed(ctx))
    logging.basicConfig(level=logging.ERROR)
    with ExitStack() as stack:
        if master is not None:
            scenario = containers.show(master)
        else:
            engine = engine or "simulator"
            what = "Apache Mesos 1.11.0 on this machine" if engine == "mesos" else "a simulated Mesos"
            click.echo(f"starting {what}: a master and {_AGENTS} agents")
            cluster = stack.enter_context(embedded_cluster(engine, agents=_AGENTS))
            scenario = containers.show(cluster.master) if launches else actions.show(cluster)
        try:
            click.echo(asyncio.run(_interruptible(scenario)))
        except asyncio.CancelledError:
            raise DemoFailed("interrupted; the framework is torn down") from None


async def _interruptible(scenario: Coroutine[None, None, str]) -> str:
    """Cancelled by SIGINT and SIGTERM."""
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    return await scenario

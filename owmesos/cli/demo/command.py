"""`owmesos demo`: a tour in one command, before reading on.

Three actions and a burst of invocations on a cluster that holds far fewer containers, and that shrinks and grows; or
twenty plain containers. Nothing is left behind.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Annotated, Literal

import click

from owmesos.cli.connection import MASTER_FORMS, credentials_allowed
from owmesos.cli.embedded import embedded_cluster
from owmesos.cli.options import Option, with_options
from owmesos.errors import Interrupted, InvalidInput

_AGENTS = 3
_TORN_DOWN = "interrupted; the framework is torn down"


@click.command()
@with_options
def demo(
    *,
    engine: Annotated[
        Literal["simulator", "mesos"] | None,
        Option("Kind of the cluster of three agents to start. [default: simulator]"),
    ] = None,
    master: Annotated[str | None, Option(f"Run plain containers on this cluster instead: {MASTER_FORMS}.", "M")] = None,
    launches: Annotated[bool, Option("Run plain containers instead of actions.")] = False,
) -> None:
    """Invoke three actions 300 times at once on a small cluster.

    Shows how the pool gives each run a container.

    The cluster has room for far fewer containers, and half-way it loses an agent and gets it back. With --launches or
    --master twenty plain containers run, more than fit at once. Either takes up to half a minute.

    The engine `simulator` is part of owmesos; `mesos` is Apache Mesos 1.11.0 on this machine, built on first use.
    Nothing else is left behind.
    """
    if engine is not None and master is not None:
        raise InvalidInput("give --engine or --master, not both")
    from owmesos.cli.demo import actions
    from owmesos.cli.demo import launches as containers
    from owmesos.cli.demo.framework import DemoFailed
    from owmesos.mesos.wire.address import parse_master
    from owmesos.service.main_task import run

    if master is not None:
        parse_master(master, credentials_allowed=credentials_allowed())
    logging.basicConfig(level=logging.ERROR)
    with ExitStack() as stack:
        if master is not None:
            scenario = containers.show(master)
        else:
            engine = engine or "simulator"
            what = "Apache Mesos 1.11.0 on this machine" if engine == "mesos" else "a simulated Mesos"
            click.echo(f"starting {what}: a master and {_AGENTS} agents")
            cluster = stack.enter_context(embedded_cluster(engine, agents=_AGENTS))
            if not launches:
                click.echo(actions.CLAIM)
            scenario = containers.show(cluster.master) if launches else actions.show(cluster)
        try:
            click.echo(run(scenario))
        except KeyboardInterrupt:
            raise Interrupted(_TORN_DOWN) from None
        except SystemExit:
            raise DemoFailed(_TORN_DOWN) from None

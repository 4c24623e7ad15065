"""`python -m chaos`, see scripts/chaos."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import click

from chaos.cluster import cluster
from chaos.report import as_json, table
from chaos.run import Result, Run, Wanted
from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.wire.address import parse_zookeeper


def _checked_zookeeper(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """`HOST:PORT[,…]`, also after zk://, of servers of which one can be connected to: without any the run would take
    minutes, and only say that owmesos has not subscribed."""
    if value is None:
        return None
    servers = value.removeprefix("zk://").rstrip("/")
    try:
        hosts = parse_zookeeper(f"zk://{servers}/owmesos-chaos", credentials_allowed=False).hosts.split(",")
    except InvalidInput as error:
        raise click.BadParameter(str(error), context, option) from None
    for host in hosts:
        name, _, port = host.rpartition(":")
        with suppress(OSError), socket.create_connection((name.strip("[]"), int(port)), timeout=5.0):
            return servers
    raise click.BadParameter(f"nothing answers at {servers}: start a ZooKeeper, as scripts/zookeeper up does")


@click.command()
@click.option("--kills", type=click.IntRange(1), default=20, show_default=True, help="End after so many kill -9.")
@click.option("--seed", type=int, help="What happens to whom, and what is asked; default: another one each time.")
@click.option("--engine", type=click.Choice(["mesos", "simulator"]), default="mesos", show_default=True)
@click.option("--agents", type=click.IntRange(1, 20), default=3, show_default=True, help="How many agents.")
@click.option(
    "--seconds-between",
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    help="Mean pause between two faults.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.01),
    default=1.0,
    show_default=True,
    help="Launches a second, and as many invocations.",
)
@click.option("--most", type=click.IntRange(1), default=30, show_default=True, help="Launches alive at once.")
@click.option("--standalone/--no-standalone", default=True, show_default=True, help="With invocations of actions.")
@click.option(
    "--zookeeper",
    metavar="HOST:PORT",
    callback=_checked_zookeeper,
    help="Keep the state in this ZooKeeper, not in a folder; scripts/zookeeper up starts one.",
)
@click.option("--standby", is_flag=True, help="Two processes of owmesos, of which one leads; needs --zookeeper.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the result to this file too.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep logs and evidence in this new folder.")
def main(json_file: Path | None, keep: Path | None, seed: int | None, **options: object) -> None:
    """Kill, freeze and cut off owmesos, its master, agents and executors at random, and count what came of it.

    The exit code is 1 if a launch or an activation was lost, ran twice, was left running or was wrongly reported.
    """
    if options["standby"]:
        if options["zookeeper"] is None:
            raise click.UsageError("--standby needs --zookeeper HOST:PORT; scripts/zookeeper up starts one")
        options["standalone"] = False  # its actions are on one machine
    wanted = Wanted(seed=seed if seed is not None else time.time_ns() % 1_000_000, **options)  # type: ignore[arg-type]
    folder = keep or Path(tempfile.mkdtemp(prefix="owmesos-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        result = asyncio.run(_run(wanted, folder))
    except OwmesosError as error:
        click.echo(f"chaos: {error}", err=True)
        sys.exit(error.exit_code)
    except asyncio.CancelledError:
        click.echo(f"chaos: interrupted; logs are in {folder}", err=True)
        sys.exit(1)
    click.echo(table(result))
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(result), indent=2) + "\n", encoding="utf-8")
    if keep is None and result.clean:
        shutil.rmtree(folder)
    else:
        click.echo(f"logs and evidence are in {folder}")
    sys.exit(0 if result.clean else 1)


async def _run(wanted: Wanted, folder: Path) -> Result:
    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:7.1f} s  {text}")

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    say(f"seed {wanted.seed}, {wanted.kills} kills, engine {wanted.engine}, {wanted.agents} agents")
    return await Run(wanted, cluster(wanted.engine, folder / "cluster", wanted.agents), folder, say).run()


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main(prog_name="scripts/chaos")

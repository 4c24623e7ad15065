"""`owmesos run`: the framework process."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from owmesos.cli.client import DEFAULT_ADMIN, Endpoint
from owmesos.cli.connection import FILE, MASTER_FORMS, MasterAccess, credentials_allowed, master_access_options
from owmesos.cli.embedded import embedded_cluster
from owmesos.cli.kafka import KafkaOptions, kafka_options
from owmesos.cli.tables import read_manifest
from owmesos.errors import InvalidInput, OwmesosError

if TYPE_CHECKING:
    from owmesos.mesos.driver import Driver, Subscription
    from owmesos.mesos.settings import Settings
    from owmesos.service.admin import AdminServer
    from owmesos.service.framework import Framework
    from owmesos.service.work import Work

LOCAL = "local"
_log = logging.getLogger("owmesos.run")
_LEVELS = ("debug", "info", "warning", "error")


class RunFailed(OwmesosError):
    """The framework process had to end."""


@click.command()
@click.option("--master", metavar="M", required=True, help=f"{MASTER_FORMS}, or local: an embedded cluster.")
@click.option("--name", default="owmesos", show_default=True, help="The framework's name at the master.")
@click.option("--role", "roles", metavar="R", multiple=True, default=("*",), help="May be given more than once.")
@click.option("--state", metavar="DIR|zk://...", help="What outlives the process; default: your state folder, by name.")
@click.option("--admin", metavar="HOST:PORT", default=DEFAULT_ADMIN, show_default=True, help="The admin API.")
@click.option("--buffer-mem", type=float, default=0.0, show_default=True, help="MB to keep free on every agent.")
@click.option("--buffer-cpus", type=float, default=0.0, show_default=True, help="Cpus to keep free on every agent.")
@click.option("--buffer-share", type=float, default=0.05, show_default=True, help="Share of its memory, on top.")
@click.option(
    "--strategy",
    type=click.Choice(["pack", "spread"]),
    default="pack",
    show_default=True,
    help="The fitting agent with the least room, or the most.",
)
@click.option("--gpus", is_flag=True, help="Take offers of agents with GPUs.")
@click.option(
    "--refuse-oversized/--no-refuse-oversized",
    default=True,
    show_default=True,
    help="Fail launches at once that are larger than any agent.",
)
@click.option("--new-framework", is_flag=True, help="Forget the framework id and the launches that are stored.")
@click.option(
    "--driver",
    type=click.Choice(["http", "pymesos"]),
    default="http",
    show_default=True,
    help="The wire to the master; pymesos is to be installed for it.",
)
@click.option("--standalone", is_flag=True, help="Be an invoker with its own actions: see `owmesos action`.")
@click.option("--runtimes", type=FILE, metavar="F", help="With --standalone or --kafka: OpenWhisk's runtimes manifest.")
@kafka_options
@click.option("--user", metavar="U", help="Whom tasks run as, unless they say so; default: you.")
@master_access_options
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True, help="Logs are on stderr.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    master: str,
    name: str,
    state: str | None,
    admin: str,
    log_level: str,
    access: MasterAccess,
    roles: tuple[str, ...],
    user: str | None,
    new_framework: bool,
    driver: str,
    standalone: bool,
    runtimes: Path | None,
    kafka: KafkaOptions,
    **numbers: Any,
) -> None:
    """Run the framework, until SIGTERM or Ctrl-C: then its tasks live on, and the next start takes them up again.

    The other commands talk to it by its admin API. It takes no offers while nothing waits for room.
    """
    from owmesos.mesos.address import parse_master
    from owmesos.service.admin import AdminServer
    from owmesos.service.framework import Framework

    endpoint, tls = Endpoint.parse(admin), access.tls()
    if master != LOCAL:
        parse_master(master, credentials_allowed=credentials_allowed(ctx), tls=tls is not None)
    settings, secret, folder = _settings(**numbers), access.secret(), _state_folder(state, name)
    _log_to_stderr(log_level)
    with ExitStack() as stack:
        server = AdminServer(*endpoint)
        stack.callback(server.close)
        if master == LOCAL:
            cluster = stack.enter_context(embedded_cluster())
            master = cluster.master
            _log.info("an embedded cluster is at %s and ends with this process", master)
            if state is None:
                folder = cluster.state / "framework"  # ends with the cluster, as its tasks do
        work = _work(folder, standalone=standalone, runtimes=runtimes, kafka=kafka)
        framework = Framework(
            master=master,
            name=name,
            role=roles,
            user=user,
            state=folder,
            principal=access.principal,
            secret=secret,
            tls=tls,
            settings=settings,
            new_framework=new_framework,
            driver=_driver(driver, master, access, secret),
            pool=work.pool if work is not None else None,
        )
        asyncio.run(_serve(framework, server, work))


def _driver(
    name: str, master: str, access: MasterAccess, secret: str | None
) -> Callable[[Subscription], Driver] | None:
    """None for the driver that is always there. Raises PymesosMissing, and InvalidInput for what pymesos cannot do."""
    if name != "pymesos":
        return None
    from owmesos.mesos.access import Access
    from owmesos.mesos.address import Credentials
    from owmesos.mesos.pymesos_driver import NO_TLS, pymesos_driver

    if access.tls() is not None:
        raise InvalidInput(NO_TLS)
    credentials = Credentials(access.principal, secret) if access.principal is not None and secret is not None else None
    return pymesos_driver(master, Access(credentials))


def _work(folder: Path, *, standalone: bool, runtimes: Path | None, kafka: KafkaOptions) -> Work | None:
    """What the process does besides launches on demand; None for nothing. Raises InvalidInput."""
    if kafka.wanted:
        if standalone:
            raise InvalidInput("--standalone is an invoker without Kafka: give one of --standalone and --kafka")
        return kafka.invoker(runtimes)
    if standalone:
        from owmesos.service.standalone import Standalone

        return Standalone(folder, read_manifest(runtimes) if runtimes is not None else None)
    if runtimes is not None:
        raise InvalidInput("--runtimes is for --standalone and --kafka")
    return None


async def _serve(framework: Framework, server: AdminServer, work: Work | None) -> None:
    """Until a signal arrives, or the master or a teardown ends it. Raises RunFailed."""
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled.set)
    await framework.start()
    try:
        if work is not None:
            await work.start(framework)
        await server.start(framework, work)
        _log.info("the admin API is at %s", server.url)
        finished = asyncio.ensure_future(framework.finished())
        waiting = asyncio.ensure_future(signalled.wait())
        await asyncio.wait([finished, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not finished.done():
            finished.cancel()
            _log.info("stopping: launches live on, and the next start takes them up again")
    finally:
        await server.stop()
        if work is not None:
            await work.close()
        await framework.stop(teardown=False)
    if not finished.cancelled() and finished.done():
        stopped = finished.result()
        if stopped.exit_code:
            raise RunFailed(stopped.reason)
        _log.info("%s", stopped.reason)


def _settings(
    *,
    buffer_mem: float,
    buffer_cpus: float,
    buffer_share: float,
    strategy: str,
    gpus: bool,
    refuse_oversized: bool,
) -> Settings:
    from owmesos.core.buffer import Buffer
    from owmesos.core.placement import Strategy
    from owmesos.mesos.settings import Settings

    return Settings(
        buffer=Buffer.of(mem=buffer_mem, cpus=buffer_cpus, share=buffer_share),
        strategy=Strategy(strategy),
        gpus=gpus,
        refuse_oversized=refuse_oversized,
    )


def _state_folder(state: str | None, name: str) -> Path:
    """Raises InvalidInput."""
    if state is None:
        from platformdirs import user_state_path

        return user_state_path("owmesos", appauthor=False) / quote(name, safe=" ")
    if "://" in state:
        raise InvalidInput(
            f"--state {state.partition('://')[0]}://…: state in ZooKeeper does not exist yet, give a folder"
        )
    return Path(state)


def _log_to_stderr(level: str) -> None:
    """In UTC, as all times that owmesos shows. Of the libraries only what is wrong."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    formatter.converter = time.gmtime
    formatter.default_time_format, formatter.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("owmesos").setLevel(level.upper())

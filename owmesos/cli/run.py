"""`owmesos run`: the framework process."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import click

from owmesos.cli import connection
from owmesos.cli.admin_options import AdminOptions
from owmesos.cli.drivers import driver_named
from owmesos.cli.high_availability import Turn, admin_for_others, check_ha, turn_by_kubernetes, turn_by_zookeeper
from owmesos.cli.kafka import KafkaOptions, read_manifest
from owmesos.cli.kubernetes import KubernetesOptions, reject_options_of_others
from owmesos.cli.options import Option, not_empty, with_options
from owmesos.cli.process_log import ProcessLog
from owmesos.cli.state_places import LocalFolder, StateOption, folder_of_state, in_zookeeper
from owmesos.errors import InvalidInput

if TYPE_CHECKING:
    from owmesos.kubernetes.settings import KubernetesSettings
    from owmesos.kubernetes.wire.access import ClusterAccess
    from owmesos.mesos.scheduler.settings import Settings
    from owmesos.service.admin import AdminServer, Extension
    from owmesos.service.kubernetes.name_claim import NameClaim
    from owmesos.service.served import ServedProcess
    from owmesos.system.lease import Lease

_log = logging.getLogger("owmesos.run")


@dataclass(frozen=True)
class SchedulerOptions:
    """How the framework decides."""

    buffer_mem: Annotated[float, Option("MB to keep free on every node.")] = 0.0
    buffer_cpus: Annotated[float, Option("CPUs to keep free on every node.")] = 0.0
    buffer_share: Annotated[float, Option("Share of every node's memory to keep free in addition.")] = (
        0.05  # as core.ledger.SHARE
    )
    strategy: Annotated[
        Literal["pack", "spread"],
        Option("Choose the node with the least room that suffices (pack), or with the most (spread)."),
    ] = "pack"
    gpus: Annotated[bool, Option("Accept offers of agents with GPUs.")] = False
    refuse_oversized: Annotated[bool, Option("Fail a launch at once if it is larger than any agent.")] = True
    connect_timeout: Annotated[
        float,
        Option(
            "Seconds at startup to retry an address that answers 404 or is not Mesos, or an absent Kubernetes API"
            " server. An absent Mesos master is waited for without limit.",
            "S",
        ),
    ] = 60.0

    def settings(self) -> Settings:
        from owmesos.core.ledger import Buffer
        from owmesos.core.placement import Strategy
        from owmesos.mesos.scheduler.settings import Settings

        return Settings(
            buffer=Buffer.of(mem=self.buffer_mem, cpus=self.buffer_cpus, share=self.buffer_share),
            strategy=Strategy(self.strategy),
            gpus=self.gpus,
            refuse_oversized=self.refuse_oversized,
            connect_timeout=self.connect_timeout,
        )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """All settings of `owmesos run`, which `owmesos doctor` checks."""

    cluster: Annotated[Literal["mesos", "kubernetes"], Option("Cluster manager.")] = "mesos"
    master: Annotated[
        str | None,
        Option(f"Mesos master to register with: {connection.MASTER_FORMS}; or local, an embedded cluster.", "M"),
    ] = None
    kubernetes: KubernetesOptions
    name: Annotated[
        str, Option("Name of the framework at the master, and of the default --state.", callback=not_empty)
    ] = "owmesos"
    role: Annotated[tuple[str, ...], Option("Role to subscribe with. May be repeated.", "R")] = ("*",)
    state: StateOption = None
    local_folder: LocalFolder = None
    ha: Annotated[
        bool,
        Option(
            "Wait while another process leads, with the same --state zk://... or, on Kubernetes, the same id; and take"
            " over from it."
        ),
    ] = False
    ha_admin: Annotated[
        str | None, Option("Address at which others reach this process's admin API. [default: --admin]", "URL")
    ] = None
    admin: AdminOptions
    scheduler: SchedulerOptions
    new_framework: Annotated[bool, Option("Forget the stored framework id and launches.")] = False
    driver: Annotated[Literal["http", "pymesos"], Option("Client for the master; pymesos must be installed.")] = "http"
    standalone: Annotated[bool, Option("Run an invoker with its own actions: see `owmesos action`.")] = False
    runtimes: Annotated[Path | None, Option("OpenWhisk's runtimes manifest, for --standalone or --kafka.", "F")] = None
    kafka: KafkaOptions
    user: Annotated[str | None, Option("User to run tasks as, unless a launch names one. [default: you]", "U")] = None
    access: connection.MasterAccess
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Option("Lowest level to log.")] = "info"

    @property
    def mesos_master(self) -> str:
        """Raises InvalidInput."""
        if self.master is None:
            raise InvalidInput("Missing option '--master': the Mesos master; or give --cluster kubernetes")
        return self.master

    def kubernetes_settings(self, access: ClusterAccess) -> KubernetesSettings:
        """Raises InvalidInput."""
        instance, usual = self.kafka.instance, self.scheduler.settings()
        invoker = f"invoker{instance}" if self.kafka.wanted and instance is not None else self.name
        return self.kubernetes.settings(access, invoker, usual.buffer, usual.strategy)

    @property
    def folder(self) -> Path:
        """The state's folder; with --state zk://… that of what stays on this machine. Raises InvalidInput."""
        return folder_of_state(self.state, self.local_folder, self.name)


@click.command()
@with_options
def run(*, options: RunOptions) -> None:
    """Run the framework until SIGTERM or Ctrl-C. Its tasks go on running, and the next start takes them over;
    action containers, and what runs on `--master local`, end.

    The other commands use its admin API. It declines offers while no launch waits for room. With --cluster kubernetes
    it is an invoker there, and has no launches.
    """
    reject_options_of_others(options.cluster)
    check_ha(options)
    (_run_on_kubernetes if options.cluster == "kubernetes" else _run_on_mesos)(options)


def _run_on_mesos(options: RunOptions) -> None:
    from owmesos.cli.embedded import embedded_cluster
    from owmesos.cli.local_control import controlled
    from owmesos.mesos.wire.address import parse_master
    from owmesos.service.framework import Framework
    from owmesos.service.local_master import LOCAL
    from owmesos.storage.sqlite import own_folder

    tls = options.access.tls()
    master, access, folder = options.mesos_master, options.access, options.folder
    if master != LOCAL:
        parse_master(master, credentials_allowed=connection.credentials_allowed(), tls=tls is not None)
    settings, secret = options.scheduler.settings(), access.secret()
    log = ProcessLog(options.log_level)
    with ExitStack() as stack:
        server = options.admin.server()
        stack.callback(server.close)
        if master == LOCAL:
            cluster = stack.enter_context(embedded_cluster())
            master = cluster.master
            stack.enter_context(controlled(cluster.state, int(master.rpartition(":")[2]), cluster))
            _log.info("the embedded cluster is at %s and ends with this process", master)
            if options.state is None:
                if options.standalone:
                    _log.info("its actions and records are removed with it; --state DIR keeps them")
                folder = cluster.state / "framework"  # ends with the cluster, as its tasks do
        zookeeper = in_zookeeper(options.state)
        if zookeeper:
            stack.callback(own_folder(folder).release)
            _log.info("the state is in ZooKeeper; what stays on this machine is in %s", folder)
        turn = turn_by_zookeeper(options)
        lease = turn.lease if turn is not None else None
        driver, renewed = driver_named(options.driver, master, access, secret)
        extension = _extension(options, folder, lease)
        framework = partial(
            Framework,
            master=master,
            name=options.name,
            role=options.role,
            user=options.user,
            state=options.state if zookeeper else folder,
            principal=access.principal,
            tls=tls,
            settings=settings,
            new_framework=options.new_framework,
            driver=driver,
            pool=extension.pool if extension is not None else None,
            lease=lease,
        )

        def build() -> Framework:
            return framework(secret=access.secret())  # a standby may lead long after the start

        _serve(options, build, server, extension, folder, log, turn, renewed)


def _run_on_kubernetes(options: RunOptions) -> None:
    from owmesos.service.kubernetes.process import KubernetesProcess
    from owmesos.storage.sqlite import own_folder

    folder = options.folder
    if not options.kafka.wanted and not options.standalone:
        raise InvalidInput(
            "--cluster kubernetes needs --standalone or --kafka: it starts only the containers of an invoker there"
        )
    if in_zookeeper(options.state):
        raise InvalidInput("--state zk://… is for --cluster mesos: give a folder for the invoker's journal and actions")
    access = options.kubernetes.access()
    settings = options.kubernetes_settings(access)
    turn = turn_by_kubernetes(options, access, settings)
    lease = turn.lease if turn is not None else None
    log = ProcessLog(options.log_level)
    with ExitStack() as stack:
        server = options.admin.server()
        stack.callback(server.close)
        stack.callback(own_folder(folder).release)
        extension = _extension(options, folder, lease)
        assert extension is not None
        claim = _claim(access, settings, folder) if turn is None else None
        process = KubernetesProcess(
            access,
            extension.pool,
            settings,
            connect_timeout=options.scheduler.connect_timeout,
            lease=lease,
            claim=claim,
        )
        _log.info(
            "%s, namespace %s, invoker %s; by %s", access.server, settings.namespace, settings.invoker, access.source
        )

        def renew() -> bool:
            access.renew(options.kubernetes.access())
            return True

        renewed = {"the credentials for Kubernetes": renew}
        _serve(options, lambda: process, server, extension, folder, log, turn, renewed, process.may_begin)


def _claim(access: ClusterAccess, settings: KubernetesSettings, folder: Path) -> NameClaim | None:
    """None, and a warning, for a name that no Lease can have."""
    from owmesos.service.kubernetes.name_claim import NameClaim, token_of

    try:
        return NameClaim(access, settings.namespace, settings.invoker, token_of(folder))
    except InvalidInput:
        _log.warning(
            "another process with the invoker name %s would not be noticed: a Lease needs a name of a-z, 0-9, - and .",
            settings.invoker,
        )
        return None


def _serve(
    options: RunOptions,
    build: Callable[[], ServedProcess],
    server: AdminServer,
    extension: Extension | None,
    folder: Path,
    log: ProcessLog,
    turn: Turn | None,
    renewed: Mapping[str, Callable[[], bool]],
    may_begin: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Until its end; with `turn` once this process leads. `renewed`: see `Renewal`; `may_begin`: see `Serving`. Raises
    CannotRun."""
    import asyncio

    from owmesos.cli.renewal import Renewal
    from owmesos.cli.serving import Serving, serve
    from owmesos.service.admin_tokens import tokens

    process = build() if turn is None else None
    found = tokens(folder, options.admin.admin_token_file, options.admin.admin_read_token_file)
    with ExitStack() as announcements:
        options.admin.warn_of_expiry()
        announcements.enter_context(options.admin.announced(server, found))
        renewal = Renewal(options, server, found, announcements, log, extension, renewed)
        serving = Serving(server, found, extension, _what_ends(options), renewal, may_begin)
        if turn is not None:
            from owmesos.cli.serving_in_turn import serve_in_turn

            candidate = partial(turn.candidate, admin_for_others(options, server))
            asyncio.run(serve_in_turn(candidate, turn.group, turn.lease, build, serving))
        else:
            assert process is not None
            asyncio.run(serve(process, serving))


def _extension(options: RunOptions, folder: Path, lease: Lease | None) -> Extension | None:
    """The invoker, if the process is to be one. Raises InvalidInput."""
    kafka, runtimes = options.kafka, options.runtimes
    if kafka.wanted:
        if options.standalone:
            raise InvalidInput("give --standalone or --kafka, not both")
        return kafka.invoker(runtimes, folder=folder, lease=lease)
    if options.standalone:
        from owmesos.invoker.extension import DRAIN
        from owmesos.invoker.routes import add_routes
        from owmesos.invoker.standalone import Standalone
        from owmesos.openwhisk.whisk_config import WhiskConfig

        manifest = read_manifest(runtimes) if runtimes is not None else None
        launches, pool = kafka.containers(WhiskConfig({}))
        drain = kafka.drain if kafka.drain is not None else DRAIN
        return Standalone(folder, manifest, launches=launches, settings=pool, add_routes=add_routes, drain=drain)
    if runtimes is not None:
        raise InvalidInput("--runtimes needs --standalone or --kafka")
    for option, value in (("--launch-settings", kafka.launch_settings), ("--drain", kafka.drain)):
        if value is not None:
            raise InvalidInput(f"{option} needs --standalone or --kafka")
    return None


def _what_ends(options: RunOptions) -> str:
    """What a signal ends besides this process."""
    from owmesos.service.local_master import LOCAL

    if options.cluster == "kubernetes":
        return "action containers end"
    if options.master == LOCAL:
        return "the embedded cluster ends, and all tasks with it"
    if options.standalone or options.kafka.wanted:
        return "action containers end; launches go on running, and the next start takes them over"
    return "tasks go on running, and the next start takes them over"

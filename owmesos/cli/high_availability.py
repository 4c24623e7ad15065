"""`owmesos run --ha`: its settings, and what is made of them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from owmesos.cli.connection import Endpoint
from owmesos.cli.state_places import in_zookeeper, place_of_state
from owmesos.errors import InvalidInput

if TYPE_CHECKING:
    from owmesos.cli.renewal import Renewal
    from owmesos.cli.run import RunOptions
    from owmesos.service.admin import AdminServer, Extension
    from owmesos.service.admin_tokens import Tokens
    from owmesos.service.served import ServedProcess
    from owmesos.system.lease import Lease

_WILDCARDS = ("0.0.0.0", "::")


def check_ha(options: RunOptions) -> None:
    """Raises InvalidInput for settings that cannot be had with --ha, or without it."""
    from owmesos.service.local_master import LOCAL

    if not options.ha:
        if options.ha_admin is not None:
            raise InvalidInput(f"--ha-admin {options.ha_admin} needs --ha")
        return
    if options.cluster != "mesos":
        raise InvalidInput(
            "--ha is for --cluster mesos: on Kubernetes let a Deployment with one replica start the process anew"
        )
    if not in_zookeeper(options.state):
        raise InvalidInput(
            "--ha needs --state zk://host:port[,...]/path: in ZooKeeper the processes elect the one that leads, and the"
            " next one finds the state"
        )
    without = {
        "--new-framework": (options.new_framework, "each process that takes over would forget all: run once without"),
        "--standalone": (options.standalone, "it keeps actions and records on this machine"),
        "--driver pymesos": (options.driver != "http", "the driver http can be stopped at once"),
        "--master local": (options.master == LOCAL, "that cluster ends with its process"),
    }
    for option, (given, reason) in without.items():
        if given:
            raise InvalidInput(f"--ha cannot be had with {option}: {reason}")
    if options.ha_admin is not None:
        Endpoint.parse(options.ha_admin)


def admin_for_others(options: RunOptions, server: AdminServer) -> str:
    """The URL at which others reach the admin API."""
    if options.ha_admin is not None:
        given = Endpoint.parse(options.ha_admin)
        scheme = given.scheme or server.url.partition(":")[0]
        return given._replace(scheme=scheme).url
    endpoint = Endpoint.parse(server.url) if server.address not in _WILDCARDS else None
    if endpoint is not None:
        return endpoint.url
    return Endpoint(socket.getfqdn(), server.port, server.url.partition(":")[0]).url


def lease_of(options: RunOptions) -> Lease | None:
    """None without --ha."""
    if not options.ha:
        return None
    from owmesos.storage.candidate import SESSION
    from owmesos.system.lease import Lease

    return Lease(SESSION)


def run_in_turn(
    options: RunOptions,
    lease: Lease,
    build: Callable[[], ServedProcess],
    server: AdminServer,
    tokens: Tokens,
    extension: Extension | None,
    what_ends: str,
    renewal: Renewal,
) -> None:
    """`build` makes the process once it leads. Raises CannotRun."""
    import asyncio

    from owmesos.cli.serving_in_turn import serve_in_turn
    from owmesos.mesos.wire.address import ZooKeeperPath

    place = place_of_state(options.state, options.name)
    assert isinstance(place, ZooKeeperPath)
    admin = admin_for_others(options, server)
    asyncio.run(serve_in_turn(place, admin, lease, build, server, tokens, extension, what_ends, renewal))

"""`owmesos run --ha`: its settings, and what is made of them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from owmesos.cli.connection import Endpoint
from owmesos.cli.state_places import in_zookeeper, place_of_state
from owmesos.errors import InvalidInput

if TYPE_CHECKING:
    from owmesos.cli.run import RunOptions
    from owmesos.kubernetes.settings import KubernetesSettings
    from owmesos.kubernetes.wire.access import ClusterAccess
    from owmesos.service.admin import AdminServer
    from owmesos.storage.election import CandidateListener, TakesPart
    from owmesos.system.lease import Lease

_WILDCARDS = ("0.0.0.0", "::")


class Turn(NamedTuple):
    """How a process with --ha waits for its turn."""

    lease: Lease
    group: str  # whose lead it waits for, for the log
    candidate: Callable[[str, CandidateListener], TakesPart]
    """Its first argument is the URL of this process's admin API for others."""


def check_ha(options: RunOptions) -> None:
    """Raises InvalidInput for settings that cannot be combined with --ha, or that need it."""
    from owmesos.service.local_master import LOCAL

    if not options.ha:
        if options.ha_admin is not None:
            raise InvalidInput(f"--ha-admin {options.ha_admin} needs --ha")
        return
    without = {
        "--new-framework": (options.new_framework, "each process that takes over would forget all: run once without"),
        "--standalone": (options.standalone, "it keeps actions and records on this machine"),
        "--driver pymesos": (options.driver != "http", "the driver http can be stopped at once"),
        "--master local": (options.master == LOCAL, "that cluster ends with its process"),
    }
    for option, (given, reason) in without.items():
        if given:
            raise InvalidInput(f"--ha cannot be combined with {option}: {reason}")
    if options.cluster == "mesos" and not in_zookeeper(options.state):
        raise InvalidInput(
            "--ha needs --state zk://host:port[,...]/path: in ZooKeeper the processes elect the one that leads, and the"
            " next one finds the state"
        )
    if options.ha_admin is not None:
        Endpoint.parse(options.ha_admin)


def admin_for_others(options: RunOptions, server: AdminServer) -> str:
    """The URL at which others reach the admin API."""
    if options.ha_admin is not None:
        given = Endpoint.parse(options.ha_admin)
        scheme = given.scheme or server.url.partition(":")[0]
        return given._replace(scheme=scheme).url
    if server.address not in _WILDCARDS:
        return server.url
    return Endpoint(socket.getfqdn(), server.port, server.url.partition(":")[0]).url


def turn_by_zookeeper(options: RunOptions) -> Turn | None:
    """None without --ha."""
    if not options.ha:
        return None
    from owmesos.mesos.wire.address import ZooKeeperPath
    from owmesos.storage.candidate import SESSION, Candidate
    from owmesos.system.lease import Lease

    place, lease = place_of_state(options.state, options.name), Lease(SESSION)
    assert isinstance(place, ZooKeeperPath)

    def candidate(admin: str, listener: CandidateListener) -> TakesPart:
        return Candidate(place, admin, lease, listener)

    return Turn(lease, f"the framework of {place}", candidate)


def turn_by_kubernetes(options: RunOptions, access: ClusterAccess, settings: KubernetesSettings) -> Turn | None:
    """None without --ha. Raises InvalidInput."""
    if not options.ha:
        return None
    from owmesos.kubernetes.leases import lease_name
    from owmesos.storage.lease_candidate import LeaseCandidate
    from owmesos.storage.lease_election import DURATION
    from owmesos.system.lease import Lease

    lease, name = Lease(DURATION), lease_name(settings.invoker)

    def candidate(admin: str, listener: CandidateListener) -> TakesPart:
        return LeaseCandidate(access, settings.namespace, settings.invoker, admin, lease, listener)

    return Turn(lease, f"invoker {settings.invoker} by the Lease {settings.namespace}/{name}", candidate)

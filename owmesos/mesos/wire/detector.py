"""Finds the leading master: the interface, and the implementation with a list of hosts. The other is `zookeeper`.

A master that does not lead redirects to the leader, so any host of the list works; the one that answered last is tried
first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Credentials, Masters, ServerAddress, ZooKeeperMasters
from owmesos.system.discovery import MASTER, find
from owmesos.system.hosts import is_loopback


class Detector(Protocol):
    """Finds the leading master."""

    async def candidates(self) -> Sequence[ServerAddress]:
        """The masters to try, the best first; waits until there is one."""

    def answered(self, address: ServerAddress) -> None:
        """The master at `address` accepted a request, so it leads."""

    def failed(self, address: ServerAddress) -> None:
        """The master at `address` did not accept a request."""

    async def changed(self) -> None:
        """Returns when another master leads than `candidates` last returned; may never return."""

    async def close(self) -> None: ...


class HostList:
    """A fixed list of masters."""

    def __init__(self, addresses: Sequence[ServerAddress]) -> None:
        self._addresses = list(addresses)
        self._leader: ServerAddress | None = None

    async def candidates(self) -> Sequence[ServerAddress]:
        if self._leader is None:
            return tuple(self._addresses)
        return (self._leader, *(address for address in self._addresses if address != self._leader))

    def answered(self, address: ServerAddress) -> None:
        self._leader = address

    def failed(self, address: ServerAddress) -> None:
        """A master that fails moves to the end of the list, so that one that hangs does not hide the others."""
        if address == self._leader:
            self._leader = None
        if address in self._addresses:
            self._addresses.remove(address)
            self._addresses.append(address)

    async def changed(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        pass


def detector_for(masters: Masters | ZooKeeperMasters) -> Detector:
    if isinstance(masters, Masters):
        return HostList(masters.addresses)
    from owmesos.mesos.wire.zookeeper import ZooKeeperDetector

    return ZooKeeperDetector(masters)


def access_for(masters: Masters | ZooKeeperMasters, access: Access) -> Access:
    """`access` with the credentials in the masters' URL, unless they are ZooKeeper's; if there are none at all, with
    those that `owmesos local` left for a master on this machine, or leaves there later."""
    if not isinstance(masters, Masters):
        return access
    credentials = masters.credentials
    if credentials is None and access.credentials is None and len(masters.addresses) == 1:
        master = masters.addresses[0]
        credentials = _left_for(master)
        if credentials is None and is_loopback(master.host):
            return replace(access, late=lambda: _left_for(master))
    return access if credentials is None else Access(credentials, access.tls)


def _left_for(master: ServerAddress) -> Credentials | None:
    if not is_loopback(master.host):
        return None
    principal, _, secret = (find(MASTER, master.host, master.port) or "").partition(":")
    return Credentials(principal, secret) if principal and secret else None

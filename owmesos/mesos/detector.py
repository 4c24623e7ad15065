"""Which master to talk to: the protocol that every way of finding it fulfils, and the plain way, a list of
hosts.

A master that does not lead redirects to the one that does, so any host of the list will do, and the one that
answered last is tried first. `owmesos.mesos.zookeeper` is the other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from owmesos.mesos.access import Access
from owmesos.mesos.address import Address, Masters, ZooKeeperMasters


class Detector(Protocol):
    """Finds the leading master."""

    async def candidates(self) -> Sequence[Address]:
        """The masters to try, best first; waits until there is one."""
        ...

    def answered(self, address: Address) -> None:
        """Tells that the master at `address` took a request, so it leads."""
        ...

    def failed(self, address: Address) -> None:
        """Tells that the master at `address` did not."""
        ...

    async def changed(self) -> None:
        """Returns when another master leads than `candidates` last said; may never return."""
        ...

    async def close(self) -> None: ...


class HostList:
    """A fixed list of masters."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = list(addresses)
        self._leader: Address | None = None

    async def candidates(self) -> Sequence[Address]:
        if self._leader is None:
            return tuple(self._addresses)
        return (self._leader, *(address for address in self._addresses if address != self._leader))

    def answered(self, address: Address) -> None:
        self._leader = address

    def failed(self, address: Address) -> None:
        """A master that fails goes to the end of the list: one that hangs must not hide the others."""
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
    """The detector for what `address.parse_master` found."""
    if isinstance(masters, Masters):
        return HostList(masters.addresses)
    from owmesos.mesos.zookeeper import ZooKeeperDetector

    return ZooKeeperDetector(masters)


def access_for(masters: Masters | ZooKeeperMasters, access: Access) -> Access:
    """`access` with the credentials that stood in the masters' URL, if they are meant for the masters."""
    if isinstance(masters, Masters) and masters.credentials is not None:
        return Access(masters.credentials, access.tls)
    return access

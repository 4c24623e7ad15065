"""Ports for the tasks of a cluster on this machine, of which several may run at once.

Mesos gives each port to one task, but knows nothing of another cluster on the same machine: a container that finds its
port taken ends, and its clients reach a foreign process. So each cluster has blocks of ports of its own, and
holds each by the block's first port, which the kernel gives to one process and takes back when that ends. Of a block
it uses the ports at which nobody listened when it came.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Sequence

from owmesos.errors import OwmesosError
from owmesos.resources import Ports

_BLOCK = 500
# Below those of masters here, and below what the kernel gives out by itself.
_BLOCKS: Sequence[int] = (*range(10000, 20000, _BLOCK), *range(31000, 32500, _BLOCK))
_MASTERS = range(20000, 30000, 2)  # below what the kernel gives out by itself
_PER_AGENT = 8  # at least, while there are blocks
_MOST_BLOCKS = 4


class HeldPorts:
    """Blocks of ports that no other cluster has until `close`, or until the processes that have `sockets` end."""

    def __init__(self, blocks: Iterable[int] = ()) -> None:
        """`blocks`: those that a cluster had before. Raises OwmesosError where another one has them now."""
        self.sockets: list[socket.socket] = []
        self.blocks: list[int] = []
        for begin in blocks:
            if not self._hold(begin):
                self.close()
                ports = f"{begin}-{begin + _BLOCK - 1}"
                raise OwmesosError(f"another cluster uses this cluster's task ports, {ports}, now: end it")

    @classmethod
    def shared_by(cls, agents: int) -> tuple[HeldPorts, list[str]]:
        """Blocks that nobody has, and each agent's share of their free ports, as Mesos writes ranges.

        More agents than ports have all of them. Raises OwmesosError where other clusters have all blocks.
        """
        held, ports = cls(), list[int]()
        for begin in random.sample(_BLOCKS, len(_BLOCKS)):  # who was down for a moment finds its own again
            if len(held.blocks) == _MOST_BLOCKS or len(ports) >= max(1, _PER_AGENT * agents):
                break
            if held._hold(begin):
                ports += [port for port in range(begin + 1, begin + _BLOCK) if is_free(port)]
        if not ports:
            raise OwmesosError(
                f"other clusters on this machine use all {len(_BLOCKS)} blocks of task ports: end one, "
                "or give the agents' resources with other ports"
            )
        ports.sort()
        share = len(ports) // max(1, agents)
        places = [place * share for place in range(agents)]
        return held, [_ranges(ports[place : place + share] or ports) for place in places]

    def __enter__(self) -> HeldPorts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for held in self.sockets:
            held.close()
        self.sockets, self.blocks = [], []

    def _hold(self, begin: int) -> bool:
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", begin))
        except OSError:
            held.close()
            return False
        self.sockets.append(held)
        self.blocks.append(begin)
        return True


def is_free(port: int) -> bool:
    """Nobody listens there, at any address. Connections that have ended do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _ranges(ports: Iterable[int]) -> str:
    return ",".join(f"{begin}-{end}" for begin, end in Ports.of((port, port) for port in ports).ranges)


def free_ports(*preferred: int) -> int:
    """The first of two consecutive free ports, for a master and its agents; one of `preferred` if possible."""
    for port in (*preferred, *random.sample(_MASTERS, 100)):
        if is_free(port) and is_free(port + 1):
            return port
    raise OwmesosError("no two consecutive ports are free on this machine: stop a program that listens")

"""Ports for the tasks of a cluster that comes and goes with a command, of which several may run on one machine.

Mesos gives each port to one task, but knows nothing of another cluster on the same machine: a container that finds its
port taken ends, and whoever speaks to the port reaches a stranger. So each cluster has a block of ports of its own, and
holds it by the block's first port, which the kernel gives to one process and takes back when that ends.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

_BLOCK = 500
_BLOCKS = range(10000, 20000, _BLOCK)  # below those of masters here, and below what the kernel gives out by itself


@contextmanager
def task_ports() -> Iterator[range | None]:
    """Ports that no other process has that asks here; None where all are taken."""
    for begin in _BLOCKS:
        with socket.socket() as held:
            try:
                held.bind(("127.0.0.1", begin))
            except OSError:
                continue
            yield range(begin + 1, begin + _BLOCK)
            return
    yield None


def resources_with(ports: range, agents: int, others: str) -> list[str]:
    """Each agent's, in Mesos's notation: `others` and its share of the ports."""
    share = len(ports) // agents
    begins = [ports.start + number * share for number in range(agents)]
    return [f"{others};ports:[{begin}-{begin + share - 1}]" for begin in begins]

"""The cluster under attack: Apache Mesos behind proxies, or the simulator, with the same verbs."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from chaos.plan import MASTER, OWMESOS
from chaos.proxy import Mode, Proxy
from owmesos.cli.embedded import credentials_announced
from owmesos.errors import OwmesosError
from owmesos.local.cluster import MesosCluster
from owmesos.local.credentials import OwnCredentials
from owmesos.simulator.cluster import SimulatedCluster

_RESOURCES = "cpus:4;mem:2048;disk:1024;ports:[{ports}]"
_PORTS = range(20000, 30000, 4)  # below the ports of tasks, and below what the kernel gives out by itself
_OTHERS = "others"
_SENDER = re.compile(rb"libprocess/[^@\r\n]+@([0-9.]+:[0-9]+)")


class Cluster(Protocol):
    """Verbs by the name of a daemon; `network` is for one that is cut off from the master, or for `owmesos`."""

    agents: tuple[str, ...]
    real: bool
    state: Path

    @property
    def master(self) -> str:
        """Where owmesos is to reach it: a proxy."""
        ...

    async def up(self) -> None: ...

    async def down(self) -> None: ...

    async def kill(self, name: str) -> None: ...

    async def start(self, name: str) -> None: ...

    async def freeze(self, name: str) -> None: ...

    async def thaw(self, name: str) -> None: ...

    def network(self, name: str, mode: Mode) -> None: ...

    def reset(self, name: str) -> None: ...

    async def whole(self, timeout: float) -> None:
        """Waits until the master has all agents."""
        ...


def cluster(engine: str, state: Path, agents: int) -> Cluster:
    """Not up yet. Where no ports are free, `up` raises OwmesosError."""
    resources = [_RESOURCES] * agents
    return RealCluster(state, resources) if engine == "mesos" else SimulatedMesos(state, resources)


class _Base:
    """What both have in common: the way from owmesos to the master goes through a proxy."""

    def __init__(self, agents: int, master: str, own: OwnCredentials) -> None:
        self._own = own
        self._stack = ExitStack()
        self.agents = tuple(f"agent{number}" for number in range(1, agents + 1))
        self._front = Proxy(master, lambda _data: OWMESOS)
        self._address = ""

    @property
    def master(self) -> str:
        return self._address

    async def _open(self) -> None:
        """From now on owmesos finds the credentials by the proxy's address."""
        self._address = await self._front.listen("127.0.0.1")
        self._stack.enter_context(credentials_announced(self._address, self._own))

    async def _close(self) -> None:
        self._stack.close()
        await self._front.close()

    def network(self, name: str, mode: Mode) -> None:
        self._front.set(name, mode)

    def reset(self, name: str) -> None:
        self._front.reset(name)


class RealCluster(_Base):
    """Apache Mesos. The master and each agent tell others the address of a proxy before them."""

    real = True

    def __init__(self, state: Path, resources: list[str]) -> None:
        ports = free_ports(4)
        agents = len(resources)
        self.state = state.resolve()
        self._advertised = {MASTER: f"127.0.0.1:{ports + 2}"}
        self._advertised |= {f"agent{n}": f"127.0.0.{n}:{ports + 3}" for n in range(1, agents + 1)}
        own = OwnCredentials.new(self.state)
        self._mesos = MesosCluster(
            state,
            master_port=ports,
            agents=agents,
            resources=resources,
            master_flags=own.master_flags,
            agent_flags=own.agent_flags,
            advertised=self._advertised,
        )
        super().__init__(agents, self._mesos.master, own)
        names = {address: name for name, address in self._advertised.items()}
        self._proxies = {MASTER: Proxy(self._mesos.master, lambda data: _sender(data, names))}
        for n, name in enumerate(self.agents, 1):
            self._proxies[name] = Proxy(f"127.0.0.{n}:{ports + 1}", lambda data: _sender(data, names))

    async def up(self) -> None:
        await self._open()
        for name, proxy in self._proxies.items():
            host, _, port = self._advertised[name].rpartition(":")
            await proxy.listen(host, int(port))
        await asyncio.to_thread(self._mesos.up)

    async def down(self) -> None:
        await asyncio.to_thread(self._mesos.down)
        for proxy in self._proxies.values():
            await proxy.close()
        await self._close()

    async def kill(self, name: str) -> None:
        await asyncio.to_thread(self._mesos.kill, name)

    async def start(self, name: str) -> None:
        await asyncio.to_thread(self._mesos.start, name)

    async def freeze(self, name: str) -> None:
        self._signal(name, signal.SIGSTOP)

    async def thaw(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        for daemon in self._mesos.status():
            if daemon.name == name and daemon.pid is not None:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(daemon.pid, number)

    def network(self, name: str, mode: Mode) -> None:
        if name not in self._proxies:
            super().network(name, mode)
            return
        # Each of the two connects to the other: an agent that gets no answers is one that the master does not reach.
        there, back = (Mode.OPEN, Mode.HALF_OPEN) if mode is Mode.ONE_WAY else (mode, mode)
        self._proxies[MASTER].set(name, there)
        self._proxies[name].set(MASTER, back)

    def reset(self, name: str) -> None:
        if name not in self._proxies:
            super().reset(name)
            return
        self._proxies[MASTER].reset(name)
        self._proxies[name].reset(MASTER)

    async def whole(self, timeout: float) -> None:
        await asyncio.to_thread(self._mesos.wait_registered, timeout)


class SimulatedMesos(_Base):
    """The simulator, in this process: its daemons are not processes, and nothing is between them."""

    real = False

    def __init__(self, state: Path, resources: list[str]) -> None:
        self.state = state.resolve()
        own = OwnCredentials.new(self.state)
        self._simulated = SimulatedCluster(
            state,
            agents=len(resources),
            resources=resources,
            master_port=free_ports(4),
            master_flags=own.master_flags,
            agent_flags=own.agent_flags,
        )
        super().__init__(len(resources), self._simulated.master, own)

    async def up(self) -> None:
        await self._open()
        await asyncio.to_thread(self._simulated.up)

    async def down(self) -> None:
        await asyncio.to_thread(self._simulated.down)
        await self._close()

    async def kill(self, name: str) -> None:
        await asyncio.to_thread(self._simulated.kill, name)

    async def start(self, name: str) -> None:
        await asyncio.to_thread(self._simulated.start, name)

    async def freeze(self, name: str) -> None:
        await self._enter(lambda: self._simulated.world.freeze(name))

    async def thaw(self, name: str) -> None:
        await self._enter(lambda: self._simulated.world.thaw(name))

    async def _enter(self, act: Callable[[], Any]) -> None:
        await asyncio.to_thread(self._simulated.enter, act)

    async def whole(self, timeout: float) -> None:
        await asyncio.to_thread(self._simulated.wait_registered, timeout)


def _sender(data: bytes, names: dict[str, str]) -> str:
    """Which daemon speaks: it names its address in the head of each message. Executors and readers of files, who come
    to an agent by the same port, do not."""
    match = _SENDER.search(data.partition(b"\r\n\r\n")[0])
    return names.get(match[1].decode(), _OTHERS) if match else _OTHERS


def free_ports(count: int) -> int:
    """The first of so many, four at most, that follow one another. Raises OwmesosError."""
    for port in random.sample(_PORTS, 100):
        if all(_is_free(port + more) for more in range(count)):
            return port
    raise OwmesosError(f"no {count} ports that follow one another are free on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True

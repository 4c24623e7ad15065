"""A simulated cluster on real sockets, with the same methods as the embedded cluster of Apache Mesos.

It runs in this process, in a thread with its own event loop, so that blocking tests and programs can use it. The
master is at 127.0.0.1:PORT, agent N at 127.0.0.N:PORT+1. It ends with this process, and its tasks with it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from owmesos.errors import InvalidInput, os_reason
from owmesos.mesos.messages import TaskInfo
from owmesos.simulator import notation
from owmesos.simulator.agent.agent import TaskRunner
from owmesos.simulator.agent.plays import Play, Plays, from_command
from owmesos.simulator.agent.settings import AgentSettings, agent_settings_of
from owmesos.simulator.embedded import (
    DEFAULT_ATTRIBUTES,
    DEFAULT_RESOURCES,
    DaemonStatus,
    for_each_agent,
    for_one_more,
    secrets_in,
)
from owmesos.simulator.http_agent import AgentHttp
from owmesos.simulator.http_master import MasterHttp
from owmesos.simulator.listener import Listener
from owmesos.simulator.live import LiveWorld
from owmesos.simulator.master.settings import master_settings
from owmesos.simulator.pieces import Pieces
from owmesos.simulator.place import Place
from owmesos.simulator.processes import Processes
from owmesos.simulator.protocol import AgentDescription
from owmesos.simulator.world import SimulatorError, World
from owmesos.system.task_ports import HeldPorts

MAX_AGENTS = 10_000
READY_TIMEOUT = 30.0  # seconds
_PORTS = range(31000, 32768)
_FREE_PORTS = range(21000, 30000)  # below what the kernel gives out by itself
_ATTEMPTS = 50
_POLL = 0.01  # seconds
T = TypeVar("T")


class SimulatedCluster:
    """One cluster. `with SimulatedCluster() as cluster:` is `up` and `down`."""

    def __init__(
        self,
        state: Path | None = None,
        *,
        master_port: int = 0,
        masters: int = 1,
        agents: int = 3,
        resources: str | Sequence[str] = DEFAULT_RESOURCES,
        attributes: str | Sequence[str] = DEFAULT_ATTRIBUTES,
        master_flags: Mapping[str, str] | None = None,
        agent_flags: Mapping[str, str] | None = None,
        agent_settings: AgentSettings | None = None,
        processes: bool = True,
        play: Callable[[TaskInfo], Play] = from_command,
        seed: int | None = None,
    ) -> None:
        """Port 0 selects a free one. Further masters are at 127.0.0.1 on the ports after the agents'.

        `resources` and `attributes` are in Mesos's own notation, for all agents or for each; in them `{n}` is the
        agent's number and `{ports}` its share of ports that no other cluster of this machine has (31000-32767 if
        tasks are not processes). Flags are Mesos's. Without `processes` tasks use no resources and last as long as
        `play` says. Without a `seed` every cluster has its own ids. `state` is the folder of the sandboxes, or None
        for a temporary folder. Raises InvalidInput.
        """
        if not 0 <= agents <= MAX_AGENTS:
            raise InvalidInput(f"a simulated cluster has 0 to {MAX_AGENTS} agents, not {agents}")
        if not 0 <= master_port <= 65000:
            raise InvalidInput(f"the master's port is 0 to 65000, not {master_port}: agents take the next one")
        self._master_names = ["master", *(f"master{n}" for n in range(2, masters + 1))]
        self._agents = agents
        self._given = (resources, attributes)
        self._added_ports: list[HeldPorts] = []
        self._resources = for_each_agent("resources", resources, agents)
        self._totals = self._with_ports(_shares(agents))
        self._attributes = [notation.attributes(each) for each in for_each_agent("attributes", attributes, agents)]
        self._task_ports: HeldPorts | None = None
        self._flags = dict(master_flags or {})
        self._settings = master_settings(self._flags)
        self._agent_flags = dict(agent_flags or {})
        self._agent_settings = agent_settings or agent_settings_of(self._agent_flags)
        self._with_processes = processes
        self._play = play
        self._seed = seed if seed is not None else secrets.randbits(64)
        self._port = master_port
        self._given_state = state
        self._temporary: Path | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._live: LiveWorld | None = None
        self._processes: Processes | None = None
        self._listeners: dict[str, Listener] = {}

    def __enter__(self) -> SimulatedCluster:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def master(self) -> str:
        """`host:port` of the first master."""
        return f"127.0.0.1:{self._port}"

    @property
    def masters(self) -> str:
        """All masters, in the form of `--master`."""
        return ",".join(self._listeners[name].address for name in self._master_names)

    @property
    def world(self) -> World:
        """The simulated world; to be used in `enter` only."""
        if self._live is None:
            raise SimulatorError("the cluster is not up")
        return self._live.world

    @property
    def agent_names(self) -> Sequence[str]:
        return self.enter(lambda: list(self.world.places))

    @property
    def state(self) -> Path:
        """The given folder, or a temporary one that is removed with the cluster."""
        if self._given_state is not None:
            return self._given_state.resolve()
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="owmesos-simulator-"))
        return self._temporary

    # -- verbs

    def up(self) -> None:
        """Starts everything and waits until all agents are registered. Raises OwmesosError."""
        if self._loop is not None:
            return
        if self._with_processes and any("{ports}" in each for each in self._resources):
            self._task_ports, shares = HeldPorts.shared_by(self._agents)
            self._totals = self._with_ports(shares)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._thread.start()
        try:
            self._run(self._open())
            self.wait_registered()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Ends all daemons and tasks; a given state folder stays."""
        try:
            self._down()
        finally:
            for ports in (*self._added_ports, *([self._task_ports] if self._task_ports is not None else ())):
                ports.close()
            self._task_ports = None
            self._added_ports.clear()

    def _down(self) -> None:
        if self._loop is None or self._thread is None:
            return
        if self._live is not None:
            self._run(self._close())
        if self._processes is not None:
            self._processes.close()
            self._processes = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = self._live = None
        self._listeners.clear()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def kill(self, name: str) -> None:
        """SIGKILL to `master` or `agent1`…: connections break off, tasks of an agent live on. Raises SimulatorError."""
        listener = self._listener(name)

        async def kill() -> None:
            self._entered(lambda: self.world.kill(name))
            await listener.close(keep_port=True)

        self._run(kill())

    def start(self, name: str, *, fresh: bool = False) -> None:
        """Starts a daemon that was killed; `fresh`: as one that never ran. Raises SimulatorError."""
        listener = self._listener(name)

        async def start() -> None:
            await listener.open()
            self._entered(lambda: self.world.start(name, fresh=fresh))

        self._run(start())

    def add(self) -> str:
        """Start one more agent, like the others; returns its name when it has registered. Raises OwmesosError."""
        number = len(self.world.places) + 1
        if number > MAX_AGENTS:
            raise InvalidInput(f"a simulated cluster has {MAX_AGENTS} agents at most")
        resources, attributes = (for_one_more(given, number) for given in self._given)
        ports = _shares(1)[0]
        if self._with_processes and "{ports}" in resources:
            held, (ports,) = HeldPorts.shared_by(1)
            self._added_ports.append(held)
        name, host = f"agent{number}", _host(number)
        total = notation.resources(resources.replace("{ports}", ports))
        description = AgentDescription(name, host, host, self._port + 1, total, tuple(notation.attributes(attributes)))

        async def add() -> None:
            listener = self._listeners[name] = Listener(host, self._port + 1)
            await listener.open()
            self._entered(lambda: self._serve(name, self.world.add(description)))

        self._run(add())
        self.wait_registered()
        return name

    def status(self) -> list[DaemonStatus]:
        """The masters and each agent."""
        return [
            DaemonStatus(name, os.getpid() if self.world.is_up(name) else None, listener.address)
            for name, listener in self._listeners.items()
        ]

    def require_alive(self, name: str) -> None:
        """Raises SimulatorError if a daemon does not run."""
        if not self.world.is_up(name):
            raise SimulatorError(f"{name} has ended")

    def work_folder(self, name: str) -> Path:
        """An agent's work folder, with the sandboxes of its tasks."""
        self._listener(name)
        return self.state / name

    def wait_registered(self, timeout: float = READY_TIMEOUT) -> None:
        """Waits until the master has every agent that runs. Raises SimulatorError at the deadline."""
        deadline = time.monotonic() + timeout
        while True:
            missing = [name for name, each in self.world.places.items() if each.agent.up and not each.agent.registered]
            if not missing:
                return
            if time.monotonic() >= deadline:
                raise SimulatorError(f"not registered within {timeout:g} s: {', '.join(missing[:10])}")
            time.sleep(_POLL)

    def enter(self, act: Callable[[], T]) -> T:
        """Calls a function on the world's thread: `cluster.enter(lambda: cluster.world.freeze("agent1"))`."""

        async def do() -> T:
            return self._entered(act)

        return self._run(do())

    # -- within

    def _entered(self, act: Callable[[], T]) -> T:
        assert self._live is not None
        return self._live.enter(act)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _listener(self, name: str) -> Listener:
        if name not in self._listeners:
            raise SimulatorError(f"unknown daemon {name!r}: use one of {', '.join(list(self._listeners)[:10])}")
        return self._listeners[name]

    def _with_ports(self, shares: list[str]) -> list[Pieces]:
        """What each agent has. Raises InvalidInput."""
        filled = zip(self._resources, shares, strict=False)
        return [notation.resources(resources.replace("{ports}", ports)) for resources, ports in filled]

    async def _open(self) -> None:
        """At port 0: where the master and all agents find their ports free."""
        if self._port:
            await self._open_at()
            return
        for attempt in range(_ATTEMPTS):
            self._port = secrets.choice(_FREE_PORTS)
            try:
                await self._open_at()
                return
            except SimulatorError:
                await self._close()
                self._listeners.clear()
                if attempt == _ATTEMPTS - 1:
                    raise

    async def _open_at(self) -> None:
        """Sockets first: a port that is taken must not leave anything behind."""
        places = [(name, "127.0.0.1", self._port + (n + 1 if n else 0)) for n, name in enumerate(self._master_names)]
        places += [(f"agent{n}", _host(n), self._port + 1) for n in range(1, self._agents + 1)]
        for name, host, port in places:
            listener = self._listeners[name] = Listener(host, port)
            try:
                await listener.open()
            except OSError as error:
                raise SimulatorError(
                    f"{name} cannot listen at {listener.address} ({os_reason(error)}): choose another port"
                ) from None
        runner: TaskRunner = Plays(self._play)
        if self._with_processes:
            self._processes = Processes(self.state, self._entered)
            self._processes.open()
            runner = self._processes
        world = self._world(runner)
        self._live = LiveWorld(world)
        master_secrets = secrets_in(self._flags.get("credentials"))
        for number, name in enumerate(self._master_names):
            self._listeners[name].handler = MasterHttp(self._live, number, master_secrets).handle
        for name, place in world.places.items():
            self._serve(name, place)
        self._live.start()

    def _serve(self, name: str, place: Place) -> None:
        """The agent's own HTTP, and then itself."""
        asks = self._agent_settings.authenticate
        agent_secrets = secrets_in(self._agent_flags.get("http_credentials")) if asks else None
        folder = self.state / name if self._with_processes else None
        listener = self._listeners[name]
        listener.handler = AgentHttp(place.agent, folder, agent_secrets).handle
        place.agent.left = listener.abort
        place.agent.start()

    def _world(self, runner: TaskRunner) -> World:
        descriptions = [
            AgentDescription(f"agent{n}", _host(n), _host(n), self._port + 1, total, tuple(attributes))
            for n, (total, attributes) in enumerate(zip(self._totals, self._attributes, strict=True), 1)
        ]
        return World(
            descriptions,
            runner=runner,
            seed=self._seed,
            now=time.time(),
            masters=[(self._listeners[name].host, self._listeners[name].port) for name in self._master_names],
            settings=self._settings,
            agent_settings=self._agent_settings,
        )

    async def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
        for listener in self._listeners.values():
            await listener.close()


def _host(number: int) -> str:
    """127.0.0.N, as the embedded cluster has it, as far as that goes."""
    if number <= 254:
        return f"127.0.0.{number}"
    row, place = divmod(number - 255, 250)
    return f"127.1.{row}.{place + 1}"


def _shares(agents: int) -> list[str]:
    """Each agent's share of the ports where no process is at them. Where they are too few, all have all."""
    share = len(_PORTS) // max(agents, 1) or len(_PORTS)
    begins = [_PORTS.start + (place * share) % len(_PORTS) for place in range(agents)]
    return [f"{begin}-{min(begin + share, _PORTS.stop) - 1}" for begin in begins]

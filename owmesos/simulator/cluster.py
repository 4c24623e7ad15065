"""A simulated cluster that answers on real sockets: the same verbs as the embedded cluster of Apache Mesos has.

It lives in this process, in a thread with an event loop of its own, so that blocking tests and programs may use it.
The master is at 127.0.0.1:PORT, agent N at 127.0.0.N:PORT+1. It ends with this process, and its tasks with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from aiohttp import web

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import TaskInfo
from owmesos.simulator import notation
from owmesos.simulator.agent.plays import Play, Plays, from_command
from owmesos.simulator.agent.runs import Runner
from owmesos.simulator.agent.settings import AgentSettings, agent_settings_of
from owmesos.simulator.http_agent import AgentHttp
from owmesos.simulator.http_master import MasterHttp
from owmesos.simulator.listener import Handler, Listener, refusal
from owmesos.simulator.live import LiveWorld
from owmesos.simulator.master.settings import master_settings
from owmesos.simulator.processes import Processes
from owmesos.simulator.protocol import AgentDescription
from owmesos.simulator.world import SimulatorError, World

DEFAULT_RESOURCES = "cpus:2;mem:1024;disk:1024;ports:[{ports}]"
DEFAULT_ATTRIBUTES = "rack:r{n};zone:z1"
MAX_AGENTS = 10_000
READY_TIMEOUT = 30.0
_PORTS = range(31000, 32768)
_FREE_PORTS = range(21000, 30000)  # below what the kernel gives out by itself
_ATTEMPTS = 50
_POLL = 0.01
T = TypeVar("T")


@dataclass(frozen=True)
class DaemonStatus:
    """What `status` shows; `pid` is this process's."""

    name: str
    pid: int | None
    address: str
    alive: bool


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
        """Port 0 takes a free one. More masters are at 127.0.0.1 and the ports after the agents'.

        `resources` and `attributes` are in Mesos's own notation, for all agents or for each; `{n}` in them is the
        agent's number, `{ports}` its share of 31000-32767. Flags are Mesos's. Without `processes` tasks cost
        nothing and take the time that `play` says. Without a `seed` every cluster has ids of its own. `state` is where
        sandboxes are; a temporary folder if it is None.
        Raises InvalidInput.
        """
        if not 0 <= agents <= MAX_AGENTS:
            raise InvalidInput(f"a simulated cluster has 0 to {MAX_AGENTS} agents, not {agents}")
        if not 0 <= master_port <= 65000:
            raise InvalidInput(f"the master's port is 0 to 65000, not {master_port}: agents take the next one")
        self._masters = masters
        self._agents = agents
        self._totals = [notation.resources(each) for each in _for_each("resources", resources, agents)]
        self._attributes = [notation.attributes(each) for each in _for_each("attributes", attributes, agents)]
        self._flags = dict(master_flags or {})
        self._settings = master_settings(self._flags)
        self._agent_settings = agent_settings or agent_settings_of(agent_flags or {})
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def master(self) -> str:
        """`host:port` of the first master."""
        return f"127.0.0.1:{self._port}"

    @property
    def masters(self) -> str:
        """All of them, as `--master` takes them."""
        return ",".join(self._listeners[name].host + f":{self._listeners[name].port}" for name in self._master_names())

    @property
    def world(self) -> World:
        """What is behind the sockets; to be touched by `enter` only."""
        if self._live is None:
            raise SimulatorError("the cluster is not up")
        return self._live.world

    @property
    def state(self) -> Path:
        """The folder that was given, or a temporary one that goes with the cluster."""
        if self._given_state is not None:
            return self._given_state.resolve()
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="owmesos-simulator-"))
        return self._temporary

    # -- verbs

    def up(self) -> None:
        """Starts everything and waits until all agents are registered. Raises SimulatorError."""
        if self._loop is not None:
            return
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
        """Ends all daemons and tasks; a state folder that was given stays."""
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
            await listener.close()

        self._run(kill())

    def start(self, name: str, *, fresh: bool = False) -> None:
        """Starts a daemon that was killed; `fresh`: as one that never ran. Raises SimulatorError."""
        listener = self._listener(name)

        async def start() -> None:
            await listener.open()
            self._entered(lambda: self.world.start(name, fresh=fresh))

        self._run(start())

    def status(self) -> list[DaemonStatus]:
        """The masters and each agent."""
        found = []
        for name, listener in self._listeners.items():
            alive = self.world.is_up(name)
            pid = os.getpid() if alive else None
            found.append(DaemonStatus(name, pid, f"{listener.host}:{listener.port}", alive))
        return found

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
        """Does something in the world, on its thread: `cluster.enter(lambda: cluster.world.freeze("agent1"))`."""

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
            raise SimulatorError(f"there is no {name} here, but {', '.join(list(self._listeners)[:10])}")
        return self._listeners[name]

    def _master_names(self) -> list[str]:
        return ["master", *(f"master{n}" for n in range(2, self._masters + 1))]

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
        places = [(name, "127.0.0.1", self._port + (n + 1 if n else 0)) for n, name in enumerate(self._master_names())]
        places += [(f"agent{n}", _host(n), self._port + 1) for n in range(1, self._agents + 1)]
        handlers: dict[str, list[Handler]] = {}
        for name, host, port in places:
            handlers[name] = []
            self._listeners[name] = Listener(host, port, _from(handlers[name]))
            await self._bind(name, self._listeners[name])
        runner: Runner = Plays(self._play)
        if self._with_processes:
            self._processes = Processes(self.state, self._entered)
            self._processes.open()
            runner = self._processes
        world = self._world(runner)
        self._live = LiveWorld(world)
        for number, name in enumerate(self._master_names()):
            handlers[name].append(MasterHttp(self._live, number, self._secrets()).handle)
        for name, place in world.places.items():
            folder = self._processes.work_folder(place.agent) if self._processes is not None else None
            handlers[name].append(AgentHttp(place.agent, folder).handle)
            place.agent.left = self._listeners[name].abort
            place.agent.start()
        self._live.start()

    def _world(self, runner: Runner) -> World:
        descriptions = [
            AgentDescription(f"agent{n}", _host(n), _host(n), self._port + 1, total, tuple(attributes))
            for n, (total, attributes) in enumerate(zip(self._totals, self._attributes, strict=True), 1)
        ]
        return World(
            descriptions,
            runner=runner,
            seed=self._seed,
            now=time.time(),
            masters=[(self._listeners[name].host, self._listeners[name].port) for name in self._master_names()],
            settings=self._settings,
            agent_settings=self._agent_settings,
        )

    @staticmethod
    async def _bind(name: str, listener: Listener) -> None:
        try:
            await listener.open()
        except OSError as error:
            where = f"{listener.host}:{listener.port}"
            raise SimulatorError(f"{name} cannot listen at {where} ({error.strerror}): choose another port") from None

    async def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
        for listener in self._listeners.values():
            await listener.close()

    def _secrets(self) -> dict[str, str]:
        """Of the principals, from the file that the flag `credentials` names. Raises InvalidInput."""
        location = self._flags.get("credentials")
        if location is None:
            return {}
        path = Path(location.removeprefix("file://"))
        try:
            known = json.loads(path.read_bytes())["credentials"]
            return {each["principal"]: each["secret"] for each in known}
        except OSError as error:
            raise InvalidInput(f"credentials: cannot read {path}: {error.strerror}") from None
        except (ValueError, LookupError, TypeError):
            raise InvalidInput(f"credentials: {path} is not Mesos's JSON of credentials") from None


def _from(handlers: list[Handler]) -> Handler:
    """The handler that is known as soon as all sockets are open; nobody asks before."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await handlers[0](request) if handlers else refusal(503)

    return handle


def _host(number: int) -> str:
    """127.0.0.N, as the embedded cluster has it, as far as that goes."""
    if number <= 254:
        return f"127.0.0.{number}"
    row, place = divmod(number - 255, 250)
    return f"127.1.{row}.{place + 1}"


def _for_each(what: str, values: str | Sequence[str], agents: int) -> list[str]:
    """One value for each agent, with its number and its share of the ports filled in."""
    each = [values] * agents if isinstance(values, str) else list(values)
    if len(each) != agents:
        raise InvalidInput(f"{what}: {len(each)} values for {agents} agents")
    share = len(_PORTS) // max(agents, 1)
    if not share:
        share = len(_PORTS)  # they have addresses of their own, and no process is at the ports
    filled = []
    for place, value in enumerate(each):
        begin = _PORTS.start + (place * share) % len(_PORTS)
        ports = f"{begin}-{min(begin + share, _PORTS.stop) - 1}"
        filled.append(value.replace("{n}", str(place + 1)).replace("{ports}", ports))
    return filled

"""Apache Mesos on this machine: a master and agents as separate processes, with their state in one folder.

The master listens at 127.0.0.1:PORT, agent N at 127.0.0.N:PORT+1, which is its hostname too; so agents differ in
their hostnames as on a real cluster. A cluster ends with the process that brought it up.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from owmesos.errors import InvalidInput
from owmesos.local.build import Build, build
from owmesos.local.credentials import basic_authentication
from owmesos.local.daemon import READY_TIMEOUT, ClusterError, Daemon, ask
from owmesos.local.launching import MASTER_FLAGS, environment, write_launchers
from owmesos.local.launching import agent_flags as default_agent_flags
from owmesos.local.proc import end_tasks
from owmesos.simulator.embedded import DEFAULT_ATTRIBUTES, DEFAULT_RESOURCES, DaemonStatus, for_each_agent, for_one_more
from owmesos.system.file_lock import FileLock
from owmesos.system.private_files import make_private_folder, write_private
from owmesos.system.task_ports import HeldPorts

MAX_AGENTS = 254
_POLL = 0.05  # seconds
_TASK_PORTS = "task-ports.json"


class MesosCluster:
    """One cluster. `with MesosCluster(folder) as cluster:` is `up` and `down`."""

    detached = False
    """Whether it stays until `down`, and other processes use it too."""

    def __init__(
        self,
        state: Path,
        *,
        master_port: int = 5050,
        agents: int = 3,
        resources: str | Sequence[str] = DEFAULT_RESOURCES,
        attributes: str | Sequence[str] = DEFAULT_ATTRIBUTES,
        master_flags: Mapping[str, str] | None = None,
        agent_flags: Mapping[str, str] | None = None,
        advertised: Mapping[str, str] | None = None,
    ) -> None:
        """`state` is created if it does not exist, and kept by `down`: a cluster that comes up there again recovers.

        `resources` and `attributes` are in Mesos's own notation, for all agents or for each; `{n}` in them is the
        agent's number, `{ports}` its share of ports that no other cluster of this machine has. Flags are Mesos's,
        such as `offer_timeout`. `advertised` maps `master`, `agent1`… to the `ip:port` under which other daemons
        reach them, such as a proxy's. Raises InvalidInput.
        """
        if not 0 <= agents <= MAX_AGENTS:
            raise InvalidInput(f"an embedded cluster has 0 to {MAX_AGENTS} agents, not {agents}")
        if not 1 <= master_port <= 65534:
            raise InvalidInput(f"the master's port is 1 to 65534, not {master_port}: agents take the next one")
        self.state = state.resolve()
        self.master = f"127.0.0.1:{master_port}"
        self._port = master_port
        self._given = (resources, attributes)
        self._resources = for_each_agent("resources", resources, agents)
        self._attributes = for_each_agent("attributes", attributes, agents)
        self._master_flags = {**MASTER_FLAGS, **(master_flags or {})}
        self._agent_flags = dict(agent_flags or {})
        self._advertised = dict(advertised or {})
        self._owner = FileLock(self.state / "owner")
        self._task_ports: HeldPorts | None = None
        self._added_ports: list[HeldPorts] = []
        self._filled = self._resources
        self._build: Build | None = None
        daemons = [Daemon("master", "127.0.0.1", master_port, self.state)]
        daemons += [Daemon(f"agent{n}", f"127.0.0.{n}", master_port + 1, self.state) for n in range(1, agents + 1)]
        self._daemons = {each.name: each for each in daemons}

    def __enter__(self) -> MesosCluster:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Builds Mesos if needed, starts every daemon that does not run, waits until all agents are registered.

        Raises BuildError, ClusterError; then nothing that it started is left running.
        """
        self._build = build()
        self._prepare()
        started: list[Daemon] = []
        try:
            for daemon in self._daemons.values():
                if daemon.pid is None:
                    started.append(daemon)
                    self._launch(daemon)
                    if daemon.name == "master":
                        daemon.wait_ready()
            self.wait_registered()
            for daemon in self._daemons.values():
                daemon.require_alive()
        except BaseException:
            for daemon in reversed(started):
                daemon.kill()
            if not any(each.alive for each in self.status()):
                self.down()
            raise

    def down(self) -> None:
        """Ends all daemons, and their agents' executors and tasks. The state folder stays."""
        for daemon in reversed(self._daemons.values()):
            daemon.kill()
        end_tasks(self.state)  # executors would live on for `recovery_timeout`, and their tasks with them
        self._owner.release()
        for ports in self._added_ports:
            ports.close()
        self._added_ports.clear()
        if self._task_ports is not None:
            self._task_ports.close()
            self._task_ports = None

    def kill(self, name: str) -> None:
        """SIGKILL to `master` or `agent1`…; tasks of an agent live on, as they do in Mesos. Raises ClusterError."""
        self._named(name).kill()

    def start(self, name: str, *, fresh: bool = False) -> None:
        """Starts a daemon that does not run, and waits until it answers; `fresh`: as one that never ran. Raises
        ClusterError."""
        daemon = self._named(name)
        if daemon.pid is not None:
            raise ClusterError(f"{name} is already running (pid {daemon.pid}): `kill` it first")
        if fresh:
            folder = self.work_folder(name)
            if folder.exists():
                shutil.rmtree(folder)
        self._build = self._build or build()
        self._prepare()
        self._launch(daemon)
        daemon.wait_ready()

    def add(self) -> str:
        """Start one more agent, like the others; returns its name when it has registered. Raises ClusterError."""
        number = len(self._daemons)
        if number > MAX_AGENTS:
            raise ClusterError(f"an embedded cluster has {MAX_AGENTS} agents at most")
        resources, attributes = (for_one_more(given, number) for given in self._given)
        filled = resources
        if "{ports}" in resources:
            held, (share,) = HeldPorts.shared_by(1)
            self._added_ports.append(held)
            filled = resources.replace("{ports}", share)
        daemon = Daemon(f"agent{number}", f"127.0.0.{number}", self._port + 1, self.state)
        self._resources = [*self._resources, resources]
        self._filled = [*self._filled, filled]
        self._attributes = [*self._attributes, attributes]
        self._daemons[daemon.name] = daemon
        self.start(daemon.name)
        self.wait_registered()
        return daemon.name

    @property
    def agent_names(self) -> Sequence[str]:
        return [name for name in self._daemons if name != "master"]

    def status(self) -> list[DaemonStatus]:
        return [daemon.status() for daemon in self._daemons.values()]

    def require_alive(self, name: str) -> None:
        """Raises ClusterError, with the reason in its log, if a daemon does not run."""
        self._named(name).require_alive()

    def work_folder(self, name: str) -> Path:
        """Where a daemon keeps what outlives it; without it, it starts as a new one. Raises ClusterError."""
        return self.state / self._named(name).name

    def wait_registered(self, timeout: float = READY_TIMEOUT) -> None:
        """Waits until the master has every agent that runs, and each has written down its id: one that is killed before
        that comes back as another. Raises ClusterError at its end or the deadline."""
        deadline = time.monotonic() + timeout
        master, *agents = self._daemons.values()
        while missing := self._not_ready([agent for agent in agents if agent.pid is not None]):
            master.require_alive()
            if time.monotonic() >= deadline:
                raise ClusterError(
                    f"not registered within {timeout:g} s: {', '.join(sorted(missing))}; see {master.log}"
                )
            time.sleep(_POLL)

    def _not_ready(self, running: Sequence[Daemon]) -> set[str]:
        """Hostnames. An agent writes down its id after the master has listed it (src/slave/slave.cpp, registered)."""
        registered = self._registered()
        written = "agents/*/work/meta/slaves/latest/slave.info"
        return {
            each.host
            for each in running
            if each.host not in registered or not any(self.work_folder(each.name).glob(written))
        }

    def _registered(self) -> set[str]:
        """Hostnames of the agents that the master has, and would use unless an operator deactivated them."""
        credentials = self._master_flags.get("credentials")
        headers = basic_authentication(credentials) if credentials else {}
        status, body = ask("127.0.0.1", self._port, "GET_AGENTS", headers)
        if status in (401, 403):
            raise ClusterError(f"the master refused to list its agents ({status}): give `credentials` that allow it")
        agents = json.loads(body)["get_agents"].get("agents", []) if status == 200 else []
        return {each["agent_info"]["hostname"] for each in agents if each["active"] or each.get("deactivated")}

    def _named(self, name: str) -> Daemon:
        if name not in self._daemons:
            raise ClusterError(f"unknown daemon {name!r}: use one of {', '.join(self._daemons)}")
        return self._daemons[name]

    def _prepare(self) -> None:
        """The state folder: whose it is, and what agents find in their launcher folder."""
        assert self._build is not None
        launchers = self.state / "launcher"
        make_private_folder(self.state, ("owner",))
        make_private_folder(launchers, ("mesos-executor",))
        if not self.detached and not self._owner.held and not self._owner.acquire(timeout=2.0):
            raise ClusterError(f"another process has a cluster in {self.state}: choose another folder")
        self._fill_in_ports()
        write_launchers(launchers, self._build, None if self.detached else self.state / "owner")

    def _fill_in_ports(self) -> None:
        """A folder's agents have the same ports each time: Mesos recovers none whose resources differ.

        They are held as long as this process, or the master where that stays. Raises OwmesosError.
        """
        if self._task_ports is not None or not any("{ports}" in each for each in self._resources):
            return
        path = self.state / _TASK_PORTS
        shares: list[str] = []
        if path.exists():
            blocks, shares = json.loads(path.read_bytes())
        if len(shares) != len(self._resources):
            self._task_ports, shares = HeldPorts.shared_by(len(self._resources))
            write_private(path, json.dumps([self._task_ports.blocks, shares]))
        elif not self.detached or self._daemons["master"].pid is None:
            self._task_ports = HeldPorts(blocks)
        self._filled = [
            resources.replace("{ports}", ports) for resources, ports in zip(self._resources, shares, strict=True)
        ]

    def _launch(self, daemon: Daemon) -> None:
        assert self._build is not None
        role = ["master"] if daemon.name == "master" else ["agent", self._advertised.get("master", self.master)]
        variables = environment(self._build, daemon.host, daemon.port, self._flags(daemon))
        if daemon.name in self._advertised:
            host, _, port = self._advertised[daemon.name].rpartition(":")
            variables |= {"LIBPROCESS_ADVERTISE_IP": host, "LIBPROCESS_ADVERTISE_PORT": port}
        held = self._task_ports.sockets if self._task_ports is not None and daemon.name == "master" else []
        keep = [each.fileno() for each in held] if self.detached else []
        daemon.start([str(self._build.mesosd), *role], variables, lifeline=not self.detached, keep=keep)

    def _flags(self, daemon: Daemon) -> dict[str, str]:
        folder = self.state / daemon.name
        if daemon.name == "master":
            return {"hostname": daemon.host, "work_dir": str(folder), **self._master_flags}
        place = int(daemon.name.removeprefix("agent")) - 1
        return {
            "hostname": daemon.host,
            **default_agent_flags(folder, self.state / "launcher"),
            "resources": self._filled[place],
            "attributes": self._attributes[place],
            **self._agent_flags,
        }

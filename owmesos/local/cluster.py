"""Apache Mesos on this machine: a master and agents as separate processes, with their state in one folder.

The master listens at 127.0.0.1:PORT, agent N at 127.0.0.N:PORT+1, which is its hostname too; so agents differ in
their hostnames as on a real cluster. A cluster ends with the process that brought it up, unless it is `detached`;
then it stays until `down`, and other processes find it by `MesosCluster.open`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from owmesos.errors import InvalidInput
from owmesos.local.build import Build, build
from owmesos.local.credentials import basic_authentication
from owmesos.local.daemon import ClusterError, Daemon, DaemonStatus
from owmesos.local.launching import MASTER_FLAGS, environment, write_launchers, write_whole
from owmesos.local.launching import agent_flags as default_agent_flags
from owmesos.local.lock import FileLock
from owmesos.local.proc import end_all, with_variable

DEFAULT_RESOURCES = "cpus:2;mem:1024;disk:1024;ports:[{ports}]"
DEFAULT_ATTRIBUTES = "rack:r{n};zone:z1"
MAX_AGENTS = 254
READY_TIMEOUT = 60.0
_PORTS = range(31000, 32768)  # below what the kernel gives out by itself
_STOP_GRACE = 2.0
_POLL = 0.05
_SETTINGS = "cluster.json"


class MesosCluster:
    """One cluster. `with MesosCluster(folder) as cluster:` is `up` and `down`."""

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
        registry: str = "replicated_log",
        detached: bool = False,
    ) -> None:
        """`state` is made where it lacks, and kept by `down`: a cluster that comes up there again recovers.

        `resources` and `attributes` are in Mesos's own notation, for all agents or for each; `{n}` in them is the
        agent's number, `{ports}` its share of 31000-32767: agents of one machine share its ports. Flags are those of
        Mesos, such as `offer_timeout`. `registry` is `replicated_log` or, for a master that forgets, `in_memory`.
        Raises InvalidInput.
        """
        if not 0 <= agents <= MAX_AGENTS:
            raise InvalidInput(f"an embedded cluster has 0 to {MAX_AGENTS} agents, not {agents}")
        if not 1 <= master_port <= 65534:
            raise InvalidInput(f"the master's port is 1 to 65534, not {master_port}: agents take the next one")
        self.state = state.resolve()
        self.master = f"127.0.0.1:{master_port}"
        self._port = master_port
        self._resources = _for_each("resources", resources, agents)
        self._attributes = _for_each("attributes", attributes, agents)
        self._master_flags = {**MASTER_FLAGS, "registry": registry, **(master_flags or {})}
        self._agent_flags = dict(agent_flags or {})
        self._detached = detached
        self._owner = FileLock(self.state / "owner")
        self._build: Build | None = None
        names = ["master", *(f"agent{n}" for n in range(1, agents + 1))]
        self._daemons = {name: self._daemon(name) for name in names}

    @classmethod
    def open(cls, state: Path) -> MesosCluster:
        """The detached cluster that was brought up in this folder. Raises ClusterError if there is none."""
        try:
            settings = json.loads((state / _SETTINGS).read_bytes())
        except FileNotFoundError:
            raise ClusterError(f"no cluster was brought up in {state}: begin with `up`") from None
        except ValueError as error:
            raise ClusterError(f"{state / _SETTINGS} is damaged ({error}): remove it and begin with `up`") from None
        return cls(state, **settings, detached=True)

    def __enter__(self) -> MesosCluster:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Builds Mesos if need be, starts every daemon that does not run, waits until all agents are registered.

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
                        daemon.wait_ready(READY_TIMEOUT)
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
        """Ends all daemons, and the executors and tasks of their agents. The state folder stays."""
        for daemon in reversed(self._daemons.values()):
            daemon.kill()
        # They would live on for `recovery_timeout`, and their tasks with them.
        end_all(lambda: with_variable("MESOS_DIRECTORY", f"{self.state}/"), grace=_STOP_GRACE)
        self._owner.release()

    def kill(self, name: str) -> None:
        """SIGKILL to `master` or `agent1`…; tasks of an agent live on, as they do in Mesos. Raises ClusterError."""
        self._named(name).kill()

    def start(self, name: str, *, fresh: bool = False) -> None:
        """Starts a daemon that does not run, and waits until it answers; `fresh`: as one that never ran. Raises
        ClusterError."""
        daemon = self._named(name)
        if daemon.pid is not None:
            raise ClusterError(f"{name} runs already (pid {daemon.pid}): `kill` it first")
        if fresh:
            folder = self.work_folder(name)
            if folder.exists():
                shutil.rmtree(folder)
        self._build = self._build or build()
        self._prepare()
        self._launch(daemon)
        daemon.wait_ready(READY_TIMEOUT)

    def status(self) -> list[DaemonStatus]:
        """The master and each agent."""
        return [daemon.status() for daemon in self._daemons.values()]

    def require_alive(self, name: str) -> None:
        """Raises ClusterError, with the reason in its log, if a daemon does not run."""
        self._named(name).require_alive()

    def work_folder(self, name: str) -> Path:
        """Where a daemon keeps what outlives it; without it, it starts as a new one. Raises ClusterError."""
        return self.state / self._named(name).name

    def wait_registered(self, timeout: float = READY_TIMEOUT) -> None:
        """Waits until the master has every agent that runs. Raises ClusterError at its end or the deadline."""
        deadline = time.monotonic() + timeout
        master, *agents = self._daemons.values()
        while missing := {agent.host for agent in agents if agent.pid is not None} - self._registered():
            master.require_alive()
            if time.monotonic() >= deadline:
                raise ClusterError(
                    f"not registered within {timeout:g} s: {', '.join(sorted(missing))}; see {master.log}"
                )
            time.sleep(_POLL)

    def _registered(self) -> set[str]:
        """Hostnames of the agents that the master has, and would use unless an operator deactivated them."""
        credentials = self._master_flags.get("credentials")
        status, body = self._daemons["master"].ask(
            "GET_AGENTS", basic_authentication(credentials) if credentials else {}
        )
        if status in (401, 403):
            raise ClusterError(f"the master does not let us see its agents ({status}): give it `credentials` that may")
        agents = json.loads(body)["get_agents"].get("agents", []) if status == 200 else []
        return {each["agent_info"]["hostname"] for each in agents if each["active"] or each.get("deactivated")}

    def _named(self, name: str) -> Daemon:
        if name not in self._daemons:
            raise ClusterError(f"there is no {name} here, but {', '.join(self._daemons)}")
        return self._daemons[name]

    def _daemon(self, name: str) -> Daemon:
        if name == "master":
            return Daemon(name, "127.0.0.1", self._port, self.state)
        return Daemon(name, f"127.0.0.{name.removeprefix('agent')}", self._port + 1, self.state)

    def _prepare(self) -> None:
        """The state folder: whose it is, how the cluster is set up, and what agents find in their launcher folder."""
        assert self._build is not None
        launchers = self.state / "launcher"
        launchers.mkdir(parents=True, exist_ok=True)
        if not self._detached and not self._owner.held and not self._owner.acquire(timeout=2.0):
            raise ClusterError(f"another process has a cluster in {self.state}: choose another folder")
        if self._detached:
            settings = {
                "master_port": self._port,
                "agents": len(self._daemons) - 1,
                "resources": self._resources,
                "attributes": self._attributes,
                "master_flags": self._master_flags,
                "agent_flags": self._agent_flags,
                "registry": self._master_flags["registry"],
            }
            write_whole(self.state / _SETTINGS, json.dumps(settings, indent=2), 0o600)
        write_launchers(launchers, self._build, () if self._detached else [str(self.state / "owner")])

    def _launch(self, daemon: Daemon) -> None:
        assert self._build is not None
        role = ["master"] if daemon.name == "master" else ["agent", self.master]
        variables = environment(self._build, daemon.host, daemon.port, self._flags(daemon))
        daemon.start([str(self._build.mesosd), *role], variables, lifeline=not self._detached)

    def _flags(self, daemon: Daemon) -> dict[str, str]:
        folder = self.state / daemon.name
        if daemon.name == "master":
            return {"hostname": daemon.host, "work_dir": str(folder), **self._master_flags}
        place = int(daemon.name.removeprefix("agent")) - 1
        return {
            "hostname": daemon.host,
            **default_agent_flags(folder, self.state / "launcher"),
            "resources": self._resources[place],
            "attributes": self._attributes[place],
            **self._agent_flags,
        }


def _for_each(what: str, values: str | Sequence[str], agents: int) -> list[str]:
    """One value for each agent, with its number and its share of the ports filled in."""
    each = [values] * agents if isinstance(values, str) else list(values)
    if len(each) != agents:
        raise InvalidInput(f"{what}: {len(each)} values for {agents} agents")
    share = len(_PORTS) // max(agents, 1)
    filled = []
    for place, value in enumerate(each):
        begin = _PORTS.start + place * share
        ports = f"{begin}-{begin + share - 1}"
        filled.append(value.replace("{n}", str(place + 1)).replace("{ports}", ports))
    return filled

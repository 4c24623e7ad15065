"""The verbs of scripts/real-mesos for a cluster of several hosts, whatever reaches them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tests.hosts.plan import Plan

T = TypeVar("T")
U = TypeVar("U")
PROVISION = "/srv/owmesos/vagrant/provision"
PYTHON = "/opt/owmesos/bin/python"
_TELLING = "EXIT with status|^[EF][0-9]{4} |Failed to |mesosd: |host.py: "
_CREDENTIALS = "/etc/owmesos/credentials.json"


class HostsError(Exception):
    """What could not be done, and what the host said."""


class Hosts(Protocol):
    """Machines that have been provisioned."""

    plan: Plan

    def run(self, host: str, *command: str, text: str = "") -> str:
        """What the command printed, run as root there with `text` as its input. Raises HostsError if it failed."""
        ...


@dataclass(frozen=True)
class Asked:
    """What `up` is asked for; without agents, those of the plan."""

    agents: int = 0
    resources: Sequence[str] = ()
    attributes: Sequence[str] = ()
    master_flags: Sequence[str] = ()
    agent_flags: Sequence[str] = ()


@dataclass(frozen=True)
class DaemonState:
    """`pid` on its host; None if it does not run."""

    name: str
    address: str
    pid: int | None


class Control:
    """Of the Mesos daemons. The hosts, ZooKeeper and the registrar run all the time."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._plan = hosts.plan

    def up(self, asked: Asked, *, fresh: bool) -> None:
        """Starts all, and waits until the master has its agents. What ran before is ended; `fresh`: and forgotten."""
        self._clear("--fresh" if fresh else "--forget")
        daemons = self._daemons(asked)
        _at_once(lambda each: self._provision(*each), daemons.items())
        agents = [name for name in daemons if name != "master"]
        self._ready(self._plan.master_address)
        if agents:
            self.wait_registered(*agents)

    def down(self) -> None:
        """Ends the daemons and the tasks; what they have kept stays."""
        self._clear()

    def kill(self, name: str) -> None:
        self._hosts.run(self._host_of(name), f"{PROVISION}/service.sh", "kill", f"owmesos-{name}")

    def start(self, name: str, *, fresh: bool) -> None:
        """Starts a daemon that was killed, and waits until it answers."""
        host = self._host_of(name)
        if any(each.pid for each in self.status() if each.name == name):
            raise HostsError(f"{name} is already running")
        if fresh:
            self._hosts.run(host, "rm", "-rf", f"/var/lib/owmesos/{name}")
        self._hosts.run(host, f"{PROVISION}/service.sh", "start", f"owmesos-{name}")
        self._ready(self._plan.place_of(name)[1])

    def status(self) -> list[DaemonState]:
        """The master, then the agents."""
        places = (self._plan.master, *self._plan.agents)
        listed = _at_once(lambda host: self._hosts.run(host.name, f"{PROVISION}/service.sh", "list"), places)
        found = []
        for line in "".join(listed).splitlines():
            name, pid = line.removeprefix("owmesos-").split()
            if name == "master" or name.startswith("agent"):
                address = self._plan.place_of(name)[1]
                found.append(DaemonState(name, address, None if pid == "down" else int(pid)))
        return sorted(found, key=lambda each: (each.name != "master", each.name))

    def wait_registered(self, *agents: str) -> None:
        """Waits until these answer, and the master has them. Raises HostsError after a minute."""
        addresses = [self._plan.place_of(name)[1] for name in agents]
        self._ready(*addresses, f"--registered-at={self._plan.master_address}")

    def _daemons(self, asked: Asked) -> dict[str, list[str]]:
        """By name the flags of each."""
        daemons = {"master": [*self._plan.master.flags, *asked.master_flags]}
        if not asked.agents:
            return daemons | {host.name: [*host.flags, *asked.agent_flags] for host in self._plan.agents}
        for place in range(asked.agents):
            flags = [f"resources={asked.resources[place]}"] if asked.resources else []
            flags += [f"attributes={asked.attributes[place]}"] if asked.attributes else []
            daemons[f"agent{place + 1}"] = [*flags, *asked.agent_flags]
        return daemons

    def _provision(self, name: str, flags: list[str]) -> None:
        host, _ = self._plan.place_of(name)
        script, *arguments = self._plan.daemon(name, [self._placed(host.name, flag) for flag in flags])
        self._hosts.run(host.name, f"{PROVISION}/{script}", *arguments)

    def _placed(self, host: str, flag: str) -> str:
        """A flag that names a file of this machine gets the file onto the host."""
        name, _, value = flag.partition("=")
        if name != "credentials":
            return flag
        text = Path(value).read_text(encoding="utf-8")
        self._hosts.run(host, "install", "-D", "-m", "600", "/dev/stdin", _CREDENTIALS, text=text)
        return f"{name}={_CREDENTIALS}"

    def _clear(self, *options: str) -> None:
        places = (self._plan.master, *self._plan.agents)
        _at_once(lambda host: self._hosts.run(host.name, f"{PROVISION}/clear.sh", *options), places)

    def _ready(self, *arguments: str) -> None:
        try:
            self._hosts.run(self._plan.master.name, PYTHON, f"{PROVISION}/host.py", "ready", *arguments)
        except HostsError as error:
            raise HostsError("\n".join([str(error), *self._last_words()])) from None

    def _last_words(self) -> list[str]:
        """Of each daemon that has ended, what its log says of that."""
        said = []
        for name in [each.name for each in self.status() if each.pid is None]:
            search = f"grep -hE '{_TELLING}' /var/log/owmesos/owmesos-{name}.log | tail -n 2"
            said.append(f"{name}: {self._hosts.run(self._host_of(name), 'sh', '-c', search).strip()}")
        return said

    def _host_of(self, name: str) -> str:
        known = [each.name for each in self.status()]
        if name not in known:
            raise HostsError(f"unknown daemon {name!r}: use one of {', '.join(known)}")
        return self._plan.place_of(name)[0].name


def _at_once(do: Callable[[T], U], each: Iterable[T]) -> list[U]:
    with ThreadPoolExecutor() as threads:
        return list(threads.map(do, each))

"""Which hosts there are and which daemon runs where, read from the file that the Vagrantfile reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

VAGRANT = Path(__file__).parents[2] / "vagrant"
MASTER_PORT = 5050
_AGENT_PORT = 5051
_MESOS = "mesos"


@dataclass(frozen=True)
class Host:
    """`flags` (NAME=VALUE) are those of the Mesos daemon that runs there when nothing else is asked for."""

    name: str
    address: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A ZooKeeper, a master, and hosts for agents."""

    zookeeper: Host
    master: Host
    agents: tuple[Host, ...]

    @property
    def hosts(self) -> tuple[Host, ...]:
        """In the order in which they are started."""
        return (self.zookeeper, self.master, *self.agents)

    @property
    def gateway(self) -> str:
        """The address in the hosts' network of whoever uses them: the first one, as VirtualBox and libvirt have it."""
        return f"{self.master.address.rpartition('.')[0]}.1"

    @property
    def master_address(self) -> str:
        return f"{self.master.address}:{MASTER_PORT}"

    @property
    def zookeeper_url(self) -> str:
        """Where the master is registered."""
        return f"zk://{self.zookeeper.address}:2181/{_MESOS}"

    def place_of(self, daemon: str) -> tuple[Host, str]:
        """The host and the address of `master` or `agentN`. Agents that are more than their hosts share them."""
        if daemon == "master":
            return self.master, self.master_address
        turn, place = divmod(int(daemon.removeprefix("agent")) - 1, len(self.agents))
        host = self.agents[place]
        return host, f"{host.address}:{_AGENT_PORT + turn}"

    def provisioning(self, host: Host) -> list[str]:
        """The script in vagrant/provision that makes the host what it is, and its arguments, as in the Vagrantfile."""
        if host == self.zookeeper:
            return ["zookeeper.sh", host.address]
        return self.daemon("master" if host == self.master else host.name, host.flags)

    def daemon(self, name: str, flags: Sequence[str]) -> list[str]:
        """The script that makes a host run a daemon with these flags (NAME=VALUE), and starts it."""
        _, address = self.place_of(name)
        if name == "master":
            return ["master.sh", address, self.zookeeper_url, *flags]
        return ["agent.sh", name, address, self.master_address, *flags]


def read_plan(*, master_flags: tuple[str, ...] = ()) -> Plan:
    """As hosts.json has it, with these flags for the master before its own."""
    document = json.loads((VAGRANT / "hosts.json").read_text(encoding="utf-8"))

    def host(name: str) -> Host:
        flags: dict[str, str] = document[name].get("flags", {})
        return Host(name, document[name]["address"], tuple(f"{flag}={value}" for flag, value in flags.items()))

    agents = tuple(host(name) for name in document if name.startswith("agent"))
    master = host("master")
    return Plan(host("zookeeper"), replace(master, flags=(*master_flags, *master.flags)), agents)

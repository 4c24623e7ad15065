"""A cluster of several hosts, each in namespaces of its own, on Vagrant's provisioning: real Mesos beyond loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.control import Asked, Control, HostsError
from tests.hosts.namespaces import ROOT, Namespaces
from tests.waiting import eventually

pytestmark = pytest.mark.cluster
PROGRAM = ROOT / "scripts" / "namespaces-cluster"
REQUEST = """
import http.client, json, sys
address, method, path, *body = sys.argv[1:]
connection = http.client.HTTPConnection(address, timeout=20)
connection.request(method, path, *body, headers={"Content-Type": "application/json"})
answer = connection.getresponse()
print(json.dumps([answer.status, dict(answer.headers), answer.read().decode()]))
"""
READ_NODES = """
import json, sys
from kazoo.client import KazooClient
client = KazooClient(sys.argv[1])
client.start()
names = sorted(client.get_children("/mesos")) if client.exists("/mesos") else []
nodes = {name: client.get(f"/mesos/{name}")[0].decode() for name in names}
print(json.dumps(nodes))
client.stop()
client.close()
"""


def inside(hosts: Namespaces, *command: str) -> str:
    """What `command`, run in the hosts' network, printed."""
    done = subprocess.run(hosts.inside(*command), check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(hosts: Namespaces, address: str, call: str) -> dict[str, Any]:
    """The answer of a daemon's operator API."""
    _, _, body = request(hosts, address, "POST", "/api/v1", json.dumps({"type": call}))
    found: dict[str, Any] = json.loads(body)[call.lower()]
    return found


def request(hosts: Namespaces, address: str, *what: str) -> list[Any]:
    """Status, headers and body of the answer to a request: method, path, JSON."""
    answer: list[Any] = json.loads(inside(hosts, sys.executable, "-c", REQUEST, address, *what))
    return answer


def nodes(hosts: Namespaces) -> list[dict[str, Any]]:
    """What `owmesos nodes` finds by ZooKeeper."""
    master = ("--master", hosts.plan.zookeeper_url)
    found: list[dict[str, Any]] = json.loads(
        inside(hosts, sys.executable, "-m", "owmesos", "nodes", *master, "-o", "json")
    )
    return found


def registered(hosts: Namespaces) -> dict[str, Any]:
    """What ZooKeeper has, by the names of the nodes."""
    found: dict[str, str] = json.loads(
        inside(hosts, sys.executable, "-c", READ_NODES, f"{hosts.plan.zookeeper.address}:2181")
    )
    return {name: json.loads(text) for name, text in found.items()}


def agent_ids(hosts: Namespaces) -> dict[str, str]:
    """By address, of those that are registered."""
    agents = ask(hosts, hosts.plan.master_address, "GET_AGENTS")["agents"]
    return {each["pid"].partition("@")[2]: each["agent_info"]["id"]["value"] for each in agents if each["active"]}


class TestHosts:
    def test_each_has_a_hostname_and_an_address_of_its_own(self, hosts: Namespaces) -> None:
        for host in hosts.plan.hosts:
            assert hosts.run(host.name, "hostname").strip() == host.name
            addresses = json.loads(hosts.run(host.name, "ip", "-json", "-4", "address", "show", "dev", "eth0"))
            assert [each["local"] for each in addresses[0]["addr_info"]] == [host.address]

    def test_each_has_processes_and_files_of_its_own(self, hosts: Namespaces, control: Control) -> None:
        for host, files in (("master", ["master"]), ("agent1", ["agent1"]), ("zookeeper", ["zookeeper"])):
            assert hosts.run(host, "ls", "/var/lib/owmesos").split() == files
            assert len(hosts.run(host, "sh", "-c", "ls -d /proc/[0-9]*").split()) < 20

    def test_there_is_no_way_out(self, hosts: Namespaces) -> None:
        for command in (hosts.inside("ip", "route"), hosts.inside("ip", "-6", "route")):
            routes = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            assert "default" not in routes
        assert not {"bridge", "agent1"} & {link.name for link in Path("/sys/class/net").iterdir()}
        assert not Path("/etc/owmesos").exists()


class TestDetection:
    def test_the_node_in_zookeeper_is_the_masters_own_description(self, hosts: Namespaces, control: Control) -> None:
        info = ask(hosts, hosts.plan.master_address, "GET_MASTER")["master_info"]
        assert info["address"] == {"hostname": hosts.plan.master.address, "ip": hosts.plan.master.address, "port": 5050}
        eventually(lambda: list(registered(hosts).values()) == [info], 30)
        assert next(iter(registered(hosts))).startswith("json.info_00000")

    def test_nodes_are_found_by_zookeeper_as_the_plan_has_them(self, hosts: Namespaces, control: Control) -> None:
        found = {node["hostname"]: node for node in nodes(hosts)}
        assert {name: (node["total"]["cpus"], node["total"]["mem"]) for name, node in found.items()} == {
            hosts.plan.agents[0].address: (2, 2048),
            hosts.plan.agents[1].address: (1, 1024),
        }
        assert found[hosts.plan.agents[1].address]["attributes"] == {"rack": ["r2"], "zone": ["z1"], "medium": ["disk"]}

    def test_a_master_that_is_killed_is_in_zookeeper_again_when_it_is_back(
        self, hosts: Namespaces, control: Control
    ) -> None:
        before = ask(hosts, hosts.plan.master_address, "GET_MASTER")["master_info"]["id"]
        control.kill("master")
        eventually(lambda: not registered(hosts), 30)
        control.start("master", fresh=False)
        control.wait_registered("agent1", "agent2")
        assert len(nodes(hosts)) == 2
        ((_, info),) = registered(hosts).items()
        assert info["id"] != before


class TestAddresses:
    """How Mesos behaves where nothing is on loopback."""

    def test_daemons_call_themselves_by_the_address_that_they_listen_at(
        self, hosts: Namespaces, control: Control
    ) -> None:
        address = hosts.plan.master.address
        info = ask(hosts, hosts.plan.master_address, "GET_MASTER")["master_info"]
        assert info["pid"] == f"master@{address}:5050"
        assert info["ip"] == int.from_bytes(bytes(map(int, address.split("."))), "little")
        agents = ask(hosts, hosts.plan.master_address, "GET_AGENTS")["agents"]
        assert {each["pid"] for each in agents} == {f"slave(1)@{host.address}:5051" for host in hosts.plan.agents}

    def test_a_master_redirects_to_the_address_that_it_is_registered_with(
        self, hosts: Namespaces, control: Control
    ) -> None:
        status, headers, _ = request(hosts, hosts.plan.master_address, "GET", "/master/redirect")
        assert (status, headers["Location"]) == (307, f"//{hosts.plan.master_address}")


class TestControl:
    def test_status_says_where_each_daemon_runs(self, hosts: Namespaces, control: Control) -> None:
        first, second = hosts.plan.agents
        assert [(each.name, each.address, each.pid is not None) for each in control.status()] == [
            ("master", hosts.plan.master_address, True),
            ("agent1", f"{first.address}:5051", True),
            ("agent2", f"{second.address}:5051", True),
        ]

    def test_an_agent_that_is_killed_comes_back_as_itself_and_fresh_as_another(
        self, hosts: Namespaces, control: Control
    ) -> None:
        _, address = hosts.plan.place_of("agent1")
        ids = [agent_ids(hosts)[address]]
        for fresh in (False, True):
            control.kill("agent1")
            assert [each.name for each in control.status() if each.pid is None] == ["agent1"]
            control.start("agent1", fresh=fresh)
            control.wait_registered("agent1")
            ids.append(agent_ids(hosts)[address])
        assert ids[0] == ids[1] != ids[2]

    def test_more_agents_than_hosts_share_the_hosts(self, hosts: Namespaces, control: Control) -> None:
        control.up(Asked(3, ["cpus:1;mem:256"] * 3, ["a:x", "a:y", "a:z"], ["offer_timeout=9secs"]), fresh=True)
        first, second = hosts.plan.agents
        assert set(agent_ids(hosts)) == {f"{first.address}:5051", f"{second.address}:5051", f"{first.address}:5052"}
        flags = ask(hosts, hosts.plan.master_address, "GET_FLAGS")["flags"]
        assert [flag["value"] for flag in flags if flag["name"] == "offer_timeout"] == ["9secs"]
        control.up(Asked(), fresh=True)
        assert [each.name for each in control.status()] == ["master", "agent1", "agent2"]

    def test_what_cannot_be_is_said(self, control: Control) -> None:
        with pytest.raises(HostsError, match="unknown daemon 'agent7': use one of master, agent1, agent2"):
            control.kill("agent7")
        with pytest.raises(HostsError, match="agent1 is already running"):
            control.start("agent1", fresh=False)


def test_provisioning_again_changes_nothing(hosts: Namespaces, control: Control) -> None:
    before = agent_ids(hosts)
    hosts.provision(hosts.plan.hosts)
    control.wait_registered("agent1", "agent2")
    assert agent_ids(hosts) == before
    assert len(nodes(hosts)) == 2


class TestRun:
    def test_the_commands_exit_code_is_its_own(self) -> None:
        done = subprocess.run([PROGRAM, "run", "sh", "-c", "exit 7"], check=False, timeout=100, env=environment())
        assert done.returncode == 7

    def test_hosts_do_not_outlive_it_however_it_ends(self) -> None:
        command = [PROGRAM, "run", "sh", "-c", "echo $NAMESPACES_CLUSTER_STATE $$; exec sleep 600"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as running:
            assert running.stdout is not None
            state, pid = running.stdout.readline().split()
            hosts = Namespaces(Path(state))
            assert len(hosts.running()) == 5
            running.send_signal(signal.SIGKILL)
            running.wait()
        eventually(lambda: not hosts.running() and not Path(f"/proc/{pid}").exists())
        hosts.destroy()
        hosts.state.parent.rmdir()


def environment() -> dict[str, str]:
    return {**os.environ, "OWMESOS_PYTHON": sys.executable}

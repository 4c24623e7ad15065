"""A cluster of real daemons: who is registered where, what survives a kill, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from owmesos.errors import InvalidInput
from owmesos.local.build import Build
from owmesos.local.cluster import MesosCluster
from owmesos.local.daemon import ClusterError
from owmesos.local.proc import started_at, with_variable
from tests.fixtures.real_mesos import ClusterFactory, reserved_port, running_cluster
from tests.local.plain_scheduler import PlainScheduler, agents, operator
from tests.waiting import eventually

pytestmark = pytest.mark.real_mesos


def task_ports(master: str) -> dict[str, list[tuple[int, int]]]:
    """Each agent's."""
    return {
        host: [(each["begin"], each["end"]) for each in resource["ranges"]["range"]]
        for host, agent in agents(master).items()
        for resource in agent["total_resources"]
        if resource["name"] == "ports"
    }


def listening(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


class TestUp:
    def test_agents_are_registered_with_hostnames_of_their_own(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=3)
        found = agents(cluster.master)
        assert set(found) == {"127.0.0.1", "127.0.0.2", "127.0.0.3"}
        port = int(cluster.master.rsplit(":", 1)[1])
        assert {each["pid"] for each in found.values()} == {f"slave(1)@127.0.0.{n}:{port + 1}" for n in (1, 2, 3)}

    def test_status_names_every_daemon(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=1)
        assert [each.name for each in cluster.status()] == ["master", "agent1"]
        assert all(each.alive and each.pid and listening(each.address) for each in cluster.status())

    def test_each_agent_may_have_resources_and_attributes_of_its_own(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=2, resources=["cpus:1;mem:100", "cpus:4;mem:200"], attributes=["a:x", "a:y"])
        found = agents(cluster.master)
        cpus = {
            host: next(each["scalar"]["value"] for each in agent["total_resources"] if each["name"] == "cpus")
            for host, agent in found.items()
        }
        assert cpus == {"127.0.0.1": 1.0, "127.0.0.2": 4.0}
        values = {host: agent["agent_info"]["attributes"][0]["text"]["value"] for host, agent in found.items()}
        assert values == {"127.0.0.1": "x", "127.0.0.2": "y"}

    def test_agents_and_clusters_of_one_machine_have_different_ports(self, mesos_cluster: ClusterFactory) -> None:
        one, other = mesos_cluster(agents=2), mesos_cluster(agents=1)
        shares = sorted([*task_ports(one.master).values(), *task_ports(other.master).values()])
        assert len(shares) == 3
        assert all(low[-1][1] < high[0][0] for low, high in pairwise(shares))

    def test_agents_that_recover_have_the_ports_that_they_had(self, mesos_build: Build, tmp_path: Path) -> None:
        with running_cluster(tmp_path, agents=1) as cluster:
            before = task_ports(cluster.master)
            cluster.down()
            cluster.up()
            assert task_ports(cluster.master) == before

    def test_flags_reach_the_daemons(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(
            agents=1, master_flags={"offer_timeout": "2secs"}, agent_flags={"executor_shutdown_grace_period": "7secs"}
        )
        flags = {each["name"]: each.get("value") for each in operator(cluster.master, "GET_FLAGS")["flags"]}
        assert flags["offer_timeout"] == "2secs"
        assert flags["registry"] == "replicated_log"
        agent = cluster.status()[1].address
        flags = {each["name"]: each.get("value") for each in operator(agent, "GET_FLAGS")["flags"]}
        assert flags["executor_shutdown_grace_period"] == "7secs"

    def test_a_protected_master_is_asked_with_its_own_credentials(
        self, mesos_cluster: ClusterFactory, tmp_path: Path
    ) -> None:
        secrets = {"credentials": [{"principal": "me", "secret": "secret"}]}
        (tmp_path / "secrets").write_text(json.dumps(secrets), encoding="utf-8")
        flags = {
            "credentials": f"file://{tmp_path}/secrets",
            "authenticate_http_readwrite": "true",
            "authenticate_http_frameworks": "true",
            "http_framework_authenticators": "basic",
        }
        cluster = mesos_cluster(agents=1, master_flags=flags)
        with pytest.raises(OSError, match="401"):
            operator(cluster.master, "GET_AGENTS")
        assert operator(cluster.master, "GET_AGENTS", "Basic bWU6c2VjcmV0")["agents"]

    def test_a_taken_port_is_one_line_and_leaves_nothing(self, mesos_build: object, tmp_path: Path) -> None:
        with reserved_port() as port, socket.create_server(("127.0.0.1", port + 1)):
            cluster = MesosCluster(tmp_path, master_port=port, agents=1)
            with pytest.raises(ClusterError, match=f"agent1 cannot listen at 127.0.0.1:{port + 1} .*another port"):
                cluster.up()
            assert not any(each.alive for each in cluster.status())
            assert not listening(cluster.master)

    def test_a_flag_that_mesos_refuses_is_told_in_its_words(self, mesos_build: object, tmp_path: Path) -> None:
        with reserved_port() as port:
            cluster = MesosCluster(tmp_path, master_port=port, agents=1, resources="cpus:many")
            with pytest.raises(ClusterError, match=r"agent1 has ended: .*cpus") as caught:
                cluster.up()
            assert "\n" not in str(caught.value)
            assert not listening(cluster.master)

    def test_a_state_folder_has_one_owner(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=0)
        with reserved_port() as port, pytest.raises(ClusterError, match="another process has a cluster in"):
            MesosCluster(cluster.state, master_port=port, agents=0).up()


class TestKillAndStart:
    def test_an_agent_comes_back_with_its_id(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=1)
        before = agents(cluster.master)["127.0.0.1"]["agent_info"]["id"]
        cluster.kill("agent1")
        assert [each.alive for each in cluster.status()] == [True, False]
        eventually(lambda: not agents(cluster.master), what="the master sees that the agent is gone")
        cluster.start("agent1")
        eventually(lambda: agents(cluster.master), 20, what="the agent is back")
        assert agents(cluster.master)["127.0.0.1"]["agent_info"]["id"] == before

    def test_an_agent_without_its_work_folder_is_a_new_one(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=1)
        before = agents(cluster.master)["127.0.0.1"]["agent_info"]["id"]
        cluster.kill("agent1")
        folder = cluster.work_folder("agent1")
        folder.rename(folder.with_name("gone"))
        cluster.start("agent1")

        def ids() -> set[str]:
            return {each["agent_info"]["id"]["value"] for each in agents(cluster.master).values()}

        eventually(lambda: ids() - {before["value"]}, 20, what="a new agent is registered")

    def test_a_master_remembers_its_agents(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=1)
        before = agents(cluster.master)["127.0.0.1"]["agent_info"]["id"]
        cluster.kill("agent1")
        cluster.kill("master")
        cluster.start("master")
        recovered = operator(cluster.master, "GET_AGENTS")["recovered_agents"]
        assert [each["id"] for each in recovered] == [before]

    def test_agents_register_again_at_a_restarted_master(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=2)
        cluster.kill("master")
        cluster.start("master")
        cluster.wait_registered()
        assert set(agents(cluster.master)) == {"127.0.0.1", "127.0.0.2"}

    def test_wrong_names_and_running_daemons_are_refused(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=1)
        with pytest.raises(ClusterError, match="unknown daemon 'agent2': use one of master, agent1"):
            cluster.kill("agent2")
        with pytest.raises(ClusterError, match="agent1 is already running"):
            cluster.start("agent1")


class TestDown:
    def test_no_process_and_no_port_is_left(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=2)
        with PlainScheduler(cluster.master) as scheduler:
            scheduler.launch("t1", {"value": "trap '' TERM; sleep 1000 & wait; sleep 1000"})
            scheduler.states("TASK_RUNNING")
        before = cluster.status()
        assert with_variable("MESOS_DIRECTORY", f"{cluster.state}/")
        cluster.down()
        assert not any(each.alive for each in cluster.status())
        assert not any(started_at(each.pid or 0) for each in before)
        assert not any(listening(each.address) for each in before)
        assert not with_variable("MESOS_DIRECTORY", f"{cluster.state}/")

    def test_the_state_is_kept_for_the_next_time(self, mesos_cluster: ClusterFactory) -> None:
        cluster = mesos_cluster(agents=1)
        before = agents(cluster.master)["127.0.0.1"]["agent_info"]["id"]
        cluster.down()
        cluster.up()
        assert agents(cluster.master)["127.0.0.1"]["agent_info"]["id"] == before

    def test_daemons_and_tasks_end_with_a_killed_owner(self, mesos_build: object, tmp_path: Path) -> None:
        program = (
            "import pathlib, sys; from owmesos.local.cluster import MesosCluster\n"
            "cluster = MesosCluster(pathlib.Path(sys.argv[1]), master_port=int(sys.argv[2]), agents=1)\n"
            "cluster.up(); print('up', flush=True); sys.stdin.read()\n"
        )
        with reserved_port() as port:
            arguments = [sys.executable, "-c", program, str(tmp_path), str(port)]
            with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
                assert owner.stdout is not None
                assert owner.stdout.readline() == "up\n"
                with PlainScheduler(f"127.0.0.1:{port}") as scheduler:
                    scheduler.launch("t1", {"value": "sleep 1000"})
                    scheduler.states("TASK_RUNNING")
                pids = [int(each.read_text(encoding="ascii").split()[0]) for each in tmp_path.glob("*.pid")]
                assert len(pids) == 2
                os.kill(owner.pid, signal.SIGKILL)
            eventually(lambda: not any(map(started_at, pids)), what="the daemons have ended")
            eventually(lambda: not with_variable("MESOS_DIRECTORY", f"{tmp_path}/"), what="the task has ended")


class TestSettings:
    @pytest.mark.parametrize("agents", [-1, 255])
    def test_the_number_of_agents_is_bounded(self, agents: int, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="0 to 254 agents"):
            MesosCluster(tmp_path, agents=agents)

    def test_there_are_as_many_resources_as_agents(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="resources: 1 values for 2 agents"):
            MesosCluster(tmp_path, agents=2, resources=["cpus:1"])

    @pytest.mark.parametrize("port", [0, 65535])
    def test_the_port_leaves_room_for_the_next(self, port: int, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="the master's port"):
            MesosCluster(tmp_path, master_port=port)

"""Clusters that come and go with a command do not share the ports of their tasks."""

from __future__ import annotations

import socket
import subprocess
import sys
from itertools import pairwise

import pytest

from owmesos.errors import OwmesosError
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.system import task_ports as module
from owmesos.system.task_ports import HeldPorts


@pytest.fixture(autouse=True)
def _two_blocks_of_the_tests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCKS", range(9000, 10000, 500))


class TestHeldPorts:
    def test_clusters_have_different_ports_and_give_them_back(self) -> None:
        first, one = HeldPorts.shared_by(2)
        second, other = HeldPorts.shared_by(2)
        assert sorted([*one, *other]) == ["9001-9249", "9250-9498", "9501-9749", "9750-9998"]
        first.close()
        again, shares = HeldPorts.shared_by(2)
        assert shares == one
        again.close()
        second.close()

    def test_ports_at_which_somebody_listens_are_left_out(self) -> None:
        with socket.socket() as stranger, HeldPorts([9500]):
            stranger.bind(("127.0.0.3", 9100))
            stranger.listen()
            held, [ports] = HeldPorts.shared_by(1)
            held.close()
        assert ports == "9001-9099,9101-9499"

    def test_many_agents_get_several_blocks_and_more_than_ports_share_all(self) -> None:
        held, shares = HeldPorts.shared_by(100)
        assert sorted(held.blocks) == [9000, 9500]
        assert len(set(shares)) == 100
        held.close()
        held, shares = HeldPorts.shared_by(1000)
        assert set(shares) == {"9001-9499,9501-9999"}
        held.close()

    def test_where_others_have_all_it_is_said(self) -> None:
        with HeldPorts([9000, 9500]), pytest.raises(OwmesosError, match="use all 2 blocks of task ports"):
            HeldPorts.shared_by(1)

    def test_blocks_of_before_are_held_again_or_it_is_said_who_has_them(self) -> None:
        with HeldPorts([9500]):
            with pytest.raises(OwmesosError, match="another cluster uses this cluster's task ports, 9500-9999"):
                HeldPorts([9000, 9500])
            held, shares = HeldPorts.shared_by(1)
            assert (held.blocks, shares) == ([9000], ["9001-9499"])
            held.close()

    def test_a_process_that_inherits_them_keeps_them(self) -> None:
        held = HeldPorts([9000])
        command = [sys.executable, "-c", "input()"]
        keep = [each.fileno() for each in held.sockets]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=keep) as child:
            held.close()
            with pytest.raises(OwmesosError, match="another cluster"):
                HeldPorts([9000])
            child.communicate(b"\n")
        HeldPorts([9000]).close()


def test_simulated_clusters_at_once_have_different_ports() -> None:
    with SimulatedCluster(agents=2) as first, SimulatedCluster(agents=1) as second:
        shares = sorted([*agent_ports(first, 1), *agent_ports(first, 2), *agent_ports(second, 1)])
        assert len(shares) == 3
        assert all(low[1] < high[0] for low, high in pairwise(shares))
    assert ports_are_free()


def test_a_cluster_whose_tasks_are_no_processes_holds_no_ports() -> None:
    with SimulatedCluster(agents=2, processes=False) as cluster:
        assert agent_ports(cluster, 2) == [(31884, 32767)]
        assert ports_are_free()


def agent_ports(cluster: SimulatedCluster, number: int) -> list[tuple[int, int]]:
    total = cluster.enter(cluster.world.places[f"agent{number}"].agent.description.total.total)
    return list(total.ports.ranges)


def ports_are_free() -> bool:
    try:
        HeldPorts([9000, 9500]).close()
    except OwmesosError:
        return False
    return True

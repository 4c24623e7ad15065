"""Clusters that come and go with a command do not share the ports of their tasks."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise

import pytest

from owmesos.errors import OwmesosError
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.system import task_ports as module
from owmesos.system.task_ports import HeldPorts


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> int:
    """The first of 1,000 ports, two blocks of the test's own: nobody listens there."""
    for base in random.sample(range(2000, 10_000, 1000), 8):
        monkeypatch.setattr(module, "_BLOCKS", range(base, base + 1000, 500))
        with suppress(OwmesosError):
            held, shares = HeldPorts.shared_by(1000)
            held.close()
            if set(shares) == {f"{base + 1}-{base + 499},{base + 501}-{base + 999}"}:
                return base
    raise AssertionError("somebody listens in each thousand of the ports from 2000 to 9999")


class TestHeldPorts:
    def test_clusters_have_different_ports_and_give_them_back(self, base: int) -> None:
        first, one = HeldPorts.shared_by(2)
        second, other = HeldPorts.shared_by(2)
        assert sorted([*one, *other]) == [
            f"{base + begin}-{base + end}" for begin, end in ((1, 249), (250, 498), (501, 749), (750, 998))
        ]
        first.close()
        again, shares = HeldPorts.shared_by(2)
        assert shares == one
        again.close()
        second.close()

    def test_ports_at_which_somebody_listens_are_left_out(self, base: int) -> None:
        with socket.socket() as stranger, HeldPorts([base + 500]):
            stranger.bind(("127.0.0.3", base + 100))
            stranger.listen()
            held, [ports] = HeldPorts.shared_by(1)
            held.close()
        assert ports == f"{base + 1}-{base + 99},{base + 101}-{base + 499}"

    def test_many_agents_get_several_blocks_and_more_than_ports_share_all(self, base: int) -> None:
        held, shares = HeldPorts.shared_by(100)
        assert sorted(held.blocks) == [base, base + 500]
        assert len(set(shares)) == 100
        held.close()
        held, shares = HeldPorts.shared_by(1000)
        assert set(shares) == {f"{base + 1}-{base + 499},{base + 501}-{base + 999}"}
        held.close()

    def test_where_others_have_all_it_is_said(self, base: int) -> None:
        with HeldPorts([base, base + 500]), pytest.raises(OwmesosError, match="use all 2 blocks of task ports"):
            HeldPorts.shared_by(1)

    def test_blocks_of_before_are_held_again_or_it_is_said_who_has_them(self, base: int) -> None:
        with HeldPorts([base + 500]):
            theirs = f"{base + 500}-{base + 999}"
            with pytest.raises(OwmesosError, match=f"another cluster uses this cluster's task ports, {theirs}"):
                HeldPorts([base, base + 500])
            held, shares = HeldPorts.shared_by(1)
            assert (held.blocks, shares) == ([base], [f"{base + 1}-{base + 499}"])
            held.close()

    def test_a_process_that_inherits_them_keeps_them(self, base: int) -> None:
        held = HeldPorts([base])
        command = [sys.executable, "-c", "input()"]
        keep = [each.fileno() for each in held.sockets]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=keep) as child:
            held.close()
            with pytest.raises(OwmesosError, match="another cluster"):
                HeldPorts([base])
            child.communicate(b"\n")
        HeldPorts([base]).close()


def test_simulated_clusters_at_once_have_different_ports(base: int) -> None:
    with SimulatedCluster(agents=2) as first, SimulatedCluster(agents=1) as second:
        shares = sorted([*agent_ports(first, 1), *agent_ports(first, 2), *agent_ports(second, 1)])
        assert len(shares) == 3
        assert all(low[1] < high[0] for low, high in pairwise(shares))
    assert ports_are_free(base)


def test_a_cluster_whose_tasks_are_no_processes_holds_no_ports(base: int) -> None:
    with SimulatedCluster(agents=2, processes=False) as cluster:
        assert agent_ports(cluster, 2) == [(31884, 32767)]
        assert ports_are_free(base)


def agent_ports(cluster: SimulatedCluster, number: int) -> list[tuple[int, int]]:
    total = cluster.enter(cluster.world.places[f"agent{number}"].agent.description.total.total)
    return list(total.ports.ranges)


def ports_are_free(base: int) -> bool:
    try:
        HeldPorts([base, base + 500]).close()
    except OwmesosError:
        return False
    return True

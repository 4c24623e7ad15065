"""A simulated cluster in a process of its own, whose faults can be started and stopped."""

from __future__ import annotations

import gc
import json
import sys

from owmesos.simulator import Faults, Rates, SimulatedCluster
from soak.child import Child, say

FAULTS = Rates(
    rescind=0.5,
    agent_dies=2.0,
    agent_freezes=2.0,
    agent_away=8.0,
    executor_freezes=5.0,
    executor_frozen=10.0,
    message_delay=0.005,
    update_delay=0.05,
    update_repeated=0.05,
)
"""None of them ends a subscription: whatever does so is owmesos's or the load's."""
_LARGE = "cpus:4;mem:4096;disk:4096;ports:[{ports}]"
_FOR_CONTAINERS = "cpus:64;mem:65536;disk:1024;ports:[{ports}]"


class SoakCluster(Child):
    """`with SoakCluster(2000) as cluster:`; its tasks are processes where they are to be `containers`."""

    def __init__(self, agents: int, *, containers: bool = False, seed: int = 1) -> None:
        super().__init__("soak.cluster", agents, int(containers), seed)
        self.master = self.greeting

    def __enter__(self) -> SoakCluster:
        return self

    def start_faults(self) -> None:
        self.ask("start")

    def stop_faults(self) -> dict[str, int]:
        """Mends everything; returns how many of each there were."""
        counts: dict[str, int] = json.loads(self.ask("stop"))
        return counts


def _serve(agents: int, containers: bool, seed: int) -> None:
    """Until its standard input ends."""
    resources = _FOR_CONTAINERS if containers else _LARGE
    with SimulatedCluster(agents=agents, resources=resources, processes=containers, seed=seed) as cluster:
        faults = Faults(cluster.world, FAULTS, seed)
        gc.freeze()
        say(cluster.master)
        for line in sys.stdin:
            cluster.enter(faults.start if line.strip() == "start" else faults.stop)
            say(json.dumps(faults.counts))


if __name__ == "__main__":
    _serve(int(sys.argv[1]), bool(int(sys.argv[2])), int(sys.argv[3]))

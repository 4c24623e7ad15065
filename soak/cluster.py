"""A simulated cluster in a process of its own, whose faults can be stopped."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

from owmesos.simulator import Faults, Rates, SimulatedCluster

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


class SoakCluster:
    """`with SoakCluster(2000) as cluster:`; its tasks are processes where they are to be `containers`."""

    def __init__(self, agents: int, *, containers: bool = False, seed: int = 1) -> None:
        arguments: Sequence[object] = (agents, int(containers), seed)
        command = [sys.executable, "-m", "soak.cluster", *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.master = self._said()

    def __enter__(self) -> SoakCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def start_faults(self) -> None:
        self._ask("start")

    def stop_faults(self) -> dict[str, int]:
        """Mends everything; returns how many of each there were."""
        counts: dict[str, int] = json.loads(self._ask("stop"))
        return counts

    def _ask(self, what: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the simulator has ended: see what it wrote")
        return line.strip()


def _serve(agents: int, containers: bool, seed: int) -> None:
    """Until its standard input ends."""
    resources = _FOR_CONTAINERS if containers else _LARGE
    with SimulatedCluster(agents=agents, resources=resources, processes=containers, seed=seed) as cluster:
        faults = Faults(cluster.world, FAULTS, seed)
        gc.freeze()
        sys.stdout.write(f"{cluster.master}\n")
        sys.stdout.flush()
        for line in sys.stdin:
            cluster.enter(faults.start if line.strip() == "start" else faults.stop)
            sys.stdout.write(f"{json.dumps(faults.counts)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), bool(int(sys.argv[2])), int(sys.argv[3]))

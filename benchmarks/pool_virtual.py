"""1,000,000 activations on 1,000 agents in virtual time.

Everything is in it: the workload of `overprovisioning` (drawn anew, which is part of the time), the pool on the
scheduler on the simulated master and agents, 3,000 actions, machines that leave and come. 200 starts at once are
allowed, as a cluster of that size needs when it begins empty. One process, one core.
"""

from __future__ import annotations

import gc
import time

from benchmarks.row import Row
from benchmarks.surroundings import Size, surroundings
from owmesos.sizing.meter import Outcome
from owmesos.sizing.trial import Setting, Trial
from owmesos.sizing.workload import Load, activations, functions

ACTIVATIONS = 1_000_000
AGENTS = 1_000
TARGET_S = 300.0
A_SECOND = 300.0  # activations; the load is scaled to it
_BUSY_MB = 350_000.0


def virtual_time(count: int, agents: int, seed: int = 1) -> tuple[float, Outcome]:
    """Seconds that `count` activations take, about 300 in a virtual second."""
    gc.disable()  # millions of objects that all stay: collecting takes longer than the work
    began = time.perf_counter()
    seconds = count / A_SECOND * 1.1
    around = surroundings(Size(start=agents, least=agents * 9 // 10, most=agents), seconds, seed, neighbour=False)
    load = Load(seconds, _BUSY_MB, actions=3_000)
    of = functions(load, seed)
    rate = sum(each.rate for each in of)
    drawn = activations(of, Load(min(seconds, count / rate * 1.2), _BUSY_MB, actions=3_000), seed)[:count]
    trial = Trial(Setting("owmesos", buffer=0.05, max_starts=200), of, drawn, around, seed, judged=False)
    outcome = trial.run(drawn[-1].at)
    taken = time.perf_counter() - began
    gc.enable()
    return taken, outcome


def run(quick: bool = False) -> list[Row]:
    count, agents = (10_000, 100) if quick else (ACTIVATIONS, AGENTS)
    seconds, outcome = virtual_time(count, agents)
    name = f"{outcome.activations:,} activations on {agents:,} agents, {outcome.starts:,} containers started"
    lost = outcome.activations - len(outcome.waits)
    return [
        Row(
            name=name,
            ours=seconds,
            unit="s",
            target=f"{TARGET_S:.0f} s",
            met=None if quick else seconds <= TARGET_S and outcome.activations >= count,
        ),
        Row(name="of these neither given a container nor failed", ours=lost, unit="", target="0", met=lost == 0),
    ]

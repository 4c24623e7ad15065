"""A simulated Mesos for tests, demonstrations and benchmarks (docs/simulator.md); it imports none of owmesos's
decisions.

Its master and agents behave as Apache Mesos 1.11 was measured to: they serve its HTTP API, run command tasks as real
processes and inject faults; or do the same in virtual time, without sockets and processes. Names outside `__all__`
may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from owmesos.simulator.agent.plays import Play
    from owmesos.simulator.agent.settings import AgentSettings
    from owmesos.simulator.cluster import SimulatedCluster
    from owmesos.simulator.embedded import DaemonStatus
    from owmesos.simulator.faults import EVERYTHING, Faults, Rates
    from owmesos.simulator.master.settings import MasterSettings
    from owmesos.simulator.script import Do, Expect, Script, ScriptFailed, Send, Silence
    from owmesos.simulator.virtual import VirtualCluster, VirtualStream
    from owmesos.simulator.world import SimulatorError, World
    from owmesos.testing.virtual_scheduler import VirtualScheduler

_HOMES = {
    "owmesos.simulator.agent.plays": ("Play",),
    "owmesos.simulator.agent.settings": ("AgentSettings",),
    "owmesos.simulator.cluster": ("SimulatedCluster",),
    "owmesos.simulator.embedded": ("DaemonStatus",),
    "owmesos.testing.virtual_scheduler": ("VirtualScheduler",),
    "owmesos.simulator.faults": ("EVERYTHING", "Faults", "Rates"),
    "owmesos.simulator.master.settings": ("MasterSettings",),
    "owmesos.simulator.script": ("Do", "Expect", "Script", "ScriptFailed", "Send", "Silence"),
    "owmesos.simulator.virtual": ("VirtualCluster", "VirtualStream"),
    "owmesos.simulator.world": ("SimulatorError", "World"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'owmesos.simulator' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "EVERYTHING",
    "AgentSettings",
    "DaemonStatus",
    "Do",
    "Expect",
    "Faults",
    "MasterSettings",
    "Play",
    "Rates",
    "Script",
    "ScriptFailed",
    "Send",
    "Silence",
    "SimulatedCluster",
    "SimulatorError",
    "VirtualCluster",
    "VirtualScheduler",
    "VirtualStream",
    "World",
]

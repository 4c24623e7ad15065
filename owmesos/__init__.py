"""owmesos: OpenWhisk containers, and any other launch, on a Mesos cluster that is never over-provisioned.

The public names for people who write Mesos frameworks. What is not listed in `__all__` may change.
Each is imported when it is first asked for, so that the command line does not wait for
a whole library, and decisions can be used without the world around them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from owmesos.core.buffer import Buffer
    from owmesos.core.constraints import Constraint
    from owmesos.core.launch import Launch
    from owmesos.core.lifecycle import State
    from owmesos.core.node_stats import NodeState, NodeStats, NodeStatsUpdate
    from owmesos.core.placement import Strategy
    from owmesos.errors import InvalidInput, OwmesosError
    from owmesos.mesos.access import Tls
    from owmesos.mesos.settings import Settings
    from owmesos.resources import Ask, Ports, Resources
    from owmesos.service.blocking import BlockingFramework, BlockingLaunch
    from owmesos.service.framework import Framework, LaunchFailed, LaunchHandle, NotKnown

_HOMES = {
    "owmesos.core.buffer": ("Buffer",),
    "owmesos.core.constraints": ("Constraint",),
    "owmesos.core.launch": ("Launch",),
    "owmesos.core.lifecycle": ("State",),
    "owmesos.core.node_stats": ("NodeState", "NodeStats", "NodeStatsUpdate"),
    "owmesos.core.placement": ("Strategy",),
    "owmesos.errors": ("InvalidInput", "OwmesosError"),
    "owmesos.mesos.access": ("Tls",),
    "owmesos.mesos.settings": ("Settings",),
    "owmesos.resources": ("Ask", "Ports", "Resources"),
    "owmesos.service.blocking": ("BlockingFramework", "BlockingLaunch"),
    "owmesos.service.framework": ("Framework", "LaunchFailed", "LaunchHandle", "NotKnown"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'owmesos' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "Ask",
    "BlockingFramework",
    "BlockingLaunch",
    "Buffer",
    "Constraint",
    "Framework",
    "InvalidInput",
    "Launch",
    "LaunchFailed",
    "LaunchHandle",
    "NodeState",
    "NodeStats",
    "NodeStatsUpdate",
    "NotKnown",
    "OwmesosError",
    "Ports",
    "Resources",
    "Settings",
    "State",
    "Strategy",
    "Tls",
]

"""What outlives a master: agents it has known, and what operators wished. Frameworks and tasks do not.

docs/high-availability.md: a new leader recovers the registry, then waits for agents and frameworks to come back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from owmesos.mesos.messages import Unavailability
from owmesos.simulator.protocol import AgentDescription, Drain


@dataclass(slots=True)
class Quota:
    """Thousandths by resource name; an absent limit is none."""

    guarantees: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Registry:
    """Agents by id: those admitted, those that became unreachable (with the time), those gone for good."""

    admitted: dict[str, AgentDescription] = field(default_factory=dict)
    unreachable: dict[str, float] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    draining: dict[str, Drain] = field(default_factory=dict)
    deactivated: set[str] = field(default_factory=set)
    quotas: dict[str, Quota] = field(default_factory=dict)
    schedule: list[dict[str, Any]] = field(default_factory=list)
    machines: dict[tuple[str, str], Unavailability] = field(default_factory=dict)  # by hostname and ip
    down: set[tuple[str, str]] = field(default_factory=set)

"""All targets, by name."""

from __future__ import annotations

# Importing them registers them.
from tests.fuzz import kubernetes_targets, mesos_targets, openwhisk_targets, process_targets, simulation_targets
from tests.fuzz.target import TARGETS

__all__ = [
    "TARGETS",
    "kubernetes_targets",
    "mesos_targets",
    "openwhisk_targets",
    "process_targets",
    "simulation_targets",
]

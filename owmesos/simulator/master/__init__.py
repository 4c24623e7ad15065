"""The master, without any I/O."""

from __future__ import annotations

from owmesos.simulator.master.master import Master
from owmesos.simulator.master.registry import Registry
from owmesos.simulator.master.settings import MasterSettings, master_settings

__all__ = ["Master", "MasterSettings", "Registry", "master_settings"]

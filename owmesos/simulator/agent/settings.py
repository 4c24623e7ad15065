"""What an operator sets on an agent, as far as the simulator has it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from owmesos.errors import InvalidInput
from owmesos.simulator.notation import seconds


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    boot: float = 0.05  # from its start to its registration
    recovery: float = 0.5  # the same, with tasks of an earlier life: they are waited for
    launch_delay: float = 0.05  # from a task's arrival to its TASK_STARTING; a KILL meanwhile is cheap
    kill_grace: float = 4.0


def agent_settings_of(flags: Mapping[str, str]) -> AgentSettings:
    """From flags as Mesos takes them. Raises InvalidInput for those that the simulator does not have."""
    settings = AgentSettings()
    for flag, value in flags.items():
        if flag == "executor_reregistration_timeout":
            settings = msgspec.structs.replace(settings, recovery=seconds(value))
        elif flag == "executor_shutdown_grace_period":
            settings = msgspec.structs.replace(settings, kill_grace=seconds(value))
        else:
            raise InvalidInput(f"the simulator's agents have no flag {flag}")
    return settings

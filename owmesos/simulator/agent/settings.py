"""An operator's settings of an agent, as far as the simulator supports them."""

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
    shutdown_grace: float = 5.0  # from SHUTDOWN until the container of an executor that lives on is destroyed
    authenticate: bool = False
    """Whether its HTTP wants a principal; Mesos has one flag for what reads, and one for what writes."""


def agent_settings_of(flags: Mapping[str, str]) -> AgentSettings:
    """From Mesos's flags. Raises InvalidInput for flags that the simulator does not support."""
    settings = AgentSettings()
    for flag, value in flags.items():
        if flag == "executor_reregistration_timeout":
            settings = msgspec.structs.replace(settings, recovery=seconds(value))
        elif flag == "executor_shutdown_grace_period":
            grace = seconds(value)
            settings = msgspec.structs.replace(settings, kill_grace=grace, shutdown_grace=grace)
        elif flag in ("authenticate_http_readonly", "authenticate_http_readwrite"):
            settings = msgspec.structs.replace(settings, authenticate=settings.authenticate or value == "true")
        elif flag not in ("acls", "credentials", "http_credentials", "http_authenticators"):
            raise InvalidInput(f"the simulator's agents do not support the flag {flag}")
    return settings

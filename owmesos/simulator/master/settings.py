"""What an operator sets on a Mesos master, as far as the simulator has it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from owmesos.errors import InvalidInput
from owmesos.simulator.notation import seconds


class MasterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; the names are those of the flags (docs/configuration/master.md)."""

    allocation_interval: float = 1.0
    agent_ping_timeout: float = 1.0
    max_agent_ping_timeouts: int = 3
    agent_reregister_timeout: float = 600.0
    offer_timeout: float | None = None
    heartbeat: float = 15.0
    registry: str = "replicated_log"
    min_cpus: int = 10  # thousandths; min_allocatable_resources is cpus:0.01|mem:32
    min_mem: int = 32_000
    completed_tasks: int = 1000
    completed_frameworks: int = 50
    authenticate_frameworks: bool = False
    authenticate_readonly: bool = False
    authenticate_readwrite: bool = False

    @property
    def give_up_after(self) -> float:
        """Seconds of silence after which an agent is unreachable."""
        return self.agent_ping_timeout * self.max_agent_ping_timeouts


_DURATIONS = {"allocation_interval", "agent_ping_timeout", "agent_reregister_timeout", "offer_timeout"}
_FLAGS = {
    "authenticate_http_frameworks": "authenticate_frameworks",
    "authenticate_http_readonly": "authenticate_readonly",
    "authenticate_http_readwrite": "authenticate_readwrite",
}
_ELSEWHERE = {"credentials", "http_framework_authenticators", "http_authenticators", "hostname", "work_dir"}


def master_settings(flags: Mapping[str, str]) -> MasterSettings:
    """From flags as Mesos takes them. Raises InvalidInput for those that the simulator does not have."""
    chosen: dict[str, object] = {}
    for flag, value in flags.items():
        if flag in _ELSEWHERE:
            continue
        if flag in _DURATIONS:
            chosen[flag] = seconds(value)
        elif flag == "max_agent_ping_timeouts":
            chosen[flag] = int(value)
        elif flag == "registry":
            chosen[flag] = value
        elif flag in _FLAGS:
            chosen[_FLAGS[flag]] = value == "true"
        else:
            raise InvalidInput(f"the simulator's master has no flag {flag}")
    return msgspec.convert(chosen, MasterSettings)

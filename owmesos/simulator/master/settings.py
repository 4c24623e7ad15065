"""An operator's settings of a Mesos master, as far as the simulator supports them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def _is_true(value: str) -> bool:
    return value == "true"


_FLAGS: dict[str, tuple[str, Callable[[str], object]]] = {
    "allocation_interval": ("allocation_interval", seconds),
    "agent_ping_timeout": ("agent_ping_timeout", seconds),
    "agent_reregister_timeout": ("agent_reregister_timeout", seconds),
    "offer_timeout": ("offer_timeout", seconds),
    "max_agent_ping_timeouts": ("max_agent_ping_timeouts", int),
    "registry": ("registry", str),
    "authenticate_http_frameworks": ("authenticate_frameworks", _is_true),
    "authenticate_http_readonly": ("authenticate_readonly", _is_true),
    "authenticate_http_readwrite": ("authenticate_readwrite", _is_true),
}
"""The setting of a flag, and what its text means."""
_ELSEWHERE = {"credentials", "http_framework_authenticators", "http_authenticators", "hostname", "work_dir"}


def master_settings(flags: Mapping[str, str]) -> MasterSettings:
    """From Mesos's flags. Raises InvalidInput for flags that the simulator does not support."""
    chosen: dict[str, object] = {}
    for flag in flags.keys() - _ELSEWHERE:
        if flag not in _FLAGS:
            raise InvalidInput(f"the simulator's master does not support the flag {flag}")
        name, meaning = _FLAGS[flag]
        chosen[name] = meaning(flags[flag])
    return msgspec.convert(chosen, MasterSettings)

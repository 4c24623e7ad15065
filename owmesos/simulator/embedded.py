"""What the embedded clusters share, the simulated one and that of Apache Mesos (`owmesos.local`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from owmesos.errors import InvalidInput, os_errors_as_invalid_input

DEFAULT_RESOURCES = "cpus:2;mem:1024;disk:1024;ports:[{ports}]"
DEFAULT_ATTRIBUTES = "rack:r{n};zone:z1"


@dataclass(frozen=True)
class DaemonStatus:
    """A daemon that has ended has the `pid` None. A simulated one has this process's."""

    name: str
    pid: int | None
    address: str

    @property
    def alive(self) -> bool:
        return self.pid is not None


def for_each_agent(what: str, values: str | Sequence[str], agents: int) -> list[str]:
    """One value for each agent, with the agent's number in the place of `{n}`. Raises InvalidInput."""
    each = [values] * agents if isinstance(values, str) else list(values)
    if len(each) != agents:
        raise InvalidInput(f"{what}: {len(each)} values for {agents} agents: give one for each, or one text for all")
    return [value.replace("{n}", str(number)) for number, value in enumerate(each, 1)]


def for_one_more(values: str | Sequence[str], number: int) -> str:
    """The value for an agent that is added later: the common one, or the last agent's. Raises InvalidInput."""
    if not values:
        raise InvalidInput("an agent is added like the last one, and there is none: start the cluster with --agents 1")
    value = values if isinstance(values, str) else values[-1]
    return value.replace("{n}", str(number))


def secrets_in(location: str | None) -> dict[str, str]:
    """Each principal's secret, from a file in the JSON form of Mesos's docs/authentication.md.

    `location` is the value of a flag such as `credentials`: a path, or one after `file://`; without it there are none.
    Raises InvalidInput.
    """
    if location is None:
        return {}
    path = Path(location.removeprefix("file://"))
    with os_errors_as_invalid_input(f"credentials: cannot read {path}"):
        try:
            return {each["principal"]: each["secret"] for each in json.loads(path.read_bytes())["credentials"]}
        except (ValueError, LookupError, TypeError):
            raise InvalidInput(f"credentials: {path} is not Mesos's JSON of credentials") from None

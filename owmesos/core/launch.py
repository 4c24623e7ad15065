"""A wish for one container, as its asker states it.

One frozen type for the library, the command line, the admin API and the store, so that a launch means the same
wherever it is written. What it says of images and networks is the asker's; only `owmesos.mesos` reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.errors import InvalidInput
from owmesos.resources import MAX_PORT, Ask

DEFAULT_DEADLINE = 300.0
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_NAMED = ("env", "labels", "docker_parameters")
CONTAINERIZERS = ("docker", "mesos")


class Launch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to run, and what one agent must have for it. `cpus`; `mem` and `disk` in MB; `gpus`; a count of `ports`.

    `command` is a shell command, or with `arguments` an executable and its argv. With `image` it runs in a Docker
    image, by the Docker containerizer or by Mesos's own (`containerizer`). `network` is `host`, `bridge` or the name
    of one; in a bridge the ports map to `container_ports`, or to themselves. `deadline` bounds the seconds to RUNNING.
    `task_info` edits the TaskInfo that is built (executor, health check, volumes, kill policy): it gets an
    `owmesos.mesos.messages.TaskInfo` and changes or returns it.

    Raises InvalidInput.
    """

    command: str | None = None
    arguments: Sequence[str] = ()
    name: str = "launch"
    cpus: float = 0.1
    mem: float = 64.0
    disk: float = 0.0
    gpus: float = 0.0
    ports: int = 0
    constraints: Sequence[str] = ()
    role: str | None = None
    image: str | None = None
    containerizer: str = "docker"
    force_pull: bool = False
    docker_parameters: Mapping[str, str] = {}
    network: str | None = None
    container_ports: Sequence[int] = ()
    env: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    uris: Sequence[str] = ()
    user: str | None = None
    kill_grace: float | None = None
    deadline: float = DEFAULT_DEADLINE
    task_info: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.constraints, str) or isinstance(self.uris, str) or isinstance(self.arguments, str):
            raise InvalidInput("constraints, uris and arguments are lists of texts, not one text")
        if not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"name {self.name!r} must be 1 to 64 letters, digits, '.', '_' or '-', a letter or digit at both ends"
            )
        self.ask()
        self.parsed_constraints()
        _seconds("deadline", self.deadline)
        if self.kill_grace is not None:
            _seconds("kill_grace", self.kill_grace, zero=True)
        self._check_container()

    def _check_container(self) -> None:
        if self.arguments and not self.command:
            raise InvalidInput("arguments need a command, the executable")
        if self.containerizer not in CONTAINERIZERS:
            raise InvalidInput(f"containerizer {self.containerizer!r} must be docker or mesos")
        for field in _NAMED:
            for key, value in getattr(self, field).items():
                if not isinstance(key, str) or not isinstance(value, str) or not key:
                    raise InvalidInput(f"{field} maps names to texts, not {key!r} to {value!r}")
        if len(self.container_ports) > self.ports:
            raise InvalidInput(f"{len(self.container_ports)} container_ports need as many ports, not {self.ports}")
        for port in self.container_ports:
            if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= MAX_PORT:
                raise InvalidInput(f"container port {port!r} is no port")

    def ask(self) -> Ask:
        """What one agent must have for it. Raises InvalidInput."""
        ask = Ask.of(cpus=self.cpus, mem=self.mem, disk=self.disk, gpus=self.gpus, ports=self.ports)
        if ask == Ask():
            raise InvalidInput("a launch needs cpus, memory, disk, gpus or ports: Mesos runs no task without any")
        return ask

    def parsed_constraints(self) -> tuple[Constraint, ...]:
        """Sorted, so that the same constraints in another order are the same. Raises InvalidInput."""
        parsed = {Constraint.parse(text) for text in self.constraints}
        return tuple(sorted(parsed, key=lambda c: (c.attribute, c.operator, c.value)))


def _seconds(name: str, value: float, *, zero: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInput(f"{name} must be a number of seconds, not {value!r}")
    if value < 0 or (value == 0 and not zero):
        raise InvalidInput(f"{name} must be more than 0 seconds, not {value:g}")

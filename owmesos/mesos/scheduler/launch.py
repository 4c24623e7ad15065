"""A wish for one container, as its asker states it.

One frozen type for the library, the command line, the admin API and the store, so that a launch means the same
wherever it is written. Images and networks go to Mesos as the asker names them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.core.texts import MAX_NAME, check_text
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import TaskInfo
from owmesos.resources import MAX_PORT, Ask, check_number

DEFAULT_DEADLINE = 300.0  # seconds
MIN_DEADLINE = 0.001
MAX_SECONDS = 365 * 86400.0
"""The longest deadline and grace period: as long as a master keeps a filter."""
MAX_PORTS = 10_000
"""A task gets an environment variable for each, and one with all of them."""
MAX_ENTRIES = 10_000
"""Most arguments, variables, labels and the like, each."""
MAX_CONSTRAINTS = 100
MAX_STRING = 128 * 1024 - 1
"""Bytes of the command, of an argument, of a variable with its name: Linux takes no longer ones (execve(2))."""
MAX_TEXTS = 1024 * 1024
"""Bytes of all texts of a launch together: with them its process stays below what Linux takes."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_LISTS = ("constraints", "uris", "arguments", "container_ports")
_NAMED = ("env", "labels", "docker_parameters")
CONTAINERIZERS = ("docker", "mesos")
SAFE, LOST = "safe", "lost"
RETRIES = (SAFE, LOST)
_SHORT = 40  # characters of a command that name it


class StartKey(NamedTuple):
    """What of a launch decides whether it can start: launches that have all of it in common start or fail alike."""

    image: str | None
    containerizer: str
    force_pull: bool
    docker_parameters: tuple[tuple[str, str], ...]
    network: str | None
    command: str | None
    arguments: tuple[str, ...]
    uris: tuple[str, ...]
    user: str | None

    def __str__(self) -> str:
        """For people: `image nosuch:1`, `command 'make test' as user joe`."""
        command = " ".join((self.command or "", *self.arguments))
        short = command if len(command) <= _SHORT else command[: _SHORT - 1] + "…"
        text = f"command {short!r}" if self.image is None else f"image {self.image}"
        return text + (f" as user {self.user}" if self.user is not None else "")


class _Command(msgspec.Struct, frozen=True):
    """What of a launch may be given by its place: `Launch("make test", cpus=1)`."""

    command: str | None = None


class Launch(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to run, and what one agent must have for it. `cpus`; `mem` and `disk` in MB; `gpus`; a count of `ports`.

    `command` is a shell command, or with `arguments` an executable and its argv. With `image` it runs in a Docker
    image, by the Docker containerizer or by Mesos's own (`containerizer`). `network` is `host`, `bridge` or the name
    of one; in a bridge the ports map to `container_ports`, or to themselves. `deadline` bounds the seconds to RUNNING,
    `kill_grace` those from TERM to KILL; both are at most MAX_SECONDS. No text may hold a NUL character.
    `retry` is for a task that is lost before it was seen running: `safe` starts another only when it certainly never
    ran; with `lost` it may run twice.
    `task_info` edits the TaskInfo that is built (executor, health check, volumes, kill policy): it changes the one that
    it gets, or returns another.

    Raises InvalidInput.
    """

    arguments: Sequence[str] = ()
    name: str = "launch"
    cpus: float = 0.1
    mem: float = 64.0  # MB
    disk: float = 0.0  # MB
    gpus: float = 0.0
    ports: int = 0  # how many
    constraints: Sequence[str] = ()  # each `ATTRIBUTE OPERATOR VALUE`
    role: str | None = None  # whose offers it gets; None for any of the framework's
    image: str | None = None
    containerizer: str = "docker"
    force_pull: bool = False
    docker_parameters: Mapping[str, str] = {}  # of `docker run`
    network: str | None = None
    container_ports: Sequence[int] = ()
    env: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    uris: Sequence[str] = ()  # fetched into its sandbox
    user: str | None = None  # whom it runs as
    kill_grace: float | None = None  # seconds from TERM to KILL
    deadline: float = DEFAULT_DEADLINE  # seconds to RUNNING
    retry: str = SAFE
    task_info: Callable[[TaskInfo], TaskInfo | None] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"name {self.name!r} must be 1 to 64 letters, digits, '.', '_' or '-', a letter or digit at both ends"
            )
        self._check_texts()
        self.ask()
        self.parsed_constraints()
        check_number("deadline", self.deadline, MIN_DEADLINE, MAX_SECONDS)
        if self.kill_grace is not None:
            check_number("kill_grace", self.kill_grace, 0, MAX_SECONDS)
        if self.retry not in RETRIES:
            raise InvalidInput(f"retry {self.retry!r} must be {SAFE} or {LOST}")
        self._check_container()

    def _check_texts(self) -> None:
        for field in (*_LISTS, *_NAMED):
            self._check_size(field)
        size = 0
        for field in ("command", "image", "network", "user", "role"):
            text = getattr(self, field)
            if text is not None:
                size += check_text(field, text, MAX_STRING if field == "command" else MAX_NAME)
        for index, text in enumerate(self.arguments):
            size += check_text(f"argument {index + 1}", text, MAX_STRING)
        for text in self.uris:
            size += check_text("a uri", text, MAX_NAME)
        for text in self.constraints:
            size += check_text("a constraint", text, MAX_STRING)
        for field in _NAMED:
            for key, value in getattr(self, field).items():
                size += check_text(f"a name in {field}", key, MAX_NAME)
                size += check_text(f"{key} in {field}", value, MAX_STRING - len(key.encode()) - 1)
                if not key or (field == "env" and "=" in key):
                    raise InvalidInput(
                        f"{key!r} in {field} is not a name: it must not be empty, nor contain '=' in env"
                    )
        if size > MAX_TEXTS:
            raise InvalidInput(f"the texts of a launch have {size} bytes together, at most {MAX_TEXTS} are allowed")

    def _check_size(self, field: str) -> None:
        value: object = getattr(self, field)
        kind = Mapping if field in _NAMED else Sequence
        if isinstance(value, (str, bytes)) or not isinstance(value, kind):
            form = "maps names to texts" if kind is Mapping else "is a list"
            raise InvalidInput(f"{field} {form}, and is not a {type(value).__name__}")
        most = MAX_CONSTRAINTS if field == "constraints" else MAX_ENTRIES
        if len(value) > most:
            raise InvalidInput(f"{field} has {len(value)} entries, at most {most} are allowed")

    def _check_container(self) -> None:
        if self.arguments and not self.command:
            raise InvalidInput("arguments need a command, the executable")
        if self.containerizer not in CONTAINERIZERS:
            raise InvalidInput(f"containerizer {self.containerizer!r} must be docker or mesos")
        if len(self.container_ports) > self.ports:
            raise InvalidInput(f"{len(self.container_ports)} container_ports need as many ports, not {self.ports}")
        for port in self.container_ports:
            if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= MAX_PORT:
                raise InvalidInput(f"container port {port!r} must be 1 to {MAX_PORT}")

    def ask(self) -> Ask:
        """What one agent must have for it. Raises InvalidInput."""
        check_number("ports", self.ports, 0, MAX_PORTS)
        ask = Ask.of(cpus=self.cpus, mem=self.mem, disk=self.disk, gpus=self.gpus, ports=self.ports)
        if ask == Ask():
            raise InvalidInput("a launch needs cpus, memory, disk, gpus or ports: Mesos runs no task without any")
        return ask

    @property
    def start_key(self) -> StartKey:
        """What its start depends on, and other launches' too."""
        return StartKey(
            self.image,
            self.containerizer if self.image is not None else "",
            self.force_pull,
            tuple(sorted(self.docker_parameters.items())),
            self.network,
            self.command,
            tuple(self.arguments),
            tuple(self.uris),
            self.user,
        )

    def parsed_constraints(self) -> tuple[Constraint, ...]:
        """Sorted, so that the same constraints in another order are the same. Raises InvalidInput."""
        parsed = {Constraint.parse(text) for text in self.constraints}
        return tuple(sorted(parsed, key=lambda c: (c.attribute, c.operator, c.value)))

"""From the pool's StartContainer to a launch: the kind's image in Docker, or its command on a cluster without Docker.

Settings have the names that they had in OpenWhisk's own Mesos support (`whisk.mesos` and `whisk.container-factory.
container-args`), so that a configuration can be taken over. `PooledScheduler` takes a `Launching` as its `launch_of`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.core.launch import Launch
from owmesos.core.pool_events import StartContainer
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import HealthCheck, Parameter, TaskInfo, TCPCheckInfo
from owmesos.openwhisk.manifest import Manifest, Runtime

ACTION_PORT = 8080  # where an action container listens inside
DOCKER_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "cap-drop": ("NET_RAW", "NET_ADMIN"),
    "ulimit": ("nofile=1024:1024",),
    "pids-limit": ("1024",),
}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
_DSL = ("LIKE", "UNLIKE")


class HealthCheckSettings(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """Agents connect to an image's port, and end the container when it fails. Times in seconds."""

    delay: float = 0.0
    interval: float = 1.0
    timeout: float = 1.0
    grace_period: float = 25.0
    max_consecutive_failures: int = 3

    def task_check(self) -> HealthCheck:
        return HealthCheck(
            type="TCP",
            tcp=TCPCheckInfo(ACTION_PORT),
            delay_seconds=self.delay,
            interval_seconds=self.interval,
            timeout_seconds=self.timeout,
            grace_period_seconds=self.grace_period,
            consecutive_failures=self.max_consecutive_failures,
        )


class LaunchSettings(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """How containers are launched.

    `constraints` are for the manifest's images, `blackbox_constraints` for the users' own; each is ATTRIBUTE, LIKE or
    UNLIKE, and a regular expression, parted by `constraint_delimiter`. `network` is `bridge`, `host` or a name.
    `docker_parameters` and `extra_args` map a parameter of `docker run` to its values, with or without leading dashes.
    `force_pull` pulls the manifest's images anew each time; a user's image is, unless it is tagged or the manifest
    lists it. `registry` is where images without one of their own come from. `task_launch` bounds the seconds to
    RUNNING, `image_pull` where a user's image may have to be pulled. `concurrency`: containers may take several runs.
    """

    name_prefix: str = "wsk"
    role: str | None = None
    user: str | None = None
    constraints: tuple[str, ...] = ()
    blackbox_constraints: tuple[str, ...] = ()
    constraint_delimiter: str = " "
    network: str = "bridge"
    dns_servers: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    docker_parameters: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: dict(DOCKER_PARAMETERS))
    extra_args: Mapping[str, tuple[str, ...]] = {}
    extra_env_vars: Mapping[str, str] = {}
    force_pull: bool = False
    registry: str | None = None
    api_host: str | None = None
    concurrency: bool = True
    task_launch: float = 45.0
    image_pull: float = 300.0
    kill_grace: float | None = 2.0
    health_check: HealthCheckSettings | None = None

    def parsed_constraints(self) -> tuple[Constraint, ...]:
        """For the pool. Raises InvalidInput."""
        return tuple(parse_constraint(text, self.constraint_delimiter) for text in self.constraints)

    def parsed_blackbox_constraints(self) -> tuple[Constraint, ...]:
        """For the pool. Raises InvalidInput."""
        return tuple(parse_constraint(text, self.constraint_delimiter) for text in self.blackbox_constraints)


class Launching:
    """Makes launches. Raises InvalidInput when it is made with settings that no launch can have."""

    def __init__(self, settings: LaunchSettings, manifest: Manifest) -> None:
        self._settings = settings
        self._manifest = manifest
        self._parameters = _parameters(settings)
        settings.parsed_constraints()
        settings.parsed_blackbox_constraints()
        env = dict(settings.extra_env_vars)
        if settings.api_host is not None:
            env["__OW_API_HOST"] = settings.api_host
        if settings.concurrency:
            env["__OW_ALLOW_CONCURRENT"] = "true"
        self._env = env

    def __call__(self, start: StartContainer) -> Launch:
        """Raises InvalidInput for a kind that the manifest does not have."""
        settings, shape = self._settings, start.shape
        runtime = self._manifest.runtime(shape.kind) if shape.image is None else None
        ask = start.ask
        return Launch(
            name=self._name(start),
            cpus=ask.milli_cpus / 1000,
            mem=ask.milli_mem / 1000,
            ports=ask.ports,
            constraints=[str(constraint) for constraint in start.constraints],
            env=self._env,
            labels={"kind": shape.kind},
            role=settings.role,
            user=settings.user,
            kill_grace=settings.kill_grace,
            deadline=settings.task_launch if shape.image is None else settings.image_pull,
            **(self._command(runtime) if runtime is not None and runtime.command else self._docker(start, runtime)),
        )

    def _name(self, start: StartContainer) -> str:
        """As OpenWhisk names its containers: what for, and which kind."""
        purpose = "prewarm" if start.prewarm else "run"
        parts = (self._settings.name_prefix, start.container_id, purpose, start.shape.kind)
        return "_".join(_NOT_IN_NAMES.sub("", part) for part in parts)[:64].strip("_")

    @staticmethod
    def _command(runtime: Runtime) -> dict[str, Any]:
        return {"command": runtime.command}

    def _docker(self, start: StartContainer, runtime: Runtime | None) -> dict[str, Any]:
        settings, image = self._settings, start.shape.image
        if runtime is not None:
            assert runtime.image is not None
            image, pull = runtime.image.within(settings.registry), settings.force_pull
        else:
            assert image is not None
            pull = not self._manifest.is_blackbox_known(image) and _is_latest(image)
        return {
            "image": image,
            "force_pull": pull,
            "network": settings.network,
            "container_ports": () if settings.network == "host" else (ACTION_PORT,),
            "task_info": self._finish_docker,
        }

    def _finish_docker(self, info: TaskInfo) -> None:
        """Docker takes a parameter several times, which a launch's mapping of texts cannot say."""
        assert info.container is not None
        assert info.container.docker is not None
        info.container.docker.parameters = self._parameters
        if self._settings.health_check is not None:
            info.health_check = self._settings.health_check.task_check()


def _parameters(settings: LaunchSettings) -> list[Parameter]:
    dns = {"dns": settings.dns_servers, "dns-search": settings.dns_search, "dns-option": settings.dns_options}
    return [
        Parameter(name.lstrip("-"), value)
        for named in (settings.docker_parameters, dns, settings.extra_args)
        for name, values in named.items()
        for value in values
    ]


def _is_latest(image: str) -> bool:
    """Whether its name stands for what is newest, so that what an agent has is not to be trusted."""
    last = image.rpartition("/")[2]
    return "@" not in last and last.partition(":")[2] in ("", "latest")


def parse_constraint(text: str, delimiter: str = " ") -> Constraint:
    """ATTRIBUTE, LIKE or UNLIKE and a regular expression, parted by `delimiter`. Raises InvalidInput."""
    parts = text.split(delimiter)
    if len(parts) != 3 or parts[1] not in _DSL:
        raise InvalidInput(f"bad constraint {text!r}: write ATTRIBUTE{delimiter}LIKE|UNLIKE{delimiter}REGEX")
    return Constraint(parts[0], "LIKE" if parts[1] == "LIKE" else "UNLIKE", parts[2])

"""From the pool's StartContainer to what is to be started: its kind's image, or its command where there is no Docker.

Settings have the names that they had in OpenWhisk's own Mesos support (`whisk.mesos` and `whisk.container-factory.
container-args`), so that a configuration can be taken over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.core.container_factory import ContainerSpec, HealthCheckSettings
from owmesos.core.pool.events import StartContainer
from owmesos.errors import InvalidInput
from owmesos.openwhisk.manifest import Manifest, Runtime
from owmesos.resources import Ask

ACTION_PORT = 8080  # where an action container listens inside
DOCKER_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "cap-drop": ("NET_RAW", "NET_ADMIN"),
    "ulimit": ("nofile=1024:1024",),
    "pids-limit": ("1024",),
}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
_SAMPLE = Ask.of(cpus=0.1, mem=64, ports=1)


class LaunchSettings(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """How containers are launched.

    A constraint is ATTRIBUTE, LIKE or UNLIKE, and a regular expression, parted by `constraint_delimiter`.
    `docker_parameters` and `extra_args` map a parameter of `docker run` to its values, with or without leading dashes.
    """

    name_prefix: str = "wsk"  # of the containers' names
    role: str | None = None  # whose room they get; None for any of the framework's
    user: str | None = None  # whom they run as
    constraints: tuple[str, ...] = ()  # for the manifest's images
    blackbox_constraints: tuple[str, ...] = ()  # for the users' own images
    constraint_delimiter: str = " "
    network: str = "bridge"  # or `host`, or the name of one
    dns_servers: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    docker_parameters: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: dict(DOCKER_PARAMETERS))
    extra_args: Mapping[str, tuple[str, ...]] = {}
    extra_env_vars: Mapping[str, str] = {}
    force_pull: bool = (
        False  # the manifest's images, each time; a user's is, unless it is tagged or the manifest has it
    )
    registry: str | None = None  # where images without one of their own come from
    api_host: str | None = None  # what actions get as `__OW_API_HOST`
    concurrency: bool = True  # containers may take several runs at once
    task_launch: float = 45.0  # seconds to RUNNING, at most
    image_pull: float = 300.0  # the same where a user's image may have to be pulled, or a command's files fetched
    kill_grace: float | None = 2.0  # seconds from TERM to KILL
    health_check: HealthCheckSettings | None = None

    def parsed_constraints(self) -> tuple[Constraint, ...]:
        """For the pool. Raises InvalidInput."""
        return tuple(parse_constraint(text, self.constraint_delimiter) for text in self.constraints)

    def parsed_blackbox_constraints(self) -> tuple[Constraint, ...]:
        """As `parsed_constraints`."""
        return tuple(parse_constraint(text, self.constraint_delimiter) for text in self.blackbox_constraints)


class Launching:
    """Makes specs. Raises InvalidInput when it is made with constraints that are not valid.

    `variables_of` gives the environment by which the container of this id, if it proves what it is, knows its secret.
    """

    def __init__(
        self,
        settings: LaunchSettings,
        manifest: Manifest,
        variables_of: Callable[[str], Mapping[str, str]] = lambda container_id: {},
    ) -> None:
        self._variables_of = variables_of
        self._settings = settings
        self._manifest = manifest
        self._parameters = _parameters(settings)
        settings.parsed_constraints()
        settings.parsed_blackbox_constraints()
        env: dict[str, str] = {}
        if settings.api_host is not None:
            env["__OW_API_HOST"] = settings.api_host
        if settings.concurrency:
            env["__OW_ALLOW_CONCURRENT"] = "true"
        env |= settings.extra_env_vars  # the operator's come last, as OpenWhisk has it (DockerContainerFactory.scala)
        for name in _set_for_docker(self._parameters) - settings.extra_env_vars.keys():
            env.pop(name, None)
        self._env = env
        self._common = ContainerSpec(
            name="sample",
            ask=_SAMPLE,
            env=env,
            role=settings.role,
            user=settings.user,
            kill_grace=settings.kill_grace,
            deadline=settings.task_launch,
        )

    def __call__(self, start: StartContainer) -> ContainerSpec:
        """Raises InvalidInput for a kind that the manifest does not have."""
        settings, shape = self._settings, start.shape
        runtime = self._manifest.runtime(shape.kind) if shape.image is None else None
        proves = self._manifest.proves(shape)
        pulls = shape.image is not None or (runtime is not None and bool(runtime.uris))
        common = msgspec.structs.replace(
            self._common,
            name=self._name(start),
            ask=start.ask,
            constraints=start.constraints,
            env={**self._env, **self._variables_of(start.container_id)} if proves else self._env,
            labels={"kind": shape.kind},
            deadline=settings.image_pull if pulls else settings.task_launch,
        )
        if runtime is not None and runtime.command is not None:
            return msgspec.structs.replace(common, command=runtime.command, uris=runtime.uris)
        return self._docker(common, shape.image, runtime)

    def samples(self) -> tuple[ContainerSpec, ...]:
        """With all that the settings and the manifest bring: see `PoolRecipe`."""
        commands = [runtime for runtime in self._manifest if runtime.command is not None]
        return (
            self._docker(self._common, "sample", None),
            msgspec.structs.replace(self._common, command="sample", deadline=self._settings.image_pull),
            *(msgspec.structs.replace(self._common, command=each.command, uris=each.uris) for each in commands),
        )

    def _name(self, start: StartContainer) -> str:
        """As OpenWhisk names its containers: what for, and which kind."""
        purpose = "prewarm" if start.prewarm else "run"
        parts = (self._settings.name_prefix, start.container_id, purpose, start.shape.kind)
        return "_".join(_NOT_IN_NAMES.sub("", part) for part in parts)[:64].strip("_")

    def _docker(self, common: ContainerSpec, image: str | None, runtime: Runtime | None) -> ContainerSpec:
        settings = self._settings
        if runtime is not None and runtime.image is not None:
            image, pull = runtime.image.within(settings.registry), settings.force_pull
        else:
            assert image is not None
            pull = not self._manifest.is_blackbox_known(image) and _is_latest(image)
        return msgspec.structs.replace(
            common,
            image=image,
            force_pull=pull,
            network=settings.network,
            port=ACTION_PORT,
            parameters=self._parameters,
            health_check=settings.health_check,
        )


def _parameters(settings: LaunchSettings) -> tuple[tuple[str, str], ...]:
    dns = {"dns": settings.dns_servers, "dns-search": settings.dns_search, "dns-option": settings.dns_options}
    return tuple(
        (name.lstrip("-"), value)
        for named in (settings.docker_parameters, dns, settings.extra_args)
        for name, values in named.items()
        for value in values
    )


def _set_for_docker(parameters: tuple[tuple[str, str], ...]) -> set[str]:
    """The variables that `docker run` is given as parameters: `env=NAME=VALUE`."""
    return {value.partition("=")[0] for name, value in parameters if name in ("env", "e")}


def _is_latest(image: str) -> bool:
    """Whether its name stands for what is newest, so that what a node has is not to be trusted."""
    last = image.rpartition("/")[2]
    return "@" not in last and last.partition(":")[2] in ("", "latest")


def parse_constraint(text: str, delimiter: str = " ") -> Constraint:
    """ATTRIBUTE, LIKE or UNLIKE and a regular expression, parted by `delimiter`. Raises InvalidInput."""
    if not delimiter:
        raise InvalidInput("the constraint-delimiter is empty: give a character that no constraint contains")
    parts = text.split(delimiter)
    if len(parts) != 3 or parts[1] not in ("LIKE", "UNLIKE"):
        raise InvalidInput(f"bad constraint {text!r}: write ATTRIBUTE{delimiter}LIKE|UNLIKE{delimiter}REGEX")
    return Constraint(parts[0], "LIKE" if parts[1] == "LIKE" else "UNLIKE", parts[2])

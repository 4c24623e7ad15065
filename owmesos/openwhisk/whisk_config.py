"""OpenWhisk's own settings, as its containers get them: `CONFIG_whisk_*`, and a few names that are older.

An invoker that is replaced by owmesos keeps its environment. `CONFIG_whisk_mesos_timeouts_taskLaunch` is the setting
`whisk.mesos.timeouts.task-launch` (common/scala/transformEnvironment.sh), called `mesos.timeouts.task-launch` here. A
list is `[a, b]`, or has a variable for each of its values: `…_constraints_0`, `…_constraints_1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from owmesos.errors import NOT_READABLE, InvalidInput
from owmesos.openwhisk import limits
from owmesos.openwhisk.manifest import parse_duration
from owmesos.openwhisk.sizes import parse_config_size
from owmesos.openwhisk.store.couch_entities import Databases

T = TypeVar("T")
PREFIX = "CONFIG_whisk_"
_DIGITS = 18
_CAMEL = re.compile(r"([a-z0-9])([A-Z])")
_ARGS = "container-factory.container-args"
_HEALTH = "mesos.health-check"


class WhiskConfig:
    """Records which settings were read: the others are `ignored`. Every method raises InvalidInput, which names the
    variable.

    An empty variable counts as unset, and `$NAME` refers to another one.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._variables = {
            _path(name[len(PREFIX) :]): name for name in environment if name.startswith(PREFIX) and environment[name]
        }
        self._asked: set[str] = set()

    def ignored(self) -> list[str]:
        """The variables that were not read."""
        return sorted(name for name in self._variables.values() if name not in self._asked)

    def variable(self, name: str) -> str | None:
        """One of the names that are older."""
        return self._environment.get(name) or None

    def text(self, path: str) -> str | None:
        name = self._variables.get(path)
        if name is None:
            return None
        self._asked.add(name)
        value = self._environment[name]
        if value.startswith("$"):
            value = self._environment.get(value[1:]) or value
        return value

    def read(self, path: str, how: Callable[[str], T]) -> T | None:
        """What `how` makes of it; it raises ValueError."""
        value = self.text(path)
        if value is None:
            return None
        try:
            return how(value)
        except ValueError as error:
            raise InvalidInput(f"{self._variables[path]}: {error}") from None

    def number(self, path: str) -> int | None:
        return self.read(path, _whole)

    def flag(self, path: str) -> bool | None:
        return self.read(path, _truth)

    def seconds(self, path: str) -> float | None:
        return self.read(path, _seconds)

    def texts(self, path: str) -> tuple[str, ...] | None:
        whole = self.read(path, _list)
        if whole is not None:
            return whole
        numbers = {name: name[len(path) + 1 :] for name in self._below(path)}
        numbered = {int(end): name for name, end in numbers.items() if end.isdecimal() and len(end) <= _DIGITS}
        found = [self.text(numbered[number]) for number in sorted(numbered)]
        return tuple(text for text in found if text is not None) or None

    def table(self, path: str) -> dict[str, tuple[str, ...]] | None:
        """Lists by name."""
        names = {name[len(path) + 1 :].partition(".")[0] for name in self._below(path)}
        found = {name: self.texts(f"{path}.{name}") for name in sorted(names)}
        return {name: texts for name, texts in found.items() if texts is not None} or None

    def _below(self, path: str) -> list[str]:
        return [name for name in self._variables if name.startswith(f"{path}.")]


def couch_url(config: WhiskConfig) -> str | None:
    host = config.text("couchdb.host")
    protocol, port = config.text("couchdb.protocol") or "http", config.number("couchdb.port")
    if host is None:
        return None
    return f"{protocol}://{host}" + (f":{port}" if port is not None else "")


def couch_databases(config: WhiskConfig, prefix: str | None) -> Databases:
    """By `prefix`, or each by its own name."""
    names = [config.text(f"couchdb.databases.{name}") for name in ("WhiskEntity", "WhiskActivation", "WhiskAuth")]
    usual = msgspec.structs.astuple(Databases())
    if prefix is not None:
        return Databases(*(f"{prefix}{name}" for name in usual))
    return Databases(*(name or default for name, default in zip(names, usual, strict=True)))


def launch_fields(config: WhiskConfig) -> dict[str, Any]:
    """Those of LaunchSettings that are set, by their own names."""
    times = ("delay", "interval", "timeout", "grace-period")
    check: dict[str, Any] = {name: config.seconds(f"{_HEALTH}.{name}") for name in times}
    check["max-consecutive-failures"] = config.number(f"{_HEALTH}.max-consecutive-failures")
    return _set(
        {
            "constraints": config.texts("mesos.constraints"),
            "blackbox-constraints": config.texts("mesos.blackbox-constraints"),
            "constraint-delimiter": config.text("mesos.constraint-delimiter"),
            "task-launch": config.seconds("mesos.timeouts.task-launch"),
            "health-check": _set(check) or None,
            "network": config.text(f"{_ARGS}.network"),
            **{name: config.texts(f"{_ARGS}.{name}") for name in ("dns-servers", "dns-search", "dns-options")},
            "extra-args": config.table(f"{_ARGS}.extra-args"),
            "extra-env-vars": _variables(config.texts(f"{_ARGS}.extra-env-vars")),
            "registry": config.text("container-factory.runtimes-registry.url"),
            "api-host": _api_host(config),
        }
    )


def pool_fields(config: WhiskConfig) -> dict[str, Any]:
    """Those of PoolSettings that are set, by their own names."""
    return _set(
        {
            "max_starts": config.number("container-pool.cluster-managed-resource-max-starts"),
            "idle_grace": config.seconds("container-pool.cluster-managed-idle-grace"),
            "idle_timeout": config.seconds("container-proxy.timeouts.idle-container"),
        }
    )


def forced_completion(config: WhiskConfig) -> limits.ForcedCompletion:
    """As the Controller has it (its reference.conf)."""
    factor = config.read("loadbalancer.timeout-factor", _factor)
    addon = config.seconds("loadbalancer.timeout-addon")
    return limits.ForcedCompletion(**_set({"factor": factor, "addon": addon}))


def _factor(text: str) -> int:
    factor = _whole(text)
    if factor > 1000:
        raise ValueError(f"{text[:100]!r} is not a factor of time limits: write a whole number up to 1000")
    return factor


def payload_limits(config: WhiskConfig) -> limits.PayloadLimits:
    """The defaults of namespaces count only if both are set (ActivationEntityLimit.scala)."""
    system = _response_limits(config, "activation.payload")
    longest, kept = _response_limits(config, "namespace-default-limit.activation.payload")
    overhead = config.read("activation.serdes-overhead", parse_config_size)
    return limits.PayloadLimits(
        system=limits.ResponseLimits(*(limits.DEFAULT_MAX if size is None else size for size in system)),
        namespace=None if longest is None or kept is None else limits.ResponseLimits(longest, kept),
        serdes_overhead=limits.SERDES_OVERHEAD if overhead is None else overhead,
    )


def _response_limits(config: WhiskConfig, path: str) -> tuple[int | None, int | None]:
    """Raises InvalidInput for what no process could hold."""
    found = [config.read(f"{path}.{name}", parse_config_size) for name in ("max", "truncation")]
    for size in found:
        if size is not None and size > limits.MAX_RESPONSE:
            raise InvalidInput(f"whisk.{path} must be at most {limits.MAX_RESPONSE} bytes, not {size}")
    return found[0], found[1]


def _api_host(config: WhiskConfig) -> str | None:
    """As its invoker tells it to containers."""
    name = config.variable("WHISK_API_HOST_NAME")
    if name is None:
        return None
    protocol, port = config.variable("WHISK_API_HOST_PROTO") or "https", config.variable("WHISK_API_HOST_PORT")
    return f"{protocol}://{name}" + (f":{port}" if port is not None else "")


def _variables(texts: tuple[str, ...] | None) -> dict[str, str] | None:
    if texts is None:
        return None
    pairs = [text.partition("=") for text in texts]
    for name, separator, _ in pairs:
        if not name or not separator:
            raise InvalidInput(f"{PREFIX}containerFactory_containerArgs_extraEnvVars: {name!r} is not NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _path(name: str) -> str:
    """`mesos_timeouts_taskLaunch` → `mesos.timeouts.task-launch`; class names stay."""
    return ".".join(part if part[:1].isupper() else _dashed(part) for part in name.split("_"))


def _dashed(name: str) -> str:
    return _CAMEL.sub(lambda match: f"{match[1]}-{match[2].lower()}", name)


def _whole(text: str) -> int:
    if not text.strip().isdecimal() or len(text) > _DIGITS:
        raise ValueError(f"{text[:100]!r} is not a whole number")
    return int(text)


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "yes", "on", "false", "no", "off"):
        raise ValueError(f"{text!r} is neither true nor false")
    return word in ("true", "yes", "on")


def _seconds(text: str) -> float:
    """A number alone is in ms, as HOCON has it."""
    return _whole(text) / 1000 if text.strip().isdecimal() else parse_duration(text)


def _list(text: str) -> tuple[str, ...]:
    """`[a, "b"]`; without brackets it is a list of one."""
    inner = text.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return (text,)
    try:
        return tuple(msgspec.json.decode(inner, type=list[str]))
    except NOT_READABLE:
        return tuple(part.strip().strip('"') for part in inner[1:-1].split(",") if part.strip())

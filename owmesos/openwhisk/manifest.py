"""The runtimes manifest: which kinds of action there are, in which images they run, and which are kept prewarmed.

OpenWhisk's own format (ansible/files/runtimes.json, ExecManifest.scala), so that a cluster's file is used as it is:

    {"runtimes": {"python": [{"kind": "python:3", "default": true,
                              "image": {"prefix": "openwhisk", "name": "…", "tag": "…"},
                              "stemCells": [{"initialCount": 2, "memory": "256 MB", "reactive": {…}}]}]},
     "blackboxes": [{"prefix": "openwhisk", "name": "dockerskeleton", "tag": "…"}]}

One key is ours: `command` in the place of `image`, for a cluster without Docker. It is a shell command that serves the
action container protocol on $PORT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from owmesos.core.containers import Shape
from owmesos.core.prewarm import PrewarmSetting, Reactive
from owmesos.errors import InvalidInput
from owmesos.openwhisk.sizes import parse_megabytes

BLACKBOX = "blackbox"
DEFAULT = "default"
_DURATION = re.compile(r"(\d+)\s*([a-z]+)")
_SECONDS = {
    0.001: ("ms", "milli", "millis", "millisecond", "milliseconds"),
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("m", "min", "mins", "minute", "minutes"),
    3600.0: ("h", "hour", "hours"),
    86400.0: ("d", "day", "days"),
}
_UNITS = {name: seconds for seconds, names in _SECONDS.items() for name in names}


class ImageName(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A Docker image. An empty part is none."""

    name: str
    registry: str | None = None
    prefix: str | None = None
    tag: str | None = None

    def __str__(self) -> str:
        """As Docker writes it."""
        return self.within(None)

    def within(self, registry: str | None) -> str:
        """Its full name, in `registry` where it names none itself."""
        host = self.registry or registry
        parts = [part.rstrip("/") for part in (host, self.prefix) if part]
        return "/".join([*parts, self.name]) + (f":{self.tag}" if self.tag else "")


class ReactiveCounts(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`ttl` such as `2 minutes`."""

    min_count: int
    max_count: int
    ttl: str
    threshold: int
    increment: int


class StemCell(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Containers to be kept prewarmed. `count` is the name of `initial_count` in OpenWhisk 1.0."""

    memory: str
    initial_count: int | None = None
    count: int | None = None
    reactive: ReactiveCounts | None = None


class Runtime(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One kind. `attached` is false, or says how its code is attached; `sentinelled_logs` is true unless it says no."""

    kind: str
    image: ImageName | None = None
    command: str | None = None
    default: bool = False
    deprecated: bool = False
    attached: bool | dict[str, Any] = False
    require_main: bool = False
    sentinelled_logs: bool = True
    stem_cells: tuple[StemCell, ...] = ()

    @property
    def family(self) -> str:
        return self.kind.partition(":")[0]


class _File(msgspec.Struct):
    runtimes: dict[str, list[Runtime]] = {}
    blackboxes: list[ImageName] = []


class Manifest:
    """What `parse` found. Immutable."""

    def __init__(self, families: dict[str, tuple[Runtime, ...]], blackboxes: tuple[ImageName, ...] = ()) -> None:
        """Raises InvalidInput."""
        self.families = families
        self.blackboxes = blackboxes
        self._by_kind: dict[str, Runtime] = {}
        for runtime in self:
            if runtime.kind in self._by_kind:
                raise InvalidInput(f"{_HERE}: kind {runtime.kind} is there twice")
            _check(runtime)
            self._by_kind[runtime.kind] = runtime
        self._defaults = {name: _default(name, runtimes) for name, runtimes in families.items() if runtimes}
        self._prewarm = tuple(
            _prewarm(runtime, cell) for runtime in self if not runtime.deprecated for cell in runtime.stem_cells
        )

    def __iter__(self) -> Iterator[Runtime]:
        return (runtime for runtimes in self.families.values() for runtime in runtimes)

    @property
    def kinds(self) -> list[str]:
        return list(self._by_kind)

    def runtime(self, kind: str) -> Runtime:
        """The kind's; `python:default` is its family's default. Raises InvalidInput for one that is not known."""
        family, _, version = kind.partition(":")
        found = self._defaults.get(family) if version == DEFAULT else self._by_kind.get(kind)
        if found is None:
            raise InvalidInput(f"kind {kind!r} is not known here: use one of {', '.join(self.kinds) or 'none at all'}")
        return found

    def runnable(self, kind: str) -> Runtime:
        """The same for an action that is to be created or run. Raises InvalidInput for one that is deprecated too."""
        found = self.runtime(kind)
        if found.deprecated:
            raise InvalidInput(
                f"The '{found.kind}' runtime is no longer supported. "
                "You may read and delete but not update or invoke this action."
            )
        return found

    def is_blackbox_known(self, image: str) -> bool:
        """Whether the manifest lists the image: it is on the agents, and is not pulled anew each time."""
        return any(str(known) == image or (not known.tag and f"{known}:latest" == image) for known in self.blackboxes)

    def with_defaults(self, *, prefix: str | None, tag: str | None) -> Manifest:
        """The same with these in images that have none themselves, as OpenWhisk had it before 1.0."""
        if prefix is None and tag is None:
            return self

        def filled(runtime: Runtime) -> Runtime:
            if runtime.image is None:
                return runtime
            image = msgspec.structs.replace(
                runtime.image, prefix=runtime.image.prefix or prefix, tag=runtime.image.tag or tag
            )
            return msgspec.structs.replace(runtime, image=image)

        families = {name: tuple(map(filled, runtimes)) for name, runtimes in self.families.items()}
        return Manifest(families, self.blackboxes)

    def prewarm(self) -> tuple[PrewarmSetting, ...]:
        """For the pool: every stem cell of the kinds that are not deprecated."""
        return self._prewarm


_HERE = "the runtimes manifest"


def parse(text: str | bytes) -> Manifest:
    """The manifest in JSON. Raises InvalidInput with the place of what is wrong, in one line."""
    try:
        found = msgspec.json.decode(text, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{_HERE} cannot be read: {error}") from None
    families = {name: tuple(runtimes) for name, runtimes in found.runtimes.items()}
    return Manifest(families, tuple(found.blackboxes))


def parse_duration(text: str) -> float:
    """Seconds, from a number and a unit as Scala writes them: `2 minutes`, `500 ms`. Raises InvalidInput."""
    match = _DURATION.fullmatch(text.strip().lower())
    seconds = _UNITS.get(match[2]) if match is not None else None
    if match is None or seconds is None:
        raise InvalidInput(f"{text!r} is no time: write a whole number and a unit, such as `2 minutes`")
    return int(match[1]) * seconds


def _check(runtime: Runtime) -> None:
    if runtime.kind == BLACKBOX or not re.fullmatch(r"[a-z0-9]+(:[A-Za-z0-9._-]+)?", runtime.kind):
        raise InvalidInput(f"{_HERE}: {runtime.kind!r} is no kind: write FAMILY:VERSION, such as `python:3`")
    if (runtime.image is None) == (runtime.command is None):
        raise InvalidInput(f"{_HERE}: kind {runtime.kind} needs either an image or a command")
    if runtime.image is not None and not runtime.image.name:
        raise InvalidInput(f"{_HERE}: the image of kind {runtime.kind} needs a name")


def _default(family: str, runtimes: tuple[Runtime, ...]) -> Runtime:
    chosen = [runtime for runtime in runtimes if runtime.default] if len(runtimes) > 1 else list(runtimes)
    if len(chosen) != 1:
        what = "several defaults" if chosen else "several kinds and no default"
        raise InvalidInput(f"{_HERE}: family {family} has {what}: set `default` on exactly one")
    return chosen[0]


def _prewarm(runtime: Runtime, cell: StemCell) -> PrewarmSetting:
    where = f"{_HERE}: stemCells of {runtime.kind}"
    count = cell.initial_count if cell.initial_count is not None else cell.count
    if count is None or count < 0:
        raise InvalidInput(f"{where}: initialCount must be 0 or more")
    try:
        memory = parse_megabytes(cell.memory)
        reactive = None if cell.reactive is None else _reactive(cell.reactive)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None
    if memory < 1:
        raise InvalidInput(f"{where}: memory must be 1 MB or more, not {cell.memory!r}")
    return PrewarmSetting(Shape(runtime.kind, memory), count, reactive)


def _reactive(counts: ReactiveCounts) -> Reactive:
    return Reactive(counts.min_count, counts.max_count, parse_duration(counts.ttl), counts.threshold, counts.increment)

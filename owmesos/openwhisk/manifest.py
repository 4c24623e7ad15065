"""The runtimes manifest: which kinds of action there are, in which images they run, and which are kept prewarmed.

OpenWhisk's own format (ansible/files/runtimes.json, ExecManifest.scala), so that a cluster's file is used as it is:

    {"runtimes": {"python": [{"kind": "python:3", "default": true,
                              "image": {"prefix": "openwhisk", "name": "…", "tag": "…"},
                              "stemCells": [{"initialCount": 2, "memory": "256 MB", "reactive": {…}}]}]},
     "blackboxes": [{"prefix": "openwhisk", "name": "dockerskeleton", "tag": "…"}]}

Three keys are ours, for a cluster without Docker. `command` in the place of `image` is a shell command that serves the
action container protocol on $PORT. `uris` are what Mesos's fetcher brings into its sandbox before, and unpacks if they
are archives, so that a runtime need not lie on every node. `proves` says whether what it starts takes the container's
secret and proves that it is the container (`owmesos.runtimes.access`); the default is true for owmesos's own runtimes,
known by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.prewarm import PrewarmSetting, Reactive
from owmesos.errors import NOT_READABLE, InvalidInput
from owmesos.openwhisk.sizes import parse_megabytes

BLACKBOX = "blackbox"
SEQUENCE = "sequence"
MAX_KIND = 200
DEFAULT = "default"
_OWN_RUNTIME = re.compile(r"owmesos\.runtimes\.python\b|owmesos/runtimes/nodejs\.js\b")
_DURATION = re.compile(r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(e[+-]?\d{1,2})?([a-zµ]+)")
_SECONDS = {
    1e-9: ("ns", "nano", "nanos", "nanosecond", "nanoseconds"),
    1e-6: ("µs", "us", "micro", "micros", "microsecond", "microseconds"),
    0.001: ("ms", "milli", "millis", "millisecond", "milliseconds"),
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("m", "min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
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
    uris: tuple[str, ...] = ()
    proves: bool | None = None
    default: bool = False
    deprecated: bool = False
    attached: bool | dict[str, Any] = False
    require_main: bool = False
    sentinelled_logs: bool = True
    stem_cells: tuple[StemCell, ...] = ()

    @property
    def is_proving(self) -> bool:
        """Whether its containers get a secret."""
        if self.proves is not None or self.command is None:
            return bool(self.proves)
        return _OWN_RUNTIME.search(self.command) is not None

    @property
    def family(self) -> str:
        return self.kind.partition(":")[0]


class _File(msgspec.Struct):
    runtimes: dict[str, tuple[Runtime, ...]] = {}
    blackboxes: tuple[ImageName, ...] = ()


class Manifest:
    """What `parse` found. Immutable."""

    def __init__(
        self,
        families: dict[str, tuple[Runtime, ...]],
        blackboxes: tuple[ImageName, ...] = (),
        *,
        local_prefix: str | None = None,
    ) -> None:
        """Images with `local_prefix` count as listed. Raises InvalidInput."""
        self.families = families
        self.blackboxes = blackboxes
        self._local_prefix = local_prefix
        self._by_kind: dict[str, Runtime] = {}
        for runtime in self:
            _check(runtime)
            if self._by_kind.setdefault(usual_kind(runtime.kind), runtime) is not runtime:
                raise InvalidInput(f"{_HERE}: kind {runtime.kind} is defined twice")
        self._defaults = {name: _default(name, runtimes) for name, runtimes in families.items() if runtimes}
        self._prewarm = tuple(
            _prewarm(runtime, cell) for runtime in self if not runtime.deprecated for cell in runtime.stem_cells
        )

    def __iter__(self) -> Iterator[Runtime]:
        return (runtime for runtimes in self.families.values() for runtime in runtimes)

    @property
    def kinds(self) -> list[str]:
        return [runtime.kind for runtime in self]

    def runtime(self, kind: str) -> Runtime:
        """The kind's; `python:default` is its family's default. Raises InvalidInput for one that is not known."""
        usual = usual_kind(kind)
        family, _, version = usual.partition(":")
        found = self._defaults.get(family) if version == DEFAULT else self._by_kind.get(usual)
        if found is None:
            raise InvalidInput(f"unknown kind {kind!r}; the manifest has {', '.join(self.kinds) or 'none'}")
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

    def proves(self, shape: ContainerShape) -> bool:
        """Whether containers of the shape prove what they are. Raises InvalidInput for a kind that is not known."""
        return shape.image is None and self.runtime(shape.kind).is_proving

    def is_blackbox_known(self, image: str) -> bool:
        """Whether the manifest lists the image: it is on the nodes, and is not pulled anew each time; and it marks the
        end of each activation in its log."""
        tagged = _tagged(image)
        if any(_tagged(str(known)) == tagged for known in self.blackboxes):
            return True
        return self._local_prefix is not None and _prefix(image) == self._local_prefix

    def with_defaults(self, *, prefix: str | None, tag: str | None, local_prefix: str | None = None) -> Manifest:
        """The same with these in images that have none themselves, as OpenWhisk had it before 1.0."""
        if prefix is None and tag is None and local_prefix is None:
            return self

        def filled(runtime: Runtime) -> Runtime:
            if runtime.image is None:
                return runtime
            image = msgspec.structs.replace(
                runtime.image, prefix=runtime.image.prefix or prefix, tag=runtime.image.tag or tag
            )
            return msgspec.structs.replace(runtime, image=image)

        families = {name: tuple(map(filled, runtimes)) for name, runtimes in self.families.items()}
        return Manifest(families, self.blackboxes, local_prefix=local_prefix)

    def prewarm(self) -> tuple[PrewarmSetting, ...]:
        """For the pool: every stem cell of the kinds that are not deprecated."""
        return self._prewarm


_HERE = "the runtimes manifest"


def parse(text: str | bytes) -> Manifest:
    """The manifest in JSON. Raises InvalidInput with the place of what is wrong, in one line."""
    try:
        found = msgspec.convert(_without_nulls(msgspec.json.decode(text)), _File)
    except NOT_READABLE as error:
        raise InvalidInput(f"{_HERE} cannot be read: {error}") from None
    return Manifest(found.runtimes, found.blackboxes)


def _without_nulls(value: Any) -> Any:
    """A field that is null is one that is missing, as spray-json reads them."""
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return value


def parse_duration(text: str) -> float:
    """Seconds, from a number and a unit as Scala writes them: `2 minutes`, `2.5 h`, `500 ms`. Raises InvalidInput."""
    match = _DURATION.fullmatch("".join(text.split()).lower())
    seconds = _UNITS.get(match[3]) if match is not None else None
    if match is None or seconds is None:
        raise InvalidInput(f"{text[:100]!r} is not a duration: write a number and a unit, such as `2 minutes`")
    number = match[1] + (match[2] or "")
    return round(float(number) * seconds, 9)


def usual_kind(kind: str) -> str:
    """As kinds are looked up: without capitals, and without blanks around (Exec.scala)."""
    return kind.strip().lower()


def _tagged(image: str) -> str:
    """An image without a tag is the latest."""
    return image if set(":@") & set(image.rpartition("/")[2]) else f"{image}:latest"


def _prefix(image: str) -> str:
    """What is between an image's registry and its name."""
    first, *rest = image.split("/")
    return "/".join((rest if rest and set(".:") & set(first) else [first, *rest])[:-1])


def _check(runtime: Runtime) -> None:
    kind, image, command = usual_kind(runtime.kind), runtime.image, runtime.command
    if not kind or kind in (BLACKBOX, SEQUENCE) or not runtime.kind.isprintable() or len(kind) > MAX_KIND:
        raise InvalidInput(f"{_HERE}: {runtime.kind[:100]!r} is not a kind: write FAMILY:VERSION, such as `python:3`")
    for is_wrong, what in (
        ((image is None) == (command is None), "needs either an image or a command"),
        (runtime.proves and command is None, "has `proves`, which is for commands, not for images"),
        (runtime.uris and command is None, "has `uris`, which are for commands, not for images"),
        (image is not None and not image.name, "needs a name for its image"),
    ):
        if is_wrong:
            raise InvalidInput(f"{_HERE}: kind {runtime.kind} {what}")


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
        reactive = None
        if (counts := cell.reactive) is not None:
            ttl = parse_duration(counts.ttl)
            reactive = Reactive(counts.min_count, counts.max_count, ttl, counts.threshold, counts.increment)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None
    if memory < 1:
        raise InvalidInput(f"{where}: memory must be 1 MB or more, not {cell.memory!r}")
    return PrewarmSetting(ContainerShape(runtime.kind, memory), count, reactive)

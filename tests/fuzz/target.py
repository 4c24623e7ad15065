"""One thing that reads bytes from outside, and what it may raise."""

from __future__ import annotations

import atexit
import datetime as dt
import enum
import os
import shutil
import tempfile
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from owmesos.errors import OwmesosError


@dataclass(frozen=True)
class Target:
    """`read` returns, or raises one of `expected`. `seeds` are inputs that it can use."""

    name: str
    read: Callable[[bytes], object]
    seeds: Sequence[bytes]
    expected: tuple[type[BaseException], ...] = (OwmesosError,)

    def run(self, data: bytes) -> None:
        """Raises what `data` has found: an error of a type that is not ours, books that are wrong, much memory."""
        try:
            self.read(data)
        except (AssertionError, MemoryError):  # InvariantBroken is one; some targets expect any Exception
            raise
        except self.expected:
            pass


TARGETS: dict[str, Target] = {}


def target(
    name: str, *seeds: bytes | str | object, expected: tuple[type[BaseException], ...] = (OwmesosError,)
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    """Registers a function as the target `name`. A seed that is no bytes or text is written as JSON."""

    def add(read: Callable[[bytes], object]) -> Callable[[bytes], object]:
        TARGETS[name] = Target(name, read, tuple(map(_written, seeds)), expected)
        return read

    return add


LONGEST_YAML = 1024  # bytes, half as many again as the longest seed; its parser, which is Python, takes 3 µs for each
# Where there is one: on a disk in use, a file takes more time than what reads it.
IN_MEMORY = os.environ.get("OWMESOS_FUZZ_FILES") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


@cache
def folder_of_files() -> Path:
    """Of this process and its forks: whoever forks asks for it before, and it goes when that process ends, which a fork
    that libFuzzer ends would not see to."""
    folder = Path(tempfile.mkdtemp(prefix="owmesos-fuzz-", dir=IN_MEMORY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def file_of(data: bytes, name: str) -> Path:
    """For what reads a file by its name; the next call may overwrite it. Only its owner can read it."""
    file = folder_of_files() / name
    file.touch(0o600)
    file.write_bytes(data)
    return file


def _written(seed: object) -> bytes:
    if isinstance(seed, bytes):
        return seed
    return seed.encode() if isinstance(seed, str) else msgspec.json.encode(seed)


def sample(kind: Any, depth: int = 6) -> Any:
    """JSON of a type of msgspec's in which every field is set, so that a mutation can reach each."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return sample(arguments[0], depth)
    if origin in (typing.Union, types.UnionType):
        kinds = [each for each in arguments if each not in (type(None), msgspec.UnsetType)]
        return sample(kinds[0], depth) if kinds else None
    if origin is typing.Literal:
        return arguments[0]
    if depth == 0:
        return None
    if origin is tuple and arguments[-1] is not Ellipsis:
        return [sample(each, depth - 1) for each in arguments]
    if origin is not None and issubclass(origin, Mapping):
        return {"key": sample(arguments[1], depth - 1)}
    if origin is not None and issubclass(origin, Sequence):
        return [sample(arguments[0], depth - 1)]
    return _plain(kind, depth)


def _plain(kind: Any, depth: int) -> Any:
    if not isinstance(kind, type):
        return {"any": [1]}
    if issubclass(kind, msgspec.Struct):
        fields = {each.encode_name: sample(each.type, depth - 1) for each in msgspec.structs.fields(kind)}
        tag = kind.__struct_config__.tag
        return fields if tag is None else {kind.__struct_config__.tag_field or "type": tag, **fields}
    if issubclass(kind, enum.Enum):
        return next(iter(kind)).value
    if issubclass(kind, dt.datetime):
        return "2026-11-29T12:00:00Z"
    known = {bool: True, int: 1, float: 1.5, str: "text", bytes: "aGk=", list: [1], dict: {"key": 1}}
    return known.get(kind, {"any": [1]})

"""Which fields of a decoded JSON document a struct has no place for.

A newer master may say more than owmesos reads. That must not hinder it, but an operator who wonders should
find it in the log; the shell asks this module once for each type of event.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def unknown_fields(kind: Any, value: Any, path: str) -> Iterator[str]:
    """Paths under `path` of the keys in `value` that the type `kind` does not name. Of a list the first
    element is looked at, of a mapping by free keys the first value.
    """
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        for option in typing.get_args(kind):
            if option is not type(None):
                yield from unknown_fields(option, value, path)
    elif origin is list:
        if isinstance(value, list) and value:
            yield from unknown_fields(typing.get_args(kind)[0], value[0], f"{path}[]")
    elif origin is dict:
        if isinstance(value, dict) and value:
            yield from unknown_fields(typing.get_args(kind)[1], next(iter(value.values())), f"{path}{{}}")
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        known = _fields(kind)
        for key, inner in value.items():
            if key in known:
                yield from unknown_fields(known[key], inner, f"{path}.{key}")
            else:
                yield f"{path}.{key}"

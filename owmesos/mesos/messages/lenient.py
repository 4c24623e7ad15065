"""Documents that are not as their types demand: what can be read of them, and what a newer master says beyond them.

A document is read field by field only where it cannot be decoded as a whole, so that tolerance costs nothing else. A
field that cannot be read counts as absent, if it may be absent; an element of a list is left out as a whole, because
half an offer, task or agent says something else than the whole one. What should be a list and is not is not an empty
list.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

import msgspec

from owmesos.errors import NOT_READABLE

T = TypeVar("T", bound=msgspec.Struct)
_fields = cache(msgspec.structs.fields)  # which evaluates a type's annotations each time, in 0.2 ms


def readable(kind: type[T], data: bytes | msgspec.Raw, report: Callable[[str], None], path: str) -> T:
    """What can be read of `data`. `report` gets a line for each part that is left out. Raises one of NOT_READABLE."""
    found = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    values: dict[str, Any] = {}
    for field in _fields(kind):
        if field.encode_name not in found:
            continue
        raw, where = found[field.encode_name], f"{path}.{field.encode_name}"
        try:
            values[field.name] = _value(field.type, raw, report, where)
        except NOT_READABLE as error:
            if field.required or typing.get_origin(field.type) is list:
                raise
            report(f"{where} cannot be read and is treated as absent: {error}")
    try:
        return kind(**values)
    except TypeError as error:  # a required field is missing
        raise msgspec.ValidationError(f"{path}: {error}") from None


def _value(kind: Any, raw: msgspec.Raw, report: Callable[[str], None], path: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except NOT_READABLE:
        inner = without_none(kind)
        if is_struct(inner):
            return readable(inner, raw, report, path)
        if typing.get_origin(kind) is not list:
            raise
    (element,) = typing.get_args(kind)
    return _elements(element, raw, report, path)


def _elements(kind: Any, raw: msgspec.Raw, report: Callable[[str], None], path: str) -> list[Any]:
    def element(each: msgspec.Raw) -> list[Any]:
        try:
            return [msgspec.json.decode(each, type=kind)]
        except NOT_READABLE as error:
            report(f"an element of {path} cannot be read and is left out: {error}")
            return []

    return [found for each in msgspec.json.decode(raw, type=list[msgspec.Raw]) for found in element(each)]


def unknown_fields(kind: Any, value: Any, path: str) -> Iterator[str]:
    """The paths under `path` of the keys in the decoded JSON `value` that the type `kind` does not have.

    Of a list only the first element is examined, of a mapping with free keys only the first value.
    """
    kind = without_none(kind)
    origin = typing.get_origin(kind)
    if origin is list:
        if isinstance(value, list) and value:
            yield from unknown_fields(typing.get_args(kind)[0], value[0], f"{path}[]")
    elif origin is dict:
        if isinstance(value, dict) and value:
            yield from unknown_fields(typing.get_args(kind)[1], next(iter(value.values())), f"{path}{{}}")
    elif is_struct(kind) and isinstance(value, dict):
        known = {field.encode_name: field.type for field in _fields(kind)}
        for key, inner in value.items():
            if key in known:
                yield from unknown_fields(known[key], inner, f"{path}.{key}")
            else:
                yield f"{path}.{key}"


def without_none(kind: Any) -> Any:
    """The type of a field that may be absent, without its None."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(option for option in typing.get_args(kind) if option is not type(None))
    return kind


def is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)

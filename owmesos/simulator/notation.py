"""Mesos's own notation for flags: resources, attributes, durations, as `cpus:2;mem:1024`, `rack:r1`, `10secs`."""

from __future__ import annotations

import math
import re
import sys
from typing import TypeAlias

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Attribute, Range, Ranges, Scalar, Text
from owmesos.resources import SCALARS, Ports, Resources, joined, milli
from owmesos.simulator.pieces import MOST_OF_A_RANGE, UNRESERVED, PieceReservation, Pieces, scalar, sum_of

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "secs": 1.0,
    "mins": 60.0,
    "hrs": 3600.0,
    "days": 86400.0,
    "weeks": 604800.0,
}
_Value: TypeAlias = "float | str | list[tuple[int, int]]"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(inf(inity)?|nan(\(.*\))?)", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"\+?[0-9]+|0[xX][0-9a-fA-F]+")


def seconds(text: str) -> float:
    """Parse a duration. Raises InvalidInput."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", text.strip())
    if match is None or match[2] not in _UNITS:
        raise InvalidInput(f"{text!r} is not a duration: write it as 500ms, 10secs, 2mins")
    return float(match[1]) * _UNITS[match[2]]


def resources(text: str) -> Pieces:
    """Parse an agent's resources: `cpus:2;mem:1024;ports:[31000-31999];cpus(role):1`. Raises InvalidInput."""
    return sum_of(_resource(part) for part in filter(None, (part.strip() for part in text.split(";"))))


def _resource(text: str) -> Pieces:
    match = re.fullmatch(r"(\w+)(?:\(([^)]+)\))?:(.+)", text)
    if match is None:
        raise InvalidInput(f"{text!r} is not a resource: write it as cpus:2 or ports:[31000-31999]")
    name, role, value = match.groups()
    stack = UNRESERVED if role in (None, "*") else (PieceReservation(role, "STATIC"),)
    return Pieces.of(_amount(name, value), stack)


def _amount(name: str, text: str) -> Resources:
    if name != "ports" and name not in SCALARS:
        raise InvalidInput(f"the simulator supports {', '.join(SCALARS)} and ports, not {name!r}")
    value = _value(text)
    if name == "ports":
        if not isinstance(value, list):
            raise InvalidInput(f"ports: {text!r} are not ranges: write them as [31000-31999,32100-32200]")
        return Resources(ports=Ports.of(value, MOST_OF_A_RANGE))
    if not isinstance(value, float):
        raise InvalidInput(f"{name}: {text!r} is not a number")
    return scalar(name, milli(name, value))


def attributes(text: str) -> list[Attribute]:
    """Parse an agent's attributes: `rack:r1;slots:4.5;spans:[1-5,8-9]`. What looks like a number is one.

    Measured on Mesos 1.11.0. Raises InvalidInput for what ends an agent there.
    """
    found = []
    for part in filter(None, re.split(r"[;\n]", text)):
        name, colon, value = part.partition(":")
        if not colon or not name or not value:
            raise InvalidInput(f"{part!r} is not an attribute: write it as rack:r1")
        try:
            found.append(_attribute(name, _value(value)))
        except InvalidInput as error:
            raise InvalidInput(f"a Mesos agent does not start with the attribute {part!r}: {error}") from None
    return found


def _attribute(name: str, value: _Value) -> Attribute:
    if isinstance(value, list):
        return Attribute(name, "RANGES", ranges=Ranges([Range(begin, end) for begin, end in value]))
    if isinstance(value, float):
        return Attribute(name, "SCALAR", scalar=Scalar(value))
    return Attribute(name, "TEXT", text=Text(value))


def _value(text: str) -> _Value:
    """A scalar, text, or ranges; blanks in it do not count (src/common/values.cpp). Raises InvalidInput."""
    text = text.replace(" ", "")
    if not text:
        raise InvalidInput("the value is empty")
    if not all(_match(text, pair) for pair in ("{}", "[]", "()")):
        raise InvalidInput(f"the brackets of {text!r} do not match")
    if text.startswith("["):
        return _ranges(text)
    if "[" in text or "{" in text:
        raise InvalidInput(f"{text!r} is neither a number nor ranges; sets, and brackets in a text, are not supported")
    return _scalar_or_text(text)


def _match(text: str, pair: str) -> bool:
    """Whether each bracket that opens is closed after it."""
    level = 0
    for letter in text:
        level += (letter == pair[0]) - (letter == pair[1])
        if level < 0:
            return False
    return level == 0


def _scalar_or_text(text: str) -> float | str:
    if _NOT_FINITE.fullmatch(text):
        raise InvalidInput(f"{text!r} is not a finite number")
    if not _NUMBER.fullmatch(text) or math.isinf(number := float(text)):
        return text
    if number < 0:
        raise InvalidInput(f"{text!r} is negative")
    if 0 < number < sys.float_info.min:
        raise InvalidInput(f"{text!r} is too small to be exact")
    return number


def _ranges(text: str) -> list[tuple[int, int]]:
    """In order, with those joined that overlap or adjoin."""
    ends = [part for part in re.split(r"[\[\]\-,\n]", text) if part]
    whole = all(_WHOLE_NUMBER.fullmatch(end) for end in ends)
    numbers = [int(end, 0 if end[:2].lower() == "0x" else 10) for end in ends] if whole else []
    if not whole or len(ends) % 2 or max(numbers, default=0) > MOST_OF_A_RANGE:
        raise InvalidInput(f"{text!r} are not ranges: write them as [31000-31999,32100-32200]")
    return joined(zip(numbers[::2], numbers[1::2], strict=True))

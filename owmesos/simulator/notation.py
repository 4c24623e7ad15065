"""Mesos's own notation for flags: resources, attributes, durations, as `cpus:2;mem:1024`, `rack:r1`, `10secs`."""

from __future__ import annotations

import re

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Attribute, Range, Ranges, Scalar, Text
from owmesos.resources import Ports, Resources, milli
from owmesos.simulator.pieces import NO_PIECES, SCALARS, UNRESERVED, Pieces, Reservation, scalar

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


def seconds(text: str) -> float:
    """Of a duration. Raises InvalidInput."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", text.strip())
    if match is None or match[2] not in _UNITS:
        raise InvalidInput(f"{text!r} is no duration: write it as 500ms, 10secs, 2mins")
    return float(match[1]) * _UNITS[match[2]]


def resources(text: str) -> Pieces:
    """Of an agent: `cpus:2;mem:1024;ports:[31000-31999];cpus(role):1`. Raises InvalidInput."""
    result = NO_PIECES
    for part in filter(None, (part.strip() for part in text.split(";"))):
        match = re.fullmatch(r"(\w+)(?:\(([^)]+)\))?:(.+)", part)
        if match is None:
            raise InvalidInput(f"{part!r} is no resource: write it as cpus:2 or ports:[31000-31999]")
        name, role, value = match[1], match[2], match[3]
        stack = UNRESERVED if role in (None, "*") else (Reservation(role, "STATIC"),)
        result = result.plus(Pieces.of(_amount(name, value), stack))
    return result


def _amount(name: str, value: str) -> Resources:
    if name == "ports":
        return Resources(ports=Ports.of(_ranges(value)))
    if name not in SCALARS:
        raise InvalidInput(f"the simulator knows {', '.join(SCALARS)} and ports, not {name!r}")
    try:
        return scalar(name, milli(name, float(value)))
    except ValueError:
        raise InvalidInput(f"{name}: {value!r} is no number that fits") from None


def _ranges(text: str) -> list[tuple[int, int]]:
    if not re.fullmatch(r"\[\s*\d+\s*-\s*\d+\s*(,\s*\d+\s*-\s*\d+\s*)*\]", text.strip()):
        raise InvalidInput(f"{text!r} are no ranges: write them as [31000-31999,32100-32200]")
    return [(int(begin), int(end)) for begin, end in re.findall(r"(\d+)\s*-\s*(\d+)", text)]


def attributes(text: str) -> list[Attribute]:
    """Of an agent: `rack:r1;slots:4.5;spans:[1-5,8-9]`. What looks like a number is one. Raises InvalidInput."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, colon, value = part.partition(":")
        if not colon or not name or not value:
            raise InvalidInput(f"{part!r} is no attribute: write it as rack:r1")
        found.append(_attribute(name, value))
    return found


def _attribute(name: str, value: str) -> Attribute:
    if value.startswith("["):
        return Attribute(name, "RANGES", ranges=Ranges([Range(begin, end) for begin, end in _ranges(value)]))
    try:
        return Attribute(name, "SCALAR", scalar=Scalar(float(value)))
    except ValueError:
        return Attribute(name, "TEXT", text=Text(value))

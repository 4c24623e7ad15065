"""From Mesos's resources to the vector that decisions are made on, and back.

A launch must copy an offered resource with its reservation and change only the amount; a plain amount means
unreserved (measured: reserved resources named without their labels or `reservation` are a TASK_ERROR). So what an
offer holds is kept grouped by *tag*, the part of a resource that is copied back. Revocable resources, shared ones,
those of resource providers and disks with a source or a volume on them are never counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from owmesos.mesos.messages import Range, Ranges, Resource, Scalar
from owmesos.resources import MILLI, NO_PORTS, NOTHING, Ask, Ports, Resources


class Tag(msgspec.Struct, frozen=True, eq=False):
    """What is copied back beside the amount. `role` is that of a reservation in its old form."""

    role: str | None = None
    reservation: dict[str, Any] | None = None
    reservations: list[dict[str, Any]] | None = None


PLAIN = Tag()
Pieces = tuple[tuple[Tag, Resources], ...]
_tags: dict[bytes, Tag] = {}
_encode = msgspec.json.Encoder(order="deterministic").encode


def pieces_of(resources: Iterable[Resource]) -> Pieces:
    """The usable resources, reserved ones first, one entry for each tag."""
    cpus = mem = disk = gpus = 0
    ports = NO_PORTS
    reserved: dict[Tag, list[Resource]] | None = None
    for resource in resources:
        if (
            resource.revocable is not None
            or resource.disk is not None
            or resource.shared is not None
            or resource.provider_id is not None
        ):
            continue
        if resource.reservations or resource.reservation is not None or resource.role not in _UNRESERVED:
            reserved = {} if reserved is None else reserved
            reserved.setdefault(_tag(resource), []).append(resource)
            continue
        name, scalar = resource.name, resource.scalar
        if scalar is None:
            if name == "ports" and resource.ranges is not None:
                found = _ports(tuple([(r.begin, r.end) for r in resource.ranges.range]))
                ports = found if ports is NO_PORTS else ports.union(found)
        elif name == "cpus":
            cpus += round(scalar.value * MILLI)
        elif name == "mem":
            mem += round(scalar.value * MILLI)
        elif name == "disk":
            disk += round(scalar.value * MILLI)
        elif name == "gpus":
            gpus += round(scalar.value * MILLI)
    plain = Resources(cpus, mem, disk, gpus, ports)
    if reserved is None:
        return ((PLAIN, plain),) if plain else ()
    groups = [(tag, total_of(pieces_of(map(_without_reservation, same)))) for tag, same in reserved.items()]
    return tuple((tag, part) for tag, part in [*groups, (PLAIN, plain)] if part)


def _without_reservation(resource: Resource) -> Resource:
    return Resource(name=resource.name, scalar=resource.scalar, ranges=resource.ranges)


def total_of(pieces: Pieces) -> Resources:
    if len(pieces) == 1:
        return pieces[0][1]
    result = NOTHING
    for _, part in pieces:
        result = result.plus(part)
    return result


class Cutter:
    """Cuts launches from the pieces of one ACCEPT's offers: reserved amounts first, ports from the lowest up."""

    def __init__(self, offers: Iterable[Pieces]) -> None:
        groups: dict[int, tuple[Tag, Resources]] = {}
        for pieces in offers:
            for tag, part in pieces:
                known = groups.get(id(tag))
                groups[id(tag)] = (tag, part if known is None else known[1].plus(part))
        self._groups = sorted(groups.values(), key=lambda group: group[0] is PLAIN)

    def cut(self, ask: Ask) -> tuple[Resources, list[Resource]]:
        """What a task gets: as a vector, and as Mesos names it. Raises ValueError when the pieces do not hold it."""
        wanted = [ask.milli_cpus, ask.milli_mem, ask.milli_disk, ask.milli_gpus]
        missing_ports, ports = ask.ports, NO_PORTS
        named: list[Resource] = []
        for index, (tag, part) in enumerate(self._groups):
            have = (part.milli_cpus, part.milli_mem, part.milli_disk, part.milli_gpus)
            took = tuple(min(want, max(0, there)) for want, there in zip(wanted, have, strict=True))
            share = part.ports.take(min(missing_ports, len(part.ports)))
            missing_ports -= len(share)
            ports = ports.union(share)
            wanted = [want - got for want, got in zip(wanted, took, strict=True)]
            cpus, mem, disk, gpus = took
            amount = Resources(cpus, mem, disk, gpus, share)
            if amount:
                self._groups[index] = (tag, part.minus(amount))
                named += named_as(amount, tag)
        if missing_ports or any(wanted):
            raise ValueError("the offers do not hold what is to be cut from them")
        return Resources(ask.milli_cpus, ask.milli_mem, ask.milli_disk, ask.milli_gpus, ports), named


def named_as(amount: Resources, tag: Tag = PLAIN) -> list[Resource]:
    """`amount` as Mesos writes it."""
    copied = {"role": tag.role, "reservation": tag.reservation, "reservations": tag.reservations}
    scalars = (
        ("cpus", amount.milli_cpus),
        ("mem", amount.milli_mem),
        ("disk", amount.milli_disk),
        ("gpus", amount.milli_gpus),
    )
    result = [
        Resource(name=name, type="SCALAR", scalar=Scalar(value / MILLI), **copied)  # type: ignore[arg-type]
        for name, value in scalars
        if value
    ]
    if amount.ports:
        ranges = Ranges([Range(begin, end) for begin, end in amount.ports.ranges])
        result.append(Resource(name="ports", type="RANGES", ranges=ranges, **copied))  # type: ignore[arg-type]
    return result


_UNRESERVED = (None, "*")


def _tag(resource: Resource) -> Tag:
    tag = Tag(resource.role, resource.reservation, resource.reservations)
    return _tags.setdefault(_encode(tag), tag)


@lru_cache(maxsize=4096)
def _ports(ranges: tuple[tuple[int, int], ...]) -> Ports:
    return Ports.of(ranges)

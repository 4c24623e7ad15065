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

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Range, Ranges, Resource, Scalar
from owmesos.resources import MAX_MILLI, MAX_PORT, MILLI, NO_PORTS, SCALARS, Ask, Ports, Resources, total


class Tag(msgspec.Struct, frozen=True, eq=False):
    """What is copied back beside the amount. `role` is that of a reservation in its old form."""

    role: str | None = None
    reservation: dict[str, Any] | None = None
    reservations: list[dict[str, Any]] | None = None


PLAIN = Tag()
TaggedResources = tuple[tuple[Tag, Resources], ...]
_tags: dict[bytes, Tag] = {}
_encode = msgspec.json.Encoder(order="deterministic").encode


def pieces_of(resources: Iterable[Resource]) -> TaggedResources:
    """The usable resources, reserved ones first, one entry for each tag. Ports that nobody can listen on are left out.

    Raises InvalidInput when an amount is negative or too large to be exact.
    """
    try:
        return _pieces_of(resources)
    except OverflowError:
        raise InvalidInput(f"an amount must be 0 to {MAX_MILLI // MILLI}") from None


def unusable_ports(resources: Iterable[Resource]) -> list[tuple[int, int]]:
    """The ranges that nobody can listen on, in part or at all."""
    return [
        (each.begin, each.end)
        for resource in resources
        if resource.name == "ports" and resource.ranges is not None
        for each in resource.ranges.range
        if not 0 < each.begin <= each.end <= MAX_PORT
    ]


def _pieces_of(resources: Iterable[Resource]) -> TaggedResources:
    cpus = mem = disk = gpus = 0
    ranges: list[tuple[int, int]] = []
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
                ranges += [(each.begin, each.end) for each in resource.ranges.range]
        elif name == "cpus":
            cpus += round(scalar.value * MILLI)
        elif name == "mem":
            mem += round(scalar.value * MILLI)
        elif name == "disk":
            disk += round(scalar.value * MILLI)
        elif name == "gpus":
            gpus += round(scalar.value * MILLI)
    if not (0 <= cpus <= MAX_MILLI and 0 <= mem <= MAX_MILLI and 0 <= disk <= MAX_MILLI and 0 <= gpus <= MAX_MILLI):
        raise OverflowError
    plain = Resources(cpus, mem, disk, gpus, _ports(tuple(ranges)) if ranges else NO_PORTS)
    if reserved is None:
        return ((PLAIN, plain),) if plain else ()
    groups = [(tag, total_of(_pieces_of(map(_without_reservation, same)))) for tag, same in reserved.items()]
    return tuple((tag, part) for tag, part in [*groups, (PLAIN, plain)] if part)


def _without_reservation(resource: Resource) -> Resource:
    return Resource(name=resource.name, scalar=resource.scalar, ranges=resource.ranges)


def total_of(pieces: TaggedResources) -> Resources:
    if len(pieces) == 1:
        return pieces[0][1]
    return total(part for _, part in pieces)


class Cutter:
    """Cuts launches from the pieces of one ACCEPT's offers: reserved amounts first."""

    def __init__(self, offers: Iterable[TaggedResources]) -> None:
        groups: dict[int, tuple[Tag, Resources]] = {}
        for pieces in offers:
            for tag, part in pieces:
                known = groups.get(id(tag))
                groups[id(tag)] = (tag, part if known is None else known[1].plus(part))
        self._groups = sorted(groups.values(), key=lambda group: group[0] is PLAIN)

    def cut(self, ask: Ask, ports_at: float = 0.0, *, ports_above: int = 0) -> tuple[Resources, list[Resource]]:
        """What a task gets: as a vector, and as Mesos names it. `ports_at`, `ports_above`: see `Ports.take`.

        Raises ValueError when the pieces do not hold it.
        """
        wanted = list(_scalars(ask))
        missing_ports, ports = ask.ports, NO_PORTS
        named: list[Resource] = []
        for index, (tag, part) in enumerate(self._groups):
            cpus, mem, disk, gpus = map(min, wanted, _scalars(part))
            share = part.ports.take(min(missing_ports, len(part.ports)), ports_at, above=ports_above)
            missing_ports -= len(share)
            ports = ports.union(share)
            amount = Resources(cpus, mem, disk, gpus, share)
            wanted = [want - got for want, got in zip(wanted, _scalars(amount), strict=True)]
            if amount:
                self._groups[index] = (tag, part.minus(amount))
                named += _named_as(amount, tag)
        if missing_ports or any(wanted):
            raise ValueError("the offers do not hold what is to be cut from them")
        return Resources(*_scalars(ask), ports), named


def _scalars(amount: Ask | Resources) -> tuple[int, int, int, int]:
    return amount.milli_cpus, amount.milli_mem, amount.milli_disk, amount.milli_gpus


def _named_as(amount: Resources, tag: Tag) -> list[Resource]:
    """`amount` as Mesos writes it."""
    copied = {"role": tag.role, "reservation": tag.reservation, "reservations": tag.reservations}
    result = [
        Resource(name=name, type="SCALAR", scalar=Scalar(value / MILLI), **copied)  # type: ignore[arg-type]
        for name, value in zip(SCALARS, _scalars(amount), strict=True)
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
    within = [(max(begin, 1), min(end, MAX_PORT)) for begin, end in ranges]
    return Ports.of([(begin, end) for begin, end in within if begin <= end])

"""Resources as the master counts them: amounts, apart by what they are reserved for.

Unreserved cpus and cpus that are reserved for a role are different things: a task must name the ones it takes. A stack
of reservations is the key (docs/reservation.md; with RESERVATION_REFINEMENT it may be higher than one). Revocable,
shared and persistent resources do not exist here: a task that names one asks for what no agent has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from owmesos.mesos.messages import AllocationInfo, Range, Ranges, Resource, Scalar
from owmesos.resources import MILLI, NOTHING, Ports, Resources, milli

SCALARS = ("cpus", "mem", "disk", "gpus")


def scalar(name: str, amount: int) -> Resources:
    """`amount` thousandths of one of SCALARS."""
    fields: dict[str, Any] = {f"milli_{name}": amount}
    return Resources(**fields)


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """`labels` are pairs of key and value."""

    role: str
    type: str = "DYNAMIC"
    principal: str | None = None
    labels: tuple[tuple[str, str | None], ...] = ()


Stack = tuple[Reservation, ...]
UNRESERVED: Stack = ()
_NOWHERE: Stack = (Reservation("", "NOT SIMULATED"),)


class Pieces:
    """Resources by stack of reservations. Never changed; empty parts are left out."""

    __slots__ = ("parts",)

    def __init__(self, parts: dict[Stack, Resources]) -> None:
        self.parts = parts

    @classmethod
    def of(cls, resources: Resources, stack: Stack = UNRESERVED) -> Pieces:
        return cls({stack: resources}) if resources else NO_PIECES

    def plus(self, other: Pieces) -> Pieces:
        if not other.parts:
            return self
        if not self.parts:
            return other
        parts = dict(self.parts)
        for stack, resources in other.parts.items():
            have = parts.get(stack)
            parts[stack] = resources if have is None else have.plus(resources)
        return Pieces(parts)

    def minus(self, other: Pieces) -> Pieces:
        """What is left; `other` must be within."""
        if not other.parts:
            return self
        parts = dict(self.parts)
        for stack, resources in other.parts.items():
            left = parts.get(stack, NOTHING).minus(resources)
            if left:
                parts[stack] = left
            else:
                parts.pop(stack, None)
        return Pieces(parts)

    def covers(self, other: Pieces) -> bool:
        return all(self.parts.get(stack, NOTHING).covers(part) for stack, part in other.parts.items())

    def total(self) -> Resources:
        """Whatever it is reserved for."""
        result = NOTHING
        for resources in self.parts.values():
            result = resources if result is NOTHING else result.plus(resources)
        return result

    def for_role(self, role: str, *, refinement: bool = True) -> Pieces:
        """What may be offered to `role`: the unreserved, and what is reserved for it or for a role above it."""
        if len(self.parts) <= 1 and (not self.parts or UNRESERVED in self.parts):
            return self
        kept = {
            stack: part
            for stack, part in self.parts.items()
            if (not stack or is_within(role, stack[-1].role)) and (refinement or len(stack) <= 1)
        }
        return Pieces(kept)

    @property
    def unreserved(self) -> Resources:
        return self.parts.get(UNRESERVED, NOTHING)

    def with_unreserved(self, resources: Resources) -> Pieces:
        """The same with other unreserved resources."""
        parts = {stack: part for stack, part in self.parts.items() if stack}
        if resources:
            parts[UNRESERVED] = resources
        return Pieces(parts)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pieces) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(frozenset(self.parts.items()))

    def __repr__(self) -> str:
        return f"Pieces({self.parts!r})"


NO_PIECES = Pieces({})


def sum_of(many: Iterable[Pieces]) -> Pieces:
    result = NO_PIECES
    for each in many:
        result = result.plus(each)
    return result


def is_within(role: str, above: str) -> bool:
    """True if `role` is `above` or a role below it in the hierarchy."""
    return role == above or role.startswith(f"{above}/")


# -- as messages


def to_resources(pieces: Pieces, role: str | None, *, refinement: bool) -> list[Resource]:
    """As an offer has them, allocated to `role` if it is given."""
    allocation = AllocationInfo(role) if role is not None else None
    made: list[Resource] = []
    for stack, part in pieces.parts.items():
        form = _reservation_fields(stack, refinement=refinement)
        amounts = (part.milli_cpus, part.milli_mem, part.milli_disk, part.milli_gpus)
        for name, amount in zip(SCALARS, amounts, strict=True):
            if amount:
                made.append(Resource(name, "SCALAR", scalar=Scalar(amount / MILLI), allocation_info=allocation, **form))
        if part.ports.ranges:
            ranges = Ranges([Range(begin, end) for begin, end in part.ports.ranges])
            made.append(Resource("ports", "RANGES", ranges=ranges, allocation_info=allocation, **form))
    return made


def _reservation_fields(stack: Stack, *, refinement: bool) -> dict[str, Any]:
    if not stack:
        return {} if refinement else {"role": "*"}
    if refinement:
        return {"reservations": [_as_json(each, with_role=True) for each in stack]}
    fields: dict[str, Any] = {"role": stack[-1].role}
    if stack[-1].type == "DYNAMIC":
        fields["reservation"] = _as_json(stack[-1], with_role=False)
    return fields


def _as_json(reservation: Reservation, *, with_role: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"type": reservation.type, "role": reservation.role} if with_role else {}
    if reservation.principal is not None:
        document["principal"] = reservation.principal
    if reservation.labels:
        labels = [{"key": key} if value is None else {"key": key, "value": value} for key, value in reservation.labels]
        document["labels"] = {"labels": labels}
    return document


def from_resources(resources: Iterable[Resource]) -> Pieces:
    """What a task, or an operator, names. Raises InvalidInput for amounts that are none."""
    result = NO_PIECES
    for stack, amount in _amounts(resources):
        result = result.plus(Pieces.of(amount, stack))
    return result


def _amounts(resources: Iterable[Resource]) -> Iterator[tuple[Stack, Resources]]:
    for resource in resources:
        stack = stack_of(resource)
        if resource.disk or resource.shared or resource.revocable or resource.provider_id:
            stack = _NOWHERE
        if resource.name in SCALARS and resource.scalar is not None:
            yield stack, scalar(resource.name, milli(resource.name, resource.scalar.value))
        elif resource.name == "ports" and resource.ranges is not None:
            yield stack, Resources(ports=Ports.of((each.begin, each.end) for each in resource.ranges.range))
        else:
            yield _NOWHERE, Resources(milli_cpus=1)


def stack_of(resource: Resource) -> Stack:
    """What a resource is reserved for, in either way of writing it."""
    if resource.reservations:
        return tuple(_reservation(each, each.get("role", "*"), each.get("type")) for each in resource.reservations)
    if resource.role in (None, "*"):
        return UNRESERVED
    assert resource.role is not None
    if resource.reservation is None:
        return (Reservation(resource.role, "STATIC"),)
    return (_reservation(resource.reservation, resource.role, "DYNAMIC"),)


def _reservation(document: dict[str, Any], role: str, type_: str | None) -> Reservation:
    labels = (document.get("labels") or {}).get("labels") or []
    pairs = tuple((str(each.get("key")), each.get("value")) for each in labels)
    return Reservation(role, type_ or "DYNAMIC", document.get("principal"), pairs)


# -- as text


def to_text(pieces: Pieces, role: str | None) -> str:
    """As Mesos writes resources in messages: `cpus(allocated: t):2; ports(allocated: t):[31000-31999]`."""
    allocated = f"(allocated: {role})" if role is not None else ""
    words: list[str] = []
    for stack, part in pieces.parts.items():
        names = ",".join(f"({each.type},{each.role})" for each in stack)
        kind = f"{allocated}(reservations: [{names}])" if stack else allocated
        scalars = zip(SCALARS, (part.milli_cpus, part.milli_mem, part.milli_disk, part.milli_gpus), strict=True)
        words += [f"{name}{kind}:{amount / MILLI:g}" for name, amount in scalars if amount]
        if part.ports.ranges:
            words.append(f"ports{kind}:[{', '.join(f'{begin}-{end}' for begin, end in part.ports.ranges)}]")
    return "; ".join(words) or "{}"

"""Resources as the master counts them: amounts, apart by what they are reserved for.

Unreserved cpus and cpus that are reserved for a role are different things: a task must name the ones it takes. A stack
of reservations is the key (docs/reservation.md; with RESERVATION_REFINEMENT it may be higher than one). Revocable,
shared and persistent resources do not exist here: a task that names one asks for what no agent has.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import AllocationInfo, Label, Range, Ranges, Resource, Scalar
from owmesos.mesos.messages.values import Value
from owmesos.resources import MILLI, NOTHING, SCALARS, Ports, Resources, milli, total

MOST_OF_A_RANGE = 2**64 - 1  # Mesos does not know what is a port


def scalar(name: str, amount: int) -> Resources:
    """`amount` thousandths of one of SCALARS."""
    fields: dict[str, Any] = {f"milli_{name}": amount}
    return Resources(**fields)


class PieceLabels(Value, frozen=True):
    labels: tuple[Label, ...] = ()


class PieceReservation(msgspec.Struct, frozen=True, gc=False):
    """As Mesos's JSON has it, but with labels that can be hashed."""

    role: str = "*"
    type: str = "DYNAMIC"
    principal: str | UnsetType = UNSET
    labels: PieceLabels | UnsetType = UNSET


Stack = tuple[PieceReservation, ...]
UNRESERVED: Stack = ()
_NOWHERE: Stack = (PieceReservation("", "NOT SIMULATED"),)


class Pieces(msgspec.Struct, frozen=True):
    """Resources by stack of reservations. Never changed; empty parts are left out."""

    parts: dict[Stack, Resources]

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
        return total(self.parts.values())

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

    def __hash__(self) -> int:
        return hash(frozenset(self.parts.items()))


NO_PIECES = Pieces({})


def sum_of(many: Iterable[Pieces]) -> Pieces:
    return reduce(Pieces.plus, many, NO_PIECES)


def without_reservations(reserved: Pieces) -> Pieces:
    """The same with the last reservation of each stack undone."""
    return sum_of(Pieces.of(part, stack[:-1]) for stack, part in reserved.parts.items())


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
        for name, amount in _scalars_of(part):
            made.append(Resource(name, "SCALAR", scalar=Scalar(amount / MILLI), allocation_info=allocation, **form))
        if part.ports.ranges:
            ranges = Ranges([Range(begin, end) for begin, end in part.ports.ranges])
            made.append(Resource("ports", "RANGES", ranges=ranges, allocation_info=allocation, **form))
    return made


def _scalars_of(part: Resources) -> list[tuple[str, int]]:
    """Those that are not 0, in thousandths."""
    amounts = zip(SCALARS, (part.milli_cpus, part.milli_mem, part.milli_disk, part.milli_gpus), strict=True)
    return [(name, amount) for name, amount in amounts if amount]


def _reservation_fields(stack: Stack, *, refinement: bool) -> dict[str, Any]:
    if not stack:
        return {} if refinement else {"role": "*"}
    if refinement:
        return {"reservations": msgspec.to_builtins(stack)}
    fields: dict[str, Any] = {"role": stack[-1].role}
    if stack[-1].type == "DYNAMIC":
        form = msgspec.to_builtins(stack[-1])
        fields["reservation"] = {name: form[name] for name in ("principal", "labels") if name in form}
    return fields


def from_resources(resources: Iterable[Resource]) -> Pieces:
    """What a task, or an operator, names. Raises InvalidInput for amounts and reservations that are none."""
    try:
        return sum_of(map(_pieces_of, resources))
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None


def _pieces_of(resource: Resource) -> Pieces:
    stack = stack_of(resource)
    if resource.disk or resource.shared or resource.revocable or resource.provider_id:
        stack = _NOWHERE
    if resource.name in SCALARS and resource.scalar is not None:
        return Pieces.of(scalar(resource.name, milli(resource.name, resource.scalar.value)), stack)
    if resource.name == "ports" and resource.ranges is not None:
        ranges = ((each.begin, each.end) for each in resource.ranges.range)
        return Pieces.of(Resources(ports=Ports.of(ranges, MOST_OF_A_RANGE)), stack)
    return Pieces.of(Resources(milli_cpus=1), _NOWHERE)


def stack_of(resource: Resource) -> Stack:
    """What a resource is reserved for, in either way of writing it."""
    if resource.reservations:
        return msgspec.convert(tuple(resource.reservations), Stack)
    if resource.role in (None, "*"):
        return UNRESERVED
    assert resource.role is not None
    if resource.reservation is None:
        return (PieceReservation(resource.role, "STATIC"),)
    return (msgspec.convert({**resource.reservation, "role": resource.role, "type": "DYNAMIC"}, PieceReservation),)


# -- as text


def to_text(pieces: Pieces, role: str | None) -> str:
    """As Mesos writes resources in messages: `cpus(allocated: t):2; ports(allocated: t):[31000-31999]`."""
    allocated = f"(allocated: {role})" if role is not None else ""
    words: list[str] = []
    for stack, part in pieces.parts.items():
        names = ",".join(f"({each.type},{each.role})" for each in stack)
        kind = f"{allocated}(reservations: [{names}])" if stack else allocated
        words += [f"{name}{kind}:{amount / MILLI:g}" for name, amount in _scalars_of(part)]
        if part.ports.ranges:
            words.append(f"ports{kind}:[{', '.join(f'{begin}-{end}' for begin, end in part.ports.ranges)}]")
    return "; ".join(words) or "{}"

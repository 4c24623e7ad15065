"""The small values that offers, tasks and the operator API consist of.

Field names are those of the JSON, class names those of the protobuf (include/mesos/v1/mesos.proto). An absent field has
the protobuf's default, and is not written. The garbage collector does not track values, because JSON has no cycles and
a cluster of 50,000 agents makes millions of them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

ValueType = Literal["SCALAR", "RANGES", "SET", "TEXT"]


class Value(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The root of the values: frozen, compact, written without their defaults."""


class ID(Value, frozen=True):
    """Any id of Mesos: framework, agent, offer, task, executor, operation."""

    value: str


class Scalar(Value, frozen=True):
    """cpus and GPUs in units, mem and disk in MB."""

    value: float


class Range(Value, frozen=True):
    """Inclusive at both ends."""

    begin: int
    end: int


class Ranges(Value, frozen=True):
    range: list[Range] = []


class Text(Value, frozen=True):
    value: str = ""


class TextSet(Value, frozen=True):
    item: list[str] = []


class AllocationInfo(Value, frozen=True):
    """The role that an offer, or a resource of it, is allocated to."""

    role: str | None = None


class Resource(Value, frozen=True):
    """One piece of an agent. A launch copies the fields that are kept as decoded JSON back unchanged.

    `role` is absent where `reservations` is used (RESERVATION_REFINEMENT); it defaults to `*` at the master.
    """

    name: str
    type: ValueType | None = None
    scalar: Scalar | None = None
    ranges: Ranges | None = None
    set: TextSet | None = None
    role: str | None = None
    allocation_info: AllocationInfo | None = None
    reservation: dict[str, Any] | None = None
    reservations: list[dict[str, Any]] | None = None
    disk: dict[str, Any] | None = None
    shared: dict[str, Any] | None = None
    revocable: dict[str, Any] | None = None
    provider_id: dict[str, Any] | None = None


class Attribute(Value, frozen=True):
    """One attribute of an agent; a name may occur several times."""

    name: str
    type: ValueType | None = None
    scalar: Scalar | None = None
    ranges: Ranges | None = None
    text: Text | None = None
    set: TextSet | None = None


class Address(Value, frozen=True):
    port: int
    hostname: str | None = None
    ip: str | None = None


class Parameter(Value, frozen=True):
    key: str
    value: str


class URL(Value, frozen=True):
    """Where an agent or a master listens."""

    scheme: str
    address: Address
    path: str | None = None
    query: list[Parameter] = []
    fragment: str | None = None


class TimeInfo(Value, frozen=True):
    """Nanoseconds since the epoch."""

    nanoseconds: int


class DurationInfo(Value, frozen=True):
    nanoseconds: int


class Unavailability(Value, frozen=True):
    """A maintenance window. Without `duration` it has no end."""

    start: TimeInfo
    duration: DurationInfo | None = None


class RegionInfo(Value, frozen=True):
    name: str


class ZoneInfo(Value, frozen=True):
    name: str


class FaultDomain(Value, frozen=True):
    region: RegionInfo
    zone: ZoneInfo


class DomainInfo(Value, frozen=True):
    fault_domain: FaultDomain | None = None


class Label(Value, frozen=True):
    key: str
    value: str | None = None


class Labels(Value, frozen=True):
    labels: list[Label] = []


class Capability(Value, frozen=True):
    """What a framework, an agent or a master can do. A master writes `{}` for one that it has no name for."""

    type: str | None = None


class MasterInfo(Value, frozen=True):
    """`id` changes with every start of a master."""

    id: str
    ip: int | None = None
    port: int | None = None
    pid: str | None = None
    hostname: str | None = None
    version: str | None = None
    address: Address | None = None
    domain: DomainInfo | None = None
    capabilities: list[Capability] = []

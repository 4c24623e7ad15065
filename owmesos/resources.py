"""The vector of resources, and what a launch asks of one agent.

Mesos compares scalars after rounding them to thousandths (docs/attributes-resources.md), so they are whole
thousandths here: sums are exact, and an exact fit fits. Ports are a set of inclusive ranges. Everything above
this module speaks of room in these two types; only `owmesos.mesos` knows how a master writes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

from owmesos.errors import InvalidInput

MILLI = 1000
SCALARS = ("cpus", "mem", "disk", "gpus")
MAX_PORT = 65535
_MAX_SCALAR = 2**53 // MILLI


def milli(name: str, value: float) -> int:
    """`value` in thousandths, rounded as Mesos rounds.

    Raises InvalidInput when it is negative, not finite or too large to be exact.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInput(f"{name} must be a finite number, not {value!r}")
    if value < 0:
        raise InvalidInput(f"{name} must not be negative: {value:g}")
    if value > _MAX_SCALAR:
        raise InvalidInput(f"{name} is too large: {value:g}")
    return round(value * MILLI)


class Ports(msgspec.Struct, frozen=True, gc=False):
    """A set of ports as sorted, disjoint, non-adjacent inclusive ranges."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> Ports:
        """The set of all ports in `ranges`, which may overlap and come in any order.

        Raises InvalidInput when a range is empty or no port range.
        """
        merged: list[tuple[int, int]] = []
        for begin, end in sorted(ranges):
            if not 0 <= begin <= end <= MAX_PORT:
                raise InvalidInput(f"[{begin}, {end}] is not a range of ports")
            if merged and begin <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return cls(tuple(merged)) if merged else NO_PORTS

    def __len__(self) -> int:
        return sum(end - begin + 1 for begin, end in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __iter__(self) -> Iterator[int]:
        for begin, end in self.ranges:
            yield from range(begin, end + 1)

    def __contains__(self, port: object) -> bool:
        return any(begin <= port <= end for begin, end in self.ranges if isinstance(port, int))

    def union(self, other: Ports) -> Ports:
        if not other.ranges or self is other or self.ranges == other.ranges:
            return self
        if not self.ranges:
            return other
        return Ports.of(self.ranges + other.ranges)

    def minus(self, other: Ports) -> Ports:
        if not other.ranges or not self.ranges:
            return self
        left: list[tuple[int, int]] = []
        for begin, end in self.ranges:
            for cut_begin, cut_end in other.ranges:
                if cut_end < begin:
                    continue
                if cut_begin > end:
                    break
                if cut_begin > begin:
                    left.append((begin, cut_begin - 1))
                begin = cut_end + 1
            if begin <= end:
                left.append((begin, end))
        return Ports(tuple(left)) if left else NO_PORTS

    def intersection(self, other: Ports) -> Ports:
        return self.minus(self.minus(other))

    def take(self, count: int) -> Ports:
        """The lowest `count` ports of the set. Raises ValueError when it holds fewer."""
        taken: list[tuple[int, int]] = []
        for begin, end in self.ranges:
            if count <= 0:
                break
            last = min(end, begin + count - 1)
            taken.append((begin, last))
            count -= last - begin + 1
        if count > 0:
            raise ValueError(f"{count} ports are missing")
        return Ports(tuple(taken)) if taken else NO_PORTS


NO_PORTS = Ports()


class Resources(msgspec.Struct, frozen=True, gc=False):
    """What an agent has or a task holds: scalars in thousandths of a cpu, MB, MB and GPU, and a set of ports.

    Scalars may be negative in a result of `minus`: a debt, which fits nothing.
    """

    milli_cpus: int = 0
    milli_mem: int = 0
    milli_disk: int = 0
    milli_gpus: int = 0
    ports: Ports = NO_PORTS

    @classmethod
    def of(
        cls,
        *,
        cpus: float = 0,
        mem: float = 0,
        disk: float = 0,
        gpus: float = 0,
        ports: Iterable[tuple[int, int]] = (),
    ) -> Resources:
        """From cpus, MB, MB, GPUs and port ranges. Raises InvalidInput."""
        return cls(milli("cpus", cpus), milli("mem", mem), milli("disk", disk), milli("gpus", gpus), Ports.of(ports))

    @property
    def cpus(self) -> float:
        return self.milli_cpus / MILLI

    @property
    def mem(self) -> float:
        """MB."""
        return self.milli_mem / MILLI

    @property
    def disk(self) -> float:
        """MB."""
        return self.milli_disk / MILLI

    @property
    def gpus(self) -> float:
        return self.milli_gpus / MILLI

    def plus(self, other: Resources) -> Resources:
        return Resources(
            self.milli_cpus + other.milli_cpus,
            self.milli_mem + other.milli_mem,
            self.milli_disk + other.milli_disk,
            self.milli_gpus + other.milli_gpus,
            self.ports.union(other.ports),
        )

    def minus(self, other: Resources) -> Resources:
        return Resources(
            self.milli_cpus - other.milli_cpus,
            self.milli_mem - other.milli_mem,
            self.milli_disk - other.milli_disk,
            self.milli_gpus - other.milli_gpus,
            self.ports.minus(other.ports),
        )

    def covers(self, other: Resources) -> bool:
        """True if `other` is contained in this: every scalar at most as large, every port here."""
        return (
            other.milli_cpus <= self.milli_cpus
            and other.milli_mem <= self.milli_mem
            and other.milli_disk <= self.milli_disk
            and other.milli_gpus <= self.milli_gpus
            and not other.ports.minus(self.ports).ranges
        )

    def at_least_zero(self) -> Resources:
        """The same with every debt shown as nothing."""
        return Resources(
            max(0, self.milli_cpus),
            max(0, self.milli_mem),
            max(0, self.milli_disk),
            max(0, self.milli_gpus),
            self.ports,
        )

    def __bool__(self) -> bool:
        return bool(self.milli_cpus or self.milli_mem or self.milli_disk or self.milli_gpus or self.ports.ranges)


NOTHING = Resources()


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What one launch needs, all of it on one agent: scalars in thousandths, and a number of any ports."""

    milli_cpus: int = 0
    milli_mem: int = 0
    milli_disk: int = 0
    milli_gpus: int = 0
    ports: int = 0

    @classmethod
    def of(cls, *, cpus: float = 0, mem: float = 0, disk: float = 0, gpus: float = 0, ports: int = 0) -> Ask:
        """From cpus, MB, MB, GPUs and a count of ports. Raises InvalidInput."""
        if isinstance(ports, bool) or not isinstance(ports, int) or ports < 0:
            raise InvalidInput(f"ports must be a whole number that is not negative: {ports!r}")
        return cls(milli("cpus", cpus), milli("mem", mem), milli("disk", disk), milli("gpus", gpus), ports)

    def fits(self, room: Resources) -> bool:
        """True if `room` holds all of this. An exact fit fits; a debt hinders only who asks for that kind."""
        return (
            (self.milli_mem <= room.milli_mem or not self.milli_mem)
            and (self.milli_cpus <= room.milli_cpus or not self.milli_cpus)
            and (self.milli_disk <= room.milli_disk or not self.milli_disk)
            and (self.milli_gpus <= room.milli_gpus or not self.milli_gpus)
            and (not self.ports or self.ports <= len(room.ports))
        )

    def cut(self, room: Resources) -> Resources:
        """What a task with this ask takes of `room`: the scalars, and the lowest ports. Raises ValueError."""
        return Resources(self.milli_cpus, self.milli_mem, self.milli_disk, self.milli_gpus, room.ports.take(self.ports))

    def plus(self, other: Ask) -> Ask:
        return Ask(
            self.milli_cpus + other.milli_cpus,
            self.milli_mem + other.milli_mem,
            self.milli_disk + other.milli_disk,
            self.milli_gpus + other.milli_gpus,
            self.ports + other.ports,
        )

    def minus(self, other: Ask) -> Ask:
        return Ask(
            self.milli_cpus - other.milli_cpus,
            self.milli_mem - other.milli_mem,
            self.milli_disk - other.milli_disk,
            self.milli_gpus - other.milli_gpus,
            self.ports - other.ports,
        )


def plainly(thousandths: int) -> str:
    """An amount for a person: no exponent, no needless zeros."""
    text = f"{thousandths / MILLI:.3f}"
    return text.rstrip("0").rstrip(".")


def total(parts: Iterable[Resources]) -> Resources:
    """The sum of `parts`."""
    result: Resources = NOTHING
    for part in parts:
        result = part if result is NOTHING else result.plus(part)
    return result

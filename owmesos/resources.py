"""The vector of resources, and what a launch asks of one node.

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
MAX_MILLI = _MAX_SCALAR * MILLI
"""Thousandths: up to here a float is exact."""
MAX_PODS = 2**31 - 1
_FIELDS = ("milli_cpus", "milli_mem", "milli_disk", "milli_gpus")


def check_number(name: str, value: object, least: float, most: float) -> None:
    """Raises InvalidInput unless `value` is a number from `least` to `most`, and no truth value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInput(f"{name} must be a finite number, not {value!r:.80}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"{name} must be a finite number, not {value!r}")
    if not least <= value <= most:
        shown = f"{value:.15g}" if abs(value) <= 1e300 else "beyond 1e300"
        raise InvalidInput(f"{name} must be {least:.15g} to {most:.15g}, not {shown}")


def milli(name: str, value: float) -> int:
    """`value` in thousandths, rounded as Mesos rounds.

    Raises InvalidInput when it is negative, not finite or too large to be exact.
    """
    check_number(name, value, 0, _MAX_SCALAR)
    return round(value * MILLI)


def whole(name: str, value: int, most: int) -> int:
    """`value`. Raises InvalidInput unless it is a whole number from 0 to `most`."""
    check_number(name, value, 0, most)
    if not isinstance(value, int):
        raise InvalidInput(f"{name} must be a whole number, not {value!r}")
    return value


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Inclusive ranges in order, with those joined that overlap or touch."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if found and begin <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


class Ports(msgspec.Struct, frozen=True, gc=False):
    """A set of ports as sorted, disjoint, non-adjacent inclusive ranges."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]], most: int = MAX_PORT) -> Ports:
        """The set of all ports in `ranges`, which may overlap and come in any order. None is above `most`.

        Raises InvalidInput when a range is empty or no port range.
        """
        given = tuple(ranges)
        for begin, end in given:
            if not 0 <= begin <= end <= most:
                raise InvalidInput(f"[{begin}, {end}] is not a range of ports from 0 to {most}")
        return cls(tuple(joined(given))) if given else NO_PORTS

    def __len__(self) -> int:
        count = 0
        for begin, end in self.ranges:
            count += end - begin + 1
        return count

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
        return Ports.of(self.ranges + other.ranges, max(self.ranges[-1][1], other.ranges[-1][1]))

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

    def take(self, count: int, begin_at: float = 0.0, *, above: int = 0) -> Ports:
        """`count` ports of the set: the lowest ones, or those above a port, or from a place in it (0 to 1) upwards, and
        then from the lowest.

        Raises ValueError when it holds fewer.
        """
        below = sum(min(end, above) - begin + 1 for begin, end in self.ranges if begin <= above) if above else 0
        skip = below if below < len(self) else 0
        skip += int(begin_at * (len(self) - skip))
        if skip:
            skipped = self.take(skip)
            after = self.minus(skipped)
            found = after.take(min(count, len(after)))
            return found.union(skipped.take(count - len(found)))
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
    """What a node has, or a task or a pod holds: scalars in thousandths of a cpu, MB, MB and GPU, a set of ports,
    and pods.

    Pods are counted on Kubernetes only, where a node takes a bounded number of them. Scalars and pods may be negative
    in a result of `minus`: a debt, which fits nothing.
    """

    milli_cpus: int = 0
    milli_mem: int = 0
    milli_disk: int = 0
    milli_gpus: int = 0
    ports: Ports = NO_PORTS
    pods: int = 0

    @classmethod
    def of(
        cls,
        *,
        cpus: float = 0,
        mem: float = 0,
        disk: float = 0,
        gpus: float = 0,
        ports: Iterable[tuple[int, int]] = (),
        pods: int = 0,
    ) -> Resources:
        """From cpus, MB, MB, GPUs, port ranges and a count of pods. Raises InvalidInput."""
        scalars = (milli("cpus", cpus), milli("mem", mem), milli("disk", disk), milli("gpus", gpus))
        return cls(*scalars, Ports.of(ports), whole("pods", pods, MAX_PODS))

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
            self.pods + other.pods,
        )

    def minus(self, other: Resources) -> Resources:
        return Resources(
            self.milli_cpus - other.milli_cpus,
            self.milli_mem - other.milli_mem,
            self.milli_disk - other.milli_disk,
            self.milli_gpus - other.milli_gpus,
            self.ports.minus(other.ports),
            self.pods - other.pods,
        )

    def as_ask(self) -> Ask:
        """As much, with ports by their number: which ones they are plays no part."""
        return Ask(self.milli_cpus, self.milli_mem, self.milli_disk, self.milli_gpus, len(self.ports), self.pods)

    def covers(self, other: Resources) -> bool:
        """True if `other` is contained in this: every scalar and count at most as large, every port here."""
        return (
            other.milli_cpus <= self.milli_cpus
            and other.milli_mem <= self.milli_mem
            and other.milli_disk <= self.milli_disk
            and other.milli_gpus <= self.milli_gpus
            and other.pods <= self.pods
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
            max(0, self.pods),
        )

    def check(self) -> None:
        """Raises InvalidInput unless it is an amount that a node can have."""
        for name in _FIELDS:
            check_number(name, getattr(self, name), 0, MAX_MILLI)
        check_number("pods", self.pods, 0, MAX_PODS)
        if Ports.of(self.ports.ranges) != self.ports:
            raise InvalidInput("ports are not in order")

    def __bool__(self) -> bool:
        scalars = self.milli_cpus or self.milli_mem or self.milli_disk or self.milli_gpus
        return bool(scalars or self.ports.ranges or self.pods)


NOTHING = Resources()


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What one launch needs, all of it on one node: scalars in thousandths, a number of any ports, and pods."""

    milli_cpus: int = 0
    milli_mem: int = 0
    milli_disk: int = 0
    milli_gpus: int = 0
    ports: int = 0
    pods: int = 0

    @classmethod
    def of(
        cls, *, cpus: float = 0, mem: float = 0, disk: float = 0, gpus: float = 0, ports: int = 0, pods: int = 0
    ) -> Ask:
        """From cpus, MB, MB, GPUs, and counts of ports and pods. Raises InvalidInput."""
        counts = (whole("ports", ports, MAX_PORT + 1), whole("pods", pods, MAX_PODS))
        return cls(milli("cpus", cpus), milli("mem", mem), milli("disk", disk), milli("gpus", gpus), *counts)

    def check(self) -> None:
        """Raises InvalidInput unless it is an amount that can be asked for."""
        for name in _FIELDS:
            check_number(name, getattr(self, name), 0, MAX_MILLI)
        check_number("ports", self.ports, 0, MAX_PORT + 1)
        check_number("pods", self.pods, 0, MAX_PODS)

    def fits(self, room: Resources) -> bool:
        """True if `room` holds all of this. An exact fit fits; a debt hinders only who asks for that kind."""
        return (
            (self.milli_mem <= room.milli_mem or not self.milli_mem)
            and (self.milli_cpus <= room.milli_cpus or not self.milli_cpus)
            and (self.milli_disk <= room.milli_disk or not self.milli_disk)
            and (self.milli_gpus <= room.milli_gpus or not self.milli_gpus)
            and (not self.ports or self.ports <= len(room.ports))
            and (self.pods <= room.pods or not self.pods)
        )

    def cut(self, room: Resources) -> Resources:
        """What a task with this ask takes of `room`: scalars, the lowest ports, pods. Raises ValueError."""
        ports = room.ports.take(self.ports)
        return Resources(self.milli_cpus, self.milli_mem, self.milli_disk, self.milli_gpus, ports, self.pods)

    def plus(self, other: Ask) -> Ask:
        return Ask(
            self.milli_cpus + other.milli_cpus,
            self.milli_mem + other.milli_mem,
            self.milli_disk + other.milli_disk,
            self.milli_gpus + other.milli_gpus,
            self.ports + other.ports,
            self.pods + other.pods,
        )

    def minus(self, other: Ask) -> Ask:
        return Ask(
            self.milli_cpus - other.milli_cpus,
            self.milli_mem - other.milli_mem,
            self.milli_disk - other.milli_disk,
            self.milli_gpus - other.milli_gpus,
            self.ports - other.ports,
            self.pods - other.pods,
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

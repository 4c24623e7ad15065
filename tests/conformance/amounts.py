"""How much there is in a list of Mesos's resources, and a part of it for a task.

Of the cases' own, and simple: they judge a cluster, and owmesos's arithmetic must not judge along.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

import msgspec

from owmesos.mesos.messages import Range, Ranges, Resource, Scalar


@dataclass(frozen=True)
class Amounts:
    """Scalars by name, in thousandths; ports one by one."""

    scalars: dict[str, int]
    ports: frozenset[int]

    def minus(self, other: Amounts) -> Amounts:
        names = self.scalars.keys() | other.scalars.keys()
        left = {name: self.scalars.get(name, 0) - other.scalars.get(name, 0) for name in names}
        return Amounts({name: value for name, value in left.items() if value}, self.ports - other.ports)

    def __getitem__(self, name: str) -> float:
        return self.scalars.get(name, 0) / 1000


def amounts(*lists: Iterable[Resource]) -> Amounts:
    """The sum, whatever role or reservation the resources have."""
    scalars: dict[str, int] = {}
    ports: set[int] = set()
    for resource in (resource for each in lists for resource in each):
        if resource.scalar is not None:
            scalars[resource.name] = scalars.get(resource.name, 0) + round(resource.scalar.value * 1000)
        if resource.ranges is not None:
            assert resource.name == "ports", resource
            ports.update(port for part in resource.ranges.range for port in range(part.begin, part.end + 1))
    return Amounts({name: value for name, value in scalars.items() if value}, frozenset(ports))


def cut(
    offered: Iterable[Resource],
    *,
    cpus: float = 0,
    mem: float = 0,
    disk: float = 0,
    ports: int = 0,
    but_ports: Container[int] = (),
) -> list[Resource]:
    """So much of `offered`, as copies of its pieces with other amounts. Of scalars that lack the last piece has more
    than there is.
    """
    wanted = {"cpus": round(cpus * 1000), "mem": round(mem * 1000), "disk": round(disk * 1000)}
    last: dict[str, Resource] = {}
    parts: list[Resource] = []
    for resource in offered:
        if resource.scalar is not None and wanted.get(resource.name):
            last[resource.name] = resource
            taken = min(wanted[resource.name], round(resource.scalar.value * 1000))
            wanted[resource.name] -= taken
            parts.append(_scalar(resource, taken))
        elif resource.ranges is not None and ports:
            taken_ports = [port for port in sorted(amounts([resource]).ports) if port not in but_ports][:ports]
            ports -= len(taken_ports)
            ranges = Ranges([Range(port, port) for port in taken_ports])
            parts.append(msgspec.structs.replace(resource, ranges=ranges))
    assert not ports, f"{ports} ports are missing"
    parts += [_scalar(last[name], missing) for name, missing in wanted.items() if missing]
    return parts


def _scalar(resource: Resource, thousandths: int) -> Resource:
    return msgspec.structs.replace(resource, scalar=Scalar(thousandths / 1000))

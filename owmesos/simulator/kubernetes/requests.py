"""What a pod requests and what a node can give, in thousandths of each resource's unit.

By Kubernetes's own rules (its documents "Quantities", "Sidecar containers", "Pod overhead", "Pod-level resources"; of
what a status has, measured on 1.37), written without a look at owmesos's decisions, which the simulator judges.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from owmesos.errors import OwmesosError

Amounts = dict[str, int]
"""Resource → thousandths of its unit: of a cpu, of a byte, of a pod, of a device."""

PODS = "pods"
ONE_POD = 1000
_BINARY: dict[str, int] = {f"{prefix}i": 1024**power for power, prefix in enumerate("KMGTPE", 1)}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_POD_LEVEL = ("cpu", "memory", "hugepages-")


class WrongQuantity(OwmesosError):
    """The text is not a quantity of Kubernetes."""


@lru_cache(maxsize=4096)
def thousandths(quantity: str) -> int:
    """Parse `1`, `0.5`, `100m`, `1e3`, `1Gi`, …; what is finer is rounded up. Raises WrongQuantity."""
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        raise WrongQuantity(f"{quantity!r} is not a quantity: use a form such as 100m, 0.5, 2Gi or 1e3")
    number, exponent, suffix = match.groups()
    if suffix in _BINARY:
        return math.ceil(Fraction(number) * _BINARY[suffix] * 1000)
    power = int(exponent) if exponent else _DECIMAL[suffix or ""]
    ten: int = 10 ** abs(power)
    return math.ceil(Fraction(number) * 1000 * (ten if power >= 0 else Fraction(1, ten)))


def quantities_of(amounts: Mapping[str, int]) -> dict[str, str]:
    return {name: f"{n}m" if n % 1000 else str(n // 1000) for name, n in amounts.items()}


def amounts(quantities: Mapping[str, Any]) -> Amounts:
    """Raises WrongQuantity."""
    return {name: thousandths(str(quantity)) for name, quantity in quantities.items()}


def add(to: Amounts, more: Mapping[str, int], times: int = 1) -> None:
    """In place; what comes to nothing is dropped."""
    for name, amount in more.items():
        left = to.get(name, 0) + times * amount
        if left:
            to[name] = left
        else:
            to.pop(name, None)


def lacking(asked: Mapping[str, int], free: Mapping[str, int]) -> list[str]:
    """The resources of which there is too little, in the order of `asked`. What nothing is asked of does not count."""
    return [name for name, amount in asked.items() if amount > 0 and amount > free.get(name, 0)]


def pod_requests(pod: Mapping[str, Any], *, by_sums: bool = True) -> Amounts:
    """All that the scheduler and the kubelet count for a pod, itself among the `pods`.

    `by_sums`: they look at the sums in its status, which contain its overhead, and add that once more; a quota does
    not.
    """
    spec, status = pod["spec"], pod.get("status", {})
    statuses = {each["name"]: each for each in status.get("containerStatuses", ())}
    sums = [status.get("allocatedResources"), (status.get("resources") or {}).get("requests")]
    shown = _larger(*map(amounts, sums)) if by_sums and all(sums) else {}
    if shown:
        statuses = {}
    total = _sum(_container(each, statuses.get(each["name"])) for each in spec["containers"])
    most, sidecars = Amounts(), Amounts()
    for each in spec.get("initContainers", ()):
        own = _container(each, None)
        if each.get("restartPolicy") == "Always":
            add(sidecars, own)
            own = Amounts()
        together = Amounts(sidecars)
        add(together, own)
        most = _larger(most, together)
    add(total, sidecars)
    total = _larger(_larger(total, most), shown)
    whole = spec.get("resources")
    if whole:
        level = {name: max(n, shown.get(name, 0)) for name, n in _asked(whole).items()}
        total |= {name: n for name, n in level.items() if name.startswith(_POD_LEVEL)}
    add(total, amounts(spec.get("overhead", {})))
    total[PODS] = ONE_POD
    return total


def _container(container: Mapping[str, Any], status: Mapping[str, Any] | None) -> Amounts:
    """While it is resized in place, the larger of what it asks for and what it still has."""
    asked = _asked(container.get("resources", {}))
    if status is None:
        return asked
    return _larger(asked, amounts(status.get("allocatedResources", {})))


def _asked(resources: Mapping[str, Any]) -> Amounts:
    """A limit is the request where none is given."""
    return amounts({**resources.get("limits", {}), **resources.get("requests", {})})


def _sum(of: Iterable[Amounts]) -> Amounts:
    total = Amounts()
    for each in of:
        add(total, each)
    return total


def _larger(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in [*one, *(n for n in other if n not in one)]}

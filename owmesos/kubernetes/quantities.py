"""Kubernetes's quantities (`100m`, `1Gi`, `1e3`) as whole thousandths, which is how owmesos counts.

Source: k8s.io/apimachinery, pkg/api/resource. What is needed is rounded up and what there is is rounded down, so that
a sum never promises more than a node has. One MB of owmesos is one MiB, as in OpenWhisk, whose own factory asks for
`256Mi` where an action says 256 MB. Pods repeat a few texts, so what was parsed is remembered.
"""

from __future__ import annotations

import re
from functools import lru_cache

from owmesos.core.texts import shortened
from owmesos.errors import InvalidInput
from owmesos.resources import MAX_MILLI, MAX_PODS, MILLI

MB = 2**20  # bytes
_REMEMBERED = 4096
_LONGEST = 64  # characters; Kubernetes's own are at most 20 digits and a suffix
_MOST_EXPONENT = 30
_QUANTITY = re.compile(
    r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:([eE][+-]?[0-9]{1,3})|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)"
)
_SUFFIXES = {
    **{name: (1, 1000**power) for power, name in enumerate(("", "m", "u", "n"))},
    **{name: (1000**power, 1) for power, name in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{name: (1024**power, 1) for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}


def parse(text: str) -> tuple[int, int]:
    """The exact value, as numerator and denominator.

    Raises InvalidInput if `text` is not a quantity or is negative.
    """
    found = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None or not (found[2] or found[3]):
        raise InvalidInput(
            f"{shortened(text)!r} is not a quantity: write a number, if need be with a suffix such as m, k, M, Mi or Gi"
        )
    sign, whole, fraction, exponent, suffix = found.groups()
    digits = int((whole or "") + (fraction or ""))
    if sign == "-" and digits:
        raise InvalidInput(f"the quantity {text!r} is negative")
    numerator, denominator = digits, 10 ** len(fraction or "")
    if exponent is not None:
        power = int(exponent[1:])
        if abs(power) > _MOST_EXPONENT:
            raise InvalidInput(f"the quantity {text!r} has an exponent beyond {_MOST_EXPONENT}")
        return (numerator * 10**power, denominator) if power >= 0 else (numerator, denominator * 10**-power)
    up, down = _SUFFIXES[suffix or ""]
    return numerator * up, denominator * down


@lru_cache(_REMEMBERED)
def milli_up(text: str) -> int:
    """Thousandths that are needed. At most MAX_MILLI, as for all of these. Raises InvalidInput."""
    numerator, denominator = parse(text)
    return min(MAX_MILLI, -(-numerator * MILLI // denominator))


@lru_cache(_REMEMBERED)
def milli_down(text: str) -> int:
    """Thousandths that there are. Raises InvalidInput."""
    numerator, denominator = parse(text)
    return min(MAX_MILLI, numerator * MILLI // denominator)


@lru_cache(_REMEMBERED)
def milli_mb_up(text: str) -> int:
    """Thousandths of MB that are needed, of a quantity of bytes. Raises InvalidInput."""
    numerator, denominator = parse(text)
    return min(MAX_MILLI, -(-numerator * MILLI // (denominator * MB)))


@lru_cache(_REMEMBERED)
def milli_mb_down(text: str) -> int:
    """Thousandths of MB that there are. Raises InvalidInput."""
    numerator, denominator = parse(text)
    return min(MAX_MILLI, numerator * MILLI // (denominator * MB))


@lru_cache(_REMEMBERED)
def count_down(text: str) -> int:
    """How many whole ones there are. Raises InvalidInput."""
    numerator, denominator = parse(text)
    return min(MAX_PODS, numerator // denominator)

"""Which agents a launch may go to, judged by their attributes and host names.

Judged here for every agent, whatever the master was told: of a repeated attribute the master sees the first
value only, and lets an attribute that is no text pass every predicate (offer constraints in
include/mesos/v1/scheduler/scheduler.proto). So each value has one canonical text here, which is what counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal, cast

import msgspec

from owmesos.errors import InvalidInput
from owmesos.resources import MILLI

Operator = Literal["LIKE", "UNLIKE", "==", "!="]
OPERATORS: tuple[Operator, ...] = ("LIKE", "UNLIKE", "==", "!=")
HOSTNAME = "@hostname"
MAX_PATTERN = 1000
_FORM = "write ATTRIBUTE OPERATOR VALUE with LIKE, UNLIKE, == or !=, as in 'rack LIKE r[12]'"


def scalar_text(value: float) -> str:
    """A scalar in thousandths, as Mesos counts, without trailing zeros: `2`, `2.5`. Raises InvalidInput."""
    if not math.isfinite(value):
        raise InvalidInput(f"an attribute must be a finite number, not {value!r}")
    thousandths = round(value * MILLI)
    whole, part = divmod(abs(thousandths), MILLI)
    sign = "-" if thousandths < 0 else ""
    return f"{sign}{whole}.{part:03d}".rstrip("0").rstrip(".")


def ranges_text(ranges: Iterable[tuple[int, int]]) -> str:
    """Inclusive ranges in order, with those that touch joined: `[1-3]`, `[1-5,8-9]`."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return "[" + ",".join(f"{begin}-{end}" for begin, end in joined) + "]"


def set_text(items: Iterable[str]) -> str:
    """A set in the order of its texts: `{a,b}`."""
    return "{" + ",".join(sorted(set(items))) + "}"


class Attributes(Mapping[str, tuple[str, ...]]):
    """An agent's attributes: each name with the canonical texts of all its values, in the order they came.

    Immutable. Agents of one rack carry the same attributes, so equal ones from `of` are mostly one object:
    50,000 agents cost little.
    """

    __slots__ = ("_hash", "_pairs")

    def __init__(self, pairs: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
        """`pairs` sorted by name, each name once: use `of`."""
        self._pairs = pairs
        self._hash = hash(pairs)

    @staticmethod
    def of(values: Iterable[tuple[str, str]]) -> Attributes:
        """From (name, canonical text) in the order of the offer; a name may come several times."""
        found: dict[str, tuple[str, ...]] = {}
        for name, text in values:
            found[name] = (*found.get(name, ()), text)
        return _shared(tuple(sorted(found.items())))

    def __getitem__(self, name: str) -> tuple[str, ...]:
        for known, texts in self._pairs:
            if known == name:
                return texts
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return self._pairs == other._pairs if isinstance(other, Attributes) else super().__eq__(other)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Attributes({self._pairs!r})"


@lru_cache(maxsize=4096)
def _shared(pairs: tuple[tuple[str, tuple[str, ...]], ...]) -> Attributes:
    return Attributes(pairs)


NO_ATTRIBUTES = Attributes.of(())


class Constraint(msgspec.Struct, frozen=True, cache_hash=True):
    """One condition on an agent. LIKE and UNLIKE take a regular expression, which must match the whole text.

    A missing attribute fails LIKE and ==, and satisfies UNLIKE and !=, which hold when no value matches.
    Raises InvalidInput, also when built without `parse`.
    """

    attribute: str
    operator: Operator
    value: str

    def __post_init__(self) -> None:
        if not self.attribute or not self.value:
            raise InvalidInput(f"bad constraint {_short(str(self))}: {_FORM}")
        if self.operator not in OPERATORS:
            raise InvalidInput(f"unknown operator {_short(self.operator)} in a constraint: {_FORM}")
        if self.attribute.startswith("@") and self.attribute != HOSTNAME:
            raise InvalidInput(f"bad constraint {_short(str(self))}: of names with @ only {HOSTNAME} is known")
        if self.operator in ("LIKE", "UNLIKE"):
            _pattern(self.value)

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """From `ATTRIBUTE OPERATOR VALUE`, parted by blanks; the value is the rest and may hold blanks.

        Raises InvalidInput.
        """
        parts = text.split(maxsplit=2)
        if len(parts) != 3:
            raise InvalidInput(f"bad constraint {_short(text)}: {_FORM}")
        attribute, operator, value = parts
        return cls(attribute, cast(Operator, operator), value.rstrip())

    def matches(self, hostname: str, attributes: Mapping[str, tuple[str, ...]]) -> bool:
        """True if an agent with this host name and these attributes meets the constraint."""
        texts = (hostname,) if self.attribute == HOSTNAME else attributes.get(self.attribute, ())
        if self.operator == "==":
            return self.value in texts
        if self.operator == "!=":
            return self.value not in texts
        pattern = _pattern(self.value)
        found = any(pattern.fullmatch(text) for text in texts)
        return found if self.operator == "LIKE" else not found

    def __str__(self) -> str:
        return f"{self.attribute} {self.operator} {self.value}"


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    # `re` cannot be kept from exponential time on a hostile pattern; a bound on its length is what there is.
    if len(text) > MAX_PATTERN:
        raise InvalidInput(f"a constraint's pattern has {len(text)} characters: {MAX_PATTERN} at most")
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidInput(f"bad pattern {_short(text)} in a constraint: {error}; {_FORM}") from None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")

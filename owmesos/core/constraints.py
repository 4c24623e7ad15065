"""Which nodes a launch may go to, judged by their attributes and host names.

Judged here for every node, whatever the master was told: of a repeated attribute the master sees the first
value only, and lets an attribute that is not text pass every predicate (offer constraints in
include/mesos/v1/scheduler/scheduler.proto). So each value has one canonical text here, which is what counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal, cast, get_args

import msgspec
import re2

from owmesos.core.texts import check_text, shortened
from owmesos.errors import InvalidInput
from owmesos.resources import MILLI, check_number, joined

Operator = Literal["LIKE", "UNLIKE", "==", "!="]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
HOSTNAME = "@hostname"
MAX_ATTRIBUTE = 1e300
"""The largest attribute of a node that is a number."""
MAX_PATTERN = 1000
"""Characters of a pattern."""
MAX_PROGRAM = 1100
"""Instructions that RE2 makes of a pattern: about one a character in a list of alternatives."""
MAX_REPEATING_PROGRAM = 250
"""The same for a pattern that repeats something: a text costs at most its length times this."""
MAX_TEXT = 4096
"""Bytes of an attribute's name, and of a text that is compared with == or !=."""
_FORM = "write ATTRIBUTE OPERATOR VALUE with LIKE, UNLIKE, == or !=, as in 'rack LIKE r[12]'"


def scalar_text(value: float) -> str:
    """A scalar in thousandths, as Mesos counts, without trailing zeros: `2`, `2.5`. Raises InvalidInput."""
    check_number("an attribute", value, -MAX_ATTRIBUTE, MAX_ATTRIBUTE)
    thousandths = round(value * MILLI)
    whole, part = divmod(abs(thousandths), MILLI)
    sign = "-" if thousandths < 0 else ""
    return f"{sign}{whole}.{part:03d}".rstrip("0").rstrip(".")


def ranges_text(ranges: Iterable[tuple[int, int]]) -> str:
    """Inclusive ranges in order, with those that touch joined: `[1-3]`, `[1-5,8-9]`."""
    return "[" + ",".join(f"{begin}-{end}" for begin, end in joined(ranges)) + "]"


def set_text(items: Iterable[str]) -> str:
    """A set in the order of its texts: `{a,b}`."""
    return "{" + ",".join(sorted(set(items))) + "}"


Attributes = Mapping[str, tuple[str, ...]]
"""Attributes of a node: each name with the canonical texts of its values, in the offer's order.

Immutable, so that nodes with the same attributes share one object and 50,000 nodes cost little.
"""


def shared_attributes(values: Iterable[tuple[str, str]]) -> Attributes:
    """From (name, canonical text) in the order of the offer; a name may come several times."""
    found: dict[str, tuple[str, ...]] = {}
    for name, text in values:
        found[name] = (*found.get(name, ()), text)
    return _shared(tuple(sorted(found.items())))


@lru_cache(maxsize=4096)
def _shared(pairs: tuple[tuple[str, tuple[str, ...]], ...]) -> Attributes:
    return dict(pairs)


NO_ATTRIBUTES = shared_attributes(())


class Constraint(msgspec.Struct, frozen=True, cache_hash=True):
    """One condition on a node. LIKE and UNLIKE take a regular expression of RE2, which must match the whole text.

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
        check_text("a constraint's attribute", self.attribute, MAX_TEXT)
        check_text("a constraint's value", self.value, MAX_TEXT)
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

    def matches(self, hostname: str, attributes: Attributes) -> bool:
        """True if a node with this host name and these attributes meets the constraint."""
        texts = (hostname,) if self.attribute == HOSTNAME else attributes.get(self.attribute, ())
        if self.operator == "==":
            return self.value in texts
        if self.operator == "!=":
            return self.value not in texts
        found = any(_fully_matches(self.value, text) for text in texts)
        return found if self.operator == "LIKE" else not found

    def __str__(self) -> str:
        return f"{self.attribute} {self.operator} {self.value}"


_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.never_capture = True
_OPTIONS.max_mem = 256 * 1024  # bytes; for the program and the states that it caches
_REPEATING = frozenset("*+?{")


@lru_cache(maxsize=256)
def _pattern(text: str) -> re2._Regexp:
    if len(text) > MAX_PATTERN:
        raise InvalidInput(f"a constraint's pattern has {len(text)} characters: {MAX_PATTERN} at most")
    try:
        pattern = re2.compile(text.encode(), _OPTIONS)
    except re2.error as error:
        why = error.args[0].decode(errors="replace")
        raise InvalidInput(
            f"bad pattern {_short(text)} in a constraint: {shortened(' '.join(why.split()))}; {_FORM}"
        ) from None
    most = MAX_PROGRAM if _REPEATING.isdisjoint(text) else MAX_REPEATING_PROGRAM
    if pattern.programsize > most:
        raise InvalidInput(
            f"the pattern {_short(text)} in a constraint is too complex: RE2 makes {pattern.programsize} instructions"
            f" of it, and at most {most} are allowed ({MAX_PROGRAM} without *, +, ? and {{)"
        )
    return pattern


@lru_cache(maxsize=32768)
def _fully_matches(pattern: str, text: str) -> bool:
    return _pattern(pattern).fullmatch(text.encode(errors="surrogatepass")) is not None


def _short(text: str) -> str:
    return repr(shortened(text))

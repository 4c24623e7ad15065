"""What is invoked when, and for how long: gathered in any order, in bounded memory, and the same for every setting."""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.errors import InvalidInput
from owmesos.sizing.workload import BURST_CV, TIMEOUT, Function, Invocation, Load, activations, functions

MOST = 1_000_000
"""Invocations of one trace: 20 bytes each here, and some 100 in a run that measures them."""
MOST_FUNCTIONS = 100_000
LONGEST_RUN = 86_400.0  # seconds
LONGEST = 31 * 86_400.0
"""Seconds from the first invocation to the last: an idle day takes a second to simulate."""
DEFAULT_MEMORY = 256  # MB; OpenWhisk's own default


class Invocations(Sequence[Invocation]):
    """In the order of their times."""

    def __init__(self, at: array[float], function: array[int], duration: array[float]) -> None:
        self._at = at
        self._function = function
        self._duration = duration

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, index: int) -> Invocation: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Invocation]: ...
    def __getitem__(self, index: int | slice) -> Invocation | Sequence[Invocation]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return Invocation(self._at[index], index, self._function[index], self._duration[index])


@dataclass(frozen=True)
class Trace:
    """`seconds` from its beginning to its end. `notes` say what had to be assumed, each in one sentence."""

    functions: Sequence[Function]
    invocations: Sequence[Invocation]
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TracePart:
    """Which part of a trace is taken: from `skip` seconds after its beginning, for `seconds` (None: to its end), and
    this `share` of its functions."""

    skip: float = 0.0
    seconds: float | None = None
    share: float = 1.0

    @property
    def timed(self) -> bool:
        """Whether it leaves out some of the time."""
        return self.skip > 0 or self.seconds is not None

    @property
    def end(self) -> float:
        return math.inf if self.seconds is None else self.skip + self.seconds

    def has_function(self, name: str) -> bool:
        """The same for the same name, whatever else the trace has."""
        return self.share >= 1.0 or zlib.crc32(name.encode()) < self.share * 2**32


class TraceBuilder:
    """Takes invocations in any order. `begin` is when the trace begins, in its own seconds; None, which is possible if
    the whole time is taken: with the first of them."""

    def __init__(self, part: TracePart, begin: float | None) -> None:
        self.part = part
        self._begin = begin
        self._index: dict[tuple[str, ...], int] = {}
        self._shapes: list[tuple[str, str, ContainerShape]] = []  # namespace, name
        self._longest = array("d")  # of each function's runs
        self._at = array("d")
        self._function = array("l")
        self._duration = array("d")

    def function(self, namespace: str, name: str, kind: str, memory: int) -> int:
        """Its number. Raises InvalidInput if there are too many."""
        key = (namespace, name, kind, str(memory))
        number = self._index.get(key)
        if number is None:
            number = self._index[key] = len(self._shapes)
            if number == MOST_FUNCTIONS:
                raise InvalidInput(f"more than {MOST_FUNCTIONS:,} actions: take a share of them with --sample")
            self._shapes.append((namespace, name, ContainerShape(kind, memory)))
            self._longest.append(0.0)
        return number

    def has(self, at: float) -> bool:
        return self._begin is None or self.part.skip <= at - self._begin < self.part.end

    def add(self, at: float, function: int, duration: float) -> None:
        """Raises InvalidInput if there are too many."""
        if len(self._at) == MOST:
            raise InvalidInput(
                f"more than {MOST:,} activations: take less time with --for, fewer actions with --sample"
            )
        self._at.append(at)
        self._function.append(function)
        self._duration.append(duration)
        self._longest[function] = max(self._longest[function], duration)

    def built(self, notes: Sequence[str] = ()) -> Trace:
        """Raises InvalidInput without an invocation, and if the first and the last are too far apart."""
        if not self._at:
            raise InvalidInput(f"no activation {self._in_what()}")
        begin = min(self._at) if self._begin is None else self._begin + self.part.skip
        last = max(self._at) - begin
        if last > LONGEST:
            most = LONGEST / 86_400
            raise InvalidInput(f"activations over {last / 86_400:,.0f} days, at most {most:.0f} can be run: give --for")
        order = sorted(range(len(self._at)), key=self._at.__getitem__)
        at = array("d", (max(0.0, self._at[each] - begin) for each in order))  # rounding may bring it below
        function = array("l", (self._function[each] for each in order))
        duration = array("d", (self._duration[each] for each in order))
        seconds = last + 1.0 if self.part.seconds is None else self.part.seconds
        return Trace(self._functions(), Invocations(at, function, duration), seconds, tuple(notes))

    def _in_what(self) -> str:
        said = [f"from {self.part.skip:g} s on"] if self.part.skip else []
        said += [f"within {self.part.seconds:g} s"] if self.part.seconds is not None else []
        said += [f"of {self.part.share:g} of the actions"] if self.part.share < 1 else []
        return " ".join(["is in it", *said])

    def _functions(self) -> list[Function]:
        """An action's time-out is OpenWhisk's default, or as long as its longest run."""
        timeouts = [max(TIMEOUT, float(math.ceil(longest))) for longest in self._longest]
        return [
            Function(PoolAction(name, f"0.0.{number}", shape, timeout=timeouts[number]), namespace)
            for number, (namespace, name, shape) in enumerate(self._shapes)
        ]


def drawn(workload: str, seconds: float, busy: float, seed: int) -> Trace:
    """`azure` is drawn as `owmesos.sizing.workload` says; in `steady` and `bursty` all actions have the same trigger.
    `busy` in MB. Raises InvalidInput if there is too much of it."""
    load = Load(seconds, busy)
    of = functions(load, seed)
    if workload != "azure":
        of = [replace(each, cv=BURST_CV if workload == "bursty" else 1.0) for each in of]
    expected = seconds * sum(each.rate for each in of)
    if expected > MOST or seconds > LONGEST:
        raise InvalidInput(
            f"about {expected:,.0f} activations, at most {MOST:,} can be run: give a shorter --for or a smaller --load"
        )
    return Trace(of, activations(of, load, seed), seconds)

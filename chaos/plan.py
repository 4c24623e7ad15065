"""Which fault comes next, by seed: what happens to whom, for how long, and how soon the next one follows."""

from __future__ import annotations

import enum
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass


class Kind(enum.Enum):
    """`KILL` is SIGKILL and a new start, `FREEZE` is SIGSTOP and SIGCONT; the others befall a network path."""

    KILL = "kill -9"
    FREEZE = "freeze"
    FREEZE_THEN_KILL = "freeze, then kill -9"
    CUT = "network cut"
    HALF_OPEN = "network half open"
    ONE_WAY = "network without answers"
    SLOW = "network slow"

    @property
    def kills(self) -> bool:
        return self in (Kind.KILL, Kind.FREEZE_THEN_KILL)


NETWORK = (Kind.CUT, Kind.HALF_OPEN, Kind.ONE_WAY, Kind.SLOW)
OWMESOS, STANDBY, MASTER, EXECUTOR = "owmesos", "owmesos2", "master", "executor"
_REPLACED = 24.0  # seconds at most that one of two processes is away: another leads after 4 to 6


@dataclass(frozen=True)
class Fault:
    """`seconds` until it is mended: the process started again or woken, the network whole."""

    kind: Kind
    target: str
    seconds: float

    def __str__(self) -> str:
        where = f"{self.target} and master" if self.kind in NETWORK else self.target
        return f"{self.kind.value}: {where}, {self.seconds:.1f} s"


def fault_name(kind: Kind, target: str) -> str:
    """What a fault counts as: all agents are one target, and both processes of owmesos."""
    return f"{kind.value}: {target.rstrip('0123456789')}"


@dataclass(frozen=True)
class Fates:
    """What may happen to a target, with weights; `longest` bounds the seconds until it is mended."""

    target: str
    weight: float
    kinds: dict[Kind, float]
    longest: float


class Plan:
    """Faults until `kills` of them were a kill -9."""

    def __init__(
        self, fates: Sequence[Fates], kills: int, seconds_between: float, seed: int, every_third: Collection[str] = ()
    ) -> None:
        """`seconds_between` is the mean pause between two faults. One of each three kills is of a target in
        `every_third`."""
        self._fates = fates
        self._every_third = every_third
        self._left = kills
        self._between = seconds_between
        self._chance = random.Random(seed)

    @property
    def done(self) -> bool:
        return self._left <= 0

    def pause(self) -> float:
        """Seconds until the next fault: often a few come at once."""
        return min(self._chance.expovariate(1 / self._between), 4 * self._between)

    def next(self, broken: Collection[str]) -> Fault | None:
        """A fault of a target that is not broken already; None if every target that may be hit now is broken."""
        due = bool(self._every_third) and self._left % 3 == 1  # by chance alone ten kills may miss them
        chosen = [each for each in self._fates if not due or each.target in self._every_third]
        whole = [each for each in chosen if each.target not in broken]
        if not whole:
            return None
        chance = self._chance
        fates = chance.choices(whole, [each.weight for each in whole])[0]
        kinds = {kind: weight for kind, weight in fates.kinds.items() if kind.kills or not due}
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        if kind.kills:
            self._left -= 1
        return Fault(kind, fates.target, chance.uniform(0, fates.longest) * chance.random())


def fates(agents: Sequence[str], *, real: bool, standby: bool = False) -> list[Fates]:
    """Of all targets. With `standby` there is a second owmesos, whichever of them leads. A simulated cluster has no
    processes of its own to freeze, and no network between them."""
    network = {Kind.CUT: 1.0, Kind.HALF_OPEN: 1.0, Kind.ONE_WAY: 0.7, Kind.SLOW: 0.7}
    ours = {Kind.KILL: 5.0, Kind.FREEZE: 1.0, Kind.FREEZE_THEN_KILL: 1.0, **network}
    if standby:
        ours[Kind.FREEZE] = 4.0  # who wakes up has been replaced
    alone = {kind: weight for kind, weight in ours.items() if kind not in NETWORK}  # both have the same network
    agent = {Kind.KILL: 4.0, Kind.FREEZE: 1.0}
    if real:
        agent |= {Kind.FREEZE_THEN_KILL: 1.0, **network}
    master = {Kind.KILL: 4.0, **({Kind.FREEZE: 1.0, Kind.FREEZE_THEN_KILL: 0.5} if real else {})}
    executor = {Kind.KILL: 3.0, Kind.FREEZE: 1.5, Kind.FREEZE_THEN_KILL: 1.5}
    return [
        *([Fates(STANDBY, 4.0, alone, _REPLACED)] if standby else []),
        Fates(OWMESOS, 4.0, ours, _REPLACED if standby else 6.0),
        Fates(MASTER, 1.5, master, 6.0),
        Fates(EXECUTOR, 2.5, executor, 40.0),
        *(Fates(name, 4.0 / len(agents), agent, 15.0) for name in agents),
    ]

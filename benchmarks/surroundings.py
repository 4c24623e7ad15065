"""Surroundings (`owmesos.sizing.surroundings`) that are drawn by seed, for the benchmarks."""

from __future__ import annotations

import random
from dataclasses import dataclass

from owmesos.sizing.surroundings import Change, Foreign, Machine, Surroundings, peak


@dataclass(frozen=True)
class Size:
    """Machines at the start, and between which numbers the cluster moves; one change every `pace` seconds or so."""

    start: int = 10
    least: int = 6
    most: int = 14
    pace: float = 45.0
    foreign_mb: int = 12_288  # what the second framework holds at most


def surroundings(size: Size, seconds: float, seed: int, *, neighbour: bool) -> Surroundings:
    """The same for the same arguments."""
    chance = random.Random(seed + 2_000_003)
    machines = tuple(f"agent{n}" for n in range(1, size.most + 1))
    changes = _changes(size, machines, seconds, chance)
    foreign = _foreign(size, seconds, chance) if neighbour else ()
    return Surroundings(tuple(map(Machine, machines)), machines[size.start :], tuple(changes), tuple(foreign))


def _changes(size: Size, machines: tuple[str, ...], seconds: float, chance: random.Random) -> list[Change]:
    """The cluster drifts to a size for a while, then to another; the least is among them."""
    there, away = list(machines[: size.start]), list(machines[size.start :])
    made: list[Change] = []
    aims = [size.most, size.least, chance.randint(size.start, size.most)]
    at = 0.0
    while True:
        aim = aims.pop(0) if aims else chance.randint(size.least, size.most)
        stays = chance.uniform(2, 5) * size.pace
        while len(there) != aim:
            at += chance.uniform(0.1, 0.5) * size.pace
            if at >= seconds:
                return made
            up = len(there) < aim
            source, target = (away, there) if up else (there, away)
            name = source.pop(chance.randrange(len(source)))
            target.append(name)
            made.append(Change(at, name, up, removed=not up and chance.random() < 0.5))
        at += stays


def _foreign(size: Size, seconds: float, chance: random.Random) -> list[Foreign]:
    """Tasks of 1 to 4 GB for one to eight minutes, never more than the second framework may hold."""
    made: list[Foreign] = []
    at = chance.uniform(20, 60)
    while at < seconds:
        task = Foreign(at, 1_024 * chance.choice((1, 2, 2, 4)), chance.uniform(60, 480))
        if peak((*made, task)) <= size.foreign_mb:
            made.append(task)
        at += chance.expovariate(1 / 25)
    return made

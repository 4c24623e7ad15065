"""What happens around the invoker: machines that leave and come, and a second framework that takes room and frees it.

Both are known in advance, drawn by seed here or read from a file, so that every setting meets the same. Machines die
(the master notices the broken connection, and gives them up when its pings stay unanswered) or are removed by their
operator (MARK_AGENT_GONE); what comes is a new agent with a new id.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

AGENT_MB = 8_192
AGENT_CPUS = 8
FOREIGN = "foreign"
"""How the names of the second framework's tasks begin."""


@dataclass(frozen=True)
class Machine:
    """A machine with an agent. `mem` in MB."""

    name: str
    cpus: float = AGENT_CPUS
    mem: int = AGENT_MB


@dataclass(frozen=True)
class Change:
    """At `at` seconds, machine `name` leaves (`up` False) or comes. `removed`: its operator says that it is gone."""

    at: float
    name: str
    up: bool
    removed: bool = False


@dataclass(frozen=True)
class Foreign:
    """A task of the second framework: when it is asked for, what it holds (MB), and for how long it runs (seconds)."""

    at: float
    mem: int
    seconds: float


@dataclass(frozen=True)
class Surroundings:
    """`machines` are all that ever are there; those in `absent` are not at the start."""

    machines: tuple[Machine, ...]
    absent: tuple[str, ...]
    changes: tuple[Change, ...]
    foreign: tuple[Foreign, ...]

    @property
    def start_mb(self) -> int:
        """Memory of the cluster at the start, all of it free."""
        absent = set(self.absent)
        return sum(each.mem for each in self.machines if each.name not in absent)

    @property
    def least_mb(self) -> int:
        """The least that the cluster ever has, less the most that the second framework ever wants."""
        there = least = self.start_mb
        mem = {each.name: each.mem for each in self.machines}
        for change in self.changes:
            there += mem[change.name] if change.up else -mem[change.name]
            least = min(least, there)
        return least - peak(self.foreign)


def peak(tasks: tuple[Foreign, ...]) -> int:
    """The most memory, in MB, that they hold at once if each runs when it is asked for."""
    steps = sorted([(each.at, each.mem) for each in tasks] + [(each.at + each.seconds, -each.mem) for each in tasks])
    held = most = 0
    for _, step in steps:
        held += step
        most = max(most, held)
    return most


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

"""What happens around the invoker: machines that leave and come, and a second framework that takes room and frees it.

Both are known in advance, so that every setting meets the same. Machines die (the master notices the broken connection,
and gives them up when its pings stay unanswered) or are removed by their operator (MARK_AGENT_GONE); what comes is a
new agent with a new id.
"""

from __future__ import annotations

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

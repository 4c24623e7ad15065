"""What goes wrong, by seed: the same seed and rates give the same run.

Connections are dropped or half open, readers are slow, ACCEPTs and their answers get lost, updates are late, repeated
or out of order, offers are rescinded while they are accepted, agents die, freeze, and come back with or without their
disk, and masters fail over. Everything acts on the world alone, so it serves virtual time and real sockets alike.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence

import msgspec

from owmesos.mesos.messages import Accept, Call
from owmesos.simulator.agenda import Entry
from owmesos.simulator.protocol import Message, StatusUpdate
from owmesos.simulator.world import Fate, World


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Mean seconds between two of a kind (0: never), shares from 0 to 1, and longest delays in seconds."""

    cut: float = 0.0
    half_open: float = 0.0
    slow_reader: float = 0.0
    slow_for: float = 10.0
    rescind: float = 0.0
    agent_dies: float = 0.0
    agent_freezes: float = 0.0
    agent_away: float = 8.0  # seconds, at most, until it is back
    agent_loses_disk: float = 0.1  # share of those that die
    fail_over: float = 0.0
    accept_lost: float = 0.0  # share
    answer_lost: float = 0.0  # share of ACCEPTs
    message_delay: float = 0.0
    update_delay: float = 0.0
    update_repeated: float = 0.0  # share


EVERYTHING = Rates(
    cut=60.0,
    half_open=200.0,
    slow_reader=40.0,
    rescind=3.0,
    agent_dies=25.0,
    agent_freezes=25.0,
    fail_over=120.0,
    accept_lost=0.03,
    answer_lost=0.03,
    message_delay=0.02,
    update_delay=2.0,
    update_repeated=0.1,
)
"""All of them, each often."""


class Kind(enum.Enum):
    """What happens at random times."""

    CUT = "cut"
    HALF_OPEN = "half_open"
    SLOW_READER = "slow_reader"
    RESCIND = "rescind"
    AGENT_DIES = "agent_dies"
    AGENT_FREEZES = "agent_freezes"
    FAIL_OVER = "fail_over"


class Faults:
    """Begins with `start`; `stop` ends it, and heals what is broken."""

    def __init__(self, world: World, rates: Rates = EVERYTHING, seed: int = 0) -> None:
        self.counts: dict[str, int] = {}
        self._world = world
        self._rates = rates
        self._chance = random.Random(seed)
        self._entries: dict[Kind, Entry] = {}
        self._broken: set[str] = set()
        self._next: list[Fate] = []
        self._acts: dict[Kind, Callable[[], None]] = {
            Kind.CUT: self._cut,
            Kind.HALF_OPEN: self._half_open,
            Kind.SLOW_READER: self._slow,
            Kind.RESCIND: self._rescind,
            Kind.AGENT_DIES: self._agent_dies,
            Kind.AGENT_FREEZES: self._agent_freezes,
            Kind.FAIL_OVER: world.fail_over,
        }

    def start(self) -> None:
        self._world.faults = self
        for kind in Kind:
            self._set(kind)

    def stop(self) -> None:
        """From now on nothing goes wrong; agents that are away come back at once."""
        self._world.faults = None
        for entry in self._entries.values():
            entry.cancel()
        self._entries.clear()
        for name in sorted(self._broken):
            self._mend(name, wiped=False)

    def lose_next_accept(self, *, taken: bool) -> None:
        """The answer to the next ACCEPT is lost; `taken`: the master has seen it all the same."""
        self._next.append(Fate.UNANSWERED if taken else Fate.LOST)

    def _set(self, kind: Kind) -> None:
        mean: float = getattr(self._rates, kind.value)
        if mean > 0:
            pause = self._chance.expovariate(1 / mean)
            self._entries[kind] = self._world.agenda.after(pause, self._happen, kind)

    def _happen(self, kind: Kind) -> None:
        self._set(kind)
        self._count(kind.value)
        self._acts[kind]()

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # -- what the world asks

    def delays(self, message: Message) -> Sequence[float]:
        """Of the copies of a message between an agent and the master."""
        if not isinstance(message, StatusUpdate):
            return (self._chance.uniform(0, self._rates.message_delay),)
        delays = [self._chance.uniform(0, self._rates.update_delay)]
        while self._chance.random() < self._rates.update_repeated:
            self._count("update_repeated")
            delays.append(self._chance.uniform(0, self._rates.update_delay))
        return delays

    def fate(self, call: Call) -> Fate:
        """Of a call on its way to the master."""
        if not isinstance(call, Accept):
            return Fate.TAKEN
        if self._next:
            return self._next.pop(0)
        dice = self._chance.random()
        if dice < self._rates.accept_lost:
            self._count("accept_lost")
            return Fate.LOST
        if dice < self._rates.accept_lost + self._rates.answer_lost:
            self._count("answer_lost")
            return Fate.UNANSWERED
        return Fate.TAKEN

    # -- streams and offers

    def _stream(self) -> str | None:
        streams = self._world.streams
        return self._chance.choice(streams) if streams else None

    def _cut(self) -> None:
        stream = self._stream()
        if stream is not None:
            self._world.cut(stream)

    def _half_open(self) -> None:
        stream = self._stream()
        if stream is not None:
            self._world.half_open(stream)

    def _slow(self) -> None:
        stream = self._stream()
        if stream is not None:
            self._world.slow(stream, self._chance.uniform(0, self._rates.slow_for))

    def _rescind(self) -> None:
        master = self._world.master
        if master is not None and master.books.offers:
            master.books.drop_offer(self._chance.choice(list(master.books.offers.values())), rescind=True)

    # -- agents

    def _healthy(self) -> str | None:
        names = [name for name in self._world.places if name not in self._broken]
        return self._chance.choice(names) if names else None

    def _agent_dies(self) -> None:
        name = self._healthy()
        if name is not None:
            self._world.kill(name)
            wiped = self._chance.random() < self._rates.agent_loses_disk
            self._mend_later(name, wiped=wiped)

    def _agent_freezes(self) -> None:
        name = self._healthy()
        if name is not None:
            self._world.freeze(name)
            self._mend_later(name, wiped=False)

    def _mend_later(self, name: str, *, wiped: bool) -> None:
        self._broken.add(name)
        away = self._chance.uniform(0, self._rates.agent_away)
        self._world.agenda.after(away, self._mend, name, wiped)

    def _mend(self, name: str, wiped: bool) -> None:
        if name not in self._broken:
            return
        self._broken.discard(name)
        self._world.thaw(name)
        if not self._world.is_up(name):
            self._world.start(name, fresh=wiped)

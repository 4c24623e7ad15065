"""Random faults: the same seed and rates give the same run.

Connections are dropped or half open, readers are slow, ACCEPTs and their answers are lost, updates are late,
repeated or out of order, offers are rescinded while they are accepted, agents die, freeze, and return with or
without their disk, and masters fail over. Faults act only on the world, so they work in virtual time and on real
sockets.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from owmesos.mesos.messages import Accept, Call
from owmesos.simulator.agenda import AgendaEntry
from owmesos.simulator.protocol import StatusUpdate, WireMessage
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
    executor_freezes: float = 0.0
    executor_frozen: float = 40.0  # seconds, at most, until it goes on
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
    executor_freezes=30.0,
    fail_over=120.0,
    accept_lost=0.03,
    answer_lost=0.03,
    message_delay=0.02,
    update_delay=2.0,
    update_repeated=0.1,
)
"""All of them, each often."""


class Faults:
    """Begins with `start`; `stop` ends it and repairs everything."""

    def __init__(self, world: World, rates: Rates = EVERYTHING, seed: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self._world = world
        self._rates = rates
        self._chance = random.Random(seed)
        self._entries: dict[str, AgendaEntry] = {}
        self._broken: set[str] = set()
        self._frozen: set[str] = set()  # tasks
        self._next: list[Fate] = []
        self._acts: dict[str, Callable[[], None]] = {  # what happens at random times, by the name of its rate
            "cut": lambda: self._to_a_stream(world.cut),
            "half_open": lambda: self._to_a_stream(world.half_open),
            "slow_reader": lambda: self._to_a_stream(self._slow),
            "rescind": self._rescind,
            "agent_dies": self._agent_dies,
            "agent_freezes": self._agent_freezes,
            "executor_freezes": self._executor_freezes,
            "fail_over": world.fail_over,
        }

    def start(self) -> None:
        self._world.faults = self
        for kind in self._acts:
            self._set(kind)

    def stop(self) -> None:
        """Ends all faults; agents that are down return at once."""
        self._world.faults = None
        for entry in self._entries.values():
            entry.cancel()
        self._entries.clear()
        for name in sorted(self._broken):
            self._mend(name, wiped=False)
        for task_id in sorted(self._frozen):
            self._thaw(task_id)

    def lose_next_accept(self, *, taken: bool) -> None:
        """The answer to the next ACCEPT is lost; with `taken` the master has received the call."""
        self._next.append(Fate.UNANSWERED if taken else Fate.LOST)

    def _set(self, kind: str) -> None:
        mean: float = getattr(self._rates, kind)
        if mean > 0:
            pause = self._chance.expovariate(1 / mean)
            self._entries[kind] = self._world.agenda.after(pause, self._happen, kind)

    def _happen(self, kind: str) -> None:
        self._set(kind)
        self.counts[kind] += 1
        self._acts[kind]()

    # -- what the world asks

    def delays(self, message: WireMessage) -> Sequence[float]:
        """See `WorldTrouble.delays`."""
        if not isinstance(message, StatusUpdate):
            return (self._chance.uniform(0, self._rates.message_delay),)
        delays = [self._chance.uniform(0, self._rates.update_delay)]
        while self._chance.random() < self._rates.update_repeated:
            self.counts["update_repeated"] += 1
            delays.append(self._chance.uniform(0, self._rates.update_delay))
        return delays

    def fate(self, call: Call) -> Fate:
        """What becomes of a call on its way to the master."""
        if not isinstance(call, Accept):
            return Fate.TAKEN
        if self._next:
            return self._next.pop(0)
        dice = self._chance.random()
        if dice < self._rates.accept_lost:
            self.counts["accept_lost"] += 1
            return Fate.LOST
        if dice < self._rates.accept_lost + self._rates.answer_lost:
            self.counts["answer_lost"] += 1
            return Fate.UNANSWERED
        return Fate.TAKEN

    # -- streams and offers

    def _to_a_stream(self, act: Callable[[str], None]) -> None:
        streams = self._world.streams
        if streams:
            act(self._chance.choice(streams))

    def _slow(self, stream: str) -> None:
        self._world.slow(stream, self._chance.uniform(0, self._rates.slow_for))

    def _rescind(self) -> None:
        master = self._world.master
        if master is not None and master.books.offers:
            master.books.drop_offer(self._chance.choice(list(master.books.offers.values())))

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

    def _executor_freezes(self) -> None:
        tasks = [task_id for task_id in self._world.tasks() if task_id not in self._frozen]
        if tasks:
            task_id = self._chance.choice(tasks)
            self._frozen.add(task_id)
            self._world.freeze_executor(task_id)
            self._world.agenda.after(self._chance.uniform(0, self._rates.executor_frozen), self._thaw, task_id)

    def _thaw(self, task_id: str) -> None:
        if task_id in self._frozen:
            self._frozen.discard(task_id)
            if task_id in self._world.tasks():
                self._world.thaw_executor(task_id)

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

"""Masters, agents and the wires between them in one place, by the agenda's time and without any I/O.

The shells (HTTP with a real clock, or virtual time without HTTP) put frameworks' calls in and carry events out. What
goes over a wire here may be late, repeated or lost, as `faults` says.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from owmesos.errors import OwmesosError
from owmesos.mesos import messages
from owmesos.simulator.agenda import Agenda
from owmesos.simulator.agent.agent import Agent
from owmesos.simulator.agent.runs import Runner
from owmesos.simulator.agent.settings import AgentSettings
from owmesos.simulator.master.effects import (
    Answer,
    Calling,
    Effect,
    EndStream,
    Event,
    FromAgent,
    Operating,
    Publish,
    StreamClosed,
    Subscribing,
    Tell,
    ToAgent,
)
from owmesos.simulator.master.master import Master
from owmesos.simulator.master.registry import Registry
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.protocol import AgentAnswers, AgentDescription, AgentLost, AgentSilent, Message, StatusUpdate

RECOVERY = 0.05
"""Seconds in which a new leader reads the registry."""


class SimulatorError(OwmesosError):
    """The simulated cluster cannot do what was asked."""


class Fate(enum.Enum):
    """Of a call: LOST never arrives, UNANSWERED is taken and nobody hears of it."""

    TAKEN = "taken"
    LOST = "lost"
    UNANSWERED = "unanswered"


class Sink(Protocol):
    """Where a framework's events go."""

    def event(self, event: messages.Event) -> None: ...

    def end(self) -> None:
        """The master has ended the stream, or its process has ended."""
        ...

    def silence(self) -> None:
        """The connection is half open: nothing arrives any more, not even its end."""
        ...

    def pause(self, seconds: float) -> None:
        """The framework does not read for a while."""
        ...


class Trouble(Protocol):
    """What may happen on the wires, see `owmesos.simulator.faults`."""

    def delays(self, message: Message) -> Sequence[float]:
        """Of the copies of a message between an agent and the master, in seconds."""
        ...

    def fate(self, call: messages.Call) -> Fate: ...


@dataclass(slots=True, eq=False)
class Place:
    """A machine with an agent, whatever id that has. A frozen one neither hears nor is heard."""

    agent: Agent
    frozen: bool = False


class World:
    """`masters` are their addresses; the first leads, and when it dies the next one that is alive takes over."""

    def __init__(
        self,
        agents: Sequence[AgentDescription],
        *,
        runner: Runner,
        seed: int = 0,
        now: float = 0.0,
        masters: Sequence[tuple[str, int]] = (("127.0.0.1", 5050),),
        settings: MasterSettings | None = None,
        agent_settings: AgentSettings | None = None,
        reregister_within: float = 1.0,
    ) -> None:
        """`reregister_within`: seconds in which agents find a new leader."""
        self.agenda = Agenda(now)
        self.chance = random.Random(seed)
        self.settings = settings or MasterSettings()
        self.addresses = list(masters)
        self.alive = [True] * len(self.addresses)
        self.master: Master | None = None
        self.leader: int | None = None
        self.faults: Trouble | None = None
        self.observers: list[Callable[[str | None, messages.Call], None]] = []
        """Told of every call as it arrives, with the framework's id; SUBSCRIBE has none."""
        self._led_before = False
        self.publish: Callable[[dict[str, Any]], None] | None = None
        self._recovered_at = now
        self._registry = Registry()
        self._sinks: dict[str, Sink] = {}
        self._links: dict[str, float] = {}  # when the last message of each arrives
        self._reregister_within = reregister_within
        self.places: dict[str, Place] = {}
        for description in agents:
            self._add(description, agent_settings or AgentSettings(), runner)
        self._lead(0)

    def _add(self, description: AgentDescription, settings: AgentSettings, runner: Runner) -> None:
        name = description.name
        agent = Agent(description, settings, self.agenda, self.chance, runner, lambda each: self._to_master(name, each))
        self.places[name] = Place(agent)

    # -- time

    def advance(self, until: float, most: int | None = None) -> bool:
        """Everything that is due by then happens, at most so many entries. False when nothing is left of it."""
        while self.agenda.step(until):
            self.collect()
            if most is not None:
                most -= 1
                if not most:
                    return True
        return False

    def next(self) -> float | None:
        return self.agenda.next()

    def collect(self) -> None:
        """Carries out what timers and agents wanted done."""
        while self.master is not None and self.master.books.effects:
            self._carry_out(self.master.take())

    @property
    def recovering(self) -> bool:
        """Whether the leader still reads its registry."""
        return self.agenda.now < self._recovered_at

    def set_publish(self, publish: Callable[[dict[str, Any]], None] | None) -> None:
        """Who is told the operator API's events."""
        self.publish = publish
        if self.master is not None:
            self.master.watch(publish is not None)

    # -- frameworks and operators

    def subscribe(self, stream: str, call: messages.Subscribe, sink: Sink, principal: str | None = None) -> Answer:
        """The events go to `sink` from now on, the first of them before this returns."""
        self._sinks[stream] = sink
        self._heard(None, call)
        answer = self._handle(Subscribing(stream, call, principal))
        if answer.status != 200:
            self._sinks.pop(stream, None)
        return answer

    def call(self, framework_id: str, stream: str, call: messages.Call) -> Answer:
        self._heard(framework_id, call)
        return self._handle(Calling(framework_id, stream, call))

    def _heard(self, framework_id: str | None, call: messages.Call) -> None:
        for observe in self.observers:
            observe(framework_id, call)

    def say(self, event: messages.Event) -> None:
        """To every framework that is connected, whatever the master's books are."""
        for sink in list(self._sinks.values()):
            sink.event(event)

    def rescind(self) -> None:
        """Takes all offers back; they come again with the next allocation."""
        if self.master is not None:
            for offer in list(self.master.books.offers.values()):
                self.master.books.drop_offer(offer, rescind=True)

    def operate(self, kind: str, body: dict[str, Any]) -> Answer:
        return self._handle(Operating(kind, body))

    def closed(self, stream: str) -> None:
        """The framework's end of a stream is gone."""
        if self._sinks.pop(stream, None) is not None and self.master is not None:
            self._carry_out(self.master.handle(StreamClosed(stream)))

    def cut(self, stream: str) -> None:
        """A fault: both ends learn that the stream is gone."""
        sink = self._sinks.get(stream)
        self.closed(stream)
        if sink is not None:
            sink.end()

    def half_open(self, stream: str) -> None:
        """A fault: the master learns that the stream is gone, the framework does not."""
        sink = self._sinks.get(stream)
        if sink is not None:
            sink.silence()
            self.closed(stream)

    def slow(self, stream: str, seconds: float) -> None:
        """A fault: the framework does not read its events for so long."""
        sink = self._sinks.get(stream)
        if sink is not None:
            sink.pause(seconds)

    def fate(self, call: messages.Call) -> Fate:
        """What will become of a call."""
        return Fate.TAKEN if self.faults is None else self.faults.fate(call)

    @property
    def streams(self) -> list[str]:
        return list(self._sinks)

    def _handle(self, event: Event) -> Answer:
        if self.master is None:
            return Answer(503, "No leader elected")
        done = self.master.handle(event)
        self._carry_out([each for each in done if not isinstance(each, Answer)])
        self.collect()
        return next(each for each in done if isinstance(each, Answer))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Tell):
                sink = self._sinks.get(effect.stream)
                if sink is not None:
                    sink.event(effect.event)
            elif isinstance(effect, ToAgent):
                self._post(f"to {effect.name}", effect.message, self._deliver, effect.name, effect.message)
            elif isinstance(effect, EndStream):
                sink = self._sinks.pop(effect.stream, None)
                if sink is not None:
                    sink.end()
            elif isinstance(effect, Publish) and self.publish is not None:
                self.publish(effect.document)

    # -- the wires

    def _post(self, link: str, message: Message, deliver: Callable[..., None], *args: object) -> None:
        """Messages of one `link` keep their order, as those of a connection do; only updates overtake each other."""
        earliest = self._links.get(link, 0.0)
        if self.faults is None and earliest <= self.agenda.now:
            deliver(*args)
            return
        for delay in self.faults.delays(message) if self.faults is not None else (0.0,):
            when = self.agenda.now + delay
            if not isinstance(message, StatusUpdate):
                when = self._links[link] = max(when, earliest)
            self.agenda.at(when, deliver, *args)

    def _deliver(self, name: str, message: Message) -> None:
        place = self.places[name]
        if place.agent.up and not place.frozen:
            place.agent.receive(message)

    def _to_master(self, name: str, message: Message) -> None:
        if not self.places[name].frozen:
            self._post(f"from {name}", message, self._hear, self.master, message)

    def _hear(self, master: Master | None, message: Message) -> None:
        """What is addressed to a master that is gone is lost."""
        if master is not None and master is self.master:
            self._carry_out(master.handle(FromAgent(message)))

    # -- daemons

    def kill(self, name: str) -> None:
        """SIGKILL to `master`, a standby `master2`…, or an agent. Raises SimulatorError."""
        if name.startswith("master"):
            self._kill_master(self._master_number(name))
            return
        place = self._place(name)
        if not place.agent.up:
            return
        agent_id = place.agent.id
        place.agent.crash()
        if agent_id is not None and not place.frozen:
            self._hear(self.master, AgentLost(agent_id))
        self.collect()

    def start(self, name: str, *, fresh: bool = False) -> None:
        """Starts what was killed; `fresh`: as one that never ran. Raises SimulatorError."""
        if name.startswith("master"):
            number = self._master_number(name)
            if self.alive[number]:
                raise SimulatorError(f"{name} runs already")
            self.alive[number] = True
            if fresh:
                self._registry = Registry()
            if self.leader is None:
                self._lead(number)
            return
        place = self._place(name)
        if place.agent.up:
            raise SimulatorError(f"{name} runs already")
        place.frozen = False
        if fresh:
            place.agent.wipe()
        place.agent.start()

    def freeze(self, name: str) -> None:
        """The agent is cut off, and nobody is told: the master gives it up after a while of silence."""
        place = self._place(name)
        if place.frozen or not place.agent.up:
            return
        place.frozen = True
        if place.agent.id is not None:
            self._hear(self.master, AgentSilent(place.agent.id))

    def thaw(self, name: str) -> None:
        """It is back, with all that it has."""
        place = self._place(name)
        if not place.frozen:
            return
        place.frozen = False
        if place.agent.id is not None:
            self._hear(self.master, AgentAnswers(place.agent.id))
        if place.agent.up:
            place.agent.register()
        self.collect()

    def is_up(self, name: str) -> bool:
        return self.alive[self._master_number(name)] if name.startswith("master") else self._place(name).agent.up

    def fail_over(self) -> None:
        """The leader dies and is started again at once: as a standby, if there is another to take over."""
        if self.leader is not None:
            name = f"master{self.leader + 1}"
            self.kill(name)
            self.start(name)

    def _kill_master(self, number: int) -> None:
        if not self.alive[number]:
            return
        self.alive[number] = False
        if self.leader != number:
            return
        assert self.master is not None
        self.master.stop()
        self.master, self.leader = None, None
        sinks, self._sinks = self._sinks, {}
        for sink in sinks.values():
            sink.end()
        standby = next((each for each, alive in enumerate(self.alive) if alive), None)
        if standby is not None:
            self._lead(standby)

    def _lead(self, number: int) -> None:
        """A new life of a master; agents that run find it one by one."""
        if self._led_before:
            self._recovered_at = self.agenda.now + RECOVERY
        self._led_before = True
        if self.settings.registry == "in_memory":
            self._registry = Registry()
        self.leader = number
        self.master = Master(self.settings, self._registry, self.agenda, self.chance, self.addresses[number])
        self.master.watch(self.publish is not None)
        for place in self.places.values():
            place.agent.registered = False
            if place.agent.up:
                self.agenda.after(
                    self.chance.uniform(0.1, 1.0) * self._reregister_within, self._find, place, self.master
                )

    def _find(self, place: Place, master: Master) -> None:
        if self.master is master and place.agent.up and not place.frozen:
            place.agent.register()

    def _place(self, name: str) -> Place:
        if name not in self.places:
            raise SimulatorError(f"there is no {name} here, but {', '.join(['master', *self.places])}")
        return self.places[name]

    def _master_number(self, name: str) -> int:
        number = (
            int(name.removeprefix("master") or "1") - 1
            if name.removeprefix("master").isdigit() or name == "master"
            else -1
        )
        if not 0 <= number < len(self.addresses):
            raise SimulatorError(f"there is no {name} here, but {', '.join(['master', *self.places])}")
        return number

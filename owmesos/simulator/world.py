"""Masters, agents and the wires between them, by the agenda's time and without I/O.

The shells (HTTP with a real clock, or virtual time without HTTP) pass in frameworks' calls and carry out events.
Messages on the wires may be late, repeated or lost, as `faults` says.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from owmesos.errors import OwmesosError
from owmesos.mesos import messages
from owmesos.simulator.agenda import Agenda
from owmesos.simulator.agent.agent import SimulatedAgent, TaskRunner
from owmesos.simulator.agent.runs import TaskRun
from owmesos.simulator.agent.settings import AgentSettings
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.effects import EndStream, MasterAnswer, Publish, ToAgent, ToFramework
from owmesos.simulator.master.master import Master
from owmesos.simulator.master.records import Registry
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.place import Place
from owmesos.simulator.protocol import AgentDescription, StatusUpdate, WireMessage

T = TypeVar("T")
_NO_LEADER = MasterAnswer(503, "No leader elected")
RECOVERY = 0.05
"""Seconds in which a new leader reads the registry."""
REREGISTER_WITHIN = 1.0
"""Seconds in which agents find a new leader."""


class SimulatorError(OwmesosError):
    """The simulated cluster cannot do what was asked."""


class Fate(enum.Enum):
    """What becomes of a call: LOST never arrives, UNANSWERED arrives but its answer is lost."""

    TAKEN = "taken"
    LOST = "lost"
    UNANSWERED = "unanswered"


class WorldSink(Protocol):
    """The receiver of a framework's events."""

    def event(self, event: messages.Event) -> None: ...

    def end(self) -> None:
        """The master has ended the stream, or its process has ended."""

    def pause(self, seconds: float) -> None:
        """The framework does not read for a while."""


class WorldTrouble(Protocol):
    """What may happen on the wires, see `owmesos.simulator.faults`."""

    def delays(self, message: WireMessage) -> Sequence[float]:
        """Seconds after which each copy of a message between an agent and the master arrives."""

    def fate(self, call: messages.Call) -> Fate: ...


class World:
    """`masters` are their addresses; the first leads, and when it dies the next one that is alive takes over."""

    def __init__(
        self,
        agents: Sequence[AgentDescription],
        *,
        runner: TaskRunner,
        seed: int = 0,
        now: float = 0.0,
        masters: Sequence[tuple[str, int]] = (("127.0.0.1", 5050),),
        settings: MasterSettings | None = None,
        agent_settings: AgentSettings | None = None,
    ) -> None:
        self.agenda = Agenda(now)
        self.chance = random.Random(seed)
        self.settings = settings or MasterSettings()
        self.addresses = list(masters)
        self.alive = [True] * len(self.addresses)
        self.master: Master | None = None
        self.leader: int | None = None
        self.faults: WorldTrouble | None = None
        self.observers: list[Callable[[str | None, messages.Call], None]] = []
        """Told of every call as it arrives, with the framework's id; SUBSCRIBE has none."""
        self.publish: Callable[[dict[str, Any]], None] | None = None
        self._registry = Registry()
        self._sinks: dict[str, WorldSink] = {}
        self._links: dict[str, float] = {}  # when the last message of each arrives
        self.places: dict[str, Place] = {}
        self._runner = runner
        self._agent_settings = agent_settings or AgentSettings()
        for each in agents:
            self.add(each)
        self._lead(0)
        self._recovered_at = now

    def add(self, description: AgentDescription) -> Place:
        """A machine with an agent, which does not run yet."""
        send = partial(self._to_master, description.name)
        agent = SimulatedAgent(description, self._agent_settings, self.agenda, self.chance, self._runner, send)
        place = self.places[description.name] = Place(agent)
        return place

    # -- time

    def advance(self, until: float, most: int | None = None) -> bool:
        """Runs everything that is due by then, at most `most` entries. Returns False when nothing is left."""
        while self.agenda.step(until):
            self.collect()
            if most is not None:
                most -= 1
                if not most:
                    return True
        return False

    def collect(self) -> None:
        """Carries out what calls, timers and agents wanted done."""
        while self.master is not None and self.master.books.effects:
            self._carry_out(self.master)

    @property
    def recovering(self) -> bool:
        """Whether the leader still reads its registry."""
        return self.agenda.now < self._recovered_at

    def set_publish(self, publish: Callable[[dict[str, Any]], None] | None) -> None:
        """Who is told the operator API's events."""
        self.publish = publish
        if self.master is not None:
            self.master.books.watched = publish is not None

    # -- frameworks and operators

    def subscribe(
        self, stream: str, call: messages.Subscribe, sink: WorldSink, principal: str | None = None
    ) -> MasterAnswer:
        """The events go to `sink` from now on, the first of them before this returns."""
        self._sinks[stream] = sink
        self._heard(None, call)
        answer = self._ask(lambda master: master.subscriptions.subscribe(stream, call, principal)) or _NO_LEADER
        if answer.status != 200:
            self._sinks.pop(stream, None)
        return answer

    def call(self, framework_id: str, stream: str, call: messages.Call) -> MasterAnswer:
        self._heard(framework_id, call)
        return self._ask(lambda master: master.call(framework_id, stream, call)) or _NO_LEADER

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
            self.master.books.drop_offers(self.master.books.offers.values())

    def operate(self, kind: str, body: dict[str, Any]) -> MasterAnswer:
        return self._ask(lambda master: master.operator.handle(kind, body)) or _NO_LEADER

    def closed(self, stream: str) -> None:
        """The framework's end of a stream is gone."""
        if self._sinks.pop(stream, None) is not None:
            self._ask(lambda master: master.subscriptions.closed(stream))

    def cut(self, stream: str) -> None:
        """A fault: both ends learn that the stream is gone."""
        sink = self._sinks.get(stream)
        self.closed(stream)
        if sink is not None:
            sink.end()

    def half_open(self, stream: str) -> None:
        """A fault: the master learns that the stream is gone; to the framework nothing comes, not even its end."""
        self.closed(stream)

    def slow(self, stream: str, seconds: float) -> None:
        """A fault: the framework does not read its events for so long."""
        sink = self._sinks.get(stream)
        if sink is not None:
            sink.pause(seconds)

    def fate(self, call: messages.Call) -> Fate:
        return Fate.TAKEN if self.faults is None else self.faults.fate(call)

    @property
    def streams(self) -> list[str]:
        return list(self._sinks)

    def _ask(self, act: Callable[[Master], T]) -> T | None:
        """What the leader says to it; its effects are carried out. None without a leader."""
        if self.master is None:
            return None
        answer = act(self.master)
        self.collect()
        return answer

    def _carry_out(self, master: Master) -> None:
        for effect in master.take():
            if isinstance(effect, ToFramework):
                sink = self._sinks.get(effect.stream)
                if sink is not None:
                    sink.event(effect.event)
            elif isinstance(effect, ToAgent):
                self._post(f"to {effect.name}", effect.message, self.places[effect.name].receive, effect.message)
            elif isinstance(effect, EndStream):
                sink = self._sinks.pop(effect.stream, None)
                if sink is not None:
                    sink.end()
            elif isinstance(effect, Publish) and self.publish is not None:
                self.publish(effect.document)

    # -- the wires

    def _post(self, link: str, message: WireMessage, deliver: Callable[..., None], *args: object) -> None:
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

    def _to_master(self, name: str, message: WireMessage) -> None:
        if not self.places[name].frozen:
            self._post(f"from {name}", message, self._hear, self.master, message)

    def _hear(self, master: Master | None, message: WireMessage) -> None:
        """What is addressed to a master that is gone is lost."""
        if master is not None and master is self.master:
            master.receive(message)
            self._carry_out(master)

    # -- daemons

    def kill(self, name: str) -> None:
        """SIGKILL to `master`, a standby `master2`…, or an agent. Raises SimulatorError."""
        if name.startswith("master"):
            self._kill_master(self._master_number(name))
            return
        place = self._place(name)
        if not place.agent.up:
            return
        place.crash()
        if not place.frozen:
            self._ask(lambda master: master.membership.lost(place.agent.id))

    def power_off(self, name: str) -> None:
        """The machine of an agent stops, and all its tasks with it; its disk stays. As after `freeze`, the master is
        not told. Raises SimulatorError."""
        place = self._place(name)
        place.power_off()
        self._ask(lambda master: master.membership.silent(place.agent.id))

    def give_up(self, name: str) -> None:
        """The master gives up an agent that is frozen or down now, and not after its ping timeouts. Raises
        SimulatorError."""
        place = self._place(name)
        if place.agent.up and not place.frozen:
            raise SimulatorError(f"{name} is running: freeze it, or kill it")
        self._ask(lambda master: master.membership.give_up(place.agent.id))

    def start(self, name: str, *, fresh: bool = False) -> None:
        """Starts what was killed; `fresh`: as one that never ran. Raises SimulatorError."""
        if name.startswith("master"):
            number = self._master_number(name)
            if self.alive[number]:
                raise SimulatorError(f"{name} is already running")
            self.alive[number] = True
            if fresh:
                self._registry = Registry()
            if self.leader is None:
                self._lead(number)
            return
        place = self._place(name)
        if place.agent.up:
            raise SimulatorError(f"{name} is already running")
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
        self._ask(lambda master: master.membership.silent(place.agent.id))

    def thaw(self, name: str) -> None:
        """It is back, with all that it has, and reads what it was sent meanwhile."""
        place = self._place(name)
        if not place.frozen:
            return
        place.thaw()
        self._ask(lambda master: master.membership.answers(place.agent.id))
        if place.agent.up:
            place.agent.register()
        self.collect()

    def tasks(self) -> list[str]:
        return [run.task_id for place in self.places.values() for run in place.agent.runs.values()]

    def freeze_executor(self, task_id: str) -> None:
        """The executor of a task answers nothing, until it is thawed, or its agent destroys its container: after
        SHUTDOWN, or when the agent is started anew. Raises SimulatorError."""
        place, run = self._run_of(task_id)
        place.agent.freeze_executor(run)

    def thaw_executor(self, task_id: str) -> None:
        """It does what it was told meanwhile. Raises SimulatorError."""
        place, run = self._run_of(task_id)
        place.agent.thaw_executor(run)
        self.collect()

    def _run_of(self, task_id: str) -> tuple[Place, TaskRun]:
        for place in self.places.values():
            for run in place.agent.runs.values():
                if run.task_id == task_id:
                    return place, run
        raise SimulatorError(f"no agent runs a task {task_id}")

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
        self.master.books.alive = False
        self.master, self.leader = None, None
        sinks, self._sinks = self._sinks, {}
        for sink in sinks.values():
            sink.end()
        standby = next((each for each, alive in enumerate(self.alive) if alive), None)
        if standby is not None:
            self._lead(standby)

    def _lead(self, number: int) -> None:
        """A new life of a master; agents that run find it one by one."""
        self._recovered_at = self.agenda.now + RECOVERY
        if self.settings.registry == "in_memory":
            self._registry = Registry()
        self.leader = number
        books = MasterBooks(self.settings, self._registry, self.agenda, self.chance, self.addresses[number])
        self.master = Master(books)
        books.watched = self.publish is not None
        for place in self.places.values():
            place.agent.registered = False
            if place.agent.up:
                self.agenda.after(self.chance.uniform(0.1, REREGISTER_WITHIN), self._find, place, self.master)

    def _find(self, place: Place, master: Master) -> None:
        if self.master is master and place.agent.up and not place.frozen:
            place.agent.register()

    def _place(self, name: str) -> Place:
        if name not in self.places:
            raise self._unknown(name)
        return self.places[name]

    def _master_number(self, name: str) -> int:
        number = name.removeprefix("master") or "1"
        if not number.isdigit() or not 1 <= int(number) <= len(self.addresses):
            raise self._unknown(name)
        return int(number) - 1

    def _unknown(self, name: str) -> SimulatorError:
        return SimulatorError(f"unknown daemon {name!r}: use one of {', '.join(['master', *self.places])}")

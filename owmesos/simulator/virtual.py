"""A simulated cluster in virtual time: no sockets, no waiting, and the same run for the same seed.

A framework subscribes with a callback for its events, and time passes only in `run`. Registering 50,000 agents takes
some seconds, an idle hour no time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from owmesos.mesos.messages import Attribute, Call, Event, Subscribe, TaskInfo
from owmesos.simulator import notation
from owmesos.simulator.agent.plays import Play, Plays, from_command
from owmesos.simulator.agent.settings import AgentSettings
from owmesos.simulator.master.effects import MasterAnswer
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.protocol import AgentDescription
from owmesos.simulator.world import Fate, World

START = 1_700_000_000.0
"""When virtual time begins, in seconds of the epoch."""


class VirtualStream:
    """One subscription. Its events come in order, when `VirtualCluster` delivers them."""

    def __init__(self, cluster: VirtualCluster, name: str, on_event: Callable[[Event], None]) -> None:
        self.name = name
        self.ended = False
        self._cluster = cluster
        self._on_event = on_event
        self._on_end: Callable[[], None] | None = None
        self._read_after = 0.0
        self._waiting: deque[Event | None] = deque()  # None is the end

    def on_end(self, act: Callable[[], None]) -> None:
        """What to do when the stream ends by itself."""
        self._on_end = act

    def event(self, event: Event) -> None:
        self._waiting.append(event)
        self._cluster.wake(self)

    def end(self) -> None:
        self._waiting.append(None)
        self._cluster.wake(self)

    def pause(self, seconds: float) -> None:
        self._read_after = max(self._read_after, self._cluster.now + seconds)

    def close(self) -> None:
        """By the framework: nothing of it is seen afterwards."""
        self.ended = True
        self._waiting.clear()
        self._cluster.world.closed(self.name)

    def deliver(self) -> None:
        """Gives out what is there."""
        while self._waiting:
            if self._cluster.now < self._read_after:
                self._cluster.world.agenda.at(self._read_after, self._cluster.wake, self)
                return
            event = self._waiting.popleft()
            if event is not None:
                self._on_event(event)
            else:
                self.ended = True
                if self._on_end is not None:
                    self._on_end()


class VirtualCluster:
    """`now` is its time. `world` gives access to faults and inspection."""

    def __init__(
        self,
        agents: int | Sequence[AgentDescription] = 3,
        *,
        resources: str = "cpus:4;mem:8192;disk:10000;ports:[31000-31999]",
        attributes: str = "rack:r{n}",
        seed: int = 0,
        masters: int = 1,
        settings: MasterSettings | None = None,
        agent_settings: AgentSettings | None = None,
        play: Callable[[TaskInfo], Play] | None = None,
    ) -> None:
        """All agents are registered when this returns. `{n}` in `attributes` is the agent's number."""
        described = agents if not isinstance(agents, int) else describe(agents, resources, attributes)
        self.world = World(
            described,
            runner=Plays(play or from_command),
            seed=seed,
            now=START,
            masters=[("127.0.0.1", 5050 + n) for n in range(masters)],
            settings=settings,
            agent_settings=agent_settings,
        )
        self._streams = 0
        self._awake: deque[VirtualStream] = deque()
        self._delivering = False
        for name in self.world.places:
            self.world.start(name)
        self.run((agent_settings or AgentSettings()).boot + 1.1)

    @property
    def now(self) -> float:
        return self.world.agenda.now

    def subscribe(self, call: Subscribe, on_event: Callable[[Event], None]) -> tuple[MasterAnswer, VirtualStream]:
        """The stream is usable if the answer is 200."""
        self._streams += 1
        stream = VirtualStream(self, f"stream-{self._streams}", on_event)
        answer = self.world.subscribe(stream.name, call, stream)
        return answer, stream

    def call(self, framework_id: str, stream: VirtualStream, call: Call) -> MasterAnswer | None:
        """None if its outcome is unknown."""
        fate = self.world.fate(call)
        if fate is Fate.LOST:
            return None
        answer = self.world.call(framework_id, stream.name, call)
        return None if fate is Fate.UNANSWERED else answer

    def wake(self, stream: VirtualStream) -> None:
        """It has something to deliver; that is done when the world has come to rest."""
        self._awake.append(stream)

    def run(self, seconds: float) -> None:
        self.run_until(self.now + seconds)

    def run_until(self, when: float, done: Callable[[], bool] | None = None) -> bool:
        """Lets time pass up to `when`, or until `done` is true; True if it is."""
        self.deliver()
        while done is None or not done():
            if not self.world.advance(when, 1):
                self.deliver()
                return done is not None and done()
            self.deliver()
        return True

    def deliver(self) -> None:
        """Events go to their frameworks, who may call at once."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._awake:
                self._awake.popleft().deliver()
        finally:
            self._delivering = False


def describe(agents: int, resources: str, attributes: str) -> list[AgentDescription]:
    """So many of one kind, in Mesos's notation."""
    total = notation.resources(resources)
    described = []
    for n in range(1, agents + 1):
        own: tuple[Attribute, ...] = tuple(notation.attributes(attributes.replace("{n}", str(n % 40))))
        ip = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
        described.append(AgentDescription(f"agent{n}", f"agent-{n}.example.org", ip, 5051, total, own))
    return described

"""A small cluster in virtual time that carries out the pool's effects and gives back events.

The ledger is fed as Mesos's offers feed it: late, and only while the pool waits for room or at an ACCEPT. So what the
ledger believes and what is truly free may differ, and a start may be refused. After each event all that must hold is
checked (tests/core/pool/checks.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from owmesos.core.capacity import Capacity
from owmesos.core.ledger import Buffer, Ledger
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool.containers import Container, ContainerShape, ContainerState, PoolAction
from owmesos.core.pool.events import (
    CancelRun,
    ContainerStarted,
    ContainerStopped,
    Dispatch,
    Initialized,
    PoolEffect,
    PoolTick,
    Reschedule,
    Run,
    RunDone,
    RunFailed,
    SetAside,
    StartContainer,
    StartFailed,
    StartRefused,
    StopContainer,
    WaitingForRoom,
)
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.prewarm import PrewarmSetting
from owmesos.core.pool.settings import PoolSettings
from owmesos.resources import Ask
from tests.core.pool.agents import FakeAgent, agent
from tests.core.pool.checks import Checks

ACCEPT_TAKES = 0.05
OFFER_TAKES = 0.7  # from a stop's end to the offer that shows its room
OFFER_WAIT = 2.0
LOOKS_EVERY = 15.0


class FakeCluster:
    """`agents` by memory in MB, or ready made.

    Times in seconds: `start_takes`, `init_takes`, `stop_takes`. `fates` are those of the next starts: "starts",
    "refused", "fails", "hangs"; none starts on `broken_agents` or of an image that is `missing`. A run lasts its entry
    in `durations`, or until `done` is called.
    """

    queues_starts = False

    def __init__(
        self,
        agents: Iterable[FakeAgent] | dict[str, int] = (),
        *,
        settings: PoolSettings | None = None,
        prewarm: tuple[PrewarmSetting, ...] = (),
        buffer: Buffer | None = None,
        settled: bool = True,
    ) -> None:
        self.now = 100.0
        self.agents: dict[str, FakeAgent] = {}
        self.ledger = Ledger(buffer or Buffer(share=0.0))
        self.cluster = Capacity(self.ledger, queues_starts=self.queues_starts)
        self.settled = self.cluster.known = settled
        self.pool = Pool(self.cluster, settings, prewarm)
        self.checks = Checks(self)
        self.start_takes = 1.0
        self.init_takes = 0.1
        self.stop_takes = 0.5
        self.fates: list[str] = []
        self.broken_agents: set[str] = set()
        self.missing: set[str] = set()
        self.durations: dict[str, float] = {}
        self.log: list[tuple[float, PoolEffect]] = []
        self.given: dict[str, str] = {}  # run → container
        self.ended: dict[str, str | None] = {}  # run → why it failed, or None
        self.waiting = False
        self.aside: str | None = None
        self.greedy = False  # whether neighbours take at once what ends
        self.broken = False
        self._taken = 0
        self._runs = 0
        self._count = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        made = [agent(name, mem) for name, mem in agents.items()] if isinstance(agents, dict) else agents
        for each in made:
            self.join(each, seen=settled)
        self.later(LOOKS_EVERY, self._look)

    # -- what a test does

    def run(
        self,
        name: str = "a",
        memory: int = 256,
        *,
        kind: str = "python:3",
        image: str | None = None,
        version: str = "0.0.1",
        digest: bytes = b"",
        namespace: str = "guest",
        concurrency: int = 1,
        timeout: float = 60.0,
        health: bool = False,
        lasts: float | None = None,
        start_within: float | None = None,
    ) -> str:
        """An activation comes; its run id. It lasts until `done`, or for `lasts` seconds."""
        self._runs += 1
        run_id = f"r{self._runs}"
        if lasts is not None:
            self.durations[run_id] = lasts
        action = PoolAction(name, version, ContainerShape(kind, memory, image), concurrency, timeout, digest)
        self.send(Run(run_id, action, namespace, health, start_within))
        return run_id

    def warm(self, name: str = "a", memory: int = 256, **named: object) -> str:
        """A run of the action comes, gets a container and ends; the container's id."""
        run_id = self.run(name, memory, **named)  # type: ignore[arg-type]
        self.wait(self.start_takes + self.init_takes + 0.5)
        self.done(run_id)
        return self.given[run_id]

    def cancel(self, run_id: str) -> None:
        """Its owner wants it to end, if no container has it."""
        if run_id in self.pool.state.buffer.by_id:
            self.ended[run_id] = "cancelled"
        self.send(CancelRun(run_id))

    def done(self, run_id: str, *, reuse: bool = True) -> None:
        self.ended[run_id] = None
        self.send(RunDone(self.given[run_id], run_id, reuse))

    def reschedule(self, run_id: str) -> None:
        self.send(Reschedule(self.given.pop(run_id), run_id))

    def wait(self, seconds: float) -> None:
        """Let time pass, with all that is due in it."""
        until = self.now + seconds
        while True:
            wake = self.pool.next_wake()
            due = self._heap[0][0] if self._heap else None
            times = [when for when in (wake, due) if when is not None]
            if not times or min(times) > until:
                break
            self.now = max(self.now, min(times))
            if due is not None and due <= self.now:
                heapq.heappop(self._heap)[2]()
            else:
                self.send(PoolTick())
        self.now = until

    def until(self, holds: Callable[[], bool], most: float) -> float:
        """Wait in small steps until it holds; the seconds that took. Fails after `most` seconds."""
        begin = self.now
        while not holds():
            assert self.now - begin <= most, f"it does not hold after {most} s"
            self.wait(0.1)
        return self.now - begin

    def take(self, *kinds: type[PoolEffect]) -> list[PoolEffect]:
        """The effects since the last `take`, of these kinds only if any are named."""
        effects = [effect for _, effect in self.log[self._taken :]]
        self._taken = len(self.log)
        return [effect for effect in effects if not kinds or isinstance(effect, kinds)]

    def containers(self, *states: ContainerState) -> list[Container]:
        """Those in these states (any of them if none is named), the oldest first."""
        return [each for each in self.pool.containers if not states or each.state in states]

    def states(self) -> list[str]:
        return [each.state.value for each in self.pool.containers]

    def buffered(self) -> list[str]:
        return [waiting.run.run_id for waiting in self.pool.state.buffer]

    def why(self, run_id: str) -> str:
        explanation = self.pool.explain(run_id)
        assert explanation is not None, f"{run_id} does not wait"
        return explanation.summary

    # -- what the cluster does

    def join(self, new: FakeAgent, *, seen: bool = True) -> None:
        self.agents[new.agent_id] = new
        known = self.ledger.agent(new.agent_id)
        known.hostname = new.agent_id
        self.cluster.describe(known)
        if seen:
            self.observe(new.agent_id)

    def leave(self, agent_id: str) -> None:
        """The agent is lost, with all its tasks."""
        lost = self.agents.pop(agent_id)
        self.ledger.lose_agent(agent_id, self.now)
        self.cluster.close(agent_id, "unknown")
        for container_id in lost.tasks:
            self._end(container_id, "the agent is gone")
        self.send(NodeStatsUpdate((), (agent_id,)))

    def neighbours(self, agent_id: str, mem: int, *, cpus: float = 0.0) -> None:
        """What others hold there from now on. Nobody tells us."""
        self.agents[agent_id].neighbours = Ask.of(mem=mem, cpus=cpus)

    def observe(self, *agent_ids: str) -> None:
        """Offers come, and are let go at once: of these agents, or of all."""
        seen = [self.agents[agent_id] for agent_id in agent_ids or self.agents if agent_id in self.agents]
        for each in seen:
            room = each.offered()
            self.ledger.offer(each.slot, room, self.now)
            self.ledger.hold(each.slot, None)
            self.ledger.remember(each.slot, room, self.now, "offer")
        self.send(NodeStatsUpdate(tuple(self.ledger.stats(self.ledger.account(each.slot)) for each in seen)))

    def disconnect(self) -> None:
        """The master is lost: nothing is known of the agents."""
        self.ledger.disconnect()
        self.settled = self.cluster.known = False
        self.send(NodeStatsUpdate())

    def settle(self) -> None:
        self.settled = self.cluster.known = True
        self.observe()

    def close(self, agent_id: str, *, closed: bool = True) -> None:
        """Its starts failed too often: it gets none for a while."""
        if self.cluster.close(agent_id, "backoff" if closed else None):
            self.observe(agent_id)

    def crash(self, container_id: str) -> None:
        """The container ends by itself."""
        for each in self.agents.values():
            each.tasks.pop(container_id, None)
        self._end(container_id, "it ended")

    # -- within

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + seconds, self._count, do))

    def send(self, event: object) -> None:
        """One event for the pool, and all that it wants done."""
        self.broken = True  # until all checks are passed
        self.checks.before(event)
        effects = self.pool.handle(event, self.now)
        for effect in effects:
            self.checks.effect(effect)
            self.log.append((self.now, effect))
            self._carry_out(effect)
        self.checks.after()
        self.broken = False

    def _carry_out(self, effect: PoolEffect) -> None:
        if isinstance(effect, StartContainer):
            fate = self.fates.pop(0) if self.fates else "starts"
            if effect.slot.agent_id in self.broken_agents or effect.shape.image in self.missing:
                fate = "fails"
            self.later(ACCEPT_TAKES, lambda: self._accept(effect, fate))
        elif isinstance(effect, StopContainer):
            self.later(self.stop_takes, lambda: self._stopped(effect.container_id))
        elif isinstance(effect, Dispatch):
            self._dispatched(effect)
        elif isinstance(effect, RunFailed):
            self.ended[effect.run_id] = effect.message
        elif isinstance(effect, WaitingForRoom):
            self.waiting = effect.waiting
            if effect.waiting:
                self.later(0.01, self.observe)
        elif isinstance(effect, SetAside):
            self.aside = effect.agent_id

    def _accept(self, start: StartContainer, fate: str) -> None:
        container_id = start.container_id
        where = self.agents.get(start.slot.agent_id)
        room = where.offered() if where is not None else None
        if where is None or room is None or not start.ask.fits(room) or fate == "refused":
            self.later(OFFER_WAIT, lambda: self.send(StartRefused(container_id, "no fitting offer came")))
            if where is not None:
                self.observe(where.agent_id)
            return
        where.tasks[container_id] = start.ask
        self.ledger.cut(container_id, start.ask.cut(room), container_id)
        self.checks.cut(container_id)
        self.observe(where.agent_id)
        if fate == "fails":
            self.later(self.start_takes, lambda: self._failed(container_id))
        elif fate != "hangs":
            self.later(self.start_takes, lambda: self._started(start))

    def _lives(self, container_id: str) -> bool:
        return any(container_id in each.tasks for each in self.agents.values())

    def _started(self, start: StartContainer) -> None:
        if self._lives(start.container_id):
            self.ledger.release(start.container_id)
            address = f"{start.slot.agent_id}:{start.container_id}"
            self.send(ContainerStarted(start.container_id, start.slot, address))

    def _failed(self, container_id: str) -> None:
        if self._lives(container_id):
            self._free(container_id)
            self.send(StartFailed(container_id, "it crashed"))

    def _stopped(self, container_id: str) -> None:
        if self._lives(container_id):
            self._free(container_id)
            self.send(ContainerStopped(container_id, "stopped"))

    def _free(self, container_id: str) -> None:
        self.ledger.release(container_id)
        for each in self.agents.values():
            ask = each.tasks.pop(container_id, None)
            if ask is not None:
                each.neighbours = each.neighbours.plus(ask) if self.greedy else each.neighbours
                self.later(OFFER_TAKES, lambda agent_id=each.agent_id: self._seen(agent_id))  # type: ignore[misc]

    def _seen(self, agent_id: str) -> None:
        if self.waiting and agent_id in self.agents:
            self.observe(agent_id)

    def _look(self) -> None:
        if self.waiting and self.settled:
            self.observe()
        self.later(LOOKS_EVERY, self._look)

    def _dispatched(self, effect: Dispatch) -> None:
        self.given[effect.run_id] = effect.container_id
        takes = self.init_takes if effect.initialize else 0.0
        if effect.initialize:
            self.later(takes, lambda: self.send(Initialized(effect.container_id)))
        if effect.run_id in self.durations:
            self.later(takes + self.durations[effect.run_id], lambda: self._over(effect))

    def _over(self, effect: Dispatch) -> None:
        if self.given.get(effect.run_id) == effect.container_id and effect.run_id not in self.ended:
            self.done(effect.run_id)

    def _end(self, container_id: str, reason: str) -> None:
        """Its runs end with it: an error that is the action's own, as far as the pool is concerned."""
        self.ledger.release(container_id)
        self.send(ContainerStopped(container_id, reason))
        for run_id, (where, _) in list(self.pool.state.running.items()):
            if where == container_id:
                self.done(run_id, reuse=False)


def one_agent(memory: int, **named: Any) -> FakeCluster:
    """A cluster of one agent with so many MB."""
    return FakeCluster({"S1": memory}, **named)

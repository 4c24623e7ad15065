"""What must hold of the pool after every event, judged from its events and effects alone where that can be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from owmesos.core.placement import Slot
from owmesos.core.pool.containers import ContainerShape, ContainerState
from owmesos.core.pool.events import (
    CancelRun,
    ContainerStarted,
    ContainerStopped,
    ContainerUnfit,
    Dispatch,
    FeedMore,
    Initialized,
    PoolEffect,
    Reschedule,
    Run,
    RunDone,
    RunFailed,
    StartContainer,
    StartFailed,
    StartKind,
    StartRefused,
    StopContainer,
)
from owmesos.core.pool.eviction_planner import NOBODYS
from owmesos.core.pool.run_buffer import Waiting
from owmesos.resources import Ask
from tests.core.pool.invariants import check_pool
from tests.core.pool.order import Order

if TYPE_CHECKING:
    from tests.core.pool.cluster import FakeCluster

ROUND = "its room is for run "


def sum_of(asks: Iterable[Ask]) -> Ask:
    return reduce(Ask.plus, asks, NOBODYS)


@dataclass
class Round:
    """Stops for one run. `over` is since when all victims are gone."""

    run_id: str
    slot: Slot
    victims: set[str]
    over: float | None = None
    start: str | None = None  # the container that the cluster queues until they are


class Checks:
    """Keeps its own small books beside the pool's."""

    def __init__(self, world: FakeCluster) -> None:
        self._world = world
        self._reserved: dict[str, tuple[Slot, Ask]] = {}
        self._starting: dict[str, tuple[float, str, bool]] = {}  # container → since when, its agent, whether a prewarm
        self._serving: dict[str, set[str]] = {}  # container → its runs
        self._keys: dict[str, object] = {}
        self._doomed: set[str] = set()
        self._stopping: set[str] = set()
        self._withdrawn: set[str] = set()
        self._runs: dict[str, Run] = {}
        self._waiting: set[str] = set()
        self._fed = 0
        self._over: set[str] = set()
        self._rounds: dict[str, list[float]] = {}
        self._under_way: dict[str, Round] = {}  # by run
        self._stopping_since: dict[str, float] = {}
        self._evicted: dict[ContainerShape, float] = {}
        self._before: dict[str, Waiting] = {}
        self._owner: str | None = None
        self._stopped_now: dict[str, list[str]] = {}
        self._started_now: list[StartContainer] = []
        self._order = Order(world)

    # -- events

    def before(self, event: object) -> None:
        state = self._world.pool.state
        self._stopped_now, self._started_now = {}, []
        self._order.before(event)
        self._before = dict(state.buffer.by_id)
        self._owner = state.aside.run_id if state.aside is not None else None
        if isinstance(event, CancelRun) and event.run_id in self._waiting:
            self._waiting.discard(event.run_id)
            self._over.add(event.run_id)
        if isinstance(event, Run):
            self._runs[event.run_id] = event
            self._waiting.add(event.run_id)
        elif isinstance(event, (RunDone, Reschedule)):
            self._serving.get(event.container_id, set()).discard(event.run_id)
            if isinstance(event, Reschedule) or not event.reuse:
                self._doomed.add(event.container_id)
            if isinstance(event, Reschedule):
                self._waiting.add(event.run_id)
            else:
                self._over.add(event.run_id)
        elif isinstance(event, ContainerUnfit):
            self._doomed.add(event.container_id)
        elif isinstance(event, ContainerStarted):
            self._starting.pop(event.container_id, None)
            self._reserved.pop(event.container_id, None)
            self._arrived(event.container_id)
            self._serving[event.container_id] = set()
        elif isinstance(event, (ContainerStopped, StartRefused, StartFailed)):
            self._gone(event.container_id)
        elif isinstance(event, Initialized):
            assert event.container_id in self._keys or event.container_id not in self._serving

    def cut(self, container_id: str) -> None:
        self._reserved.pop(container_id, None)

    def _gone(self, container_id: str) -> None:
        for each in (self._starting, self._reserved, self._serving, self._keys):
            each.pop(container_id, None)
        self._stopping.discard(container_id)
        self._withdrawn.discard(container_id)
        self._stopping_since.pop(container_id, None)
        self._arrived(container_id)
        for each in self._under_way.values():
            each.victims.discard(container_id)
            if not each.victims and each.over is None:
                each.over = self._world.now

    def _arrived(self, container_id: str) -> None:
        """The start that a round was for has come, whoever it serves, or will not."""
        self._under_way = {run_id: each for run_id, each in self._under_way.items() if each.start != container_id}

    # -- effects

    def effect(self, effect: PoolEffect) -> None:
        if isinstance(effect, StartContainer):
            self._start(effect)
        elif isinstance(effect, StopContainer):
            self._stop(effect)
        elif isinstance(effect, Dispatch):
            self._dispatch(effect)
            self._order.dispatch(effect)
        elif isinstance(effect, RunFailed):
            assert effect.run_id in self._waiting, "a run that does not wait fails"
            assert effect.message
            self._waiting.discard(effect.run_id)
            self._over.add(effect.run_id)
        elif isinstance(effect, FeedMore):
            self._fed += 1

    def _start(self, start: StartContainer) -> None:
        world, agent_id = self._world, start.slot.agent_id
        settings = world.pool.state.settings
        self._started_now.append(start)
        self._starting[start.container_id] = (world.now, agent_id, start.prewarm)
        if start.prewarm:
            self._prewarm()
        starting = [each for name, each in self._starting.items() if name not in self._withdrawn]
        counted = [each for each in starting if world.now - each[0] < settings.start_timeout]
        assert len(counted) <= settings.max_starts, "more starts than max_starts"
        here = [each for each in counted if each[1] == agent_id]
        assert len(here) <= settings.max_starts_on_agent, f"more starts on {agent_id} than may be"
        assert agent_id not in world.cluster.closed, f"a start on {agent_id}, which is closed"
        reserved = [ask for slot, ask in self._reserved.values() if slot == start.slot]
        cpus, mem = world.ledger.buffer_on(world.ledger.agents[agent_id])
        free = world.ledger.free(start.slot)
        left = Ask(free.milli_cpus - cpus, free.milli_mem - mem, 0, 0, len(free.ports))
        for ask in reserved:
            left = left.minus(ask)
        if start.after:
            assert world.cluster.queues_starts
            left = left.plus(self._stopping_on(start))
        over = left.minus(start.ask)
        assert min(over.milli_cpus, over.milli_mem, over.ports) >= 0, f"a start on {agent_id} that has no room for it"
        self._reserved[start.container_id] = (start.slot, start.ask)
        assert all(each.matches(agent_id, world.ledger.agents[agent_id].attributes) for each in start.constraints)
        if world.aside == agent_id:
            self._on_aside(start)

    def _stopping_on(self, start: StartContainer) -> Ask:
        """What those hold that stop on the start's node, with those that it is to come after."""
        here = self._world.pool.containers.on_agent[start.slot.agent_id].values()
        stopping = {each.id: each.ask for each in here if each.state is ContainerState.STOPPING}
        assert stopping.keys() >= set(start.after), "a start waits for what does not stop there"
        return sum_of(stopping.values())

    def _prewarm(self) -> None:
        world = self._world
        assert world.settled
        assert not self._waiting, "a prewarmed container starts while runs wait"
        starting = [each for each in self._starting.values() if each[2]]
        assert len(starting) <= max(1, world.pool.state.settings.max_starts / 2), "prewarms use too many starts"
        for shape, when in self._evicted.items():
            if world.now < when + world.pool.state.settings.prewarm_pause:
                ask = world.pool.state.settings.ask(shape)
                assert world.cluster.find(ask, ()) is not None, "a prewarm takes the room of an eviction"

    def _on_aside(self, start: StartContainer) -> None:
        covered = [w for w in self._world.pool.state.buffer if w.covered_by == start.container_id]
        owner = self._before.get(self._owner) if self._owner is not None else None
        assert owner is not None
        theirs = any(w.run.health or w.run.run_id == self._owner or w.place < owner.place for w in covered)
        # Its run found a container on the target in the same breath: then the start is nobody's, or covers another.
        served = not covered or self._owner not in self._world.pool.state.buffer.by_id
        assert theirs or served, "a start on the agent that is set aside for another"

    def _dispatch(self, effect: Dispatch) -> None:
        run_id, container_id = effect.run_id, effect.container_id
        run = self._runs[run_id]
        assert run_id in self._waiting, f"{run_id} is given away twice"
        self._waiting.discard(run_id)
        assert container_id in self._serving, "a run for a container that does not run"
        assert container_id not in self._stopping, "a run for a container that stops"
        assert container_id not in self._doomed, "a run for a container that must not serve again"
        key = (run.namespace, run.action.name, run.action.version, run.action.digest)
        container = self._world.pool.containers.by_id[container_id]
        assert container.shape == run.action.shape
        assert effect.initialize == (container_id not in self._keys)
        assert self._keys.setdefault(container_id, key) == key, "a run for another action's container"
        self._serving[container_id].add(run_id)
        assert len(self._serving[container_id]) <= run.action.concurrency, "more runs than the container takes"
        if effect.kind is StartKind.WARMED:
            assert container.state in (ContainerState.WARM, ContainerState.BUSY)

    def _stop(self, effect: StopContainer) -> None:
        container_id = effect.container_id
        assert not self._serving.get(container_id), f"{container_id} stops and has runs"
        if container_id in self._starting and self._world.cluster.queues_starts:
            self._withdrawn.add(container_id)
        else:
            assert container_id in self._serving, f"{container_id} stops and never started"
        assert container_id not in self._stopping, f"{container_id} stops twice"
        self._stopping.add(container_id)
        self._stopping_since[container_id] = self._world.now
        if effect.reason.startswith(ROUND):
            self._stopped_now.setdefault(effect.reason.removeprefix(ROUND), []).append(container_id)

    # -- rounds

    def _begin_round(self, run_id: str, victims: list[str], *, alone: bool) -> None:
        world, now = self._world, self._world.now
        settings, containers = world.pool.state.settings, world.pool.containers.by_id
        waiting = world.pool.state.buffer.by_id[run_id]
        assert world.settled, "unknown is taken for full"
        slots = {containers[each].slot for each in victims}
        assert len(slots) == 1, "victims on several agents"
        slot = slots.pop()
        former = self._under_way.pop(run_id, None)
        if former is not None:
            self._may_follow(former)
        head = run_id == self._owner_now()
        queued = self._queued_on(slot, waiting)
        if queued is not None:  # what is reserved there is nobody else's: its node may be set aside for the next
            assert any(start.container_id == queued and start.slot == slot for start in self._started_now)
        elif head:
            assert world.aside == slot.agent_id, "victims on an agent that is not set aside"
            assert waiting.blocked_since is not None
        else:
            assert world.aside != slot.agent_id, "room for another is made on the agent that is set aside"
            hanging = self._hanging()
            stopping = [each for each in self._under_way.values() if each.victims and each.slot.agent_id not in hanging]
            assert len(stopping) <= settings.max_starts, "more rounds than starts, and the head's"
        waited_since = waiting.blocked_since if head and waiting.blocked_since is not None else waiting.received_at
        if now < waited_since + settings.drain_after:
            assert all(containers[each].last_used + settings.idle_grace <= now for each in victims), "within grace"
        self._judge_victims(run_id, slot, victims, settings.ask(waiting.shape), alone=alone)
        self._rounds.setdefault(run_id, []).append(now)
        assert len(self._rounds[run_id]) <= settings.max_rounds, "more rounds than may be"
        assert slot.agent_id not in self._hanging(), "victims where stops take too long"
        self._under_way[run_id] = Round(run_id, slot, set(victims), start=queued)
        self._evicted[waiting.shape] = now

    def _queued_on(self, slot: Slot, waiting: Waiting) -> str | None:
        """The start that the round on `slot` began with; one elsewhere that covers the run too is another's."""
        queued = self._world.pool.state.queued.get(waiting.covered_by or "")
        return waiting.covered_by if queued is not None and queued.slot == slot else None

    def _end_rounds(self) -> None:
        self._hand_over()
        buffer, hanging = self._world.pool.state.buffer, self._hanging()
        for run_id, round_ in list(self._under_way.items()):
            waiting = buffer.by_id.get(run_id)
            rounds = (None, round_.start, *self._world.pool.state.queued)  # its own, or that of the next round
            if waiting is None or waiting.covered_by not in rounds:
                del self._under_way[run_id]
            elif round_.slot.agent_id in hanging:  # given up, and not counted
                del self._under_way[run_id]
                self._rounds[run_id].pop()
            elif not self._world.cluster.allows(round_.slot.agent_id, ()):  # given up, even if it opens again at once
                del self._under_way[run_id]

    def _hand_over(self) -> None:
        """An older run of the same shape came back: it is the head now, and the round for the former one is its."""
        owner, former = self._owner_now(), self._owner
        round_ = self._under_way.get(former) if former is not None else None
        if owner is None or former is None or owner == former or round_ is None or former not in self._waiting:
            return
        alike = self._runs[former].action.shape == self._runs[owner].action.shape
        if alike and round_.slot.agent_id == self._world.aside and self._order.older(owner, former):
            self._under_way[owner] = self._under_way.pop(former)
            self._rounds[owner] = max(self._rounds.get(owner, []), self._rounds.pop(former, []), key=len)

    def _may_follow(self, former: Round) -> None:
        """The round before is over: its agent is lost or does not answer, or its room went elsewhere."""
        world = self._world
        if former.slot.agent_id in self._hanging():
            return
        assert former.over is not None, "two rounds for one run at once"
        assert world.now >= former.over + world.pool.state.settings.round_wait - 1e-9, "NodeStats had no time"

    def _owner_now(self) -> str | None:
        aside = self._world.pool.state.aside
        return aside.run_id if aside is not None else None

    def _hanging(self) -> set[str]:
        due = self._world.now - self._world.pool.state.settings.stop_wait
        containers = self._world.pool.containers.by_id
        return {containers[each].slot.agent_id for each, since in self._stopping_since.items() if since <= due}

    def _judge_victims(self, run_id: str, slot: Slot, victims: list[str], ask: Ask, *, alone: bool) -> None:
        """With what is free there and what stops anyway they suffice for all that room is made for there.

        And none of them is needless, unless room was made for another there in the same step.
        """
        world = self._world
        room = world.cluster.available(slot)
        if self._queued_on(slot, world.pool.state.buffer.by_id[run_id]) is not None:
            ask = NOBODYS  # it is reserved
        owed = world.cluster.owed_ports(slot)
        lacking = ask.minus(Ask(room.milli_cpus, room.milli_mem, 0, 0, len(room.ports) - owed))
        others = world.pool._eviction._planner.claims.get(slot, NOBODYS)
        if run_id != self._owner_now():
            others = others.minus(ask)
        lacking = lacking.plus(others)
        for container in world.pool.containers.on_agent[slot.agent_id].values():
            if container.state is ContainerState.STOPPING:
                lacking = lacking.minus(container.ask)
        assert max(lacking.milli_mem, lacking.milli_cpus, lacking.ports) <= 0, "the stops make too little room"
        self._judge_order(slot, victims)
        for victim in victims if others == NOBODYS and alone else ():
            without = lacking.plus(world.pool.containers.by_id[victim].ask)
            assert max(without.milli_mem, without.milli_cpus, without.ports) > 0, f"{victim} stops for nothing"

    def _judge_order(self, slot: Slot, victims: list[str]) -> None:
        """One that was used before a victim stays only if it is smaller, so that the victim makes it needless."""
        containers = self._world.pool.containers
        for victim in (containers.by_id[each] for each in victims):
            for other in containers.idle_on.get(slot, {}).values():
                first = other.last_used < victim.last_used and (other.key is None or victim.key is not None)
                assert not first or other.ask.milli_mem < victim.ask.milli_mem, f"{victim.id} stops before {other.id}"

    # -- after each event

    def after(self) -> None:
        world, state = self._world, self._world.pool.state
        self._end_rounds()
        slots = [state.containers.by_id[victims[0]].slot for victims in self._stopped_now.values()]
        for run_id, victims in self._stopped_now.items():
            self._begin_round(run_id, victims, alone=slots.count(state.containers.by_id[victims[0]].slot) == 1)
        check_pool(world.pool)
        world.ledger.validate()
        self._order.after()
        assert set(state.buffer.by_id) == self._waiting, "runs are lost, or wait twice"
        assert set(state.containers.by_id) == self._starting.keys() | self._serving.keys()
        free, busy = set(), set()
        for container in state.containers:
            runs = self._serving.get(container.id, set())
            assert container.active == len(runs), f"{container.id} has {len(runs)} runs, the pool counts otherwise"
            if container.id in state.containers.idle_on.get(container.slot, {}):
                free.add(container.id)
            if runs:
                busy.add(container.id)
        assert not free & busy, "a container is free and busy"
        assert state.containers.memory == sum(each.shape.memory for each in state.containers)
        assert set(world.ledger.reservations.by_launch) == self._starting.keys(), "a reservation is nobody's"
        assert self._fed == len(self._over), "the feed is told of each end once"

    def explained(self) -> None:
        """Costs more than all of `after`: to be asked for after a step, not after each event in it."""
        for waiting in self._world.pool.state.buffer:
            explanation = self._world.pool.explain(waiting.run.run_id)
            assert explanation is not None
            assert explanation.summary, f"nobody knows why {waiting.run.run_id} waits"

"""What must hold of the pool after every event, judged from its events and effects alone where that can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from owmesos.core.containers import ContainerState, Shape
from owmesos.core.placement import Slot
from owmesos.core.pool_events import (
    ContainerStarted,
    ContainerStopped,
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
from owmesos.core.room_maker import NOBODYS
from owmesos.core.run_buffer import Waiting
from owmesos.resources import Ask
from tests.core.pool.order import Order

if TYPE_CHECKING:
    from tests.core.pool.cluster import FakeCluster

ROUND = "its room is for run "


@dataclass
class Round:
    """Stops for one run. `over` is since when all victims are gone."""

    run_id: str
    slot: Slot
    victims: set[str]
    over: float | None = None


class Checks:
    """Keeps its own small books beside the pool's."""

    def __init__(self, world: FakeCluster) -> None:
        self._world = world
        self._uncut: dict[str, tuple[Slot, Ask]] = {}
        self._starting: dict[str, tuple[float, str, bool]] = {}  # container → since when, its agent, whether a prewarm
        self._serving: dict[str, set[str]] = {}  # container → its runs
        self._keys: dict[str, object] = {}
        self._doomed: set[str] = set()
        self._stopping: set[str] = set()
        self._runs: dict[str, Run] = {}
        self._waiting: set[str] = set()
        self._fed = 0
        self._over: set[str] = set()
        self._rounds: dict[str, list[float]] = {}
        self._under_way: dict[str, Round] = {}  # by run
        self._stopping_since: dict[str, float] = {}
        self._evicted: dict[Shape, float] = {}
        self._before: dict[str, Waiting] = {}
        self._owner: str | None = None
        self._stopped_now: dict[str, list[str]] = {}
        self._order = Order(world)

    # -- events

    def before(self, event: object) -> None:
        books = self._world.pool.books
        self._stopped_now = {}
        self._order.before(event)
        self._before = dict(books.buffer.by_id)
        self._owner = books.aside.run_id if books.aside is not None else None
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
        elif isinstance(event, ContainerStarted):
            self._starting.pop(event.container_id, None)
            self._uncut.pop(event.container_id, None)
            self._serving[event.container_id] = set()
        elif isinstance(event, (ContainerStopped, StartRefused, StartFailed)):
            self._gone(event.container_id)
        elif isinstance(event, Initialized):
            assert event.container_id in self._keys or event.container_id not in self._serving

    def cut(self, container_id: str) -> None:
        self._uncut.pop(container_id, None)

    def _gone(self, container_id: str) -> None:
        for each in (self._starting, self._uncut, self._serving, self._keys):
            each.pop(container_id, None)
        self._stopping.discard(container_id)
        self._stopping_since.pop(container_id, None)
        for each in self._under_way.values():
            each.victims.discard(container_id)
            if not each.victims and each.over is None:
                each.over = self._world.now

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
        settings = world.pool.books.settings
        self._starting[start.container_id] = (world.now, agent_id, start.prewarm)
        if start.prewarm:
            self._prewarm()
        if world.fixed is not None:
            return
        counted = [each for each in self._starting.values() if world.now - each[0] < settings.start_timeout]
        assert len(counted) <= settings.max_starts, "more starts than max_starts"
        here = [each for each in counted if each[1] == agent_id]
        assert len(here) <= settings.max_starts_on_agent, f"more starts on {agent_id} than may be"
        assert agent_id not in world.cluster.closed, f"a start on {agent_id}, which is closed"
        promised = [ask for slot, ask in self._uncut.values() if slot == start.slot]
        cpus, mem = world.ledger.buffer_on(world.ledger.agents[agent_id])
        free = world.ledger.free(start.slot)
        left = Ask(free.milli_cpus - cpus, free.milli_mem - mem, 0, 0, len(free.ports))
        for ask in promised:
            left = left.minus(ask)
        over = left.minus(start.ask)
        assert min(over.milli_cpus, over.milli_mem, over.ports) >= 0, f"a start on {agent_id} that has no room for it"
        self._uncut[start.container_id] = (start.slot, start.ask)
        assert all(each.matches(agent_id, world.ledger.agents[agent_id].attributes) for each in start.constraints)
        if world.aside == agent_id:
            self._on_aside(start)

    def _prewarm(self) -> None:
        world = self._world
        if world.fixed is not None:
            return
        assert world.cluster.settled
        assert not self._waiting, "a prewarmed container starts while runs wait"
        starting = [each for each in self._starting.values() if each[2]]
        assert len(starting) <= max(1, world.pool.books.settings.max_starts / 2), "prewarms use too many starts"
        for shape, when in self._evicted.items():
            if world.now < when + world.pool.books.settings.prewarm_pause:
                ask = world.pool.books.settings.ask(shape)
                assert world.cluster.find(ask, ()) is not None, "a prewarm takes the room of an eviction"

    def _on_aside(self, start: StartContainer) -> None:
        covered = [w for w in self._world.pool.books.buffer if w.covered_by == start.container_id]
        owner = self._before.get(self._owner) if self._owner is not None else None
        assert owner is not None
        theirs = any(w.run.health or w.run.run_id == self._owner or w.place < owner.place for w in covered)
        # Nobody's: its run found a container on T in the same breath, once the head was placed.
        assert theirs or not covered, "a start on the agent that is set aside for another"

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
        assert container_id in self._serving, f"{container_id} stops and never started"
        assert container_id not in self._stopping, f"{container_id} stops twice"
        self._stopping.add(container_id)
        self._stopping_since[container_id] = self._world.now
        if effect.reason.startswith(ROUND) and self._world.fixed is None:
            self._stopped_now.setdefault(effect.reason.removeprefix(ROUND), []).append(container_id)

    # -- rounds

    def _begin_round(self, run_id: str, victims: list[str]) -> None:
        world, now = self._world, self._world.now
        settings, containers = world.pool.books.settings, world.pool.containers.by_id
        waiting = world.pool.books.buffer.by_id[run_id]
        assert world.cluster.settled, "unknown is taken for full"
        slots = {containers[each].slot for each in victims}
        assert len(slots) == 1, "victims on several agents"
        slot = slots.pop()
        former = self._under_way.pop(run_id, None)
        if former is not None:
            self._may_follow(former)
        head = run_id == self._owner_now()
        if head:
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
        self._judge_victims(run_id, slot, victims, settings.ask(waiting.shape))
        self._rounds.setdefault(run_id, []).append(now)
        assert len(self._rounds[run_id]) <= settings.max_rounds, "more rounds than may be"
        assert slot.agent_id not in self._hanging(), "victims where stops take too long"
        self._under_way[run_id] = Round(run_id, slot, set(victims))
        self._evicted[waiting.shape] = now

    def _end_rounds(self) -> None:
        self._hand_over()
        buffer, hanging = self._world.pool.books.buffer, self._hanging()
        for run_id, round_ in list(self._under_way.items()):
            waiting = buffer.by_id.get(run_id)
            if waiting is None or waiting.covered_by is not None:
                del self._under_way[run_id]
            elif round_.slot.agent_id in hanging:  # given up, and not counted
                del self._under_way[run_id]
                self._rounds[run_id].pop()

    def _hand_over(self) -> None:
        """An older run of the same shape came back: it is the head now, and the round for the former one is its."""
        owner, former = self._owner_now(), self._owner
        round_ = self._under_way.get(former) if former is not None else None
        if owner is None or former is None or owner == former or round_ is None or former not in self._waiting:
            return
        alike = self._runs[former].action.shape == self._runs[owner].action.shape
        if alike and round_.slot.agent_id == self._world.aside and self._order.older(owner, former):
            self._under_way[owner] = self._under_way.pop(former)
            self._rounds[owner] = self._rounds.pop(former, [])

    def _may_follow(self, former: Round) -> None:
        """The round before is over: its agent is lost or does not answer, or its room went elsewhere."""
        world = self._world
        if not world.cluster.allows(former.slot.agent_id, ()) or former.slot.agent_id in self._hanging():
            return
        assert former.over is not None, "two rounds for one run at once"
        assert world.now >= former.over + world.pool.books.settings.round_wait - 1e-9, "NodeStats had no time"

    def _owner_now(self) -> str | None:
        aside = self._world.pool.books.aside
        return aside.run_id if aside is not None else None

    def _hanging(self) -> set[str]:
        due = self._world.now - self._world.pool.books.settings.stop_wait
        containers = self._world.pool.containers.by_id
        return {containers[each].slot.agent_id for each, since in self._stopping_since.items() if since <= due}

    def _judge_victims(self, run_id: str, slot: Slot, victims: list[str], ask: Ask) -> None:
        """With what is free there and what stops anyway they suffice for all that room is made for there.

        And none of them is needless.
        """
        world = self._world
        room = world.cluster.available(slot)
        lacking = ask.minus(Ask(room.milli_cpus, room.milli_mem, 0, 0, len(room.ports)))
        others = world.pool._eviction.claims.get(slot, NOBODYS)
        if run_id != self._owner_now():
            others = others.minus(ask)
        lacking = lacking.plus(others)
        for container in world.pool.containers.on_agent[slot.agent_id].values():
            if container.state is ContainerState.STOPPING:
                lacking = lacking.minus(container.ask)
        assert max(lacking.milli_mem, lacking.milli_cpus, lacking.ports) <= 0, "the stops make too little room"
        for victim in victims if others == NOBODYS else ():
            without = lacking.plus(world.pool.containers.by_id[victim].ask)
            assert max(without.milli_mem, without.milli_cpus, without.ports) > 0, f"{victim} stops for nothing"

    # -- after each event

    def after(self) -> None:
        world, books = self._world, self._world.pool.books
        self._end_rounds()
        for run_id, victims in self._stopped_now.items():
            self._begin_round(run_id, victims)
        world.pool.validate()
        world.ledger.validate()
        self._order.after()
        assert set(books.buffer.by_id) == self._waiting, "runs are lost, or wait twice"
        for waiting in books.buffer:
            explanation = world.pool.explain(waiting.run.run_id)
            assert explanation is not None
            assert explanation.summary, f"nobody knows why {waiting.run.run_id} waits"
        assert set(books.containers.by_id) == self._starting.keys() | self._serving.keys()
        free, busy = set(), set()
        for container in books.containers:
            runs = self._serving.get(container.id, set())
            assert container.active == len(runs), f"{container.id} has {len(runs)} runs, the pool counts otherwise"
            if container.id in books.containers.idle_on.get(container.slot, {}):
                free.add(container.id)
            if runs:
                busy.add(container.id)
        assert not free & busy, "a container is free and busy"
        assert books.containers.memory == sum(each.shape.memory for each in books.containers)
        if world.fixed is None:
            assert set(world.ledger.reservations.by_launch) == self._starting.keys(), "a reservation is nobody's"
        else:
            held = sum(c.shape.memory for c in books.containers if c.state is not ContainerState.STOPPING)
            assert held <= world.fixed.user_memory, "more than user-memory"
        assert self._fed == len(self._over), "the feed is told of each end once"

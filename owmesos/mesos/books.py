"""Everything that the scheduler knows, in one place, for the parts that decide on it.

Each part (matching, revival, tasks) has rules of its own and shares these books; none has a second copy of a fact.
The two placement indices follow the ledger lazily: a cluster that is idle costs no index work at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from owmesos.core.backoff import Backoff
from owmesos.core.cluster_capacity import ClusterCapacity
from owmesos.core.explanation import Exclusion
from owmesos.core.launches import LaunchRecord, Queue
from owmesos.core.ledger import Agent, Ledger
from owmesos.core.lifecycle import Trigger
from owmesos.core.node_stats import NodeState, NodeStats, NodeStatsUpdate
from owmesos.core.placement import Placement, Slot
from owmesos.core.timers import Timers
from owmesos.errors import InvariantBroken
from owmesos.mesos.effects import Changed, Effect, Note, Send, StartRefused, StoreLaunch
from owmesos.mesos.messages import Call, FrameworkInfo
from owmesos.mesos.offers import OfferBook, OfferState
from owmesos.mesos.settings import Settings
from owmesos.resources import NOTHING, Resources


class SetAside(NamedTuple):
    """One agent is kept for the queue's head, until a time."""

    launch_id: str
    agent_id: str
    until: float


class Books:
    """`capacity` knows what is available, `held` indexes what an ACCEPT may take now."""

    def __init__(self, settings: Settings, info: FrameworkInfo) -> None:
        self.settings = settings
        self.info = info
        self.ledger = Ledger(settings.buffer)
        self.offers = OfferBook()
        self.launches: dict[str, LaunchRecord] = {}
        self.by_task: dict[str, str] = {}  # every attempt's task id → launch id
        self.queue = Queue()
        self.backoff = Backoff(settings.failed_starts, settings.backoff_first, settings.backoff_most)
        self.timers = Timers()
        self.capacity = ClusterCapacity(self.ledger, settings.strategy)
        self.held = Placement(settings.strategy)
        self.set_aside: SetAside | None = None
        self.tasks: dict[str, tuple[Slot, Resources]] = {}  # launch id → what its live task has
        self.used: dict[str, Resources] = {}  # agent id → the sum of our live tasks
        self.connected = False
        self.pool_waits = False
        self.pool_holds: str | None = None  # the agent whose offers the pool wants to be held
        self.refused: list[LaunchRecord] = []  # managed launches whose room was not there: they end with this step
        self.effects: list[Effect] = []
        self._held_behind = self.ledger.watch()
        self._stats_behind = self.ledger.watch()
        self._gone: set[str] = set()

    @property
    def anything_waits(self) -> bool:
        """For room: a launch, or a run in the pool."""
        return bool(self.queue) or self.pool_waits

    @property
    def settled(self) -> bool:
        """Offers had the time to come since we subscribed: from now on silence means that nothing is free."""
        return self.capacity.settled

    # -- effects

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def send(self, call: Call) -> None:
        self.effects.append(Send(call))

    def note(self, level: str, text: str) -> None:
        self.effects.append(Note(level, text))

    def store(self, record: LaunchRecord) -> None:
        """The record changed: it is stored, and whoever waits for it is told."""
        self.effects.append(StoreLaunch(record))
        self.effects.append(Changed(record.id))

    def unpromise(self, record: LaunchRecord, now: float, reason: str) -> None:
        """Back to its old place in the queue: the room that was promised is not there."""
        self.ledger.release(record.id)
        record.step(Trigger.UNMATCHED, now, reason)
        record.message = reason
        self.emit(StartRefused(record.id, reason))
        if record.managed:
            self.refused.append(record)

    # -- tasks

    def live(self) -> Iterator[LaunchRecord]:
        """The launches that may have a task."""
        return (self.launches[launch_id] for launch_id in list(self.tasks))

    def task_lives(self, record: LaunchRecord) -> None:
        assert record.slot is not None
        assert record.resources is not None
        self.tasks[record.id] = (record.slot, record.resources)
        agent_id = record.slot.agent_id
        self.used[agent_id] = self.used.get(agent_id, NOTHING).plus(record.resources)
        self._stats_behind.add(record.slot)

    def task_over(self, record: LaunchRecord) -> None:
        slot, resources = self.tasks.pop(record.id, (None, NOTHING))
        if slot is not None:
            left = self.used[slot.agent_id].minus(resources)
            if left:
                self.used[slot.agent_id] = left
            else:
                del self.used[slot.agent_id]
            self._stats_behind.add(slot)

    # -- agents

    def judge(self, agent: Agent) -> None:
        """Whether `agent` may get starts."""
        barred: Exclusion | None = None
        if agent.unavailability is not None:
            barred = "draining"
        elif self.backoff.until(agent.agent_id) is not None:
            barred = "backoff"
        elif agent.gone_at is not None:
            barred = "unknown"
        if self.capacity.close(agent.agent_id, barred):
            for account in agent.accounts:
                self.ledger.mark(account.slot)

    def lose_agent(self, agent_id: str, now: float) -> None:
        """All its pieces go, and the stops on it are closed."""
        agent = self.ledger.agents.get(agent_id)
        if agent is None:
            return
        for offer_id in [i for account in agent.accounts for i in (account.outstanding or ())]:
            self.lose_offer(offer_id, now, "its agent is gone")
        self.ledger.lose_agent(agent_id, now)
        for stop in self.ledger.reservations.stops_on(agent_id):
            self.ledger.release(stop.launch_id)
        self._gone.add(agent_id)
        self.judge(agent)
        self.timers.set_earliest("forget agents", now + self.settings.keep_gone)

    def lose_offer(self, offer_id: str, now: float, reason: str) -> None:
        if self.offers.end(offer_id, OfferState.RESCINDED, now, reason=reason) is not None:
            self.ledger.rescind(offer_id)

    def forget_agents(self, now: float) -> None:
        """Drop agents that have been gone for long, and that nothing refers to."""
        for agent_id in list(self._gone):
            agent = self.ledger.agents.get(agent_id)
            if agent is None or agent.gone_at is None:
                self._gone.discard(agent_id)
            elif now >= agent.gone_at + self.settings.keep_gone and agent_id not in self.used:
                if any(r.slot.agent_id == agent_id for r in self.ledger.reservations.by_launch.values()):
                    continue
                self.ledger.forget_agent(agent_id)
                self.capacity.forget(agent_id)
                self.held.forget(agent_id)
                self.offers.forget_agent(agent_id)
                self.backoff.forget(agent_id)
                self._gone.discard(agent_id)
        if self._gone:
            self.timers.set("forget agents", now + self.settings.keep_gone)

    def meet(self, slot: Slot, hostname: str) -> Agent:
        """The slot's agent, made known by what others than its offers say of it."""
        agent = self.ledger.agents.get(slot.agent_id)
        if agent is None or agent.hostname != hostname:
            agent = self.ledger.agent(slot.agent_id)
            agent.hostname = hostname
            self.describe(agent)
        self.ledger.account(slot)
        self.ledger.mark(slot)
        return agent

    def describe(self, agent: Agent) -> None:
        self.capacity.describe(agent)
        self.held.describe(agent.agent_id, agent.hostname, agent.attributes)

    # -- indices

    def synced_held(self) -> Placement:
        """The index of what is in hand, as of now."""
        for slot in self._held_behind:
            if self.ledger.offers_of(slot):
                self.held.set(slot, self.ledger.held(slot))
            else:
                self.held.remove(slot)
        self._held_behind.clear()
        return self.held

    def node_state(self, agent: Agent) -> NodeState | None:
        """What the ledger does not know of the agent's state, or None."""
        if agent.gone_at is None and self.backoff.until(agent.agent_id) is not None:
            return NodeState.BACKOFF
        return None

    def stats_update(self) -> NodeStatsUpdate | None:
        """What changed since it was last asked for."""
        if not self._stats_behind:
            return None
        changed: list[NodeStats] = []
        gone: dict[str, None] = {}
        for slot in self._stats_behind:
            agent = self.ledger.agents[slot.agent_id]
            if agent.gone_at is not None:
                gone[slot.agent_id] = None
            else:
                account = self.ledger.account(slot)
                changed.append(self.ledger.stats(account, self.node_state(agent)))
        self._stats_behind.clear()
        return NodeStatsUpdate(tuple(changed), tuple(gone))

    def stats_now(self) -> NodeStatsUpdate:
        """All agents that are not gone."""
        agents = [agent for agent in self.ledger.agents.values() if agent.gone_at is None]
        return NodeStatsUpdate(
            tuple(self.ledger.stats(account, self.node_state(agent)) for agent in agents for account in agent.accounts)
        )

    # -- invariants

    def validate(self) -> None:
        """The invariants of the design's section 8 that the books alone can show. Raises InvariantBroken."""
        self.ledger.validate()
        if set(self.ledger.outstanding()) != set(self.offers.outstanding):
            raise InvariantBroken("the ledger and the offer book hold different offers")
        for offer_id, offer in self.offers.outstanding.items():
            if self.ledger.offers_of(offer.slot)[offer_id] != offer.resources:
                raise InvariantBroken(f"offer {offer_id} is not what the ledger counts")
        waiting = {record.id for record in self.queue}
        for record in self.launches.values():
            if (record.id in waiting) != record.state.waiting:
                raise InvariantBroken(f"launch {record.id} is {record.state.value} and stands wrong in the queue")
            if (record.id in self.tasks) != record.state.live:
                raise InvariantBroken(f"launch {record.id} is {record.state.value} and counted wrong as a task")
        for launch_id, reservation in self.ledger.reservations.by_launch.items():
            owner = self.launches.get(launch_id)
            if owner is None or (reservation.kind == "start" and (owner.ran or owner.state.ended)):
                raise InvariantBroken(f"the reservation of {launch_id} belongs to no start")
            if reservation.kind == "stop" and reservation.ended_at is None and not owner.state.live:
                raise InvariantBroken(f"the stop of {launch_id} never closes")
        used = {slot.agent_id for slot, _ in self.tasks.values()}
        if used != set(self.used):
            raise InvariantBroken("what our tasks use is not what is counted")

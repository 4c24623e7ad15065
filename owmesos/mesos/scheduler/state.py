"""Everything that the scheduler knows, in one place, for the parts that decide on it.

Each part (matching, revive, task_updates, …) has rules of its own and shares this state; none has a second copy of a
fact.
The two placement indices follow the ledger lazily: a cluster that is idle costs no index work at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple
from zlib import crc32

import msgspec

from owmesos.core.backoff import Backoff
from owmesos.core.capacity import Capacity
from owmesos.core.explanation import Exclusion, Explanation
from owmesos.core.histogram import Histogram
from owmesos.core.ledger import Account, Ledger, LedgerNode
from owmesos.core.node_stats import NodeState, NodeStats, NodeStatsUpdate
from owmesos.core.placement import Placement, Slot
from owmesos.core.reservations import Reservation
from owmesos.core.timers import Timers
from owmesos.errors import InvariantBroken
from owmesos.mesos.messages import Call, FrameworkInfo
from owmesos.mesos.scheduler.effects import Effect, LaunchRefused, Note, SendCall, StoreLaunch
from owmesos.mesos.scheduler.launches import MAX_ATTEMPTS, LaunchRecord, Queue, Unreadable
from owmesos.mesos.scheduler.lifecycle import ENDED, State, Trigger
from owmesos.mesos.scheduler.offer_book import OfferBook, OfferState
from owmesos.mesos.scheduler.settings import Settings
from owmesos.resources import NOTHING, Ports, Resources

_SPREAD_PORTS = 600.0  # seconds
_NAMED = 3  # agents whose failures an explanation names
_NOTED = 10_000  # that many warnings are remembered
NOT_CONNECTED = "not connected to a master"
SILENT = "the master is silent: its heartbeats are overdue"
_ATTEMPT = re.compile(rf"[1-9][0-9]{{0,{len(str(MAX_ATTEMPTS)) - 1}}}")


class SchedulerTimer(str, Enum):
    """What may be due. From DEADLINE on each is about one launch, task, agent or start key; those before are not."""

    SETTLED = "settled"
    CONNECT_TIMEOUT = "connect timeout"
    SILENCE = "silence"
    TOTALS = "totals"
    REVIVE = "revive"
    REVIVE_INTERVAL = "revive interval"
    OFFER_WAIT = "offer wait"
    SET_ASIDE = "set aside"
    SET_ASIDE_ENDS = "set aside ends"
    TRIALS = "trials"
    MATCH = "match"
    RECONCILE = "reconcile"
    RECONCILE_ALL = "reconcile all"
    FORGET_ENDED = "forget ended"
    FORGET_AGENTS = "forget agents"
    DEADLINE = "deadline"
    CONFIRM = "confirm"
    ASK = "ask"
    KILL = "kill"
    STRAY = "stray"
    UNREACHABLE = "unreachable"
    BACKOFF = "backoff"
    LAUNCH_BACKOFF = "launch backoff"


class AsideAgent(NamedTuple):
    """The agent that is kept for the queue's head."""

    launch_id: str
    agent_id: str


class MasterConnection(msgspec.Struct):
    """The connection to a master. All times are seconds since the epoch."""

    since: float | None = None  # when it began or ended
    reason: str | None = "no master has answered yet"  # why there is no connection
    heartbeat: float = 0.0  # seconds between two of the master's heartbeats
    heard_at: float | None = None  # the last event; None before the first heartbeat
    silent_since: float | None = None  # the last event, once heartbeats are overdue


class LaunchCounts(msgspec.Struct):
    """What has happened to launches since the process began."""

    submitted: int = 0
    refused: int = 0  # starts for which reserved room was not there
    requeued: int = 0  # attempts that ended before they ran, and were followed by another
    ended: dict[State, int] = msgspec.field(default_factory=lambda: dict.fromkeys(ENDED, 0))
    running_after: Histogram = msgspec.field(default_factory=Histogram)  # seconds from submission to RUNNING


class SchedulerState:
    """`capacity` knows what is available, `held` indexes what an ACCEPT may take now."""

    def __init__(self, settings: Settings, info: FrameworkInfo) -> None:
        self.settings = settings
        self.info = info
        self.ledger = Ledger(settings.buffer)
        self.offers = OfferBook(self.ledger)
        self.launches: dict[str, LaunchRecord] = {}
        self.unreadable: dict[str, Unreadable] = {}  # stored launches that are set aside, by launch id
        self.queue = Queue()
        self.backoff = Backoff(settings, "agent")
        self.timers: Timers[SchedulerTimer] = Timers()
        self.capacity = Capacity(self.ledger, settings.strategy, noun="agent")
        self.held = Placement(settings.strategy)
        self.set_aside: AsideAgent | None = None
        self.unlisted: set[str] = set()  # agents that the master does not list, and that were not seen since then
        self.tasks: dict[str, LaunchRecord] = {}  # the launches that may have a task, by id
        self.used: dict[str, Resources] = {}  # agent id → the sum of our live tasks
        self.connected = False
        self.connection = MasterConnection()
        self.pool_waits = False
        self.pool_holds: str | None = None  # the agent whose offers the pool wants to be held
        self._spread_ports_until = 0.0
        self._last_port: dict[str, int] = {}  # that was given to a task, by agent id
        self.refused: list[LaunchRecord] = []  # managed launches whose room was not there: they end with this step
        self.effects: list[Effect] = []
        self.counts = {False: LaunchCounts(), True: LaunchCounts()}  # by `LaunchRecord.managed`
        self._held_behind = self.ledger.watch()
        self._stats_behind = self.ledger.watch()
        self._noted: set[tuple[str, str]] = set()

    @property
    def anything_waits(self) -> bool:
        """For room: a launch, or a run in the pool."""
        return bool(self.queue) or self.pool_waits

    # -- launches

    def launch_of(self, task_id: str) -> str | None:
        """The launch that an attempt's task id belongs to, known or set aside; None where there is none."""
        launch_id, _, attempt = task_id.rpartition(".")
        if launch_id in self.unreadable:
            return launch_id
        record = self.launches.get(launch_id)
        if record is None or not _ATTEMPT.fullmatch(attempt) or int(attempt) > record.attempts:
            return None
        return launch_id

    def ports_from(self, agent_id: str, task_id: str, now: float) -> tuple[float, int]:
        """Which of the offered ports a task gets: from which place in them (0 to 1), above which port (`Ports.take`).

        Mostly above the one that was given last on the agent, also if its task has ended. Who has a port that Mesos
        does not know of often has a row of them: after `spread_ports` it may be any in the upper half.
        """
        if now < self._spread_ports_until:
            return (1 + crc32(task_id.encode()) / 2**32) / 2, 0
        return 0.0, self._last_port.get(agent_id, 0)

    def ports_given(self, agent_id: str, ports: Ports) -> None:
        if ports:
            self._last_port[agent_id] = ports.ranges[-1][1]

    def spread_ports(self, now: float) -> None:
        """Another process had a task's port."""
        self._spread_ports_until = now + _SPREAD_PORTS

    # -- effects

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def send(self, call: Call) -> None:
        self.effects.append(SendCall(call))

    def note(self, level: str, text: str) -> None:
        self.effects.append(Note(level, text))

    def note_once(self, about: tuple[str, str], text: str) -> None:
        """A warning, and the same again as no more than a detail: what is wrong with an agent comes with each offer."""
        self.note("debug" if about in self._noted else "warning", text)
        if len(self._noted) < _NOTED:
            self._noted.add(about)

    def store(self, record: LaunchRecord) -> None:
        """The record changed: it is stored, and those who wait for the launch are woken."""
        self.effects.append(StoreLaunch(record))

    def refuse_start(self, record: LaunchRecord, now: float, reason: str) -> None:
        """Back to its old place in the queue: the room that was reserved is not there."""
        self.ledger.release(record.id)
        record.step(Trigger.UNRESERVED, now, reason)
        record.message = reason
        self.counts[record.managed].refused += 1
        self.emit(LaunchRefused(record.id, reason))
        if record.managed:
            self.refused.append(record)

    def close_stops(self, stops: Iterable[Reservation], ended_by: float = math.inf) -> None:
        """Release those whose tasks had ended by then (seconds): their room was seen, or is no longer looked for."""
        for stop in stops:
            if stop.ended_at is not None and stop.ended_at <= ended_by:
                self.ledger.release(stop.launch_id)

    # -- offers

    def offers_are_unwanted(self, now: float) -> bool:
        """Whether all that come in this step would be declined at its end: nothing is due that could change that."""
        due = self.timers.next()
        return (
            self.connected
            and not self.queue
            and not self.offers.outstanding
            and self.pool_holds is None
            and (due is None or due > now)
        )

    def why_declined(self, agent_id: str) -> str:
        if agent_id in self.capacity.closed:
            return "its agent gets no starts"
        return "nothing that waits fits" if self.anything_waits else "nothing waits"

    # -- tasks

    def task_lives(self, record: LaunchRecord) -> None:
        slot, _, resources, _ = record.attempt
        self.tasks[record.id] = record
        self.used[slot.agent_id] = self.used.get(slot.agent_id, NOTHING).plus(resources)
        self._stats_behind.add(slot)

    def task_over(self, record: LaunchRecord) -> None:
        if self.tasks.pop(record.id, None) is None:
            return
        slot, _, resources, _ = record.attempt
        left = self.used.pop(slot.agent_id).minus(resources)
        if left:
            self.used[slot.agent_id] = left
        self._stats_behind.add(slot)

    # -- agents

    def judge(self, agent: LedgerNode) -> None:
        """Whether `agent` may get starts."""
        closed: Exclusion | None = None
        if agent.unavailability is not None:
            closed = "draining"
        elif self.backoff.agent_pause(agent.agent_id) is not None:
            closed = "backoff"
        elif agent.gone_at is not None:
            closed = "unknown"
        before = self.capacity.closed.get(agent.agent_id)
        if self.capacity.close(agent.agent_id, closed):
            self._note_closed(agent, before, closed)
            for account in agent.accounts:
                self.ledger.mark(account.slot)

    def _note_closed(self, agent: LedgerNode, before: Exclusion | None, closed: Exclusion | None) -> None:
        """Logs draining and return. Pauses are logged with their reasons where they begin, losses in `lose_agent`."""
        if closed == "draining":
            self.note("warning", f"agent {agent.name} is draining: it gets no starts")
        elif before == "unknown":
            self.note("info", f"agent {agent.name} is back")
        elif closed is None:
            self.note("info", f"agent {agent.name} gets starts again")

    def lose_agent(self, agent_id: str, now: float) -> None:
        """All its pieces go, and the stops on it are closed."""
        agent = self.ledger.agents.get(agent_id)
        if agent is None:
            return
        if agent.gone_at is None:
            ours = ", with tasks of ours" if agent_id in self.used else ""
            self.note("warning", f"agent {agent.name} is lost{ours}")
        for offer in [offer for account in agent.accounts for offer in self.offers.on(account.slot)]:
            self.offers.end(offer.offer_id, OfferState.RESCINDED, now, reason="its agent is gone")
        self.ledger.lose_agent(agent_id, now)
        for stop in self.ledger.reservations.stops_on(agent_id):
            self.ledger.release(stop.launch_id)
        self._last_port.pop(agent_id, None)
        self.backoff.began_anew(agent_id, now)
        self.judge(agent)
        self.timers.set_earliest(SchedulerTimer.FORGET_AGENTS, now + self.settings.keep_gone)

    def drop_unlisted(self, now: float) -> None:
        """Those where nothing of ours is left are gone: a restart knew them by their tasks alone."""
        reserved = {each.slot.agent_id for each in self.ledger.reservations.by_launch.values()}
        for agent_id in list(self.unlisted):
            agent = self.ledger.agents.get(agent_id)
            if agent is None or agent.gone_at is not None or agent.seen:
                self.unlisted.discard(agent_id)
            elif agent_id not in self.used and agent_id not in reserved:
                self.unlisted.discard(agent_id)
                self.ledger.lose_agent(agent_id, now)
                self.judge(agent)
                self.timers.set_earliest(SchedulerTimer.FORGET_AGENTS, now + self.settings.keep_gone)

    def forget_agents(self, now: float) -> None:
        """Drop agents that have been gone for long, and that nothing refers to."""
        reserved = {each.slot.agent_id for each in self.ledger.reservations.by_launch.values()}
        for agent_id, agent in list(self.ledger.agents.items()):
            if agent.gone_at is None:
                continue
            if now < agent.gone_at + self.settings.keep_gone or agent_id in self.used or agent_id in reserved:
                self.timers.set(SchedulerTimer.FORGET_AGENTS, now + self.settings.keep_gone)
                continue
            self.ledger.forget_agent(agent_id)
            self.capacity.forget(agent_id)
            self.held.forget(agent_id)
            self.offers.forget_agent(agent_id)
            self.backoff.forget(agent_id)

    def meet(self, slot: Slot, hostname: str) -> LedgerNode:
        """The slot's agent, made known by what others than its offers say of it."""
        agent = self.ledger.agents.get(slot.agent_id)
        if agent is None or agent.hostname != hostname:
            agent = self.ledger.agent(slot.agent_id)
            agent.hostname = hostname
            self.capacity.describe(agent)
        self.ledger.account(slot)
        self.ledger.mark(slot)
        return agent

    # -- why a launch waits

    def explain(self, record: LaunchRecord) -> Explanation:
        """For one that waits for room: the funnel over all agents that are known and not gone."""
        aside = self.set_aside
        others = aside.agent_id if aside is not None and aside.launch_id != record.id else None
        found = self.capacity.explain(record.ask, record.constraints, others, role=record.launch.role, but=record.id)
        if not self.connected or self.connection.silent_since is not None:
            return msgspec.structs.replace(found, summary=SILENT if self.connected else NOT_CONNECTED)
        if not found.agents:
            return msgspec.structs.replace(found, summary="no agent was seen yet")
        failures = [] if record.managed else self._failures(record)
        return msgspec.structs.replace(found, summary="; ".join([*failures, found.summary]))

    def _failures(self, record: LaunchRecord) -> list[str]:
        """What failed before and keeps it waiting: starts of launches like it, or of others on an agent."""
        own = self.backoff.explain(record.launch.start_key)
        if own is not None:
            return [own]
        failures = []
        for agent_id in self.ledger.agents:
            pause, doubt = self.backoff.agent_pause(agent_id), self.backoff.doubt(agent_id)
            if pause is not None:
                failures.append(pause.text)
            elif doubt is not None:
                failures.append(f"agent {agent_id}: {doubt}")
        return failures[:_NAMED]

    # -- indices

    def synced_held(self) -> Placement:
        """The index of what is in hand, as of now."""
        for slot in self._held_behind:
            if self.ledger.account(slot).held is not None:
                agent = self.ledger.agents[slot.agent_id]
                self.held.describe(agent.agent_id, agent.hostname, agent.attributes)
                self.held.set(slot, self.ledger.held(slot))
            else:
                self.held.remove(slot)
        self._held_behind.clear()
        return self.held

    def stats(self, account: Account) -> NodeStats:
        """The ledger's, which knows nothing of back-offs."""
        agent = self.ledger.agents[account.slot.agent_id]
        paused = agent.gone_at is None and self.backoff.agent_pause(agent.agent_id) is not None
        return self.ledger.stats(account, NodeState.BACKOFF if paused else None)

    def stats_update(self) -> NodeStatsUpdate | None:
        """What changed since it was last asked for."""
        if not self._stats_behind:
            return None
        changed: list[NodeStats] = []
        gone: dict[str, None] = {}
        for slot in self._stats_behind:
            if self.ledger.agents[slot.agent_id].gone_at is not None:
                gone[slot.agent_id] = None
            else:
                changed.append(self.stats(self.ledger.account(slot)))
        self._stats_behind.clear()
        return NodeStatsUpdate(tuple(changed), tuple(gone))

    def stats_now(self) -> NodeStatsUpdate:
        """All agents that are not gone."""
        agents = [agent for agent in self.ledger.agents.values() if agent.gone_at is None]
        return NodeStatsUpdate(tuple(self.stats(account) for agent in agents for account in agent.accounts))

    # -- invariants

    def validate(self) -> None:
        """The invariants that the state alone can show. Raises InvariantBroken."""
        self.ledger.validate()
        self.offers.validate()
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
        if {record.agent_id for record in self.tasks.values()} != set(self.used):
            raise InvariantBroken("what our tasks use is not what is counted")

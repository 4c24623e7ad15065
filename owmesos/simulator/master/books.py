"""The master's state, and the basic changes that all parts of the master make to it."""

from __future__ import annotations

import random
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from owmesos.mesos import messages
from owmesos.mesos.messages import ID, Kill, ReconcileTask, TaskInfo, TaskStatus
from owmesos.simulator.agenda import Agenda, cancel
from owmesos.simulator.master.effects import MasterEffect, Publish, ToAgent, ToFramework
from owmesos.simulator.master.records import AgentRecord, Allocated, FrameworkRecord, MasterOffer, Registry, TaskRecord
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.pieces import Pieces
from owmesos.simulator.protocol import WireMessage


class MasterBooks:
    """What a master knows from its start to its end."""

    def __init__(
        self,
        settings: MasterSettings,
        registry: Registry,
        agenda: Agenda,
        chance: random.Random,
        address: tuple[str, int],
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.agenda = agenda
        self.chance = chance
        self.address = address
        self.started_at = agenda.now
        self.id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        self.agents: dict[str, AgentRecord] = {}
        self.at_place: dict[str, AgentRecord] = {}  # by the name of their place
        self.recovered = dict(registry.admitted)
        self.frameworks: dict[str, FrameworkRecord] = {}
        self.completed: OrderedDict[str, FrameworkRecord] = OrderedDict()
        self.offers: dict[str, MasterOffer] = {}
        self.whole = Allocated()
        self.by_role: dict[str, Allocated] = {}
        self.freed: dict[str, None] = {}  # agents, in the order in which they came to it that have something to offer
        self.effects: list[MasterEffect] = []
        self.watched = False  # by operators who subscribed
        self._counts = {"S": 0, "O": 0, "F": 0}
        self.alive = True

    # -- ids and effects

    def next_id(self, kind: str) -> str:
        """`S` for agents, `O` for offers (and inverse ones), `F` for frameworks."""
        number = self._counts[kind]
        self._counts[kind] += 1
        return f"{self.id}-{number:04d}" if kind == "F" else f"{self.id}-{kind}{number}"

    @property
    def now(self) -> float:
        return self.agenda.now

    def to_framework(self, framework: FrameworkRecord, event: messages.Event) -> None:
        """Events for a disconnected framework are dropped."""
        if framework.connected:
            self.effects.append(ToFramework(framework.stream, event))

    def to_agent(self, agent: AgentRecord, message: WireMessage) -> None:
        """Messages for an agent that is not connected are lost."""
        if agent.connected:
            self.effects.append(ToAgent(agent.description.name, message))

    def to_agents_of(self, framework: FrameworkRecord, message: WireMessage) -> None:
        """To every agent that has a task of the framework."""
        for agent_id in sorted({task.agent_id for task in framework.tasks.values()} & self.agents.keys()):
            self.to_agent(self.agents[agent_id], message)

    def publish(self, kind: str, **body: Any) -> None:
        if self.watched:
            self.effects.append(Publish({"type": kind, kind.lower(): body}))

    # -- allocation

    def allocate(self, framework: FrameworkRecord, role: str, agent: AgentRecord, pieces: Pieces) -> None:
        """`pieces` leave what the agent has available."""
        agent.available = agent.available.minus(pieces)
        if not agent.available:
            self.freed.pop(agent.id, None)
        self._count(framework, role, pieces, 1)

    def release(self, framework: FrameworkRecord, role: str, agent: AgentRecord, pieces: Pieces) -> None:
        if not pieces:
            return
        agent.available = agent.available.plus(pieces)
        self.freed[agent.id] = None
        self._count(framework, role, pieces, -1)

    def _count(self, framework: FrameworkRecord, role: str, pieces: Pieces, sign: int) -> None:
        mine = framework.allocated.setdefault(role, Allocated())
        of_role = self.by_role.setdefault(role, Allocated())
        for part in pieces.parts.values():
            mine.add(part, sign)
            of_role.add(part, sign)

    def take_offer(self, offer: MasterOffer) -> None:
        """The offer is no longer outstanding; the caller releases or uses its resources."""
        del self.offers[offer.id]
        offer.framework.offers.pop(offer.id, None)
        offer.agent.offers.pop(offer.id, None)
        cancel(offer.timeout)

    def drop_offer(self, offer: MasterOffer, *, rescind: bool = True) -> None:
        """Its resources are available again; the framework is told, or knows already."""
        self.take_offer(offer)
        self.release(offer.framework, offer.role, offer.agent, offer.pieces)
        if rescind:
            self.to_framework(offer.framework, messages.Rescind(ID(offer.id)))

    def drop_offers(self, offers: Iterable[MasterOffer], *, rescind: bool = True) -> None:
        for offer in list(offers):
            self.drop_offer(offer, rescind=rescind)

    # -- tasks

    def status(
        self, task: TaskInfo | ReconcileTask | Kill, state: str, reason: str, message: str, **more: Any
    ) -> TaskStatus:
        """One that the master makes: without a uuid, so it is not to be acknowledged."""
        return TaskStatus(
            task.task_id,
            state,
            message=message,
            source="SOURCE_MASTER",
            reason=reason,
            agent_id=task.agent_id,
            timestamp=self.now,
            **more,
        )

    def update(self, framework: FrameworkRecord, status: TaskStatus) -> None:
        self.to_framework(framework, messages.Update(status))

    def free_task(self, task: TaskRecord) -> None:
        """What it used is available again, once."""
        agent, framework = self.agents.get(task.agent_id), self.frameworks.get(task.framework_id)
        if task.freed or agent is None or framework is None:
            return
        task.freed = True
        self.release(framework, task.role, agent, task.pieces)

    def set_state(self, task: TaskRecord, state: str, status: TaskStatus | None = None) -> None:
        """The latest state that the master knows of a task."""
        task.state = state
        if status is not None:
            task.status_state, task.status_uuid = status.state, status.uuid
            task.statuses = [each for each in task.statuses if each.state != status.state]
            task.statuses.append(status)
        if task.over:
            self.free_task(task)
        if self.watched and status is not None:
            self.publish("TASK_UPDATED", framework_id=ID(task.framework_id), status=status, state=state)

    def complete_task(self, task: TaskRecord) -> None:
        """It is over: kept only as one of the last that were."""
        self.free_task(task)
        framework = self.frameworks.get(task.framework_id)
        agent = self.agents.get(task.agent_id)
        if agent is not None:
            agent.tasks.pop((task.framework_id, task.id), None)
        if framework is not None:
            if framework.tasks.get(task.id) is task:
                del framework.tasks[task.id]
            framework.unreachable.pop(task.id, None)
            framework.completed.append(task)

"""The master's books: who is there, what is out, and the small deeds that every part of the master does to them."""

from __future__ import annotations

import base64
import random
import uuid
from collections import OrderedDict
from typing import Any

import msgspec

from owmesos.mesos import messages
from owmesos.mesos.messages import ID, TaskStatus
from owmesos.simulator.agenda import Agenda
from owmesos.simulator.master.effects import Answer, Effect, EndStream, Publish, Tell, ToAgent
from owmesos.simulator.master.records import AgentRecord, Amounts, FrameworkRecord, OfferRecord, TaskRecord
from owmesos.simulator.master.registry import Registry
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.pieces import Pieces
from owmesos.simulator.protocol import Message


class Books:
    """Of one life of a master."""

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
        self.streams: dict[str, FrameworkRecord] = {}
        self.offers: dict[str, OfferRecord] = {}
        self.whole = Amounts()
        self.by_role: dict[str, Amounts] = {}
        self.freed: dict[str, None] = {}  # agents, in the order in which they came to it that have something to offer
        self.effects: list[Effect] = []
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

    def tell(self, framework: FrameworkRecord, event: messages.Event) -> None:
        """Nothing is kept for a framework that is not connected."""
        if framework.connected:
            self.effects.append(Tell(framework.stream, event))

    def end_stream(self, stream: str) -> None:
        self.effects.append(EndStream(stream))

    def to_agent(self, agent: AgentRecord, message: Message) -> bool:
        """False if the agent is not connected; then the message is lost."""
        if agent.connected:
            self.effects.append(ToAgent(agent.description.name, message))
        return agent.connected

    def answer(self, status: int, text: str = "", document: Any = None) -> None:
        self.effects.append(Answer(status, text, document))

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
        """They are available again."""
        if not pieces:
            return
        agent.available = agent.available.plus(pieces)
        self.freed[agent.id] = None
        self._count(framework, role, pieces, -1)

    def _count(self, framework: FrameworkRecord, role: str, pieces: Pieces, sign: int) -> None:
        mine = framework.allocated.setdefault(role, Amounts())
        of_role = self.by_role.setdefault(role, Amounts())
        for part in pieces.parts.values():
            mine.add(part, sign)
            of_role.add(part, sign)

    def take_offer(self, offer: OfferRecord) -> None:
        """An offer is no longer out; its resources are the caller's to release or to use."""
        del self.offers[offer.id]
        offer.framework.offers.pop(offer.id, None)
        offer.agent.offers.pop(offer.id, None)
        if offer.timeout is not None:
            offer.timeout.cancel()

    def drop_offer(self, offer: OfferRecord, *, rescind: bool) -> None:
        """Its resources are available again; the framework is told, or knows already."""
        self.take_offer(offer)
        self.release(offer.framework, offer.role, offer.agent, offer.pieces)
        if rescind:
            self.tell(offer.framework, messages.Rescind(ID(offer.id)))

    # -- tasks

    def status(self, task: TaskRecord, state: str, reason: str, message: str, **more: Any) -> TaskStatus:
        """One that the master makes: without a uuid, so it is not to be acknowledged."""
        return TaskStatus(
            task.info.task_id,
            state,
            message=message,
            source="SOURCE_MASTER",
            reason=reason,
            agent_id=ID(task.agent_id),
            timestamp=self.now,
            **more,
        )

    def update(self, framework: FrameworkRecord, status: TaskStatus) -> None:
        self.tell(framework, messages.Update(status))

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
            while len(framework.completed) > self.settings.completed_tasks:
                framework.completed.popleft()

    def uuid(self) -> str:
        """A fresh one, as updates have it."""
        return base64.b64encode(self.chance.getrandbits(128).to_bytes(16, "big")).decode()


def with_id(info: messages.FrameworkInfo, framework_id: str) -> messages.FrameworkInfo:
    return msgspec.structs.replace(info, id=ID(framework_id))

"""The agents and tasks of the model: what they have, what they run, and what the master knows of it.

An agent's room is kept by *label*: None for the unreserved part, else the (role, label) of a reservation, since a task
must name what it takes from which. Facts are those that were measured on Mesos 1.11.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, NamedTuple

from owmesos.mesos.messages import (
    ID,
    URL,
    Address,
    AllocationInfo,
    Attribute,
    DurationInfo,
    Offer,
    Range,
    Ranges,
    Resource,
    Scalar,
    TaskStatus,
    Text,
    TimeInfo,
    Unavailability,
)
from owmesos.resources import MILLI, NOTHING, Ports, Resources, total

FRAMEWORK = ID("framework-1")
TERMINAL = frozenset({"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"})


class Label(NamedTuple):
    """Names a reservation; two of one role differ by `name`."""

    role: str
    name: str

    def reservations(self) -> list[dict[str, Any]]:
        return [
            {"type": "DYNAMIC", "role": self.role, "labels": {"labels": [{"key": "for", "value": self.name}]}},
        ]


Room = dict[Label | None, Resources]


class Link(Enum):
    """What the master has of an agent."""

    UP = "up"
    FROZEN = "frozen"  # the master does not know yet that it answers no more
    ABSENT = "absent"  # the master restarted, and it has not registered again
    UNREACHABLE = "unreachable"
    GONE = "gone"  # for good


class Task:
    """`actual` is what the agent has of it, `state` what the master believes."""

    def __init__(self, task_id: str, kind: str, agent: ModelAgent, room: Room) -> None:
        self.task_id = task_id
        self.kind = kind
        self.agent = agent
        self.room = room
        self.actual: str | None = None  # None: the launch never reached the agent
        self.state = "TASK_STAGING"
        self.known = True  # to the master
        self.freed = False
        self.to_send: deque[TaskStatus] = deque()
        self.in_flight: TaskStatus | None = None
        self.retries = 0

    @property
    def launch_id(self) -> str:
        return self.task_id.rpartition(".")[0]

    @property
    def lives(self) -> bool:
        """It exists on the agent."""
        return self.actual is not None and self.actual not in TERMINAL

    def status(self, state: str, *, uuid: str | None, source: str, reason: str | None = None) -> TaskStatus:
        return TaskStatus(
            ID(self.task_id), state, source=source, reason=reason, agent_id=ID(self.agent.agent_id), uuid=uuid
        )


class ModelAgent:
    """One agent. `neighbours` is what other frameworks use of its unreserved room."""

    def __init__(self, number: int, name: str, total: Room, rack: str | None) -> None:
        self.number = number
        self.agent_id = name
        self.host = f"h{number}"
        self.total = total
        self.rack = rack
        self.neighbours = NOTHING
        self.link = Link.UP
        self.unavailable = False
        self.replaced = False  # another id is at its address: it never comes back
        self.tasks: dict[str, Task] = {}
        self.attributes = [Attribute("rack", "TEXT", text=Text(rack))] if rack is not None else []

    def used(self, label: Label | None) -> Resources:
        return total(task.room.get(label, NOTHING) for task in self.tasks.values() if not task.freed)

    def whole(self) -> Resources:
        return total(self.total.values())


class ModelOffer(NamedTuple):
    offer_id: str
    agent: ModelAgent
    role: str
    room: Room

    def whole(self) -> Resources:
        return total(self.room.values())

    def message(self, now: float) -> Offer:
        agent = self.agent
        window = None
        if agent.unavailable:
            window = Unavailability(TimeInfo(int(now * 1e9)), DurationInfo(10**12))
        return Offer(
            ID(self.offer_id),
            FRAMEWORK,
            ID(agent.agent_id),
            agent.host,
            url=URL("http", Address(5051, hostname=agent.host, ip=f"10.0.0.{agent.number}")),
            resources=[each for label, part in self.room.items() for each in _named(part, label, self.role)],
            attributes=agent.attributes,
            unavailability=window,
            allocation_info=AllocationInfo(self.role),
        )


def room_of(resources: list[Resource]) -> Room:
    """What a TaskInfo names, by label. Raises ValueError where its reservation is not written as it was offered."""
    room: Room = {}
    for each in resources:
        label = None
        if each.reservations:
            (reservation,) = each.reservations
            label = Label(reservation["role"], reservation["labels"]["labels"][0]["value"])
            if each.reservations != label.reservations():
                raise ValueError(f"the reservation of {each} was never offered")
        room[label] = room.get(label, NOTHING).plus(_amount(each))
    return room


def room_minus(room: Room, taken: Room) -> Room:
    return {label: part.minus(taken.get(label, NOTHING)) for label, part in room.items()}


def _amount(resource: Resource) -> Resources:
    if resource.name == "ports":
        assert resource.ranges is not None
        return Resources(ports=Ports.of((r.begin, r.end) for r in resource.ranges.range))
    assert resource.scalar is not None
    return Resources(**{f"milli_{resource.name}": round(resource.scalar.value * MILLI)})


def _named(part: Resources, label: Label | None, role: str) -> list[Resource]:
    reservations = label.reservations() if label is not None else None
    allocated = AllocationInfo(role)
    found = [
        Resource(name, "SCALAR", scalar=Scalar(value), allocation_info=allocated, reservations=reservations)
        for name, value in (("cpus", part.cpus), ("mem", part.mem), ("disk", part.disk))
        if value
    ]
    if part.ports:
        ranges = Ranges([Range(begin, end) for begin, end in part.ports.ranges])
        found.append(Resource("ports", "RANGES", ranges=ranges, allocation_info=allocated, reservations=reservations))
    return found

"""What comes to a master, and what it wants done. Carried out in order by whoever runs the simulation."""

from __future__ import annotations

from typing import Any

import msgspec

from owmesos.mesos import messages
from owmesos.simulator.protocol import Message


class Event(msgspec.Struct, frozen=True):
    """The root of what comes."""


class Subscribing(Event, frozen=True):
    """SUBSCRIBE, on a stream that has just been given its id. `principal`: who authenticated, if anyone."""

    stream: str
    call: messages.Subscribe
    principal: str | None = None


class Calling(Event, frozen=True):
    framework_id: str
    stream: str
    call: messages.Call


class StreamClosed(Event, frozen=True):
    """By the framework, or lost."""

    stream: str


class Operating(Event, frozen=True):
    """A call of the operator API: its type, and the object with its fields."""

    kind: str
    body: dict[str, Any]


class FromAgent(Event, frozen=True):
    message: Message


class Effect(msgspec.Struct, frozen=True):
    """The root of what is wanted."""


class Answer(Effect, frozen=True):
    """To the call that was handled: text, or a document that is written as JSON."""

    status: int
    text: str = ""
    document: Any = None


class Tell(Effect, frozen=True):
    """An event for a framework."""

    stream: str
    event: messages.Event


class EndStream(Effect, frozen=True):
    stream: str


class ToAgent(Effect, frozen=True):
    """By the name of the agent's place."""

    name: str
    message: Message


class Publish(Effect, frozen=True):
    """An event for operators who have subscribed."""

    document: dict[str, Any]

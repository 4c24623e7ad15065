"""What a master wants done. The owner of the simulation carries it out in order."""

from __future__ import annotations

from typing import Any

import msgspec

from owmesos.mesos import messages
from owmesos.simulator.protocol import WireMessage


class MasterAnswer(msgspec.Struct, frozen=True):
    """To a call: text, or a document that is written as JSON."""

    status: int
    text: str = ""
    document: Any = None


class MasterRefusal(Exception):
    """By the master, with its answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = MasterAnswer(status, text)


class ToFramework(msgspec.Struct, frozen=True):
    stream: str
    event: messages.Event


class EndStream(msgspec.Struct, frozen=True):
    stream: str


class ToAgent(msgspec.Struct, frozen=True):
    """By the name of the agent's place."""

    name: str
    message: WireMessage


class Publish(msgspec.Struct, frozen=True):
    """An event for operators who have subscribed."""

    document: dict[str, Any]


MasterEffect = ToFramework | EndStream | ToAgent | Publish

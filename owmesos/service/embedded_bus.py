"""The way between a Controller and its invoker when both are this process: futures in the place of Kafka's topics.

Whoever submits an activation gets two: one for its result, and one for its end, which comes after its logs. It is the
`Acks` of `owmesos.service.invoker`, so the invoker does not know the difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.ids import ControllerId
from owmesos.openwhisk.messages import Acknowledgement, Completion, Event, Result


class Awaited(NamedTuple):
    """`result` is None where nobody is told one: the activation is not blocking, or the bus closed before its end."""

    result: asyncio.Future[Activation | None]
    ended: asyncio.Future[None]


class EmbeddedBus:
    """What is on its way, by activation id. Within one event loop."""

    def __init__(self) -> None:
        self._awaited: dict[str, Awaited] = {}

    def __len__(self) -> int:
        """How many have not ended."""
        return len(self._awaited)

    def expect(self, activation_id: str) -> Awaited:
        """To be called before the activation is submitted."""
        loop = asyncio.get_running_loop()
        awaited = self._awaited[activation_id] = Awaited(loop.create_future(), loop.create_future())
        return awaited

    def awaited(self, activation_id: str) -> Awaited | None:
        """None for one that has ended, or never came."""
        return self._awaited.get(activation_id)

    def told(self) -> list[Awaited]:
        """Those whose result is known and whose log is still collected."""
        return [each for each in self._awaited.values() if each.result.done()]

    def close(self) -> None:
        """Nobody waits any longer."""
        for activation_id in list(self._awaited):
            self._end(activation_id)

    # -- what the invoker says (`Acks`)

    def send(self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None) -> None:
        if isinstance(message, Result):
            self._tell(message.response)
        elif isinstance(message, Completion):
            self._end(message.activation_id)
        elif isinstance(message.response, Activation):
            self._tell(message.response)
            self._end(message.response.activation_id)
        else:
            self._end(message.response)
        if sent is not None:
            sent()

    def send_event(self, event: Event) -> None:
        """Nobody here counts activations."""

    def _tell(self, activation: Activation) -> None:
        awaited = self._awaited.get(activation.activation_id)
        if awaited is not None and not awaited.result.done():
            awaited.result.set_result(activation)

    def _end(self, activation_id: str) -> None:
        awaited = self._awaited.pop(activation_id, None)
        if awaited is None:
            return
        for future in awaited:
            if not future.done():
                future.set_result(None)

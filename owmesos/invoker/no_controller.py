"""In place of a Controller, for standalone mode: the message of an activation is built here, and acks go nowhere."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from owmesos.errors import InvalidInput
from owmesos.openwhisk.entities import ActionDocument
from owmesos.openwhisk.messages import (
    Acknowledgement,
    ActivationMessage,
    ControllerId,
    EntityName,
    Identity,
    Namespace,
    UserEvent,
)
from owmesos.system.lone_surrogates import encode

NAMESPACE = "guest"
MAX_PARAMETERS = 2**20  # bytes of an invocation's parameters, as JSON
_CONTROLLER = ControllerId("0")
_USER = Identity(NAMESPACE, Namespace(NAMESPACE, NAMESPACE))


def activation_message(
    action: ActionDocument, parameters: Mapping[str, Any], now: float, *, blocking: bool
) -> ActivationMessage:
    """As the Controller builds it. `parameters` override the action's own. Raises InvalidInput."""
    own = {each["key"]: each.get("value") for each in action.parameters}
    content = encode({**own, **parameters})
    if len(content) > MAX_PARAMETERS:
        raise InvalidInput(f"the parameters are {len(content)} bytes; at most {MAX_PARAMETERS} are allowed")
    return ActivationMessage(
        transid=[secrets.token_hex(16), int(now * 1000)],
        action=EntityName(NAMESPACE, action.name, action.version),
        revision=action.rev,
        user=_USER,
        activation_id=secrets.token_hex(16),
        root_controller_index=_CONTROLLER,
        blocking=blocking,
        content=msgspec.Raw(content),
        init_args=tuple(each["key"] for each in action.parameters if each.get("init")),
        locked_args={},
    )


class NoController:
    """The `Acks` of an invoker whose callers wait for its `InFlight`s themselves."""

    def send(self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None) -> None:
        if sent is not None:
            sent()

    def send_event(self, event: UserEvent) -> None:
        """Nobody counts activations."""

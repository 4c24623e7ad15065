"""An ended activation: what is sent to a Controller and what is stored are the same document
(common/…/core/entity/WhiskActivation.scala, ActivationResult.scala)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from owmesos.errors import NOT_READABLE
from owmesos.openwhisk.messages import (
    ActivationEvent,
    ActivationMessage,
    Combined,
    Completion,
    InvokerId,
    Result,
    UserEvent,
)
from owmesos.system.lone_surrogates import Decoder

SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR, WHISK_ERROR = range(4)
ERROR = "error"
UNKNOWN_KIND = "unknown"
DEFAULT_VERSION = "0.0.1"

NOT_PREPARED = "The activation could not be prepared."
NAMESPACE_BLACKLISTED = "The action was not invoked due to a blacklisted namespace."


class Response(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How an action ended. `result` is JSON, decoded or msgspec.Raw; `size` in bytes."""

    status_code: int
    result: Any = None
    size: int | None = None

    @property
    def system_error(self) -> bool:
        """An error of the invoker, and not of the action or its developer: too many make the invoker Unhealthy."""
        return self.status_code == WHISK_ERROR

    @property
    def weight(self) -> int:
        """Bytes that are held for its result, more or less."""
        held = self.result.get(ERROR) if isinstance(self.result, dict) else self.result
        return len(held) if isinstance(held, (str, msgspec.Raw)) else 0


def success(result: Any, size: int | None = None) -> Response:
    return Response(SUCCESS, result, size)


def application_error(error: Any) -> Response:
    """The action ran and reported an error; or the user's own mistake kept it from running."""
    return Response(APPLICATION_ERROR, {ERROR: error})


def developer_error(error: Any) -> Response:
    """The action's code failed: its container must not be used again."""
    return Response(DEVELOPER_ERROR, {ERROR: error})


def whisk_error(error: Any) -> Response:
    return Response(WHISK_ERROR, {ERROR: error})


class Annotation(msgspec.Struct, frozen=True):
    """A key and its value at an activation, an action or a parameter."""

    key: str
    value: Any = None


class Activation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Times in ms: `start` and `end` since the epoch. The fields without a default are always written."""

    namespace: str
    name: str
    subject: str
    activation_id: str
    start: int
    end: int
    cause: str | None = None
    response: Response
    logs: list[str]
    version: str
    publish: bool
    annotations: list[Annotation]
    duration: int | None = None

    @property
    def document_id(self) -> str:
        return f"{self.namespace}/{self.activation_id}"

    def annotation(self, key: str) -> Any:
        return next((each.value for each in self.annotations if each.key == key), None)

    def without_logs(self) -> Activation:
        """The form that Controllers get."""
        return msgspec.structs.replace(self, logs=[]) if self.logs else self


class ActivationDocument(Activation, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An activation as stored in the database `activations`."""

    id: str = msgspec.field(name="_id")
    entity_type: str
    updated: int


def document(activation: Activation, now: float) -> ActivationDocument:
    """`now` in seconds since the epoch."""
    fields = {name: getattr(activation, name) for name in activation.__struct_fields__}
    return ActivationDocument(**fields, id=activation.document_id, entity_type="activation", updated=int(now * 1000))


def not_run(message: ActivationMessage, response: Response, now: float, kind: str = UNKNOWN_KIND) -> Activation:
    """An activation that ended without its action having run. `now` in seconds since the epoch."""
    moment = int(now * 1000)
    annotations = [Annotation("path", message.action.document_id), Annotation("kind", kind)]
    if message.cause is not None:
        annotations.append(Annotation("causedBy", "sequence"))
    return Activation(
        namespace=message.user.namespace.name,
        name=message.action.name,
        subject=message.user.subject,
        activation_id=message.activation_id,
        start=moment,
        end=moment,
        cause=message.cause,
        response=response,
        logs=[],
        version=message.action.version or DEFAULT_VERSION,
        publish=False,
        annotations=annotations,
        duration=0,
    )


class Reporter:
    """Creates acknowledgements and events in this invoker's name. `now`: seconds since the epoch."""

    def __init__(self, invoker: InvokerId, now: Callable[[], float]) -> None:
        self._invoker = invoker
        self._now = now

    def combined(self, message: ActivationMessage, activation: Activation, *, blamed: bool = True) -> Combined:
        """For a blocking activation whose logs are collected, or are none. Without `blamed` even a whisk error is sent
        with `isSystemError: false`: the Controller does not count it against the invoker (CommonLoadBalancer.scala)."""
        return Combined(
            transid=message.transid,
            response=activation.without_logs() if message.blocking else activation.activation_id,
            is_system_error=blamed and activation.response.system_error,
            instance=self._invoker,
            invoker=self._invoker,
        )

    def completion(self, message: ActivationMessage, activation: Activation, *, blamed: bool = True) -> Completion:
        """The slot is free; the caller does not wait for the result, or has got it already."""
        return Completion(
            transid=message.transid,
            activation_id=activation.activation_id,
            is_system_error=blamed and activation.response.system_error,
            instance=self._invoker,
            invoker=self._invoker,
        )

    @staticmethod
    def result(message: ActivationMessage, activation: Activation) -> Result:
        """For a blocking activation, while its logs are still collected."""
        return Result(transid=message.transid, response=activation.without_logs())

    def event(self, message: ActivationMessage, activation: Activation) -> UserEvent:
        """What goes to the topic `events`, with the acknowledgement that frees the slot."""
        limits = activation.annotation("limits")
        body = ActivationEvent(
            name=str(activation.annotation("path")),
            activation_id=activation.activation_id,
            status_code=activation.response.status_code,
            duration=activation.duration or 0,
            wait_time=activation.annotation("waitTime") or 0,
            init_time=activation.annotation("initTime") or 0,
            kind=str(activation.annotation("kind")),
            conductor=activation.annotation("conductor") is True,
            memory=limits.get("memory", 0) if isinstance(limits, dict) else 0,
            caused_by=activation.annotation("causedBy"),
            size=activation.response.size,
            user_defined_status_code=_user_defined_status(activation.response.result),
        )
        return UserEvent(
            source=f"invoker{self._invoker.instance}",
            body=body,
            subject=activation.subject,
            namespace=activation.namespace,
            user_id=message.user.namespace.uuid,
            event_type="Activation",
            timestamp=int(self._now() * 1000),
        )


class _Status(msgspec.Struct):
    """Where an action's own HTTP status may stand in its result."""

    error: Any = None
    status: Any = msgspec.field(default=None, name="statusCode")


_status = Decoder(_Status)


def _user_defined_status(result: Any) -> int | None:
    """The action's `statusCode`, in its error or beside it; 400 when it is not a number (Message.scala)."""
    try:
        found = _status.decode(result) if isinstance(result, msgspec.Raw) else msgspec.convert(result, _Status)
    except NOT_READABLE:
        return None
    status = found.error.get("statusCode") if isinstance(found.error, dict) else None
    status = found.status if status is None else status
    return status if status is None or type(status) is int else 400

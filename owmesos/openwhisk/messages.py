"""The messages on Kafka between Controllers and invokers (common/…/core/connector/Message.scala), typed.

Every field of OpenWhisk 1.0 and 2.0 is here but limits that only a Controller applies. Unknown fields are ignored,
because later versions add some; a missing field or one of the wrong type raises MalformedMessage, with what can still
be read of the message. Optional fields are None if they are absent, and are then omitted when written; fields that a
Controller requires have no default, so they are always written. So one type serves OpenWhisk 1.0 and 2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from owmesos.errors import NOT_READABLE, OwmesosError
from owmesos.openwhisk.sizes import MAX_USER_MEMORY, megabytes
from owmesos.system.lone_surrogates import Decoder

ABSENT = msgspec.Raw()


TransactionId: TypeAlias = list[Any]
"""`[id, start in ms, true?, [parent…]?]`. Kept as it came, for it is only sent back and shown."""

HEALTH_TRANSACTION = "sid_invokerHealth"
_LATEST = 2**53  # ms; far beyond every clock


def transaction_name(transid: TransactionId) -> str:
    """Its id; `unknown`, as in OpenWhisk, if it has none."""
    return transid[0] if transid and isinstance(transid[0], str) else "unknown"


def transaction_start(transid: TransactionId) -> int | None:
    """When it began, in ms since the epoch; None for what is not a time."""
    start = transid[1] if len(transid) > 1 else None
    if not isinstance(start, (int, float)) or isinstance(start, bool) or not 0 <= start <= _LATEST:
        return None
    return int(start)


class ControllerId(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The Controller to answer: its name is part of a topic's name."""

    as_string: str
    instance_type: str | None = None


class InvokerId(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An invoker in pings and acknowledgements. `user_memory` and `busy_memory` are sizes such as `1024 MB`.

    2.0 requires `instanceType`, `tags` and `dedicatedNamespaces`; 1.0 knows none of them.
    """

    instance: int
    user_memory: str
    busy_memory: str | None = None
    instance_type: str | None = None
    tags: tuple[str, ...] | None = None
    dedicated_namespaces: tuple[str, ...] | None = None
    unique_name: str | None = None
    displayed_name: str | None = None

    def __str__(self) -> str:
        """As OpenWhisk shows it."""
        names = (f"invoker{self.instance}", self.unique_name, self.displayed_name)
        return "/".join(name for name in names if name is not None)


def invoker_id(
    instance: int,
    *,
    user_memory: int = MAX_USER_MEMORY,
    tags: Sequence[str] = (),
    dedicated_namespaces: Sequence[str] = (),
    unique_name: str | None = None,
    displayed_name: str | None = None,
) -> InvokerId:
    """This invoker, in the form that every Controller accepts. `user_memory` in MB.

    The cluster's size is unknown and changes, so the default is the largest number that a Controller can count.
    """
    return InvokerId(
        instance=instance,
        user_memory=megabytes(user_memory),
        instance_type="invoker",
        tags=tuple(tags),
        dedicated_namespaces=tuple(dedicated_namespaces),
        unique_name=unique_name,
        displayed_name=displayed_name,
    )


class MalformedMessage(OwmesosError):
    """A message that cannot be read. `addressed` says whom to answer, if that can be read."""

    def __init__(self, reason: str, addressed: Addressed | None = None) -> None:
        super().__init__(reason)
        self.addressed = addressed


class Namespace(msgspec.Struct, frozen=True):
    """`name` identifies the namespace in the blacklist, the records and the warm containers."""

    name: str
    uuid: str


class UserLimits(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """What differs for this user from the system's limits (Identity.scala), as far as it concerns an invoker. The sizes
    are taken in whatever form they come."""

    store_activations: bool | None = None
    max_payload_size: Any = None
    truncation_size: Any = None


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """The user who invoked. `authkey` is `{"api_key": "uuid:key"}`, or the value of another authentication."""

    subject: str
    namespace: Namespace
    authkey: Any = None
    rights: list[str] | None = None
    limits: UserLimits | None = None

    @property
    def stores_activations(self) -> bool:
        """Whether the user's activations have records."""
        return self.limits is None or self.limits.store_activations is not False


class EntityName(msgspec.Struct, frozen=True, omit_defaults=True):
    """An action's full name. `path` is the namespace, with the package's name if it is in one."""

    path: str
    name: str
    version: str | None = None
    binding: str | None = None

    @property
    def document_id(self) -> str:
        """Its key in the database."""
        return f"{self.path}/{self.name}"


class ActivationMessage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An action to be run. `content` is JSON as it came: an object in 1.0, any value since 2.0.

    `init_args` and `locked_args` are absent in 1.0. `cause` is the activation of the sequence that this one is part of.
    """

    transid: TransactionId
    action: EntityName
    revision: str | None
    user: Identity
    activation_id: str
    root_controller_index: ControllerId
    blocking: bool
    content: msgspec.Raw = ABSENT
    init_args: tuple[str, ...] | None = None
    locked_args: dict[str, str] | None = None
    cause: str | None = None
    trace_context: dict[str, str] | None = None

    @property
    def health(self) -> bool:
        """A Controller's test of this invoker: it must not wait behind other activations."""
        return transaction_name(self.transid) == HEALTH_TRANSACTION


class Addressed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The fields of an activation message that its acknowledgement needs."""

    activation_id: str
    root_controller_index: ControllerId
    transid: TransactionId = msgspec.field(default_factory=list)


class Combined(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Result and free slot at once. `response` is an activation, or its id alone where that would be too large.

    `invoker` is 1.0's name for `instance`; both are sent, as each Controller looks for its own and passes the other.
    """

    transid: TransactionId
    response: Any
    is_system_error: bool | None = None
    instance: InvokerId | None = None
    invoker: InvokerId | None = None


class Completion(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The slot is free: after the logs, or when no caller waits for a result."""

    transid: TransactionId
    activation_id: str
    is_system_error: bool | None = None
    instance: InvokerId | None = None
    invoker: InvokerId | None = None


class Result(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The result, before the logs are there; the slot is not free yet."""

    transid: TransactionId
    response: Any


Acknowledgement = Combined | Completion | Result


class Ping(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A sign of life of an invoker. 1.0 does not know `isEnabled`; for 2.0, false is the same as offline."""

    name: InvokerId
    is_enabled: bool | None = None


class ActivationEvent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An activation for those who count them. Times in ms, `memory` in MB, `size` of the response in bytes."""

    name: str
    activation_id: str
    status_code: int
    duration: int
    wait_time: int
    init_time: int
    kind: str
    conductor: bool
    memory: int
    caused_by: str | None = None
    size: int | None = None
    user_defined_status_code: int | None = None


class UserEvent(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A user event. `timestamp` in ms since the epoch."""

    source: str
    body: ActivationEvent
    subject: str
    namespace: str
    user_id: str
    event_type: str
    timestamp: int


_activation = Decoder(ActivationMessage)
_addressed = Decoder(Addressed)


def decode_activation(data: bytes) -> ActivationMessage:
    """Raises MalformedMessage, with the address for an answer if it can be read."""
    try:
        message = _activation.decode(data)
        str(message.content, "utf-8")  # msgspec does not look into what it leaves as it came
        return message
    except NOT_READABLE as error:
        raise MalformedMessage(f"not a valid activation message: {error}", _address(data)) from None


def _address(data: bytes) -> Addressed | None:
    try:
        return _addressed.decode(data)
    except NOT_READABLE:
        return None

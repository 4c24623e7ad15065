"""What travels over Kafka between Controllers and invokers (common/…/core/connector/Message.scala), as typed messages.

Every optional field of OpenWhisk 1.0 and 2.0 is here. Unknown fields are passed over, for later versions add some; a
missing field or one of the wrong type is a MalformedMessage, with what can still be said of the message.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from owmesos.errors import OwmesosError
from owmesos.openwhisk.ids import HEALTH_TRANSACTION, ControllerId, InvokerId, TransactionId, transaction_name

T = TypeVar("T")
ABSENT = msgspec.Raw()


class MalformedMessage(OwmesosError):
    """A message that cannot be read. `addressed` says whom to tell, if that much of it can be read."""

    def __init__(self, reason: str, addressed: Addressed | None = None) -> None:
        super().__init__(reason)
        self.addressed = addressed


class Namespace(msgspec.Struct, frozen=True):
    """`name` is what the blacklist, the records and the warm containers go by."""

    name: str
    uuid: str


class UserLimits(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """What differs for this user from the system's limits (Identity.scala). Only `storeActivations` is an invoker's
    business, so the others are taken in whatever form they come."""

    invocations_per_minute: int | None = None
    concurrent_invocations: int | None = None
    fires_per_minute: int | None = None
    allowed_kinds: list[str] | None = None
    store_activations: bool | None = None
    min_action_memory: Any = None
    max_action_memory: Any = None
    min_action_logs: Any = None
    max_action_logs: Any = None
    min_action_timeout: Any = None
    max_action_timeout: Any = None
    min_action_concurrency: Any = None
    max_action_concurrency: Any = None
    max_parameter_size: Any = None
    max_payload_size: Any = None
    truncation_size: Any = None
    warmed_container_keeping_count: Any = None
    warmed_container_keeping_timeout: Any = None
    max_action_instances: Any = None


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who invoked. `authkey` is `{"api_key": "uuid:key"}`, or what another authentication puts there."""

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
        """A Controller's test of this invoker: it must not wait behind anything."""
        return transaction_name(self.transid) == HEALTH_TRANSACTION

    def arguments(self) -> Any:
        """`content`, decoded; an empty object where there is none. Raises MalformedMessage."""
        try:
            value = msgspec.json.decode(self.content) if self.content else None
        except _UNREADABLE as error:
            raise MalformedMessage(f"the arguments of {self.activation_id} cannot be read: {error}") from None
        return {} if value is None else value


class Addressed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """As much of an activation message as its acknowledgement needs."""

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
    """The slot is free: after the logs, or where nobody waits for a result."""

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
    """An invoker lives. 1.0 does not know `isEnabled`; to 2.0, false is the same as being offline."""

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


class MetricEvent(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A Controller's count; invokers send none."""

    metric_name: str
    metric_value: int


class Event(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A user event. `timestamp` in ms since the epoch."""

    source: str
    body: ActivationEvent | MetricEvent
    subject: str
    namespace: str
    user_id: str
    event_type: str
    timestamp: int


class _RawEvent(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """msgspec tells no two structs in a union apart that carry no tag."""

    source: str
    body: msgspec.Raw
    subject: str
    namespace: str
    user_id: str
    event_type: str
    timestamp: int


class _Keys(msgspec.Struct):
    """Which of the keys that tell acknowledgements apart are there."""

    instance: msgspec.Raw = ABSENT
    invoker: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT


_activation = msgspec.json.Decoder(ActivationMessage)
_addressed = msgspec.json.Decoder(Addressed)
_ping = msgspec.json.Decoder(Ping)
_keys = msgspec.json.Decoder(_Keys)
_combined = msgspec.json.Decoder(Combined)
_completion = msgspec.json.Decoder(Completion)
_result = msgspec.json.Decoder(Result)
_raw_event = msgspec.json.Decoder(_RawEvent)
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode(message: msgspec.Struct) -> bytes:
    """Any of the messages, as a record on its topic."""
    return _encode(message)


def decode_activation(data: bytes) -> ActivationMessage:
    """Raises MalformedMessage, with whom to tell where that can be read."""
    try:
        return _activation.decode(data)
    except _UNREADABLE as error:
        raise MalformedMessage(f"no activation message: {error}", _address(data)) from None


def _address(data: bytes) -> Addressed | None:
    try:
        return _addressed.decode(data)
    except _UNREADABLE:
        return None


def decode_acknowledgement(data: bytes) -> Acknowledgement:
    """Which one it is tells the presence of `instance` (in 1.0 `invoker`) and `response`. Raises MalformedMessage."""
    keys = _decode(_keys, data, "acknowledgement")
    if not keys.instance and not keys.invoker:
        return _decode(_result, data, "result")
    if keys.response:
        return _decode(_combined, data, "acknowledgement")
    return _decode(_completion, data, "completion")


def decode_ping(data: bytes) -> Ping:
    """Raises MalformedMessage."""
    return _decode(_ping, data, "ping")


def decode_event(data: bytes) -> Event:
    """Raises MalformedMessage."""
    raw = _decode(_raw_event, data, "event")
    kind: type[ActivationEvent] | type[MetricEvent] = MetricEvent if raw.event_type == "Metric" else ActivationEvent
    body = _decode(msgspec.json.Decoder(kind), bytes(raw.body), "event")
    fields = {name: getattr(raw, name) for name in raw.__struct_fields__ if name != "body"}
    return Event(body=body, **fields)


def _decode(decoder: msgspec.json.Decoder[T], data: bytes, what: str) -> T:
    try:
        return decoder.decode(data)
    except _UNREADABLE as error:
        raise MalformedMessage(f"no {what}: {error}") from None

"""Every call of a scheduler to a master, and how it is written.

A call's fields are those of its body in the JSON; the framework id and the type are put around it by
`encode_call`.
Source: include/mesos/v1/scheduler/scheduler.proto (Call), docs/scheduler-http-api.md.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from owmesos.mesos.messages.frameworks import FrameworkInfo, OfferConstraints
from owmesos.mesos.messages.offers import Filters, Operation
from owmesos.mesos.messages.tasks import KillPolicy
from owmesos.mesos.messages.values import ID, Resource


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """The root of the calls. `wire_type` is the JSON's type, `body` names the object with the fields."""

    wire_type: ClassVar[str]
    body: ClassVar[str | None]


class Subscribe(Call, frozen=True):
    """Opens the stream of events. With `framework_info.id` it takes up a framework that is known to the
    master.
    """

    wire_type = "SUBSCRIBE"
    body = "subscribe"

    framework_info: FrameworkInfo
    suppressed_roles: list[str] = []
    offer_constraints: OfferConstraints | None = None


class Teardown(Call, frozen=True):
    """Ends the framework and kills all its tasks. The stream ends without any event."""

    wire_type = "TEARDOWN"
    body = None


class Accept(Call, frozen=True):
    """Spends offers of one agent and one allocation role; `filters` is for what the operations leave."""

    wire_type = "ACCEPT"
    body = "accept"

    offer_ids: list[ID]
    operations: list[Operation] = []
    filters: Filters | None = None


class Decline(Call, frozen=True):
    wire_type = "DECLINE"
    body = "decline"

    offer_ids: list[ID]
    filters: Filters | None = None


class AcceptInverseOffers(Call, frozen=True):
    wire_type = "ACCEPT_INVERSE_OFFERS"
    body = "accept_inverse_offers"

    inverse_offer_ids: list[ID]
    filters: Filters | None = None


class DeclineInverseOffers(Call, frozen=True):
    wire_type = "DECLINE_INVERSE_OFFERS"
    body = "decline_inverse_offers"

    inverse_offer_ids: list[ID]
    filters: Filters | None = None


class Revive(Call, frozen=True):
    """Clears the filters of `roles` (all when none is named), ends their suppression, allocates at once."""

    wire_type = "REVIVE"
    body = "revive"

    roles: list[str] = []


class Suppress(Call, frozen=True):
    """No more offers for `roles` (all when none is named). Offers that are out stay valid."""

    wire_type = "SUPPRESS"
    body = "suppress"

    roles: list[str] = []


class Kill(Call, frozen=True):
    """Best effort: to be repeated until the task's end is seen."""

    wire_type = "KILL"
    body = "kill"

    task_id: ID
    agent_id: ID | None = None
    kill_policy: KillPolicy | None = None


class Shutdown(Call, frozen=True):
    """Ends an executor and all its tasks."""

    wire_type = "SHUTDOWN"
    body = "shutdown"

    executor_id: ID
    agent_id: ID


class Acknowledge(Call, frozen=True):
    """`uuid` is the status's, as it came."""

    wire_type = "ACKNOWLEDGE"
    body = "acknowledge"

    agent_id: ID
    task_id: ID
    uuid: str


class AcknowledgeOperationStatus(Call, frozen=True):
    wire_type = "ACKNOWLEDGE_OPERATION_STATUS"
    body = "acknowledge_operation_status"

    uuid: str
    operation_id: ID
    agent_id: ID | None = None
    resource_provider_id: ID | None = None


class ReconcileTask(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Without `agent_id` a task of an unreachable agent is answered TASK_UNKNOWN: name it always."""

    task_id: ID
    agent_id: ID | None = None


class Reconcile(Call, frozen=True):
    """Without tasks: one update for each live task that the master knows."""

    wire_type = "RECONCILE"
    body = "reconcile"

    tasks: list[ReconcileTask] = []


class ReconcileOperation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    operation_id: ID
    agent_id: ID | None = None
    resource_provider_id: ID | None = None


class ReconcileOperations(Call, frozen=True):
    wire_type = "RECONCILE_OPERATIONS"
    body = "reconcile_operations"

    operations: list[ReconcileOperation] = []


class Message(Call, frozen=True):
    """Data for an executor; not guaranteed to arrive."""

    wire_type = "MESSAGE"
    body = "message"

    agent_id: ID
    executor_id: ID
    data: bytes


class ResourceRequest(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    agent_id: ID | None = None
    resources: list[Resource] = []


class Request(Call, frozen=True):
    """Mesos's own allocator ignores it."""

    wire_type = "REQUEST"
    body = "request"

    requests: list[ResourceRequest] = []


class UpdateFramework(Call, frozen=True):
    """Replaces all three: the absent is unset. Neither allocates nor clears the filters of active roles."""

    wire_type = "UPDATE_FRAMEWORK"
    body = "update_framework"

    framework_info: FrameworkInfo
    suppressed_roles: list[str] = []
    offer_constraints: OfferConstraints | None = None


_encoder = msgspec.json.Encoder()


def encode_call(call: Call, framework_id: ID | None) -> bytes:
    """The call's JSON. SUBSCRIBE names the id of its own `framework_info`, whatever `framework_id` is."""
    if isinstance(call, Subscribe):
        framework_id = call.framework_info.id
    document: dict[str, Any] = {"type": call.wire_type}
    if framework_id is not None:
        document["framework_id"] = framework_id
    if call.body is not None:
        document[call.body] = call
    return _encoder.encode(document)

"""The calls of a scheduler to a master. A struct has the fields of a call's body; `encode_call` adds the rest.

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
    """The root of the calls.

    `wire_type` is the JSON's type, see CALLS, and `body` the name of the object with the fields.
    """

    wire_type: ClassVar[str]
    body: ClassVar[str | None]


class Subscribe(Call, frozen=True):
    """Opens the stream of events. With `framework_info.id` it continues a framework that the master knows."""

    framework_info: FrameworkInfo
    suppressed_roles: list[str] = []
    offer_constraints: OfferConstraints | None = None


class Teardown(Call, frozen=True):
    """Ends the framework and kills all its tasks. The stream ends without any event."""


class Accept(Call, frozen=True):
    """Uses offers of one agent and one allocation role; `filters` is for what the operations leave."""

    offer_ids: list[ID]
    operations: list[Operation] = []
    filters: Filters | None = None


class Decline(Call, frozen=True):
    offer_ids: list[ID]
    filters: Filters | None = None


class AcceptInverseOffers(Call, frozen=True):
    inverse_offer_ids: list[ID]
    filters: Filters | None = None


class DeclineInverseOffers(Call, frozen=True):
    inverse_offer_ids: list[ID]
    filters: Filters | None = None


class Revive(Call, frozen=True):
    """Clears the filters of `roles` (none: of all), ends their suppression, and allocates at once."""

    roles: list[str] = []


class Suppress(Call, frozen=True):
    """Stops offers for `roles` (none: for all). Outstanding offers stay valid."""

    roles: list[str] = []


class Kill(Call, frozen=True):
    """Best effort: repeat it until the task's end is seen."""

    task_id: ID
    agent_id: ID | None = None
    kill_policy: KillPolicy | None = None


class Shutdown(Call, frozen=True):
    """Ends an executor and all its tasks."""

    executor_id: ID
    agent_id: ID


class Acknowledge(Call, frozen=True):
    """`uuid` is the status's, unchanged."""

    agent_id: ID
    task_id: ID
    uuid: str


class AcknowledgeOperationStatus(Call, frozen=True):
    uuid: str
    operation_id: ID
    agent_id: ID | None = None
    resource_provider_id: ID | None = None


class ReconcileTask(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Give `agent_id` always: without it a task of an unreachable agent is answered with TASK_UNKNOWN."""

    task_id: ID
    agent_id: ID | None = None


class Reconcile(Call, frozen=True):
    """Without tasks, the answer is one update for each live task that the master knows."""

    tasks: list[ReconcileTask] = []


class ReconcileOperation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    operation_id: ID
    agent_id: ID | None = None
    resource_provider_id: ID | None = None


class ReconcileOperations(Call, frozen=True):
    operations: list[ReconcileOperation] = []


class Message(Call, frozen=True):
    """Data for an executor, without guarantee that it arrives."""

    agent_id: ID
    executor_id: ID
    data: bytes


class ResourceRequest(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    agent_id: ID | None = None
    resources: list[Resource] = []


class Request(Call, frozen=True):
    """Mesos's own allocator ignores it."""

    requests: list[ResourceRequest] = []


class UpdateFramework(Call, frozen=True):
    """Replaces all three fields. Neither allocates nor clears the filters of active roles."""

    framework_info: FrameworkInfo
    suppressed_roles: list[str] = []
    offer_constraints: OfferConstraints | None = None


CALLS: dict[str, type[Call]] = {
    "SUBSCRIBE": Subscribe,
    "TEARDOWN": Teardown,
    "ACCEPT": Accept,
    "DECLINE": Decline,
    "ACCEPT_INVERSE_OFFERS": AcceptInverseOffers,
    "DECLINE_INVERSE_OFFERS": DeclineInverseOffers,
    "REVIVE": Revive,
    "SUPPRESS": Suppress,
    "KILL": Kill,
    "SHUTDOWN": Shutdown,
    "ACKNOWLEDGE": Acknowledge,
    "ACKNOWLEDGE_OPERATION_STATUS": AcknowledgeOperationStatus,
    "RECONCILE": Reconcile,
    "RECONCILE_OPERATIONS": ReconcileOperations,
    "MESSAGE": Message,
    "REQUEST": Request,
    "UPDATE_FRAMEWORK": UpdateFramework,
}
for _name, _kind in CALLS.items():
    _kind.wire_type, _kind.body = _name, _name.lower() if _kind.__struct_fields__ else None
_encoder = msgspec.json.Encoder()


def encode_call(call: Call, framework_id: ID | None) -> bytes:
    """The call's JSON. SUBSCRIBE has the id of its own `framework_info`, whatever `framework_id` is."""
    if isinstance(call, Subscribe):
        framework_id = call.framework_info.id
    document: dict[str, Any] = {"type": call.wire_type}
    if framework_id is not None:
        document["framework_id"] = framework_id
    if call.body is not None:
        document[call.body] = call
    return _encoder.encode(document)

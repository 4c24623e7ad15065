"""ACCEPT and DECLINE: offers are spent, tasks launched, resources reserved; what is left is filtered."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from owmesos.errors import InvalidInput
from owmesos.mesos import messages
from owmesos.mesos.messages import ID, AllocationInfo, Operation, OperationStatus, Resource, TaskInfo
from owmesos.mesos.messages.operator import Task
from owmesos.resources import MILLI
from owmesos.simulator.master.allocator import Allocator, refuse_seconds
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.framework_checks import id_error
from owmesos.simulator.master.records import AgentRecord, FrameworkRecord, MasterOffer, TaskRecord
from owmesos.simulator.pieces import Pieces, from_resources, sum_of, to_text, without_reservations
from owmesos.simulator.protocol import NotValid, Reserved, RunTask


class Accepting:
    def __init__(self, books: MasterBooks, allocator: Allocator) -> None:
        self._books = books
        self._allocator = allocator

    def accept(self, framework: FrameworkRecord, call: messages.Accept) -> None:
        """One bad offer spoils all of them: every task is dropped, every valid offer is spent."""
        books = self._books
        ids = [each.value for each in call.offer_ids]
        offers = [books.offers[each] for each in dict.fromkeys(ids) if each in books.offers]
        error = _offers_error(framework, ids, offers)
        if error is not None:
            books.drop_offers(offers, rescind=False)
            state, message = framework.lost_or("TASK_DROPPED"), f"Task launched with invalid offers: {error}"
            for info in _task_infos(call.operations):
                self._refuse(framework, info, state, "REASON_INVALID_OFFERS", message)
            return
        for offer in offers:
            books.take_offer(offer)
        agent, role = offers[0].agent, offers[0].role
        left = sum_of(offer.pieces for offer in offers)
        for operation in call.operations:
            left = self._operate(framework, agent, role, operation, left)
        books.release(framework, role, agent, left)
        self._allocator.refuse(framework, role, agent, left, refuse_seconds(call.filters))

    def decline(self, framework: FrameworkRecord, call: messages.Decline) -> None:
        """Unknown offers are ignored."""
        seconds = refuse_seconds(call.filters)
        for offer_id in call.offer_ids:
            offer = framework.offers.get(offer_id.value)
            if offer is not None:
                self._books.drop_offer(offer, rescind=False)
                self._allocator.refuse(framework, offer.role, offer.agent, offer.pieces, seconds)

    def _refuse(self, framework: FrameworkRecord, info: TaskInfo, state: str, reason: str, message: str) -> None:
        self._books.update(framework, self._books.status(info, state, reason, message))

    # -- the operations, each on what those before it left

    def _operate(
        self, framework: FrameworkRecord, agent: AgentRecord, role: str, operation: Operation, left: Pieces
    ) -> Pieces:
        if operation.launch is not None:
            error = resources_error(operation.launch.task_infos, role)
            for info in operation.launch.task_infos:
                if error is not None:
                    self._refuse(framework, info, "TASK_ERROR", "REASON_TASK_INVALID", error)
                else:
                    left = self._launch(framework, agent, role, info, left)
        elif operation.launch_group is not None:
            for info in operation.launch_group.task_group.tasks:
                message = "Task groups are not simulated"
                self._refuse(framework, info, "TASK_ERROR", "REASON_TASK_GROUP_INVALID", message)
        elif operation.reserve is not None or operation.unreserve is not None:
            left = self._reserve(framework, agent, operation, left)
        else:
            self._end_operation(framework, operation, "OPERATION_ERROR", f"{operation.type} is not simulated")
        return left

    def _launch(
        self, framework: FrameworkRecord, agent: AgentRecord, role: str, info: TaskInfo, left: Pieces
    ) -> Pieces:
        try:
            pieces = taken_by(info, framework, agent.id, role, left)
        except NotValid as error:
            self._refuse(framework, info, "TASK_ERROR", "REASON_TASK_INVALID", str(error))
            return left
        task = TaskRecord(framework.id, info, role, pieces, agent.id)
        framework.tasks[task.id] = agent.tasks[framework.id, task.id] = task
        if self._books.watched:
            self._books.publish("TASK_ADDED", task=task_document(task))
        self._books.to_agent(agent, RunTask(framework.info, info, role, pieces))
        return left.minus(pieces)

    def _reserve(self, framework: FrameworkRecord, agent: AgentRecord, operation: Operation, left: Pieces) -> Pieces:
        """RESERVE pushes a reservation on what is offered, UNRESERVE takes the last one away."""
        body = operation.reserve or operation.unreserve
        assert body is not None
        try:
            reserved = from_resources(body.resources)
        except InvalidInput as error:
            self._end_operation(framework, operation, "OPERATION_ERROR", str(error))
            return left
        plain = without_reservations(reserved)
        before, after = (plain, reserved) if operation.reserve is not None else (reserved, plain)
        if not left.covers(before) or any(not stack for stack in reserved.parts):
            self._end_operation(framework, operation, "OPERATION_ERROR", "Invalid reservation")
            return left
        agent.total = agent.total.minus(before).plus(after)
        self._books.to_agent(agent, Reserved(agent.total))
        self._end_operation(framework, operation, "OPERATION_FINISHED", None)
        return left.minus(before).plus(after)

    def _end_operation(self, framework: FrameworkRecord, operation: Operation, state: str, message: str | None) -> None:
        """Told only to who gave the operation an id."""
        if operation.id is not None:
            status = OperationStatus(state, operation.id, message)
            self._books.to_framework(framework, messages.UpdateOperationStatus(status))


def _offers_error(framework: FrameworkRecord, ids: list[str], offers: list[MasterOffer]) -> str | None:
    """What is wrong with a list of offers, in Mesos's words; `offers` are those of them that are out."""
    if not ids:
        return "No offers specified"
    seen: set[str] = set()
    for offer_id in ids:
        if offer_id in seen:
            return f"Duplicate offer {offer_id} in offer list"
        seen.add(offer_id)
    gone = seen - {offer.id for offer in offers}
    if gone:
        return f"Offer {next(each for each in ids if each in gone)} is no longer valid"
    first = offers[0]
    for offer in offers:
        if offer.framework is not framework:
            owner = offer.framework.id
            return f"Offer {offer.id} has invalid framework {owner} while framework {framework.id} is expected"
    for offer in offers:
        if offer.agent is not first.agent:
            return (
                "Aggregated offers must belong to one single agent. "
                f"Offer {offer.id} uses agent {offer.agent.id} and agent {first.agent.id}"
            )
    for offer in offers:
        if offer.role != first.role:
            return (
                "Aggregated offers must be allocated to the same role. "
                f"Offer {offer.id} uses role '{offer.role} but another is using role '{first.role}"
            )
    return None


def _task_infos(operations: Iterable[Operation]) -> Iterable[TaskInfo]:
    for operation in operations:
        if operation.launch is not None:
            yield from operation.launch.task_infos
        if operation.launch_group is not None:
            yield from operation.launch_group.task_group.tasks


def task_document(task: TaskRecord) -> Task:
    """As the operator API shows it."""
    info, allocation = task.info, AllocationInfo(task.role)
    return Task(
        info.name,
        info.task_id,
        ID(task.framework_id),
        ID(task.agent_id),
        task.state,
        resources=[msgspec.structs.replace(each, allocation_info=allocation) for each in info.resources],
        statuses=task.statuses,
        status_update_state=task.status_state,
        status_update_uuid=task.status_uuid,
        labels=info.labels,
    )


# -- the reasons for which a task is refused, in Mesos's words


def resources_error(infos: Iterable[TaskInfo], role: str) -> str | None:
    """One resource that cannot be spoils every task of its LAUNCH."""
    for resource in (each for info in infos for each in info.resources if not _is_nothing(each)):
        if resource.scalar is not None and round(resource.scalar.value * MILLI) <= 0:
            what = f"{resource.name}(allocated: {role}):0"
            return f"Resource '{what}' is invalid: Invalid scalar resource: value <= 0"
    return None


def taken_by(info: TaskInfo, framework: FrameworkRecord, agent_id: str, role: str, left: Pieces) -> Pieces:
    """What the task takes of what is `left` of its offers. Raises NotValid."""
    error = id_error(info.task_id.value)
    if error is not None:
        raise NotValid(error)
    if info.task_id.value in framework.tasks or info.task_id.value in framework.unreachable:
        raise NotValid(f"Task has duplicate ID: {info.task_id.value}")
    if info.agent_id.value != agent_id:
        raise NotValid(f"Task uses invalid agent {info.agent_id.value} while agent {agent_id} is expected")
    if (info.command is None) == (info.executor is None):
        raise NotValid("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present")
    wanted = [each for each in info.resources if not _is_nothing(each)]
    if not wanted:
        raise NotValid("Task uses no resources")
    try:
        pieces = from_resources(wanted)
    except InvalidInput as reason:
        raise NotValid(f"Task uses invalid resources: {reason}") from None
    foreign = any(each.allocation_info not in (None, AllocationInfo(), AllocationInfo(role)) for each in wanted)
    if foreign or not left.covers(pieces):
        wanting = f"Total resources {to_text(pieces, role)} required by task and its executor"
        raise NotValid(f"{wanting} is more than available {to_text(left, role)}")
    return pieces


def _is_nothing(resource: Resource) -> bool:
    """cpus of exactly 0 are dropped; those that only round to 0 are an error."""
    return resource.scalar is not None and resource.scalar.value == 0

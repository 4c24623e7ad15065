"""ACCEPT and DECLINE: offers are spent, tasks launched, resources reserved; what is left is filtered."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from owmesos.errors import InvalidInput
from owmesos.mesos import messages
from owmesos.mesos.messages import ID, AllocationInfo, Operation, OperationStatus, TaskInfo, TaskStatus
from owmesos.simulator.master.allocator import Allocator, refuse_seconds
from owmesos.simulator.master.books import Books
from owmesos.simulator.master.records import AgentRecord, FrameworkRecord, OfferRecord, TaskRecord
from owmesos.simulator.master.task_checks import resources_error, task_error
from owmesos.simulator.pieces import UNRESERVED, Pieces, from_resources, sum_of
from owmesos.simulator.protocol import Reserved, RunTask


class Accepting:
    def __init__(self, books: Books, allocator: Allocator) -> None:
        self._books = books
        self._allocator = allocator

    def accept(self, framework: FrameworkRecord, call: messages.Accept) -> None:
        """One bad offer spoils all of them: every task is dropped, every valid offer is spent."""
        books = self._books
        offers, error = self._offers(framework, [each.value for each in call.offer_ids])
        if error is not None:
            for offer in offers:
                books.drop_offer(offer, rescind=False)
            self._drop(framework, _task_infos(call.operations), f"Task launched with invalid offers: {error}")
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

    # -- the offers

    def _offers(self, framework: FrameworkRecord, ids: list[str]) -> tuple[list[OfferRecord], str | None]:
        """Those that are out, and what is wrong with the list."""
        known = self._books.offers
        offers = [known[each] for each in dict.fromkeys(ids) if each in known]
        if not ids:
            return offers, "No offers specified"
        seen: set[str] = set()
        for offer_id in ids:
            if offer_id in seen:
                return offers, f"Duplicate offer {offer_id} in offer list"
            seen.add(offer_id)
        for offer_id in ids:
            if offer_id not in known:
                return offers, f"Offer {offer_id} is no longer valid"
        for offer in offers:
            if offer.framework is not framework:
                owner = offer.framework.id
                return offers, (
                    f"Offer {offer.id} has invalid framework {owner} while framework {framework.id} is expected"
                )
        first = offers[0]
        for offer in offers:
            if offer.agent is not first.agent:
                return offers, (
                    "Aggregated offers must belong to one single agent. "
                    f"Offer {offer.id} uses agent {offer.agent.id} and agent {first.agent.id}"
                )
        for offer in offers:
            if offer.role != first.role:
                return offers, (
                    "Aggregated offers must be allocated to the same role. "
                    f"Offer {offer.id} uses role '{offer.role} but another is using role '{first.role}"
                )
        return offers, None

    def _drop(self, framework: FrameworkRecord, infos: Iterable[TaskInfo], message: str) -> None:
        state = framework.lost_or("TASK_DROPPED")
        for info in infos:
            self._books.update(framework, self._refusal(info, state, "REASON_INVALID_OFFERS", message))

    def _refusal(self, info: TaskInfo, state: str, reason: str, message: str) -> TaskStatus:
        return TaskStatus(
            info.task_id,
            state,
            message=message,
            source="SOURCE_MASTER",
            reason=reason,
            agent_id=info.agent_id,
            timestamp=self._books.now,
        )

    # -- the operations, each on what those before it left

    def _operate(
        self, framework: FrameworkRecord, agent: AgentRecord, role: str, operation: Operation, left: Pieces
    ) -> Pieces:
        if operation.launch is not None:
            error = resources_error(operation.launch.task_infos, role)
            for info in operation.launch.task_infos:
                if error is not None:
                    self._books.update(framework, self._refusal(info, "TASK_ERROR", "REASON_TASK_INVALID", error))
                else:
                    left = self._launch(framework, agent, role, info, left)
        elif operation.launch_group is not None:
            for info in operation.launch_group.task_group.tasks:
                message = "Task groups are not simulated"
                self._books.update(framework, self._refusal(info, "TASK_ERROR", "REASON_TASK_GROUP_INVALID", message))
        elif operation.reserve is not None or operation.unreserve is not None:
            left = self._reserve(framework, agent, operation, left)
        else:
            self._end_operation(framework, operation, "OPERATION_ERROR", f"{operation.type} is not simulated")
        return left

    def _launch(
        self, framework: FrameworkRecord, agent: AgentRecord, role: str, info: TaskInfo, left: Pieces
    ) -> Pieces:
        error, pieces = task_error(info, framework, agent.id, role, left)
        if error is not None:
            self._books.update(framework, self._refusal(info, "TASK_ERROR", "REASON_TASK_INVALID", error))
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
        plain = Pieces({stack[:-1] or UNRESERVED: part for stack, part in reserved.parts.items()})
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
            self._books.tell(framework, messages.UpdateOperationStatus(status))


def _task_infos(operations: Iterable[Operation]) -> Iterable[TaskInfo]:
    for operation in operations:
        if operation.launch is not None:
            yield from operation.launch.task_infos
        if operation.launch_group is not None:
            yield from operation.launch_group.task_group.tasks


def task_document(task: TaskRecord) -> dict[str, object]:
    """As the operator API shows it."""
    info = task.info
    allocation = AllocationInfo(task.role)
    document: dict[str, object] = {
        "name": info.name,
        "task_id": info.task_id,
        "framework_id": ID(task.framework_id),
        "agent_id": ID(task.agent_id),
        "state": task.state,
        "resources": [msgspec.structs.replace(each, allocation_info=allocation) for each in info.resources],
        "statuses": task.statuses,
    }
    if task.status_state is not None:
        document["status_update_state"] = task.status_state
        if task.status_uuid is not None:
            document["status_update_uuid"] = task.status_uuid
    if info.labels is not None:
        document["labels"] = info.labels
    return document

"""Calls in general: their order, what is refused and why, and what is taken without a word."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import pytest

from owmesos.mesos.messages import (
    ID,
    AcceptInverseOffers,
    Acknowledge,
    AcknowledgeOperationStatus,
    Call,
    Decline,
    DeclineInverseOffers,
    Message,
    Reconcile,
    ReconcileTask,
    Request,
    ResourceRequest,
    Revive,
    Shutdown,
    Suppress,
    Update,
)
from owmesos.mesos.wire.driver import CallRefused
from tests.conformance.framework import HOUR, Framework

NO_ID = ID("nonesuch")
NO_UUID = base64.b64encode(UUID("c0ffee00-0000-4000-8000-000000000000").bytes).decode()


class OfNoType(Call, frozen=True):
    wire_type: ClassVar[str] = "FOO"
    body: ClassVar[str | None] = None


class BodilessKill(Call, frozen=True):
    wire_type: ClassVar[str] = "KILL"
    body: ClassVar[str | None] = None


class BodilessReconcile(Call, frozen=True):
    wire_type: ClassVar[str] = "RECONCILE"
    body: ClassVar[str | None] = None


class EmptyKill(Call, frozen=True):
    wire_type: ClassVar[str] = "KILL"
    body: ClassVar[str | None] = "kill"


class RawAccept(Call, frozen=True):
    wire_type: ClassVar[str] = "ACCEPT"
    body: ClassVar[str | None] = "accept"

    offer_ids: list[ID]
    operations: list[Any]


async def test_calls_are_done_in_the_order_in_which_they_were_made(framework: Framework) -> None:
    """DECLINE for an hour, then REVIVE: the other way round nothing would be offered."""
    offers = await framework.offers()
    for _ in range(20):
        await asyncio.gather(framework.decline(*offers, refuse=HOUR), framework.revive())
        again = await framework.offers()
        assert len(again) == len(offers)
        offers = again


async def test_many_calls_at_once_are_done_in_order(framework: Framework) -> None:
    tasks = [ID(f"nonesuch-{n}") for n in range(200)]
    await asyncio.gather(*(framework.call(Reconcile([ReconcileTask(task)])) for task in tasks))
    assert [(await framework.next(Update)).status.task_id for _ in tasks] == tasks


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        pytest.param(OfNoType(), "Expecting 'type' to be present", id="unknown-type"),
        pytest.param(BodilessKill(), "Expecting 'kill' to be present", id="no-body"),
        pytest.param(BodilessReconcile(), "Expecting 'reconcile' to be present", id="reconcile-without-body"),
        pytest.param(EmptyKill(), "Missing required fields: kill.task_id", id="missing-field"),
        pytest.param(
            Acknowledge(NO_ID, NO_ID, "!"),
            "Failed to base64 decode bytes field 'uuid': Invalid character '!'",
            id="no-base64",
        ),
        pytest.param(Acknowledge(NO_ID, NO_ID, "AAAAAAAAAAAAAAAAAAAAAA=="), "Not a valid UUID", id="zero-uuid"),
        pytest.param(Acknowledge(NO_ID, NO_ID, "YWJj"), "Not a valid UUID", id="no-uuid"),
    ],
)
async def test_a_call_that_makes_no_sense_is_refused_and_the_stream_lives_on(
    framework: Framework, call: Call, reason: str
) -> None:
    with pytest.raises(CallRefused) as refused:
        await framework.call(call)
    assert refused.value.status == 400
    assert reason in refused.value.reason
    await framework.caught_up()


async def test_a_call_that_is_refused_spends_no_offer(framework: Framework) -> None:
    offer = await framework.only()
    task = framework.task(offer)
    nameless = msgspec.to_builtins(task)
    del nameless["name"]
    with pytest.raises(CallRefused) as refused:
        await framework.call(RawAccept([offer.id], [{"type": "LAUNCH", "launch": {"task_infos": [nameless]}}]))
    assert refused.value.status == 400
    missing = "accept.operations[0].launch.task_infos[0].name"
    assert refused.value.reason.endswith(f"Missing required fields: {missing}")
    await framework.accept(offer, task)
    await framework.running(task)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(Decline([NO_ID]), id="decline"),
        pytest.param(Suppress(["a b"]), id="suppress"),
        pytest.param(Revive(["a b"]), id="revive"),
        pytest.param(Acknowledge(NO_ID, NO_ID, NO_UUID), id="acknowledge"),
        pytest.param(AcknowledgeOperationStatus(NO_UUID, NO_ID, NO_ID), id="acknowledge-operation"),
        pytest.param(AcceptInverseOffers([NO_ID]), id="accept-inverse-offers"),
        pytest.param(DeclineInverseOffers([NO_ID]), id="decline-inverse-offers"),
        pytest.param(Message(NO_ID, NO_ID, b"data"), id="message"),
        pytest.param(Shutdown(NO_ID, NO_ID), id="shutdown"),
        pytest.param(Request([ResourceRequest(NO_ID)]), id="request"),
    ],
)
async def test_a_call_about_what_is_not_there_is_taken_without_a_word(framework: Framework, call: Call) -> None:
    await framework.offers()
    await framework.call(call)
    await framework.caught_up()
    assert framework.untaken() == []


async def test_shutdown_ends_a_tasks_executor(framework: Framework) -> None:
    """That of a command has its task's id."""
    task = await framework.run(await framework.only())
    await framework.call(Shutdown(task.task_id, task.agent_id))
    status = await framework.update(task, "TASK_KILLED")
    assert (status.source, status.executor_id) == ("SOURCE_EXECUTOR", task.task_id)

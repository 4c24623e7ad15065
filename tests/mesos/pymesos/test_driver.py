"""The driver on pymesos passes what our own does, but for what is overridden here, and says word for word the same."""

from __future__ import annotations

import os
import resource
import threading

import pytest

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import (
    ID,
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    AcknowledgeOperationStatus,
    AttributeConstraint,
    Call,
    Capability,
    CommandInfo,
    Decline,
    DeclineInverseOffers,
    DurationInfo,
    Failure,
    Filters,
    FrameworkInfo,
    Group,
    Heartbeat,
    Kill,
    KillPolicy,
    LaunchOperation,
    Message,
    OfferConstraints,
    Operation,
    Predicate,
    Reconcile,
    ReconcileOperation,
    ReconcileOperations,
    ReconcileTask,
    Request,
    Resource,
    ResourceRequest,
    Revive,
    RoleConstraints,
    Scalar,
    Selector,
    Shutdown,
    Subscribe,
    Subscribed,
    Suppress,
    TaskInfo,
    Teardown,
    TextEquals,
    UpdateFramework,
)
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Credentials, parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.driver import Disconnected
from owmesos.mesos.wire.http_driver import HttpDriver
from owmesos.system.retry_pause import RetryPause
from tests.fakes.master import FakeMaster, plain, silent
from tests.mesos.wire import test_http_driver as ours
from tests.mesos.wire.conftest import Collected, Drive
from tests.waiting import eventually_async

HEARTBEAT = ours.HEARTBEAT
CONSTRAINTS = OfferConstraints(
    {"r": RoleConstraints([Group([AttributeConstraint(Selector("rack"), Predicate(text_equals=TextEquals("r1")))])])}
)
INFO = FrameworkInfo(
    "u", "n", roles=["r"], capabilities=[Capability("MULTI_ROLE")], failover_timeout=9.5, principal="p"
)
TASK = TaskInfo(
    name="t", task_id=ID("t"), agent_id=ID("S"), resources=[Resource("cpus", "SCALAR", Scalar(0.1))],
    command=CommandInfo(value="exit 0"),
)  # fmt: skip
CALLS: list[Call] = [
    Accept([ID("o")], [Operation("LAUNCH", launch=LaunchOperation([TASK]))], Filters(0.0)),
    AcceptInverseOffers([ID("i")], Filters(3.0)),
    Acknowledge(ID("S"), ID("t"), "dXVpZA=="),
    AcknowledgeOperationStatus("dXVpZA==", ID("op"), ID("S"), ID("provider")),
    Decline([ID("o"), ID("p")], Filters(3600.0)),
    Decline([ID("o")]),
    DeclineInverseOffers([ID("i")]),
    Kill(ID("t")),
    Kill(ID("t"), ID("S"), KillPolicy(DurationInfo(5))),
    Message(ID("S"), ID("e"), b"\x00\xff"),
    Reconcile(),
    Reconcile([ReconcileTask(ID("t"), ID("S")), ReconcileTask(ID("u"))]),
    ReconcileOperations([ReconcileOperation(ID("op"), ID("S"), ID("provider"))]),
    Request([ResourceRequest(ID("S"), [Resource("mem", "SCALAR", Scalar(1.0))])]),
    Revive(),
    Revive(["r"]),
    Shutdown(ID("e"), ID("S")),
    Suppress(),
    Suppress(["r"]),
    Teardown(),
    UpdateFramework(INFO, ["r"], CONSTRAINTS),
]


class TestSubscription(ours.TestSubscription):
    pass


class TestAnswersOfNoMaster(ours.TestAnswersOfNoMaster):
    pass


class TestLosses(ours.TestLosses):
    pass


class TestBackoff(ours.TestBackoff):
    pass


class TestOddEvents(ours.TestOddEvents):
    async def test_a_malformed_event_is_logged_and_skipped(
        self, master: FakeMaster, drive: Drive, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As long as it is JSON, for pymesos itself decodes that."""
        driving = drive(master.address)
        await driving.until(Subscribed)
        await master.send({"type": "UPDATE", "update": {"status": {"task_id": 5}}}, {"type": "RESCIND"})
        await master.send_raw(b"2\n[]4\ntrue")
        await master.send(HEARTBEAT)
        await driving.until(Heartbeat)
        assert driving.kinds() == ["Subscribed", "Heartbeat"]
        assert len([line for line in caplog.messages if "skipping an event" in line]) == 4

    async def test_a_record_that_is_no_json_costs_the_stream(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await master.send_raw(b"3\n{}}")
        assert "the stream cannot be read" in (await driving.until(Disconnected))[0].reason  # type: ignore[attr-defined]
        await driving.until(Subscribed, 2)

    async def test_numbers_and_texts_that_only_python_has_are_skipped(
        self, master: FakeMaster, drive: Drive, caplog: pytest.LogCaptureFixture
    ) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await master.send({"type": "RESCIND", "rescind": 10**30}, {"type": "RESCIND", "rescind": "\ud800"}, HEARTBEAT)
        await driving.until(Heartbeat)
        assert len([line for line in caplog.messages if "skipping an event" in line]) == 2

    async def test_a_failure_without_its_optional_status(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        failure = {"agent_id": {"value": "S"}, "executor_id": {"value": "e"}}
        await master.send({"type": "FAILURE", "failure": failure})
        assert await driving.until(Failure) == [Failure(ID("S"), ID("e"))]


class TestCalls(ours.TestCalls):
    async def test_every_call_is_the_same_as_on_our_own_wire(self, master: FakeMaster, drive: Drive) -> None:
        own = Collected(
            HttpDriver(detector_for(parse_master(master.address, credentials_allowed=False)), Subscribe(INFO))
        )
        await own.until(Subscribed)
        driving = drive(master.address)
        await driving.until(Subscribed)
        for call in CALLS:
            master.calls.clear()
            await own.driver.call(call)
            await driving.driver.call(call)
            said, by_pymesos = master.calls
            assert _bare(by_pymesos) == _bare(said), call
        await own.close()

    async def test_an_accept_that_launches_nothing_is_a_decline(self, master: FakeMaster, drive: Drive) -> None:
        """pymesos makes it one; at the master both mean the same."""
        driving = drive(master.address)
        await driving.until(Subscribed)
        await driving.driver.call(Accept([ID("o")], [], Filters(1.0)))
        assert master.calls[0]["decline"] == {"offer_ids": [{"value": "o"}], "filters": {"refuse_seconds": 1.0}}

    async def test_subscribe_is_the_same_as_on_our_own_wire(self, master: FakeMaster, drive: Drive) -> None:
        """No GPU_RESOURCES, no shorter failover_timeout, and what pymesos has no words for."""
        subscription = Subscribe(INFO, ["r"], CONSTRAINTS)
        access = Access(Credentials("p", "s"))
        detector = detector_for(parse_master(master.address, credentials_allowed=False))
        own = Collected(HttpDriver(detector, subscription, access))
        await own.until(Subscribed)
        await own.close()
        await drive(master.address, subscription=subscription, access=access).until(Subscribed)
        assert master.subscribes[1] == master.subscribes[0]
        assert master.headers[1]["Authorization"] == master.headers[0]["Authorization"]

    async def test_in_a_process_with_many_descriptors(self, master: FakeMaster, drive: Drive) -> None:
        """`select` takes those below 1024 only."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2048, hard)), hard))
        taken = [os.open(os.devnull, os.O_RDONLY)]
        try:
            while taken[-1] < 1024:
                taken.append(os.dup(taken[0]))
            driving = drive(master.address)
            await driving.until(Subscribed)
            await driving.driver.call(Revive())
            await driving.driver.call(Revive())  # on the connection of the first
            await driving.close()
        finally:
            for each in taken:
                os.close(each)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [call["type"] for call in master.calls] == ["REVIVE", "REVIVE"]

    async def test_one_drivers_headers_are_not_anothers(self, master: FakeMaster, drive: Drive) -> None:
        with_secret = drive(master.address, access=Access(Credentials("p", "s")))
        await with_secret.until(Subscribed)
        await with_secret.driver.call(Revive())
        without = drive(master.address)
        await without.until(Subscribed)
        await without.driver.call(Revive())
        assert [("Authorization" in headers) for headers in master.headers] == [True, True, False, False]
        assert master.headers[3]["Mesos-Stream-Id"] == "stream-2"


class TestProcess:
    """What pymesos does to the process that it is in."""

    async def test_its_threads_end_with_their_subscriptions(self, master: FakeMaster, drive: Drive) -> None:
        before = threading.active_count()
        driving = drive(master.address)
        for number in range(1, 4):
            await driving.until(Subscribed, number)
            await driving.driver.call(Revive())
            await driving.driver.resubscribe("again")
        await driving.close()
        await eventually_async(lambda: threading.active_count() <= before)

    @pytest.mark.parametrize("answer", [plain(401, "who?"), plain(503), plain(200, "<html>", "text/html"), silent])
    async def test_no_answer_interrupts_the_main_thread_or_ends_the_framework(
        self, master: FakeMaster, drive: Drive, answer: object
    ) -> None:
        master.on_subscribe = answer  # type: ignore[assignment]
        driving = drive(master.address)
        await eventually_async(lambda: bool(master.subscribes))
        await driving.close()
        assert master.calls == []


@pytest.mark.parametrize(
    ("master", "lacking"),
    [
        ("https://m:5050", "https://m:5050: pymesos does not support TLS: use the driver http"),
        ("m:5050,[::1]:5050", "http://[::1]:5050: pymesos does not support IPv6: use the driver http"),
    ],
)
def test_what_pymesos_does_not_speak_is_said_at_once(master: str, lacking: str) -> None:
    pytest.importorskip("pymesos")
    from owmesos.mesos.pymesos.driver import pymesos_driver

    with pytest.raises(InvalidInput) as caught:
        pymesos_driver(master, Access())
    assert str(caught.value) == lacking


async def test_a_redirection_to_what_it_does_not_speak_is_waited_out(
    master: FakeMaster, drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    master.on_subscribe = plain(307, Location="https://127.0.0.1:1/api/v1/scheduler")
    drive(master.address, backoff=RetryPause(shortest=30, longest=60))
    await eventually_async(lambda: any("pymesos does not support TLS" in line for line in caplog.messages))


def _bare(call: dict[str, object]) -> dict[str, object]:
    """Without an empty body, which means the same as none."""
    return {key: value for key, value in call.items() if value not in ({}, {"tasks": []})}

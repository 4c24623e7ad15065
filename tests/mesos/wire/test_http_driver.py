"""The HTTP driver against a master that behaves, and one that does not."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import time
from typing import Any

import pytest
from aiohttp import web

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import (
    ID,
    Accept,
    Acknowledge,
    Call,
    Capability,
    Decline,
    Error,
    Filters,
    FrameworkInfo,
    Heartbeat,
    Kill,
    LaunchOperation,
    Offers,
    Operation,
    Reconcile,
    Rescind,
    Revive,
    Subscribe,
    Subscribed,
    TaskInfo,
    Update,
)
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Credentials, ServerAddress
from owmesos.mesos.wire.calls import _SECOND_TRY, _lane_of
from owmesos.mesos.wire.driver import (
    CallRefused,
    CallUnknown,
    Disconnected,
    NotSubscribed,
    SubscribeRefused,
    SubscribeUnanswered,
)
from owmesos.mesos.wire.http_driver import HttpCalls
from owmesos.system.retry_pause import RetryPause
from tests.fakes.master import (
    FRAMEWORK_ID,
    Answer,
    FakeMaster,
    cut,
    hang,
    plain,
    raw,
    record,
    silent,
    subscribed,
)
from tests.fakes.odd_server import ODD_ANSWERS, OddServer
from tests.mesos.wire.conftest import INFO, CountedBackoff, Drive
from tests.waiting import eventually_async, in_time

HEARTBEAT = {"type": "HEARTBEAT"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class TestSubscription:
    async def test_events_are_yielded_in_order(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await master.send(HEARTBEAT, {"type": "RESCIND", "rescind": {"offer_id": {"value": "O"}}})
        await eventually_async(lambda: driving.kinds() == ["Subscribed", "Heartbeat", "Rescind"])

    async def test_subscribe_says_what_the_subscription_says(self, master: FakeMaster, drive: Drive) -> None:
        info = FrameworkInfo("u", "n", id=ID("F"), roles=["r"], capabilities=[Capability("MULTI_ROLE")])
        driving = drive(master.address, subscription=Subscribe(info, suppressed_roles=["r"]))
        await driving.until(Subscribed)
        assert master.subscribes[0]["framework_id"] == {"value": "F"}
        assert master.subscribes[0]["subscribe"]["framework_info"]["id"] == {"value": "F"}
        assert master.subscribes[0]["subscribe"]["suppressed_roles"] == ["r"]

    async def test_rule_1_subscribe_carries_no_stream_id_and_other_calls_do(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        """Rule 1 of docs/scheduler-http-api.md."""
        driving = drive(master.address)
        await driving.until(Subscribed)
        await driving.driver.call(Revive())
        assert "Mesos-Stream-Id" not in master.headers[0]
        assert master.headers[1]["Mesos-Stream-Id"] == "stream-1"
        assert master.headers[1]["Content-Type"] == "application/json"

    async def test_the_framework_id_is_kept_for_the_next_subscribe(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        master.end_stream()
        await driving.until(Subscribed, 2)
        assert "framework_id" not in master.subscribes[0]
        assert master.subscribes[1]["framework_id"] == {"value": FRAMEWORK_ID}

    async def test_a_changed_subscription_counts_from_the_next_subscribe(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        driving.driver.subscription = Subscribe(INFO, suppressed_roles=["r"])
        await driving.driver.resubscribe("changed")
        await driving.until(Subscribed, 2)
        assert master.subscribes[1]["subscribe"]["suppressed_roles"] == ["r"]

    async def test_a_host_that_is_down_is_passed_over(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(f"127.0.0.1:{free_port()},{master.address}")
        await driving.until(Subscribed)

    async def test_rule_2_a_redirection_to_the_leader_is_followed(self, master: FakeMaster, drive: Drive) -> None:
        follower = await FakeMaster().start()
        location = f"//{master.address}/api/v1/scheduler"
        follower.on_subscribe = plain(307, Location=location)
        driving = drive(follower.address)
        await driving.until(Subscribed)
        assert len(follower.subscribes) == len(master.subscribes) == 1
        await follower.stop()

    async def test_two_masters_that_redirect_to_each_other_are_asked_with_back_off(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        other = await FakeMaster().start()
        master.on_subscribe = plain(307, Location=f"//{other.address}/api/v1/scheduler")
        other.on_subscribe = plain(307, Location=f"//{master.address}/api/v1/scheduler")
        backoff = CountedBackoff(shortest=30, longest=60)
        drive(master.address, backoff=backoff)
        await eventually_async(lambda: bool(backoff.waits))
        assert len(master.subscribes) == len(other.subscribes) == 1
        await other.stop()

    async def test_a_refused_subscribe_is_an_event_with_the_masters_words(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        master.on_subscribe = plain(401, "who are you?")
        driving = drive(master.address)
        assert (await driving.until(SubscribeRefused))[0] == SubscribeRefused(401, "who are you?")
        master.on_subscribe = subscribed
        await driving.until(Subscribed)

    async def test_an_error_before_subscribed_is_an_event_and_then_the_end(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        master.on_subscribe = raw(record({"type": "ERROR", "error": {"message": "bad role"}}))
        driving = drive(master.address)
        await driving.until(Disconnected)
        assert driving.events[:2] == [Error("bad role"), Disconnected("the master closed the stream")]

    async def test_closing_ends_the_events_and_sends_no_teardown(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await driving.close()
        await eventually_async(lambda: master.open_streams == 0)
        assert master.calls == []
        assert driving.kinds() == ["Subscribed"]

    async def test_it_can_be_closed_while_it_waits_for_the_next_try(self, master: FakeMaster, drive: Drive) -> None:
        master.on_subscribe = plain(503)
        driving = drive(master.address, backoff=RetryPause(shortest=30, longest=60))
        await eventually_async(lambda: bool(master.subscribes))
        await driving.close()

    async def test_it_can_be_closed_while_subscribe_hangs(self, master: FakeMaster, drive: Drive) -> None:
        master.on_subscribe = hang
        driving = drive(master.address)
        await eventually_async(lambda: bool(master.subscribes))
        await driving.close()


class TestLosses:
    async def test_the_end_of_the_stream(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        master.end_stream()
        await driving.until(Subscribed, 2)
        assert driving.kinds() == ["Subscribed", "Disconnected", "Subscribed"]

    async def test_a_cut_in_the_middle_of_a_record(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await master.send_raw(b'200\n{"type":')
        master.cut_stream()
        await driving.until(Subscribed, 2)
        await master.send(HEARTBEAT)
        await driving.until(Heartbeat)

    async def test_rule_3_silence_of_five_heartbeats(self, master: FakeMaster, drive: Drive) -> None:
        """Rule 3 of docs/scheduler-http-api.md: a half-open connection is noticed."""
        master.heartbeat = 0.05
        driving = drive(master.address)
        lost = (await driving.until(Disconnected))[0]
        assert lost == Disconnected("the master was silent for 0.25 s")
        await driving.until(Subscribed, 2)

    async def test_heartbeats_keep_a_stream_alive(self, master: FakeMaster, drive: Drive) -> None:
        master.heartbeat = 0.1
        driving = drive(master.address)
        await driving.until(Subscribed)
        began = time.monotonic()

        async def beat_for_longer_than_five_intervals() -> bool:
            await master.send(HEARTBEAT)
            return time.monotonic() - began > 0.8

        await eventually_async(beat_for_longer_than_five_intervals, interval=0.05)
        assert "Disconnected" not in driving.kinds()

    async def test_a_record_over_the_limit(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address, record_limit=1000)
        await driving.until(Subscribed)
        await master.send_raw(b"1001\n")
        lost = (await driving.until(Disconnected))[0]
        assert lost == Disconnected("a record of 1001 bytes exceeds the limit of 1000")
        await driving.until(Subscribed, 2)

    async def test_garbage_in_the_stream(self, master: FakeMaster, drive: Drive) -> None:
        master.on_subscribe = raw(b"\x00\x01garbage")
        driving = drive(master.address)
        await driving.until(Disconnected)
        master.on_subscribe = subscribed
        await driving.until(Subscribed)

    async def test_resubscribe_closes_the_stream_before_the_next_subscribe(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        open_at_subscribe: list[int] = []

        async def watched(fake: FakeMaster, request: web.Request) -> web.StreamResponse:
            open_at_subscribe.append(fake.open_streams)
            return await subscribed(fake, request)

        master.on_subscribe = watched
        driving = drive(master.address)
        await driving.until(Subscribed)
        await driving.driver.resubscribe("a call is unknown")
        await driving.until(Subscribed, 2)
        assert open_at_subscribe == [0, 0]
        assert driving.events[1] == Disconnected("a call is unknown")

    async def test_events_of_a_stream_that_was_given_up_are_never_seen(self, master: FakeMaster, drive: Drive) -> None:
        """A stream is closed, and its later events are ignored, before its successor's SUBSCRIBE."""
        driving = drive(master.address)
        driving.give_up_at = Rescind
        await driving.until(Subscribed)
        rescind = {"type": "RESCIND", "rescind": {"offer_id": {"value": "O"}}}
        await master.send(rescind, HEARTBEAT, HEARTBEAT)
        await driving.until(Subscribed, 2)
        assert driving.kinds() == ["Subscribed", "Rescind", "Disconnected", "Subscribed"]

    async def test_a_subscription_is_replaced_while_subscribe_hangs(self, master: FakeMaster, drive: Drive) -> None:
        master.on_subscribe = hang
        driving = drive(master.address)
        await eventually_async(lambda: bool(master.subscribes))
        master.on_subscribe = subscribed
        await driving.driver.resubscribe("other constraints")
        await driving.until(Subscribed)


class TestBackoff:
    @pytest.mark.parametrize(
        "answer",
        [
            plain(503, "Master has not finished recovery"),
            plain(500),
            plain(200, "<html><title>Welcome</title></html>", "text/html"),
            plain(200, "", "application/json"),
            plain(307, Location="nonsense://x"),
            raw(b""),
            raw(b"<html>"),
            plain(403, "no"),
            cut,
        ],
        ids=["503", "500", "html", "empty", "odd-redirect", "ends-at-once", "garbage", "403", "reset"],
    )
    async def test_rule_3_each_subscribe_waits_for_its_step(
        self, master: FakeMaster, drive: Drive, answer: object
    ) -> None:
        """No cause brings more SUBSCRIBEs than back-off steps."""
        master.on_subscribe = answer  # type: ignore[assignment]
        began = time.monotonic()
        backoff = CountedBackoff(shortest=0.05, longest=0.2)
        drive(master.address, backoff=backoff)
        await eventually_async(lambda: len(master.subscribes) >= 4)
        assert len(master.subscribes) <= len(backoff.waits) + 1
        assert time.monotonic() - began >= sum(backoff.waits[:3]) * 0.9

    async def test_a_silent_master_is_given_up_in_time(self, master: FakeMaster, drive: Drive) -> None:
        master.on_subscribe = hang
        drive(master.address, call_timeout=0.2)
        await eventually_async(lambda: len(master.subscribes) >= 2)

    async def test_no_master_at_all_is_waited_for(self, drive: Drive) -> None:
        port = free_port()
        backoff = CountedBackoff(shortest=0.02, longest=0.1)
        driving = drive(f"127.0.0.1:{port}", backoff=backoff)
        await eventually_async(lambda: len(backoff.waits) > 2)
        fake = await FakeMaster().start(port)
        await driving.until(Subscribed)
        await driving.close()
        await fake.stop()

    async def test_an_unknown_host_is_waited_for(self, drive: Drive) -> None:
        backoff = CountedBackoff(shortest=0.02, longest=0.1)
        drive("no-such-host.invalid:5050", backoff=backoff)
        await eventually_async(lambda: len(backoff.waits) > 1)


class TestOddEvents:
    async def test_a_malformed_event_is_logged_and_skipped(
        self, master: FakeMaster, drive: Drive, caplog: pytest.LogCaptureFixture
    ) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await master.send({"type": "UPDATE", "update": {"status": {"task_id": 5}}}, {"type": "RESCIND"})
        await master.send_raw(b"3\n{}}2\n[]0\n")
        await master.send(HEARTBEAT)
        await driving.until(Heartbeat)
        assert driving.kinds() == ["Subscribed", "Heartbeat"]
        assert len([line for line in caplog.messages if "skipping an event" in line]) == 5

    async def test_what_is_wrong_again_and_again_is_a_warning_once(
        self, master: FakeMaster, drive: Drive, caplog: pytest.LogCaptureFixture
    ) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        status = {"task_id": {"value": "t"}, "state": "TASK_RUNNING", "data": "not base64", "uuid": "dQ=="}
        bad = {"type": "UPDATE", "update": {"status": status}}
        await master.send(bad, bad, {"type": "RESCIND"}, {"type": "RESCIND"}, HEARTBEAT)
        await driving.until(Heartbeat)
        updates = await driving.until(Update, 2)
        assert [update.status.uuid for update in updates if isinstance(update, Update)] == ["dQ==", "dQ=="]
        warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 2
        assert "UPDATE.status.data cannot be read and is treated as absent" in warnings[0]

    async def test_an_unknown_type_is_logged_once(
        self, master: FakeMaster, drive: Drive, caplog: pytest.LogCaptureFixture
    ) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await master.send({"type": "NEW"}, {"type": "NEW"}, HEARTBEAT)
        await driving.until(Heartbeat)
        assert driving.kinds() == ["Subscribed", "Heartbeat"]
        assert len([line for line in caplog.messages if "unknown type" in line]) == 1

    async def test_unknown_fields_are_logged_once_and_tolerated(
        self, master: FakeMaster, drive: Drive, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        driving = drive(master.address)
        await driving.until(Subscribed)
        update = {"status": {"task_id": {"value": "t"}, "state": "TASK_RUNNING", "mood": 1}, "extra": []}
        await master.send({"type": "UPDATE", "update": update}, {"type": "UPDATE", "update": update})
        await driving.until(Update, 2)
        lines = [line for line in caplog.messages if "not read" in line]
        assert len(lines) == 1
        assert "update.status.mood, update.extra" in lines[0]

    async def test_one_malformed_offer_does_not_spoil_the_others(
        self, master: FakeMaster, drive: Drive, caplog: pytest.LogCaptureFixture
    ) -> None:
        def offer(name: str) -> dict[str, object]:
            ids = {key: {"value": name} for key in ("id", "framework_id", "agent_id")}
            return {**ids, "hostname": "h"}

        driving = drive(master.address)
        await driving.until(Subscribed)
        bad = {**offer("bad"), "resources": [{"name": 5}]}
        await master.send({"type": "OFFERS", "offers": {"offers": [offer("a"), bad, offer("b")]}})
        event = (await driving.until(Offers))[0]
        assert isinstance(event, Offers)
        assert [each.id.value for each in event.offers] == ["a", "b"]
        assert [each.id.value for each in event.unreadable] == ["bad"]


def lane_of(task: ID) -> int:
    return _lane_of(Acknowledge(ID("S"), task, "u"))


def lane_of_agent(agent: ID) -> int:
    return _lane_of(Kill(ID("t"), agent))


def accept(agent: ID) -> Accept:
    return Accept([ID("O1")], [Operation("LAUNCH", launch=LaunchOperation([TaskInfo("t", ID("t"), agent)]))])


def agents_of(call: dict[str, Any]) -> list[str]:
    infos = call["accept"]["operations"][0]["launch"]["task_infos"]
    return [info["agent_id"]["value"] for info in infos]


class TestCalls:
    async def test_a_call_that_is_taken_returns(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await driving.driver.call(Decline([ID("O1")], Filters(5.0)))
        assert master.calls == [
            {
                "type": "DECLINE",
                "framework_id": {"value": FRAMEWORK_ID},
                "decline": {"offer_ids": [{"value": "O1"}], "filters": {"refuse_seconds": 5.0}},
            }
        ]

    async def test_a_call_between_its_two_tries_when_the_connections_are_cut_has_an_outcome(self) -> None:
        """A call in the other lane that runs out of its time cuts both."""
        calls = HttpCalls(ServerAddress("http", "127.0.0.1", free_port()), "stream", ID("F"), Access())
        call = asyncio.ensure_future(calls.send(Revive()))
        await asyncio.sleep(_SECOND_TRY / 2)
        await calls._close_connections()
        with pytest.raises(NotSubscribed):
            await in_time(call)

    async def test_an_empty_200_is_taken(self, master: FakeMaster, drive: Drive) -> None:
        master.on_call = plain(200)
        driving = drive(master.address)
        await driving.until(Subscribed)
        await driving.driver.call(Revive())

    async def test_calls_arrive_in_order_on_one_connection(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await asyncio.gather(*(driving.driver.call(Kill(ID(str(i)))) for i in range(50)))
        assert [call["kill"]["task_id"]["value"] for call in master.calls] == [str(i) for i in range(50)]
        assert len(master.connections) == 1

    async def test_acknowledgements_of_one_task_keep_their_order_and_others_overtake(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        """Where one is slow, or the event loop is, the tasks on other lanes go on."""
        slow = ID("t")
        other = next(task for task in map(ID, map(str, range(100))) if lane_of(task) != lane_of(slow))

        async def answer(fake: FakeMaster, request: web.Request) -> web.StreamResponse:
            is_slow = fake.calls[-1]["acknowledge"]["task_id"]["value"] == slow.value
            return await (hang if is_slow else plain(202))(fake, request)

        master.on_call = answer
        driving = drive(master.address)
        await driving.until(Subscribed)
        waiting = [asyncio.create_task(driving.driver.call(Acknowledge(ID("S"), slow, str(i)))) for i in range(2)]
        await eventually_async(lambda: bool(master.calls))
        await driving.driver.call(Acknowledge(ID("S"), other, "u"))
        assert [call["acknowledge"]["uuid"] for call in master.calls] == ["0", "u"]
        await driving.driver.resubscribe("enough")
        await asyncio.wait(waiting)

    async def test_what_one_agent_is_told_keeps_its_order_and_others_are_not_waited_for(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        """200 launches a second on as many agents would wait for 200 answers, one after the other."""
        slow = ID("S0")
        other = next(agent for agent in map(ID, map(str, range(100))) if lane_of_agent(agent) != lane_of_agent(slow))
        answers = asyncio.Event()

        async def answer(fake: FakeMaster, request: web.Request) -> web.StreamResponse:
            if fake.calls[-1]["type"] == "ACCEPT" and agents_of(fake.calls[-1]) == [slow.value]:
                await answers.wait()
            return await plain(202)(fake, request)

        master.on_call = answer
        driving = drive(master.address)
        await driving.until(Subscribed)
        first = [asyncio.create_task(driving.driver.call(call)) for call in (accept(slow), Kill(ID("t"), slow))]
        await eventually_async(lambda: bool(master.calls))
        await driving.driver.call(accept(other))
        await driving.driver.call(Kill(ID("t"), other))
        assert [call["type"] for call in master.calls] == ["ACCEPT", "ACCEPT", "KILL"]
        answers.set()
        await asyncio.gather(*first)
        assert [call["type"] for call in master.calls] == ["ACCEPT", "ACCEPT", "KILL", "KILL"]

    @pytest.mark.parametrize("later", [Revive(), Reconcile(), Kill(ID("t"))], ids=lambda call: type(call).__name__)
    async def test_what_is_not_about_one_agent_waits_for_all_that_was_sent_before(
        self, later: Call, master: FakeMaster, drive: Drive
    ) -> None:
        """A REVIVE clears the filters of the ACCEPTs before it, a RECONCILE asks for their tasks."""
        answers = asyncio.Event()

        async def answer(fake: FakeMaster, request: web.Request) -> web.StreamResponse:
            if fake.calls[-1]["type"] == "ACCEPT":
                await answers.wait()
            return await plain(202)(fake, request)

        master.on_call = answer
        driving = drive(master.address)
        await driving.until(Subscribed)
        accepting = [asyncio.create_task(driving.driver.call(accept(ID(str(number))))) for number in range(20)]
        last = asyncio.create_task(driving.driver.call(later))
        await eventually_async(lambda: len(master.calls) == len({lane_of_agent(ID(str(n))) for n in range(20)}))
        assert {call["type"] for call in master.calls} == {"ACCEPT"}
        answers.set()
        await asyncio.gather(*accepting, last)
        assert [call["type"] for call in master.calls] == ["ACCEPT"] * 20 + [later.wire_type]

    async def test_an_acknowledgement_overtakes_a_slow_call(self, master: FakeMaster, drive: Drive) -> None:
        async def slow_kill(fake: FakeMaster, request: web.Request) -> web.StreamResponse:
            return await (hang if fake.calls[-1]["type"] == "KILL" else plain(202))(fake, request)

        master.on_call = slow_kill
        driving = drive(master.address)
        await driving.until(Subscribed)
        killing = asyncio.create_task(driving.driver.call(Kill(ID("t"))))
        await eventually_async(lambda: bool(master.calls))
        await driving.driver.call(Acknowledge(ID("S"), ID("t"), "u"))
        assert not killing.done()
        await driving.driver.resubscribe("enough")
        with pytest.raises(CallUnknown):
            await killing

    async def test_rule_2_before_subscribed_nothing_is_sent(self, master: FakeMaster, drive: Drive) -> None:
        """Rule 2 of docs/scheduler-http-api.md."""
        master.on_subscribe = silent
        driving = drive(master.address)
        await eventually_async(lambda: master.open_streams == 1)
        with pytest.raises(NotSubscribed):
            await driving.driver.call(Revive())
        assert master.calls == []

    async def test_after_a_loss_nothing_is_sent(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address, backoff=RetryPause(shortest=30, longest=60))
        await driving.until(Subscribed)
        master.end_stream()
        await driving.until(Disconnected)
        with pytest.raises(NotSubscribed):
            await driving.driver.call(Revive())

    @pytest.mark.parametrize("status", [400, 401, 403, 415, 307, 503])
    async def test_a_refusal_tells_status_and_reason(self, master: FakeMaster, drive: Drive, status: int) -> None:
        master.on_call = plain(status, "because\nI say so")
        driving = drive(master.address)
        await driving.until(Subscribed)
        with pytest.raises(CallRefused) as caught:
            await driving.driver.call(Revive())
        assert (caught.value.status, caught.value.reason) == (status, "because I say so")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "answer",
        [
            cut,
            plain(500, "oops"),
            plain(502, "<html><title>Bad gateway</title>", "text/html"),
            plain(200, "<!DOCTYPE html><title>Hello</title>", "text/html"),
        ],
        ids=["reset", "500", "502", "html"],
    )
    async def test_an_answer_that_says_nothing_leaves_it_unknown_and_is_not_repeated(
        self, master: FakeMaster, drive: Drive, answer: object
    ) -> None:
        master.on_call = answer  # type: ignore[assignment]
        driving = drive(master.address)
        await driving.until(Subscribed)
        with pytest.raises(CallUnknown):
            await driving.driver.call(Revive())
        assert len(master.calls) == 1

    async def test_a_call_without_an_answer_ends_in_time_and_so_do_those_behind_it(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        master.on_call = hang
        driving = drive(master.address, call_timeout=4.0)
        await driving.until(Subscribed)
        began = time.monotonic()
        results = await asyncio.gather(*(driving.driver.call(Revive()) for _ in range(3)), return_exceptions=True)
        assert time.monotonic() - began < 9.0  # one after another they would take 10.8
        assert [type(result) for result in results] == [CallUnknown, NotSubscribed, NotSubscribed]
        assert len(master.calls) == 1
        await driving.until(Disconnected)

    async def test_a_kept_alive_connection_that_the_master_closed_is_replaced(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        await driving.driver.call(Revive())
        (connection,) = master.connections
        connection.close()
        turns = itertools.count()
        await eventually_async(lambda: next(turns) > 3, what="the event loop has seen the end of the connection")
        await driving.driver.call(Revive())
        assert len(master.calls) == 2

    async def test_who_asks_is_told_at_the_last_moment_before_a_call_leaves(
        self, master: FakeMaster, drive: Drive
    ) -> None:
        told: list[str] = []
        driving = drive(master.address)
        await driving.until(Subscribed)
        master.on_call = hang
        first = asyncio.create_task(driving.driver.call(Revive(), sending=lambda: told.append("first")))
        await eventually_async(lambda: bool(master.calls))
        behind = asyncio.create_task(driving.driver.call(Revive(), sending=lambda: told.append("behind")))
        await asyncio.sleep(0)
        assert told == ["first"]
        await driving.driver.resubscribe("enough")
        outcomes = await asyncio.gather(first, behind, return_exceptions=True)
        assert [type(each) for each in outcomes] == [CallUnknown, NotSubscribed]
        assert told == ["first"]

    async def test_if_that_raises_nothing_leaves(self, master: FakeMaster, drive: Drive) -> None:
        def fails() -> None:
            raise OSError("full")

        driving = drive(master.address)
        await driving.until(Subscribed)
        with pytest.raises(OSError, match="full"):
            await driving.driver.call(Revive(), sending=fails)
        await driving.driver.call(Kill(ID("t")))
        assert [call["type"] for call in master.calls] == ["KILL"]

    async def test_subscribe_is_no_call_for_others_to_make(self, master: FakeMaster, drive: Drive) -> None:
        driving = drive(master.address)
        await driving.until(Subscribed)
        with pytest.raises(InvalidInput):
            await driving.driver.call(Subscribe(INFO))


class TestAnswersOfNoMaster:
    """docs/scheduler-http-api.md has none of them; a proxy, another server, or a master that starts gives them."""

    @pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
    async def test_whatever_answers_is_tried_again(self, drive: Drive, answer: bytes) -> None:
        async with OddServer(answer) as server:
            driving = drive(server.address)
            events = await driving.until(SubscribeUnanswered, 2)
            assert set(driving.kinds()) == {"SubscribeUnanswered"}
            await driving.close()
        for event in events:
            assert isinstance(event, SubscribeUnanswered)
            assert len(event.reason) < 500
            assert event.reason.isprintable()

    @pytest.mark.parametrize(
        "what", ["a page", "not found", "a page that says 400", "another protocol", "a redirection to nowhere", "bytes"]
    )
    async def test_what_answers_is_named(self, drive: Drive, what: str) -> None:
        async with OddServer(ODD_ANSWERS[what]) as server:
            driving = drive(server.address)
            (event,) = (await driving.until(SubscribeUnanswered))[:1]
            await driving.close()
            assert isinstance(event, SubscribeUnanswered)
            assert event.unexpected
            assert server.address in event.reason

    async def test_it_is_logged_once(self, drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        async with OddServer(ODD_ANSWERS["not found"]) as server:
            driving = drive(server.address)
            await driving.until(SubscribeUnanswered, 3)
            await driving.close()
        (line,) = [record.getMessage() for record in caplog.records if "not subscribed" in record.getMessage()]
        assert line.endswith("answers SUBSCRIBE with 404: an HTML page (Login): is that a Mesos master?")

    @pytest.mark.parametrize("answer", [None, plain(503, "not the leader"), plain(502, "<html>", "text/html")])
    async def test_a_master_that_is_away_is_not_unexpected(
        self, master: FakeMaster, drive: Drive, answer: Answer | None
    ) -> None:
        if answer is not None:
            master.on_subscribe = answer
        driving = drive(master.address if answer is not None else f"127.0.0.1:{free_port()}")
        (event,) = (await driving.until(SubscribeUnanswered))[:1]
        assert isinstance(event, SubscribeUnanswered)
        assert not event.unexpected

    async def test_a_master_that_starts_is_subscribed_to(self, master: FakeMaster, drive: Drive) -> None:
        master.on_subscribe = plain(404)
        driving = drive(master.address)
        await driving.until(SubscribeUnanswered)
        master.on_subscribe = subscribed
        await driving.until(Subscribed)

    @pytest.mark.parametrize(("status", "text"), [(400, "'roles' is invalid"), (401, ""), (403, "not you"), (403, "")])
    async def test_a_masters_own_refusal_is_one(self, master: FakeMaster, drive: Drive, status: int, text: str) -> None:
        master.on_subscribe = plain(status, text)
        (refused,) = (await drive(master.address).until(SubscribeRefused))[:1]
        assert refused == SubscribeRefused(status, text or "no reason given")


class TestEndsOfTheHttpDriver:
    """Where it looks names up by the event loop."""

    async def test_a_call_that_is_under_way_when_the_driver_closes_has_an_outcome(
        self, master: FakeMaster, drive: Drive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While its name is looked up, or between two tries: aiohttp says CancelledError or RuntimeError then."""
        driving = drive(f"localhost:{master.address.rpartition(':')[2]}")
        await driving.until(Subscribed)
        loop, looking = asyncio.get_running_loop(), asyncio.Event()

        async def never(*_: object, **__: object) -> list[object]:
            looking.set()
            await asyncio.Event().wait()
            return []

        monkeypatch.setattr(loop, "getaddrinfo", never)
        call = asyncio.ensure_future(driving.driver.call(Revive()))
        await looking.wait()
        await driving.driver.close()
        with pytest.raises((NotSubscribed, CallUnknown)):
            await in_time(call)


class TestCredentialsThatComeLater:
    """A cluster on this machine listens before it leaves its credentials."""

    @staticmethod
    async def guarded(master: FakeMaster, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") is None:
            return await plain(401, "401 Unauthorized.")(master, request)
        return await subscribed(master, request)

    async def test_they_are_looked_for_at_each_try(self, master: FakeMaster, drive: Drive) -> None:
        master.on_subscribe = self.guarded
        found: list[Credentials] = []

        def late() -> Credentials | None:
            found.append(Credentials("me", "secret"))
            return found[-1] if len(found) > 2 else None

        collected = drive(master.address, access=Access(late=late))
        await collected.until(Subscribed)
        assert len(master.subscribes) > 1
        assert not any(isinstance(event, SubscribeRefused) for event in collected.events)

    async def test_if_they_do_not_come_the_refusal_is_told(
        self, master: FakeMaster, drive: Drive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("owmesos.mesos.wire.subscriber._CREDENTIALS_COME", 0.05)
        master.on_subscribe = self.guarded
        collected = drive(master.address, access=Access(late=lambda: None))
        await collected.until(SubscribeRefused)

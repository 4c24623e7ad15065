"""What a scheduler says wrong is answered in Mesos's words, and everyone else is served as before."""

from __future__ import annotations

import pytest

from owmesos.simulator import SimulatedCluster
from tests.local.plain_scheduler import PlainScheduler
from tests.simulator.raw import JSON, SCHEDULER, Json, post, sent

KILL: Json = {"type": "KILL", "kill": {"task_id": {"value": "t"}}}
_PROTOBUF = "Failed to convert JSON into Call protobuf: "
_INVALID = "Failed to validate scheduler::Call: "


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "Failed to parse body into JSON: syntax error at line 1 near: "),
        (b'{"type"', "Failed to parse body into JSON: syntax error at line 1 near: "),
        (b"\xff\xfe", "Failed to parse body into JSON: "),
        (b"[" * 100_000, "Failed to parse body into JSON: "),
        ([1], f"{_PROTOBUF}Expecting a JSON object"),
        ({}, f"{_INVALID}Expecting 'type' to be present"),
        ({"type": "FOO"}, f"{_INVALID}Expecting 'type' to be present"),
        ({"type": "UNKNOWN"}, f"{_INVALID}Expecting 'type' to be present"),
        ({"type": 1}, f"{_PROTOBUF}Not expecting a JSON number for field 'type'"),
        (KILL, f"{_INVALID}Expecting 'framework_id' to be present"),
        ({**KILL, "kill": {}}, f"{_PROTOBUF}Missing required fields: kill.task_id"),
        ({**KILL, "kill": {"task_id": "t"}}, f"{_PROTOBUF}Not expecting a JSON string for field 'task_id'"),
        ({"type": "ACCEPT"}, f"{_INVALID}Expecting 'accept' to be present"),
        (
            {"type": "SUBSCRIBE", "subscribe": {"framework_info": {"name": "x"}}},
            f"{_PROTOBUF}Missing required fields: subscribe.framework_info.user",
        ),
        (
            {
                "type": "SUBSCRIBE",
                "framework_id": {"value": "f"},
                "subscribe": {"framework_info": {"user": "u", "name": "x"}},
            },
            f"{_INVALID}'framework_id' differs from 'subscribe.framework_info.id'",
        ),
    ],
)
def test_a_call_that_is_none_is_400(cluster: SimulatedCluster, body: object, text: str) -> None:
    status, answer, headers = post(cluster.master, body)
    assert (status, headers["Content-Type"]) == (400, "text/plain")
    assert answer.startswith(text)


def test_a_task_without_a_name_is_told_with_its_whole_path(cluster: SimulatedCluster) -> None:
    info = {"task_id": {"value": "t"}, "agent_id": {"value": "a"}}
    accept = {"offer_ids": [], "operations": [{"type": "LAUNCH", "launch": {"task_infos": [info]}}]}
    status, answer, _ = post(cluster.master, {"type": "ACCEPT", "accept": accept})
    assert (status, answer) == (
        400,
        f"{_PROTOBUF}Missing required fields: accept.operations[0].launch.task_infos[0].name",
    )


class TestStreamIds:
    def test_a_call_needs_one(self, cluster: SimulatedCluster, scheduler: PlainScheduler) -> None:
        call = {**KILL, "framework_id": {"value": scheduler.framework_id}}
        assert post(cluster.master, call)[:2] == (
            400,
            "All non-subscribe calls should include the 'Mesos-Stream-Id' header",
        )

    def test_it_must_be_the_frameworks_own(self, cluster: SimulatedCluster, scheduler: PlainScheduler) -> None:
        call = {**KILL, "framework_id": {"value": scheduler.framework_id}}
        status, answer, _ = post(cluster.master, call, {**JSON, "Mesos-Stream-Id": "x"})
        mismatch = "The stream ID 'x' included in this request didn't match the stream ID currently associated"
        assert (status, answer) == (400, f"{mismatch} with framework ID {scheduler.framework_id}")

    def test_a_framework_that_is_not_known(self, cluster: SimulatedCluster) -> None:
        call = {**KILL, "framework_id": {"value": "nobody"}}
        answer = post(cluster.master, call, {**JSON, "Mesos-Stream-Id": "x"})
        assert answer[:2] == (400, "Framework cannot be found")

    def test_subscribe_has_none(self, cluster: SimulatedCluster) -> None:
        subscribe = {"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "u", "name": "x"}}}
        status, answer, _ = post(cluster.master, subscribe, {**JSON, "Mesos-Stream-Id": "x"})
        assert (status, answer) == (400, "Subscribe calls should not include the 'Mesos-Stream-Id' header")


class TestHttp:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 400),
            ({"Content-Type": "text/plain"}, 415),
            ({"Content-Type": "application/json; charset=utf-8"}, 415),
        ],
    )
    def test_content_types(self, cluster: SimulatedCluster, headers: dict[str, str], status: int) -> None:
        assert post(cluster.master, KILL, headers)[0] == status

    @pytest.mark.parametrize("method", ["GET", "PUT"])
    def test_other_methods(self, cluster: SimulatedCluster, method: str) -> None:
        status, _, headers = post(cluster.master, KILL, method=method)
        assert (status, headers["Allow"]) == (405, "POST")

    def test_a_gigabyte_is_not_waited_for(self, cluster: SimulatedCluster) -> None:
        head = (
            f"POST {SCHEDULER} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {2**30}\r\n\r\n"
        )
        with sent(cluster.master, head.encode()) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 413")

    def test_half_a_request_hinders_nobody(self, cluster: SimulatedCluster, scheduler: PlainScheduler) -> None:
        head = f"POST {SCHEDULER} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        with sent(cluster.master, f"{head}{{".encode()):
            scheduler.launch("t1", {"value": "true"})
            assert scheduler.states("TASK_FINISHED")[-1] == "TASK_FINISHED"

    def test_what_is_no_http_is_turned_away(self, cluster: SimulatedCluster, scheduler: PlainScheduler) -> None:
        with sent(cluster.master, b"\x00\x01nonsense\r\n\r\n") as connection:
            assert connection.recv(100).startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
        scheduler.call({"type": "REVIVE"})


def test_what_is_not_http_is_answered_and_not_logged(
    cluster: SimulatedCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Every user of the machine can send it, as often as he likes."""
    for wrong in (b"Content-Length: 99999999999999999999", b"X: \x00"):
        with sent(cluster.master, b"POST / HTTP/1.1\r\nHost: x\r\n" + wrong + b"\r\n\r\n") as connection:
            assert connection.recv(4096).startswith(b"HTTP/1.0 400 ")
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]

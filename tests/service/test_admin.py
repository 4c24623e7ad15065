"""The admin API: its documents, its errors, and whom it turns away."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec
import pytest

from owmesos.mesos.scheduler.launch import Launch
from owmesos.service.admin import MAX_BODY, AdminServer
from owmesos.service.framework import Framework
from owmesos.storage import Write
from owmesos.system.bounded_http import CannotListen
from tests.fakes.cluster import FakeCluster
from tests.fixtures.admin import AUTHORIZED, TOKENS, WAITS, Admin
from tests.waiting import eventually_async

# -- documents


async def test_nodes_offers_and_reservations(admin: Admin) -> None:
    assert [node["hostname"] for node in await admin.get("/api/v1/nodes")] == ["node1", "node2"]
    assert {offer["state"] for offer in await admin.get("/api/v1/offers")} == {"declined"}
    assert await admin.get("/api/v1/offers?outstanding=1") == []
    assert await admin.get("/api/v1/reservations") == []


async def test_a_launch_is_answered_before_it_runs_and_can_be_waited_for(admin: Admin, framework: Framework) -> None:
    launched = await admin.launch(count=2, name="web")
    ids = [launch["launch_id"] for launch in launched]
    assert [launch["name"] for launch in launched] == ["web", "web"]
    path = f"/api/v1/launches?id={ids[0]}&id={ids[1]}&wait=running&timeout=10"
    async with admin.session.get(admin.server.url + path) as response:
        assert response.headers["Owmesos-Wait"] == "reached"
        assert [launch["state"] for launch in await response.json()] == ["RUNNING", "RUNNING"]
    assert [launch["launch_id"] for launch in await admin.get("/api/v1/launches")] == ids
    assert framework.launches(ids) == await admin.get(f"/api/v1/launches?id={ids[0]}&id={ids[1]}")


async def test_the_answer_to_a_launch_says_why_it_waits(admin: Admin) -> None:
    (placed,) = await admin.launch()
    assert placed["state"] == "RESERVED"
    assert placed["summary"].startswith("room is remembered on agent ")
    for launch in await admin.launch(count=2, mem=1800, constraints=["rack == r9"]):
        (listed,) = await admin.get(f"/api/v1/launches?id={launch['launch_id']}")
        assert launch["state"] == listed["state"] == "PENDING"
        assert launch["summary"] == listed["summary"]
        assert launch["summary"].startswith("of 2 agents, ")


async def test_a_wait_ends_at_its_timeout(admin: Admin) -> None:
    (launch,) = await admin.launch(mem=1800, constraints=["rack == r1"])
    path = f"/api/v1/launches?id={launch['launch_id']}&wait=running&timeout=0.05"
    async with admin.session.get(admin.server.url + path) as response:
        assert response.headers["Owmesos-Wait"] == "pending"
        assert (await response.json())[0]["state"] == "PENDING"


async def test_explain_and_story_by_launch_and_task_id(admin: Admin, framework: Framework) -> None:
    (waiting,) = await admin.launch(mem=1800, constraints=["rack == r1"])
    explained = await admin.get(f"/api/v1/explain/{waiting['launch_id']}")
    assert "lacks memory" in explained["summary"]
    (launch,) = await admin.launch()
    await framework.wait([launch["launch_id"]], "running", 10)
    (launch,) = framework.launches([launch["launch_id"]])
    by_task = await admin.get(f"/api/v1/story/{launch['task_id']}")
    assert by_task == await admin.get(f"/api/v1/story/{launch['launch_id']}")
    assert by_task["story"][-1]["state"] == "RUNNING"


async def test_kill(admin: Admin, framework: Framework, fake_cluster: FakeCluster) -> None:
    ids = [launch["launch_id"] for launch in await admin.launch(count=2)]
    await framework.wait(ids, "running", 10)
    status, killed = await admin.ask("POST", "/api/v1/kill", json={"ids": ids[:1]})
    assert status == 200
    assert [launch["launch_id"] for launch in killed] == ids[:1]
    await eventually_async(lambda: len(fake_cluster.running()) == 1)


async def test_an_unknown_id_takes_nothing_from_the_others(
    admin: Admin, framework: Framework, fake_cluster: FakeCluster
) -> None:
    (launch,) = await admin.launch()
    await framework.wait([launch["launch_id"]], "running", 10)
    body = {"ids": ["nothing", launch["launch_id"]]}
    status, rows = await admin.ask("POST", "/api/v1/kill", json=body)
    assert status == 200
    said = {"launch_id": "nothing", "message": "unknown launch or task nothing", "outcome": "unknown"}
    assert rows[0] == said
    assert [(row["launch_id"], row["outcome"]) for row in rows[1:]] == [(launch["launch_id"], "killing")]
    await eventually_async(lambda: fake_cluster.running() == [])
    ended = (await admin.ask("POST", "/api/v1/kill", json=body))[1]
    assert [row["outcome"] for row in ended] == ["unknown", "ended"]


async def test_ids_that_are_all_unknown_are_an_error(admin: Admin) -> None:
    body = {"ids": ["nothing", "neither"]}
    assert await admin.error("POST", "/api/v1/kill", json=body) == (404, "unknown launch or task nothing")


async def test_more_are_killed_at_once_than_stay_known(admin: Admin, framework: Framework) -> None:
    launches = await admin.launch(count=1200, **WAITS)
    await framework.shell.outbox.flushed()
    commits: list[int] = []
    commit = framework._store.commit

    def counted(writes: Sequence[Write]) -> None:
        commits.append(len(writes))
        commit(writes)

    framework._store.commit = counted  # type: ignore[method-assign]
    ids = [launch["launch_id"] for launch in launches]
    status, rows = await admin.ask("POST", "/api/v1/kill", json={"ids": ids})
    assert status == 200
    assert [(row["launch_id"], row["state"], row["outcome"]) for row in rows] == [
        (launch_id, "KILLED", "killed") for launch_id in ids
    ]
    assert len(commits) == 1


async def test_who_waits_for_more_than_stay_known_sees_each_end(framework: Framework) -> None:
    state = framework.shell.scheduler.state
    assert state.settings.keep_ended == 1000
    state.settings = msgspec.structs.replace(state.settings, keep_ended=100)
    launch = Launch(command="true", mem=1800, constraints=["rack == r1"])
    handles = await framework.launch_many([launch] * 120)
    ends = [asyncio.ensure_future(handle.ended()) for handle in handles]
    await framework.kill_many(everything=True)
    assert {end["state"] for end in await asyncio.gather(*ends)} == {"KILLED"}
    await eventually_async(lambda: len(framework.launches()) == 100)


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ({"name": "one"}, ["one", "one"]),
        ({"state": "PENDING"}, ["one", "two"]),
        ({"name": "one", "state": "PENDING"}, ["one"]),
        ({"all": True}, ["one", "one", "two"]),
        ({"name": "three"}, []),
    ],
)
async def test_launches_are_killed_by_what_they_are(
    admin: Admin, framework: Framework, choice: dict[str, Any], meant: list[str]
) -> None:
    (running,) = await admin.launch(name="one")
    await framework.wait([running["launch_id"]], "running", 10)
    (ended,) = await admin.launch(name="one", **WAITS)
    await framework.kill(ended["launch_id"])
    for name in ("one", "two"):
        await admin.launch(name=name, **WAITS)
    status, rows = await admin.ask("POST", "/api/v1/kill", json=choice)
    assert (status, [row["name"] for row in rows]) == (200, meant)
    assert {row["outcome"] for row in rows} <= {"killed", "killing"}


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({}, "give either ids, or a name or a state or both, or all"),
        ({"ids": ["a"], "all": True}, "give either ids, or a name or a state or both, or all"),
        ({"name": "a", "all": True}, "give either ids, or a name or a state or both, or all"),
        ({"state": "KILLED"}, "launches that are KILLED have ended"),
        ({"state": "DONE"}, "the request's body cannot be used: Invalid enum value 'DONE' - at `$.state`"),
    ],
)
async def test_a_choice_that_means_nothing(admin: Admin, choice: dict[str, Any], reason: str) -> None:
    assert await admin.error("POST", "/api/v1/kill", json=choice) == (400, reason)


async def test_teardown(admin: Admin, framework: Framework, fake_cluster: FakeCluster) -> None:
    framework_id = framework.framework_id
    assert await admin.ask("POST", "/api/v1/teardown", json={}) == (200, {"framework_id": framework_id})
    assert "TEARDOWN" in [call["type"] for call in fake_cluster.master.calls]
    assert (await framework.finished()).exit_code == 0


async def test_healthz_says_whether_it_is_subscribed(admin: Admin, fake_cluster: FakeCluster) -> None:
    health = await admin.get("/healthz")
    assert health["subscribed"] is True
    await fake_cluster.master.stop()

    async def ill() -> bool:
        status, document = await admin.ask("GET", "/healthz")
        return status == 503 and document["subscribed"] is False

    await eventually_async(ill)
    assert await admin.ask("GET", "/livez") == (200, {"alive": True}), "a restart would not bring the master back"


# -- errors: one line of JSON each


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "cannot be used"),
        ("[" * 5000, "cannot be used"),
        ('{"launch": {"command": "x", "mem": -1}}', "mem must be 0 to"),
        ('{"launch": {"command": "x", "constraints": ["rack"]}}', "bad constraint 'rack'"),
        ('{"launch": {"command": "x", "memory": 1}}', "unknown field `memory`"),
        ('{"launch": {"command": "x", "task_info": "edit"}}', "task_info"),
        ('{"launch": {}}', "needs a command"),
        ('{"launch": {"command": "x", "role": "other"}}', "role other"),
        ('{"launch": {"command": "x"}, "count": 0}', "count must be 1 to"),
        ('{"launch": {"command": "x"}, "count": 1000000000}', "count must be 1 to"),
        ('{"launch": {"command": "' + "x" * 100_000 + '"}, "count": 1000}', "one request may ask for 33554432 at most"),
        ('{"launch": {"command": "x"}, "number": 2}', "unknown field `number`"),
        ('{"launch": {"command": "\\ud800"}}', "cannot be used"),
    ],
)
async def test_a_launch_that_cannot_be_used(admin: Admin, body: str, reason: str) -> None:
    headers = {"Content-Type": "application/json"}
    status, text = await admin.error("POST", "/api/v1/launches", data=body, headers=headers)
    assert status == 400
    assert reason in text
    assert await admin.get("/api/v1/launches") == []


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/api/v1/nothing", 404, "unknown path /api/v1/nothing"),
        ("/api/v1/explain/nothing", 404, "unknown launch or task nothing"),
        ("/api/v1/story/nothing", 404, "unknown launch or task nothing"),
        ("/api/v1/launches?id=nothing", 404, "unknown launch or task nothing"),
        ("/api/v1/launches?id=nothing&wait=running", 404, "unknown launch or task nothing"),
        ("/api/v1/launches?wait=running", 400, "wait needs the ids to wait for"),
        ("/api/v1/launches?id=a&wait=soon", 400, "wait must be running or ended, not 'soon'"),
        ("/api/v1/launches?id=a&wait=ended&timeout=x", 400, "timeout must be 0 to 30 seconds, not 'x'"),
        ("/api/v1/launches?id=a&wait=ended&timeout=nan", 400, "timeout must be 0 to 30 seconds, not 'nan'"),
        ("/api/v1/launches?id=a&wait=ended&timeout=31", 400, "timeout must be 0 to 30 seconds, not '31'"),
        ("/api/v1/launches?ids=a", 400, "/api/v1/launches has no parameter 'ids'"),
        ("/api/v1/offers?outstanding=yes", 400, "outstanding must be 0 or 1"),
        ("/api/v1/offers?outstanding=1&outstanding=0", 400, "outstanding is given 2 times; give it once"),
    ],
)
async def test_a_question_that_cannot_be_answered(admin: Admin, path: str, status: int, reason: str) -> None:
    assert await admin.error("GET", path) == (status, reason)


async def test_a_wrong_method_names_the_right_one(admin: Admin) -> None:
    async with admin.session.put(admin.server.url + "/api/v1/launches") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD,POST"
        assert await response.json() == {"error": "PUT is not allowed for /api/v1/launches"}


async def test_a_body_that_is_too_large(admin: Admin) -> None:
    options = {"data": io.BytesIO(b"x" * (MAX_BODY + 1)), "headers": {"Content-Type": "application/json"}}
    assert await admin.error("POST", "/api/v1/launches", **options) == (413, "the request is too large")


async def test_a_call_that_the_master_does_not_take(admin: Admin, fake_cluster: FakeCluster) -> None:
    await fake_cluster.master.stop()

    async def refused() -> bool:
        return (await admin.error("POST", "/api/v1/teardown", json={}))[0] == 503

    await eventually_async(refused)


async def test_a_fault_of_ours_is_logged_and_answered_in_one_line(
    admin: Admin, framework: Framework, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str) -> None:
        raise ZeroDivisionError(f"secret detail of {name}")

    monkeypatch.setattr(framework, "story", broken)
    with caplog.at_level(logging.ERROR):
        status, text = await admin.error("GET", "/api/v1/story/x")
    assert status == 500
    assert "secret detail" not in text
    assert "secret detail" in caplog.text


# -- who may ask


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8686", "127.0.0.1:1", "127.9.9.9", "[::1]:8686"])
async def test_every_name_of_this_machine_is_ours(admin: Admin, host: str) -> None:
    assert await admin.get("/api/v1/reservations", headers={"Host": host}) == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8686", "127.0.0.1.evil.example", "10.0.0.1", "", "a b"])
async def test_a_rebound_name_is_turned_away(admin: Admin, host: str) -> None:
    for method, path in (("GET", "/api/v1/nodes"), ("POST", "/api/v1/teardown"), ("GET", "/healthz")):
        status, text = await admin.error(
            method, path, headers={"Host": host}, **({"json": {}} if method == "POST" else {})
        )
        assert (status, "unknown Host" in text) == (403, True)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
async def test_another_page_is_turned_away(admin: Admin, origin: str) -> None:
    status, text = await admin.error("POST", "/api/v1/teardown", json={}, headers={"Origin": origin})
    assert (status, "may not use this API" in text) == (403, True)


async def test_a_page_of_our_own_may_ask(admin: Admin) -> None:
    assert await admin.get("/api/v1/reservations", headers={"Origin": admin.server.url}) == []


async def test_a_preflight_is_never_granted(admin: Admin) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert (await admin.error("OPTIONS", "/api/v1/launches", headers=headers))[0] == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_what_a_form_can_send_is_not_taken(admin: Admin, kind: str) -> None:
    options = {"data": b'{"ids": []}', "headers": {"Content-Type": kind}}
    assert await admin.error("POST", "/api/v1/kill", **options) == (415, "the Content-Type must be application/json")


async def test_on_all_addresses_any_address_is_ours_but_no_foreign_name(framework: Framework) -> None:
    server = AdminServer("0.0.0.0", 0)
    await server.start(framework, TOKENS)
    local = f"http://127.0.0.1:{server.port}/healthz"
    async with aiohttp.ClientSession(headers=AUTHORIZED) as session:
        for host, status in (("10.1.2.3", 200), (socket.gethostname(), 200), ("evil.example", 403)):
            async with session.get(local, headers={"Host": host}) as response:
                assert response.status == status
    await server.stop()


# -- where it listens


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"^the admin API cannot listen on 127.0.0.1:{port}: .+ in use: .+$"):
            AdminServer("127.0.0.1", port)


def test_a_host_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(CannotListen, match=r"^the admin API cannot listen on nowhere.invalid:0: .+$"):
        AdminServer("nowhere.invalid", 0)


async def test_it_stops_while_someone_waits(framework: Framework) -> None:
    server = AdminServer("127.0.0.1", 0)
    await server.start(framework, TOKENS)
    async with Admin(server, aiohttp.ClientSession(headers=AUTHORIZED)).session as session:
        admin = Admin(server, session)
        (launch,) = await admin.launch(mem=1800, constraints=["rack == r1"])
        path = f"/api/v1/launches?id={launch['launch_id']}&wait=ended&timeout=30"
        waiting = asyncio.create_task(admin.ask("GET", path))
        await eventually_async(lambda: len(framework._changes) == 1)
        await server.stop()
        status, document = await waiting
        assert (status, "the framework process is stopping" in document["error"]) == (503, True)

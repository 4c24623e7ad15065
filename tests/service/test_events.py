"""`/api/v1/events`: a snapshot, then what changed, for a bounded number of clients, until the process stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from owmesos.core.container_factory import ContainerSpec, PoolRecipe
from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.core.pool.events import CancelRun, Dispatch, Initialized, Run, RunDone
from owmesos.core.pool.pool import Pool
from owmesos.mesos.scheduler.launch import Launch
from owmesos.service import admin_bodies, events
from owmesos.service.admin import AdminServer
from owmesos.service.framework import Framework
from tests.fakes.cluster import FakeCluster
from tests.fakes.event_stream import EventStream
from tests.fixtures.admin import AUTHORIZED, READING, TOKENS
from tests.waiting import eventually_async, in_time

WAITS = Launch(command="sleep 60", name="large", mem=1800, constraints=["rack == r1"])
SMALL = Launch(command="sleep 60", name="small", cpus=0.1, mem=64)


@pytest.fixture
def server(admin_server: AdminServer) -> AdminServer:
    return admin_server


@asynccontextmanager
async def following(server: AdminServer, headers: dict[str, str] = READING) -> AsyncIterator[EventStream]:
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{server.url}/api/v1/events") as response,
    ):
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        yield EventStream(response)


async def until(stream: EventStream, seen: Callable[[EventStream], Any]) -> Any:
    """Reads events until `seen` is true of what they say."""

    async def read() -> Any:
        while not (found := seen(stream)):
            name, _ = await stream.event()
            assert name == "change"
        return found

    return await asyncio.wait_for(read(), 60)


async def test_at_first_comes_everything(server: AdminServer, framework: Framework) -> None:
    (handle,) = await framework.launch_many([WAITS])
    async with following(server) as stream:
        await stream.snapshot()
    assert {row["hostname"] for row in stream.tables["nodes"].values()} == {"node1", "node2"}
    status = stream.header["status"]
    assert (status["cluster"]["connected"], status["framework_id"]) == (True, framework.framework_id)
    (waits,) = stream.tables["waiting"].values()
    assert (waits["id"], waits["kind"], waits["position"], waits["mem"]) == (handle.id, "launch", 0, 1800)
    assert "lacks memory" in waits["reason"]
    assert framework.nodes()[0]["available"] == stream.tables["nodes"]["agent-S1 *"]["available"]


async def test_then_only_what_changed(server: AdminServer, framework: Framework, fake_cluster: FakeCluster) -> None:
    async with following(server) as stream:
        await stream.snapshot()
        fake_cluster.hold = True
        launch = await framework.launch(SMALL)
        await until(stream, lambda stream: stream.tables["timeline"].get(launch.id, {}).get("state") == "STAGING")
        assert stream.tables["reservations"][launch.id]["kind"] == "start"
        (task_id,) = fake_cluster.tasks
        await fake_cluster.update(task_id, "TASK_RUNNING")
        await until(stream, lambda stream: not stream.tables["reservations"])
        row = stream.tables["timeline"][launch.id]
        assert row["waiting_at"] <= row["starting_at"] <= row["running_at"]
        assert sum(each["launched"] for each in stream.tables["starts"].values()) == 1
        used = stream.tables["nodes"][f"{row['agent_id']} *"]["used"]
        assert (used["cpus"], used["mem"]) == (0.1, 64)


async def test_an_agent_that_is_lost_is_shown_as_gone(
    server: AdminServer, framework: Framework, fake_cluster: FakeCluster
) -> None:
    async with following(server) as stream:
        await stream.snapshot()
        await fake_cluster.master.send({"type": "FAILURE", "failure": {"agent_id": {"value": "agent-S1"}}})
        await until(stream, lambda stream: stream.tables["nodes"]["agent-S1 *"]["state"] == "gone")
        framework.shell.scheduler.state.ledger.forget_agent("agent-S1")
        await until(stream, lambda stream: set(stream.tables["nodes"]) == {"agent-S2 *"})


async def test_many_rows_come_in_several_events(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("owmesos.dashboard.feed.ROWS", 1)
    async with following(server) as stream:
        first, second = await stream.snapshot()
    assert (first["rest"], second["rest"]) == (1, 0)
    assert (len(first["nodes"]), len(second["nodes"])) == (1, 1)


async def test_of_a_long_queue_the_head_is_shown_and_the_rest_counted(
    server: AdminServer, framework: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owmesos.dashboard.feed.SHOWN", 5)
    handles = await framework.launch_many([WAITS] * 12)
    async with following(server) as stream:
        await stream.snapshot()
    assert list(stream.tables["waiting"]) == [handle.id for handle in handles[:5]]
    assert stream.header["left_out"]["waiting"] == 7


async def test_a_client_without_a_token_gets_nothing(server: AdminServer) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/api/v1/events") as response:
        assert response.status == 401
        assert response.content_type == "application/json"


async def test_the_number_of_clients_is_bounded(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 1)
    async with aiohttp.ClientSession(headers=AUTHORIZED) as session:

        async def status() -> int:
            async with session.get(f"{server.url}/api/v1/events") as response:
                return response.status

        async with following(server) as stream:
            await stream.snapshot()
            async with session.get(f"{server.url}/api/v1/events") as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "5")
                assert (await response.json())["error"].startswith("1 dashboards are open already")

        async def let_in() -> bool:
            return await status() == 200

        await eventually_async(let_in)


async def test_a_client_that_does_not_read_is_dropped(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_bodies, "PATIENCE", 0.05)
    monkeypatch.setattr(admin_bodies, "SLOWEST", 10**12)
    feed = streams(server).feed
    monkeypatch.setattr(feed, "changes", lambda position: iter([b"x" * 2**20] * 64))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: {READING['Authorization']}\r\n\r\n"
    writer.write(head.encode())
    await eventually_async(lambda: streams(server).open == 1)
    await eventually_async(lambda: streams(server).open == 0)
    writer.close()
    assert reader is not None


def streams(server: AdminServer) -> events.EventStreams:
    assert server.events is not None
    return server.events


async def test_it_ends_when_the_process_stops(server: AdminServer) -> None:
    async with following(server) as stream:
        await stream.snapshot()
        stopping = asyncio.create_task(server.stop())
        while (event := await stream.event())[0] != "end":
            pass
        assert event[1] == {"error": "the framework process is stopping"}
        await in_time(stopping)


async def test_an_idle_cluster_sends_only_signs_of_life(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUIET", 0.0)
    async with following(server) as stream:
        await stream.snapshot()
        lines = [await stream._content.readuntil(b"\n") for _ in range(2)]
    assert lines == [b": nothing has changed\n", b"\n"]


# -- with a pool


def recipe() -> PoolRecipe:
    def spec(start: Any) -> ContainerSpec:
        return ContainerSpec(name="wsk", ask=start.ask, command="sleep 60", port=8080, deadline=60.0)

    return PoolRecipe(Pool, spec)


async def test_activations_wait_start_and_run_on_the_timeline(fake_cluster: FakeCluster) -> None:
    framework = Framework(master=fake_cluster.master.address, pool=recipe())
    await framework.start()
    await eventually_async(lambda: framework.nodes() and framework.subscribed)
    server = AdminServer("127.0.0.1", 0)
    await server.start(framework, TOKENS)
    host, given = framework.host, []
    host.pool_listeners.append(given.append)
    fake_cluster.hold = True
    async with following(server) as stream:
        await stream.snapshot()
        action = PoolAction("hello", "0.0.1", ContainerShape("python:3", 128))
        host.observe(Run("r1", action, "guest"))
        await until(stream, lambda stream: stream.tables["timeline"].get("r1", {}).get("state") == "waiting")
        waits = await until(stream, lambda stream: stream.tables["waiting"].get("r1"))
        assert (waits["kind"], waits["name"], waits["mem"]) == ("activation", "hello", 128)
        assert "is starting for it" in waits["reason"]
        (task_id,) = fake_cluster.tasks
        await fake_cluster.update(task_id, "TASK_RUNNING")
        await until(stream, lambda stream: stream.tables["timeline"]["r1"]["state"] == "starting")
        (dispatch,) = [each for each in given if isinstance(each, Dispatch)]
        host.observe(Initialized(dispatch.container_id))
        host.observe(RunDone(dispatch.container_id, "r1"))
        row = await until(stream, lambda stream: (row := stream.tables["timeline"]["r1"])["state"] == "ended" and row)
        assert (row["start"], row["container_id"]) == ("cold", dispatch.container_id)
        host.observe(Run("r2", action, "guest"))
        await until(stream, lambda stream: stream.tables["timeline"].get("r2", {}).get("start") == "warm")
        starts = list(stream.tables["starts"].values())
        assert (sum(each["cold"] for each in starts), sum(each["warm"] for each in starts)) == (1, 1)
        assert sum(each["launched"] for each in starts) == 0, "a container is no launch"
        host.observe(Run("r3", PoolAction("other", "0.0.1", ContainerShape("python:3", 256)), "guest"))
        await until(stream, lambda stream: stream.tables["timeline"].get("r3", {}).get("state") == "waiting")
        host.observe(CancelRun("r2"))
        host.observe(CancelRun("r3"))
        await until(stream, lambda stream: stream.tables["timeline"]["r3"]["state"] == "ended")
        rows = stream.tables["timeline"]
        assert (rows["r3"]["message"], rows["r3"]["failed"]) == ("cancelled before it began", False)
        assert rows["r2"]["state"] == "running", "one that has a container goes on"
    await server.stop()
    await framework.stop(teardown=False)

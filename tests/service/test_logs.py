"""`GET /api/v1/logs/ID`: what a task has written, from its agent, and what is said where it cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web

import owmesos
from owmesos.core.pool.events import ContainerStopped, StopCause
from owmesos.mesos.scheduler.launch import Launch
from owmesos.service import container_log, logs
from owmesos.service.admin import AdminServer
from owmesos.service.container_log import ContainerLog, Stream
from owmesos.service.errors import NotKnown
from owmesos.service.framework import Framework
from owmesos.service.launch_requests import LaunchHandle
from owmesos.service.logs import LogRoutes
from owmesos.simulator.cluster import SimulatedCluster
from tests.core.pool.cluster import FakeCluster as PooledCluster
from tests.fakes.agent_files import FakeAgentFiles
from tests.fakes.cluster import FakeAgent, FakeCluster
from tests.fakes.master import FakeMaster
from tests.fixtures.admin import READING, TOKENS
from tests.waiting import eventually_async

LINES = [f"line {number}\n" for number in range(10_000)]


class Records:
    """An invoker in the process, which has the logs of the activations that have ended."""

    stored: ClassVar = {"a1": ["2026-01-01T00:00:00Z    stdout: out", "2026-01-01T00:00:01Z    stderr: wrong"]}

    async def whole_id(self, name: str) -> str | None:
        return name if name in self.stored else None

    async def stored_log(self, activation_id: str) -> list[str]:
        if activation_id not in self.stored:
            raise NotKnown(activation_id, "activation")
        return self.stored[activation_id]

    def metrics(self) -> tuple[()]:
        """It has none."""
        return ()

    def add_to(self, router: web.UrlDispatcher) -> None:
        """It has no routes."""


class Scene:
    """A framework whose one launch runs, and the files of its agent."""

    def __init__(self, framework: Framework, cluster: FakeCluster, files: FakeAgentFiles, folder: Path) -> None:
        self.framework, self.cluster, self.files = framework, cluster, files
        self.launch: LaunchHandle
        self.server = AdminServer("127.0.0.1", 0)
        self.session: aiohttp.ClientSession
        self.stdout, self.stderr = folder / "stdout", folder / "stderr"

    @property
    def url(self) -> str:
        return f"{self.server.url}/api/v1/logs/{self.launch.id}"

    @property
    def task_id(self) -> str:
        return f"{self.launch.id}.1"

    async def get(self, name: str, **parameters: str | int) -> tuple[int, str]:
        """The status, and the log or the error."""
        async with self.session.get(f"{self.server.url}/api/v1/logs/{name}", params=parameters) as response:
            if response.status == 200:
                assert response.content_type == "text/plain"
                return 200, await response.text()
            return response.status, (await response.json())["error"]

    async def end(self, state: str = "TASK_FINISHED", message: str = "") -> None:
        await self.cluster.update(self.task_id, state, message)
        await self.launch.ended()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    files = await FakeAgentFiles().start()
    master = await FakeMaster().start()
    agent = FakeAgent("agent-S1", "node1", cpus=2, mem=1024, listens=int(files.address.rpartition(":")[2]))
    framework = Framework(master=master.address)
    scene = Scene(framework, FakeCluster(master, [agent]), files, tmp_path)
    await framework.start()
    await scene.server.start(framework, TOKENS, Records())  # type: ignore[arg-type]
    scene.launch = await framework.launch(Launch("echo", mem=10))
    files.sandboxes[scene.task_id] = tmp_path
    await scene.launch.running()
    files.framework_id = framework.framework_id or ""
    async with aiohttp.ClientSession(headers=READING) as scene.session:
        yield scene
    await scene.server.stop()
    await framework.stop(teardown=False)
    await master.stop()
    await files.stop()


async def test_it_is_found_by_launch_and_task(scene: Scene) -> None:
    scene.stdout.write_text("hello\n")
    scene.stderr.write_text("oops\n")
    assert await scene.get(scene.launch.id) == (200, "hello\n")
    assert await scene.get(scene.task_id, stream="stderr") == (200, "oops\n")


async def test_a_large_log_comes_whole_and_of_one_that_has_ended_too(scene: Scene) -> None:
    scene.stdout.write_text("".join(LINES))
    await scene.end()
    assert await scene.get(scene.launch.id) == (200, "".join(LINES))


@pytest.mark.parametrize("tail", [0, 1, 2, 9_000, 10_000, 20_000])
@pytest.mark.parametrize("end", ["", "no line feed"])
async def test_the_last_lines(scene: Scene, tail: int, end: str) -> None:
    lines = [*LINES, end] if end else LINES
    scene.stdout.write_text("".join(lines))
    assert await scene.get(scene.launch.id, tail=tail) == (200, "".join(lines[-tail:] if tail else []))


async def test_last_lines_that_are_too_long_are_cut_at_their_beginning(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_log, "TAIL_BYTES", 100)
    scene.stdout.write_text("x" * 5000)
    assert await scene.get(scene.launch.id, tail=1) == (200, "x" * 100)


async def test_lines_of_the_executor_are_left_out_and_not_counted(scene: Scene) -> None:
    """As Mesos's executors write them into the task's stderr."""
    executors = "I1129 08:08:44.249722 29417 executor.cpp:1] event ACKNOWLEDGED\n"
    scene.stderr.write_text(f"{executors}one\n{executors}two\nthree{executors}\n{executors * 2000}")
    said = ["one\n", "two\n", f"three{executors}", "\n"]
    assert await scene.get(scene.launch.id, stream="stderr") == (200, "".join(said))
    for tail in range(5):
        assert await scene.get(scene.launch.id, stream="stderr", tail=tail) == (200, "".join(said[4 - tail :]))


async def test_a_line_of_stderr_that_has_not_ended_comes_with_its_end(scene: Scene) -> None:
    scene.stderr.write_text("half")
    async with scene.session.get(scene.url, params={"follow": "1", "stream": "stderr"}) as response:
        with scene.stderr.open("a") as file:
            file.write(" a line\nand half of")
        assert await response.content.readany() == b"half a line\n"
        await scene.end()
        assert await response.content.read() == b"and half of"


async def test_what_comes_is_followed_until_the_task_has_ended(scene: Scene) -> None:
    scene.stdout.write_text("first\n")
    async with scene.session.get(scene.url, params={"follow": "1"}) as response:
        assert await response.content.readany() == b"first\n"
        with scene.stdout.open("a") as file:
            file.write("second\n")
        assert await response.content.readany() == b"second\n"
        with scene.stdout.open("a") as file:
            file.write("last\n")
        await scene.end()
        assert await response.content.read() == b"last\n"


async def test_a_log_that_is_begun_anew_is_followed_from_its_beginning(scene: Scene) -> None:
    scene.stdout.write_text("a long first line\n")
    async with scene.session.get(scene.url, params={"follow": "1"}) as response:
        await response.content.readany()
        scene.stdout.write_text("anew\n")
        assert await response.content.readany() == b"anew\n"


async def test_the_agents_restart_is_outlasted(scene: Scene) -> None:
    scene.stdout.write_text("first\n")
    async with scene.session.get(scene.url, params={"follow": "1"}) as response:
        await response.content.readany()
        scene.files.stranger = web.Response(status=503)
        reads = len(scene.files.reads)
        await eventually_async(lambda: len(scene.files.reads) > reads)
        scene.files.stranger = None
        scene.stdout.write_text("first\nsecond\n")
        assert await response.content.readany() == b"second\n"


async def test_an_agent_that_goes_away_meanwhile_cuts_the_answer_short_and_is_named_when_asked_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_log, "RECOVERY", 0.2)
    scene.stdout.write_text("first\n")
    async with scene.session.get(scene.url, params={"follow": "1"}) as response:
        await response.content.readany()
        await scene.files.stop()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
    status, error = await scene.get(scene.launch.id)
    assert status == 503
    assert error.startswith("the log is on agent agent-S1 (node1), which does not answer: http://127.0.0.1:")


async def test_a_sandbox_that_is_not_there(scene: Scene) -> None:
    status, error = await scene.get(scene.launch.id)
    assert (status, error) == (404, f"{scene.task_id} has no stdout on agent agent-S1 (node1) yet: it is RUNNING")
    await scene.end()
    status, error = await scene.get(scene.launch.id)
    assert status == 404
    assert error.startswith(f"the sandbox of {scene.task_id} on agent agent-S1 (node1) is gone")


async def test_an_agent_that_refuses(scene: Scene) -> None:
    scene.files.stranger = web.Response(status=403)
    status, error = await scene.get(scene.launch.id)
    assert status == 503
    assert "add the framework's principal to the agents' credentials" in error


async def test_a_launch_that_waits_has_none(scene: Scene) -> None:
    waits = await scene.framework.launch(Launch("true", mem=965))
    assert await scene.get(waits.id) == (
        404,
        f"launch {waits.id} has no log: it is PENDING, see `owmesos explain {waits.id}`",
    )
    await waits.kill()
    await waits.ended()
    assert (await scene.get(waits.id))[1] == f"launch {waits.id} has no log: it is KILLED and never had a task"


async def test_an_earlier_attempt_has_none_any_more(scene: Scene) -> None:
    record = scene.framework.record(scene.launch.id)
    record.attempts, record.task_id = 2, f"{record.id}.2"
    assert await scene.get(f"{record.id}.1") == (
        404,
        f"{record.id}.1 was an earlier attempt: only the log of the last one, {record.id}.2, is known",
    )


async def test_an_activation_that_has_ended_has_the_lines_of_its_record(scene: Scene) -> None:
    out, wrong = Records.stored["a1"]
    assert await scene.get("a1") == (200, f"{out}\n{wrong}\n")
    assert await scene.get("a1", stream="stderr") == (200, f"{wrong}\n")
    assert await scene.get("a1", tail=1) == (200, f"{wrong}\n")
    assert await scene.get("a1", tail=0) == (200, "")


async def test_unknown_ids_and_wrong_parameters(scene: Scene) -> None:
    assert await scene.get("nonesuch") == (404, "unknown launch, task, container or activation nonesuch")
    for parameters in ({"stream": "stdin"}, {"tail": "-1"}, {"follow": "yes"}, {"lines": "1"}):
        assert (await scene.get(scene.launch.id, **parameters))[0] == 400


async def test_logs_that_are_followed_are_bounded_in_number(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LOGS", 1)
    scene.stdout.write_text("first\n")
    async with scene.session.get(scene.url, params={"follow": "1"}) as response:
        await response.content.readany()
        assert (await scene.get(scene.launch.id))[0] == 503
    await eventually_async(lambda: _ok(scene))


async def _ok(scene: Scene) -> bool:
    return (await scene.get(scene.launch.id))[0] == 200


async def test_after_a_restart_the_master_is_asked_where_the_agent_is(scene: Scene, tmp_path: Path) -> None:
    """A full agent offers nothing."""
    scene.stdout.write_text("hello\n")
    record = scene.framework.record(scene.launch.id)
    scene.framework.shell.scheduler.state.ledger.agent("agent-S1").address = ""
    found = await scene.framework.shell.find_files(record)
    assert found is not None
    assert (await found.read("stdout", 0)).data == b"hello\n"


async def test_a_command_that_fails_says_its_last_line(scene: Scene) -> None:
    scene.stderr.write_text("Traceback\nValueError: no such table\n")
    await scene.end("TASK_FAILED", "Command exited with status 1")
    document = scene.launch.document()
    assert document["message"] == "Command exited with status 1: ValueError: no such table"


async def test_when_the_process_stops_the_answer_is_cut_short(scene: Scene) -> None:
    scene.stdout.write_text("first\n")
    async with scene.session.get(scene.url, params={"follow": "1"}) as response:
        await response.content.readany()
        stopping = asyncio.ensure_future(scene.server.stop())
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
        await stopping


class TestLibrary:
    """`Framework.logs` and `BlockingFramework.logs`."""

    async def test_its_lines_are_text_without_their_ends(self, scene: Scene) -> None:
        scene.stdout.write_bytes(b"one\ntwo \xff\n\nrest")
        framework, launch_id = scene.framework, scene.launch.id
        assert [line async for line in framework.logs(launch_id)] == ["one", "two \ufffd", "", "rest"]
        assert [line async for line in framework.logs(scene.task_id, tail=2)] == ["", "rest"]
        scene.stderr.write_text("oops\n")
        assert [line async for line in framework.logs(launch_id, stream="stderr")] == ["oops"]

    async def test_a_large_log_comes_whole(self, scene: Scene) -> None:
        scene.stdout.write_text("".join(LINES))
        assert [f"{line}\n" async for line in scene.framework.logs(scene.launch.id)] == LINES

    async def test_it_is_followed_until_the_task_has_ended(self, scene: Scene) -> None:
        scene.stdout.write_text("one\n")
        lines = scene.framework.logs(scene.launch.id, follow=True)
        assert await anext(lines) == "one"
        following = asyncio.ensure_future(anext(lines))
        with scene.stdout.open("a", encoding="ascii") as file:
            file.write("two\nthree")
        assert await following == "two"
        await scene.end()
        assert [line async for line in lines] == ["three"]

    async def test_it_raises_where_there_is_none_and_for_wrong_arguments(self, scene: Scene) -> None:
        framework = scene.framework
        with pytest.raises(owmesos.NotKnown):
            await anext(framework.logs("nothing"))
        with pytest.raises(owmesos.LogMissing, match="has no stdout"):
            await anext(framework.logs(scene.launch.id))
        with pytest.raises(owmesos.InvalidInput, match="stream must be stdout or stderr, not 'x'"):
            await anext(framework.logs(scene.launch.id, stream="x"))  # type: ignore[arg-type]
        with pytest.raises(owmesos.InvalidInput, match="tail must be at least 0 lines, not -1"):
            await anext(framework.logs(scene.launch.id, tail=-1))

    async def test_who_follows_hears_that_the_framework_has_stopped(self, scene: Scene) -> None:
        scene.stdout.write_text("one\n")
        lines = scene.framework.logs(scene.launch.id, follow=True)
        assert await anext(lines) == "one"
        following = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        await scene.framework.stop(teardown=False)
        with pytest.raises((owmesos.FrameworkStopped, owmesos.LogUnreadable)):
            await following


def test_without_asyncio(simulator: SimulatedCluster) -> None:
    with owmesos.BlockingFramework(master=simulator.master) as framework:
        launch = framework.launch(owmesos.Launch("echo one; echo two"))
        launch.ended(timeout=60)
        assert list(framework.logs(launch.id, follow=True)) == ["one", "two"]


@pytest.mark.parametrize("ended", [False, True])
async def test_an_activation_whose_container_has_ended_has_that_containers_log(ended: bool) -> None:
    """Until its log is read it is still listed as running."""
    world = PooledCluster({"S1": 512})
    run_id = world.run()
    world.wait(10.0)
    container_id = world.given[run_id]
    if ended:
        world.pool.handle(ContainerStopped(container_id, "its agent is lost", StopCause.LOST), world.now)
    asked: list[str] = []

    class Found:
        async def log_of(self, name: str, stream: Stream, live: Callable[[], bool] | None = None) -> ContainerLog:
            asked.append(name)
            if name != container_id:
                raise NotKnown(name, "launch")
            nothing: Any = None
            return ContainerLog(nothing, stream, "S1", str, live or bool)

    found = await LogRoutes(Found(), world.pool, None)._find(run_id, "stdout")
    assert isinstance(found, ContainerLog)
    assert asked == [run_id, container_id]
    assert found.last_run is not ended

"""Logs are read from the agent, from the task's own streams."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web

from owmesos.core.container_factory import StreamPart, StreamRefused
from owmesos.mesos.wire.access import Access, Tls
from owmesos.mesos.wire.address import Credentials
from owmesos.mesos.wire.agent_files import AgentFiles, TaskFiles
from owmesos.openwhisk.container.log_lines import LOGS_MISSING, STREAMS
from owmesos.openwhisk.container.log_reader import REST, ContainerLogs
from owmesos.runtimes.framing import SENTINEL
from tests.fakes.agent_files import FRAMEWORK_ID, FakeAgentFiles
from tests.waiting import eventually_async

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
PREFIX = "2026-01-02T03:04:05.000000Z    "
MB = 2**20


class Sandbox:
    """A task's two files, and the agent that gives them out."""

    def __init__(self, agent: FakeAgentFiles, folder: Path, logs: ContainerLogs) -> None:
        self.agent = agent
        self.folder = folder
        self.logs = logs

    def write(self, stdout: bytes = b"", stderr: bytes = b"", *, end: bool = False) -> None:
        for name, data in (("stdout", stdout), ("stderr", stderr)):
            with (self.folder / name).open("ab") as file:
                file.write(data + (f"{SENTINEL}\n".encode() if end else b""))


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    agent = await FakeAgentFiles().start()
    agent.sandboxes["t1"] = tmp_path
    async with aiohttp.ClientSession() as session:
        files = TaskFiles(session, agent.url, FRAMEWORK_ID, "t1")
        logs = ContainerLogs(files, idle_limit=0.5, patience=3.0, now=lambda: MOMENT)
        sandbox = Sandbox(agent, tmp_path, logs)
        sandbox.write()
        yield sandbox
    await agent.stop()


async def test_return_static_message_for_logs(sandbox: Sandbox) -> None:
    """There is no such message: what is returned is what the action wrote."""
    sandbox.write(b"hello\n", b"oh\n", end=True)
    lines, complete = await sandbox.logs.collect(MB, sentinels=True)
    assert lines == [f"{PREFIX}stdout: hello", f"{PREFIX}stderr: oh"]
    assert complete


async def test_each_activation_gets_its_own_part(sandbox: Sandbox) -> None:
    for number in range(3):
        sandbox.write(b"run %d\n" % number, end=True)
    for number in range(3):
        assert (await sandbox.logs.collect(MB, sentinels=True)).lines == [f"{PREFIX}stdout: run {number}"]


async def test_activations_at_once_take_turns(sandbox: Sandbox) -> None:
    for number in range(3):
        sandbox.write(b"run %d\n" % number, end=True)
    found = await asyncio.gather(*(sandbox.logs.collect(MB, sentinels=True) for _ in range(3)))
    assert [each.lines for each in found] == [[f"{PREFIX}stdout: run {number}"] for number in range(3)]


async def test_one_reading_brings_the_logs_of_all_that_have_ended(sandbox: Sandbox) -> None:
    for number in range(3):
        sandbox.write(b"run %d\n" % number, b"also %d\n" % number, end=True)
    found = [await sandbox.logs.collect(MB, sentinels=True, at_leisure=True) for _ in range(3)]
    assert [each.lines for each in found] == [
        [f"{PREFIX}stdout: run {number}", f"{PREFIX}stderr: also {number}"] for number in range(3)
    ]
    assert len(sandbox.agent.reads) == len(STREAMS)


async def test_what_is_read_ahead_may_be_a_part_only(sandbox: Sandbox) -> None:
    sandbox.write(b"mine\n", end=True)
    sandbox.write(b"yours, h")
    assert (await sandbox.logs.collect(MB, sentinels=True)).lines == [f"{PREFIX}stdout: mine"]
    sandbox.write(b"alf\n", end=True)
    assert (await sandbox.logs.collect(MB, sentinels=True)).lines == [f"{PREFIX}stdout: yours, half"]


async def test_a_log_that_was_cut_costs_the_next_one_nothing(sandbox: Sandbox) -> None:
    sandbox.write(b"x" * 999 + b"\n" + b"y" * 99_999 + b"\nlast\n", b"z\n", end=True)
    sandbox.write(b"mine\n", b"also\n", end=True)
    assert not (await sandbox.logs.collect(100, sentinels=True)).complete
    lines, complete = await sandbox.logs.collect(100, sentinels=True)
    assert (sorted(lines), complete) == (
        [f"{PREFIX}stderr: also", f"{PREFIX}stdout: mine"],
        True,
    )


async def test_behind_a_sentinel_that_never_came_no_log_counts_as_whole(sandbox: Sandbox) -> None:
    """The next sentinel may be the one that was missing."""
    sandbox.write(b"first\n")
    assert not (await sandbox.logs.collect(MB, sentinels=True)).complete
    sandbox.write(end=True)
    sandbox.write(b"second\n", end=True)
    lines, complete = await sandbox.logs.collect(MB, sentinels=True)
    assert LOGS_MISSING in lines[-1]
    assert not complete


async def test_what_is_read_at_leisure_waits_until_the_last_reading_is_some_time_ago() -> None:
    class Counted:
        remain = True
        reads = 0

        async def read(self, stream: str, offset: int) -> StreamPart:
            self.reads += 1
            return StreamPart(offset, f"{SENTINEL}\n".encode())

        def is_foreign(self, stream: str, line: bytes) -> bool:
            return False

    streams = Counted()
    logs = ContainerLogs(streams)
    begun = asyncio.get_running_loop().time()
    await logs.collect(MB, sentinels=True)
    await logs.collect(MB, sentinels=True, at_leisure=True)
    assert asyncio.get_running_loop().time() - begun >= REST[0]
    assert streams.reads == 2 * len(STREAMS)


async def test_what_the_executor_wrote_before_is_nobodys(sandbox: Sandbox) -> None:
    sandbox.write(b"Starting task\n", b"I0102 exec.cpp\n")
    await sandbox.logs.skip_beginning()
    sandbox.write(b"mine\n", end=True)
    assert (await sandbox.logs.collect(MB, sentinels=True)).lines == [f"{PREFIX}stdout: mine"]


async def test_a_large_log_comes_in_pieces_of_64_kib(sandbox: Sandbox) -> None:
    sandbox.write(b"x" * 999 + b"\n", end=False)
    for _ in range(199):
        sandbox.write(b"x" * 999 + b"\n")
    sandbox.write(end=True)
    lines, complete = await sandbox.logs.collect(MB, sentinels=True)
    assert (len(lines), complete) == (200, True)
    assert len([read for read in sandbox.agent.reads if str(read["path"]).endswith("stdout")]) == 4


async def test_a_log_over_its_limit_is_cut(sandbox: Sandbox) -> None:
    sandbox.write(b"x" * 999 + b"\n" + b"y" * 999 + b"\n", end=True)
    lines, complete = await sandbox.logs.collect(1500, sentinels=True)
    assert lines[1] == (
        f"{PREFIX}stderr: Logs were truncated because the total bytes size exceeds the limit of 1500 bytes."
    )
    assert (len(lines), complete) == (2, False)


async def test_a_sentinel_that_comes_late_is_waited_for(sandbox: Sandbox) -> None:
    sandbox.write(b"first\n")
    reading = asyncio.create_task(sandbox.logs.collect(MB, sentinels=True))
    await eventually_async(lambda: len(sandbox.agent.reads) >= 6)
    sandbox.write(b"last\n", end=True)
    assert [line.rpartition(" ")[2] for line in (await reading).lines] == ["first", "last"]


async def test_a_sentinel_that_never_comes_is_told_after_the_idle_time(sandbox: Sandbox) -> None:
    sandbox.write(b"first\n")
    lines, complete = await sandbox.logs.collect(MB, sentinels=True)
    assert "There was an issue while collecting your logs. Data might be missing." in lines[-1]
    assert not complete


async def test_without_sentinels_nothing_is_waited_for(sandbox: Sandbox) -> None:
    sandbox.write(b"first\n", b"half")
    lines, complete = await sandbox.logs.collect(MB, sentinels=False, developer_error=True)
    assert lines == [
        f"{PREFIX}stdout: first",
        f"{PREFIX}stderr: half",
        f"{PREFIX}stderr: The action did not initialize or run as expected. Log data might be missing.",
    ]
    assert complete


async def test_an_agent_that_does_not_give_the_file_is_told(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    sandbox.agent.broken = True
    await sandbox.logs.skip_beginning()
    lines, complete = await sandbox.logs.collect(MB, sentinels=True)
    assert "There was an issue while collecting your logs." in lines[0]
    assert not complete
    assert "(500): out of order" in caplog.text


async def test_a_connection_that_the_agent_closed_costs_no_log(sandbox: Sandbox) -> None:
    sandbox.write(b"hello\n", end=True)
    sandbox.agent.hang_ups = 1
    lines, complete = await sandbox.logs.collect(MB, sentinels=True)
    assert (lines, complete) == ([f"{PREFIX}stdout: hello"], True)
    assert len(sandbox.agent.reads) == 3


async def test_an_agent_that_is_started_anew_costs_no_log(sandbox: Sandbox) -> None:
    """It does not listen, and then does not know the task, for some seconds."""
    sandbox.write(b"hello\n", end=True)
    port = int(sandbox.agent.address.rpartition(":")[2])
    await sandbox.agent.stop()
    collected = asyncio.create_task(sandbox.logs.collect(MB, sentinels=True))
    assert not (await asyncio.wait([collected], timeout=0.1))[0]
    again = await FakeAgentFiles(port=port).start()
    await eventually_async(lambda: again.reads)
    again.sandboxes["t1"] = sandbox.folder
    assert await collected == ([f"{PREFIX}stdout: hello"], True)
    await again.stop()


async def test_an_agent_that_stays_away_is_not_waited_for_longer(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as session:
        logs = ContainerLogs(TaskFiles(session, sandbox.agent.url, FRAMEWORK_ID, "nonesuch"), patience=0.3)
        lines, complete = await logs.collect(MB, sentinels=True)
    assert not complete
    assert LOGS_MISSING in lines[-1]
    assert len(sandbox.agent.reads) > 2


async def test_an_agent_that_closes_each_connection_is_not_asked_for_ever(sandbox: Sandbox) -> None:
    sandbox.agent.hang_ups = 1000  # more than it is asked within its patience
    lines, complete = await sandbox.logs.collect(MB, sentinels=True)
    assert not complete
    assert LOGS_MISSING in lines[-1]
    assert len(sandbox.agent.reads) < 1000


async def test_an_agent_that_refuses_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    agent = await FakeAgentFiles(authorization="Basic bWU6eHl6enk=").start()
    refusing: set[str] = set()
    async with files_of(Access(Credentials("me", "wrong"))) as files:
        with pytest.raises(StreamRefused):  # as for the reason of a failed start, which logs nothing of it
            await files.of_task("localhost", agent.address, FRAMEWORK_ID, "t0").tail("stderr")
        for task_id in ("t1", "t2"):
            logs = ContainerLogs(files.of_task("localhost", agent.address, FRAMEWORK_ID, task_id), refusing=refusing)
            await logs.skip_beginning()
            lines, complete = await logs.collect(MB, sentinels=True)
            assert (len(lines), complete) == (1, False)
    await agent.stop()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "(401)" in caplog.text
    assert "add the framework's principal to the agents' credentials" in caplog.text


async def test_agents_are_asked_by_tls_with_the_frameworks_credentials(tmp_path: Path) -> None:
    """Under the name that the certificate has: offers say the address, too."""
    authority, ca = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    agent = await FakeAgentFiles(context, authorization="Basic bWU6eHl6enk=").start()
    agent.sandboxes["t1"] = tmp_path
    async with files_of(Access(Credentials("me", "xyzzy"), Tls(ca)), secure=True) as files:
        logs = ContainerLogs(files.of_task("localhost", agent.address, FRAMEWORK_ID, "t1"))
        Sandbox(agent, tmp_path, logs).write(b"hello\n", end=True)
        lines, complete = await logs.collect(MB, sentinels=True)
    await agent.stop()
    assert ([line.partition(" stdout: ")[2] for line in lines], complete) == (["hello"], True)


@asynccontextmanager
async def files_of(access: Access, *, secure: bool = False) -> AsyncIterator[AgentFiles]:
    files = AgentFiles(lambda: access.session(secure=secure), secure=secure)
    yield files
    await files.close()


async def test_who_listens_in_an_agents_place_cannot_fill_the_memory(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.agent.stranger = web.Response(body=b" " * 50 * MB + b'{"read_file":{"size":0}}')
    lines, complete = await sandbox.logs.collect(MB, sentinels=True)
    assert not complete
    assert LOGS_MISSING in lines[-1]
    assert "is larger than 262144 bytes: it is not a Mesos agent" in caplog.text


async def test_who_listens_in_an_agents_place_cannot_send_our_credentials_elsewhere(sandbox: Sandbox) -> None:
    other = await FakeAgentFiles().start()
    sandbox.agent.stranger = web.Response(status=307, headers={"Location": f"{other.url}api/v1"})
    _, complete = await sandbox.logs.collect(MB, sentinels=True)
    assert not complete
    assert other.reads == []
    await other.stop()


async def test_a_sandbox_that_is_gone_is_told(sandbox: Sandbox) -> None:
    sandbox.agent.sandboxes.clear()
    assert not (await sandbox.logs.collect(MB, sentinels=True)).complete


async def test_a_node_that_answers_is_not_away_whatever_it_has_of_the_container(sandbox: Sandbox) -> None:
    assert not await sandbox.logs.is_away(5.0)
    sandbox.agent.sandboxes.clear()
    assert not await sandbox.logs.is_away(5.0)
    await sandbox.agent.stop()
    assert await sandbox.logs.is_away(5.0)


async def test_a_node_that_ends_each_connection_without_an_answer_is_away() -> None:
    """As what stands between us and an agent that is gone."""

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, aiohttp.ClientSession() as session:
        assert await ContainerLogs(TaskFiles(session, url, FRAMEWORK_ID, "t1")).is_away(5.0)


async def test_a_node_that_does_not_answer_in_time_is_away() -> None:
    class Hangs:
        remain = True

        async def read(self, stream: str, offset: int) -> StreamPart:
            await asyncio.Event().wait()
            raise AssertionError

        def is_foreign(self, stream: str, line: bytes) -> bool:
            return False

    assert await ContainerLogs(Hangs()).is_away(0.01)

"""Commands as processes that are interrupted, whose framework ends, or whose reader goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.cli.running import COMMAND, ROOT, SLEEP, environment, options, owmesos_process, running, started
from tests.fakes.cluster import FakeCluster
from tests.waiting import in_time


class Relay(NamedTuple):
    """In front of an admin API. `said` is set once a command has sent what is waited for."""

    url: str
    said: asyncio.Event


@asynccontextmanager
async def relayed(url: str, until: bytes) -> AsyncIterator[Relay]:
    said = asyncio.Event()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = b""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
                sent += piece
                if until in sent:
                    said.set()
        writer.close()

    async def begun(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = url.removeprefix("http://").split(":")
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(passed_on(reader, back), passed_on(there, writer))

    async with await asyncio.start_server(begun, "127.0.0.1", 0) as server:
        yield Relay(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", said)


async def test_ctrl_c_while_waiting(fake_cluster: FakeCluster, state: Path) -> None:
    fake_cluster.hold = True
    async with running(*options(fake_cluster, state)) as process, relayed(process.url, until=b"wait=running") as relay:
        token = str(state / "admin.token")
        waiting = await started(*SLEEP, "--wait", "running", "--admin", relay.url, "--admin-token-file", token)
        await asyncio.wait_for(relay.said.wait(), 60)  # it has the answer to its launch
        waiting.send_signal(signal.SIGINT)
        out, err = await in_time(waiting.communicate())
    assert (waiting.returncode, out) == (130, b"")
    assert re.fullmatch(r"owmesos launch: interrupted: launch (\S+) goes on; `owmesos kill \1` ends it\n", err.decode())


async def test_ctrl_c_before_a_launch_is_answered(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"POST /api/v1/launches")
        asked.set()
        await reader.read()
        writer.close()

    token = tmp_path / "token"
    token.write_text(f"{'x' * 32}\n")
    token.chmod(0o600)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        asking = await started(*SLEEP, "--admin", url, "--admin-token-file", str(token))
        await asyncio.wait_for(asked.wait(), 60)
        asking.send_signal(signal.SIGINT)
        out, err = await in_time(asking.communicate())
    assert (asking.returncode, out) == (130, b"")
    told = "interrupted before the answer: `owmesos launches` shows whether it was taken"
    assert err.decode() == f"owmesos launch: {told}\n"


async def test_watch_ends_in_one_line_at_ctrl_c(fake_cluster: FakeCluster, state: Path) -> None:
    async with running(*options(fake_cluster, state)) as process:
        await process.said("subscribed at")
        watching = await started("nodes", "-o", "json", "--watch", "--admin", process.url)
        assert watching.stdout is not None
        lines = [json.loads(await in_time(watching.stdout.readline())) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        _, err = await in_time(watching.communicate())
    assert all(isinstance(line, list) for line in lines)
    assert (watching.returncode, err) == (130, b"owmesos nodes: interrupted\n")


async def test_watch_ends_with_the_framework(fake_cluster: FakeCluster, state: Path) -> None:
    async with running(*options(fake_cluster, state)) as process:
        watching = await started("nodes", "-o", "tsv", "--watch", "--admin", process.url)
        assert watching.stdout is not None
        await in_time(watching.stdout.readline())
        await process.end()
        _, err = await in_time(watching.communicate())
    assert watching.returncode == 1
    assert err.decode().startswith("owmesos nodes: no framework answers at")


async def test_a_reader_that_went_away(fake_cluster: FakeCluster, state: Path) -> None:
    async with running(*options(fake_cluster, state)) as process:
        await process.ask(*SLEEP, "--count", "300")
        for style in ("json", "table", "tsv"):
            script = f"{' '.join(COMMAND)} launches -o {style} --admin {process.url} | true"
            shell = await asyncio.create_subprocess_exec(
                "sh", "-c", script, stderr=asyncio.subprocess.PIPE, env=environment(), cwd=ROOT
            )
            _, err = await in_time(shell.communicate())
            assert err == b""


async def test_nodes_of_a_master_without_a_framework(fake_cluster: FakeCluster) -> None:
    ran = await owmesos_process("nodes", "--master", fake_cluster.master.address, "-o", "json")
    first, second = ran.json
    assert (first["hostname"], first["state"], first["free"]["mem"]) == ("node1", "fresh", 1024)
    assert first["attributes"] == {"rack": ["r1"]}
    assert second["total"]["cpus"] == 4
    assert (await owmesos_process("nodes", "--master", fake_cluster.master.address)).code == 0
    ran = await owmesos_process("nodes", "--master", "127.0.0.1:1")
    assert (ran.code, ran.line) == (
        1,
        "owmesos nodes: cannot connect to the master at http://127.0.0.1:1: Connection refused",
    )

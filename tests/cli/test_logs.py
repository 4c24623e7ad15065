"""`owmesos logs` on a simulated cluster, as a process: of launches and activations, whole, followed, and what fails."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from owmesos.cli.text import log_named
from tests.cli.running import Ran, Running, owmesos_process, running, started
from tests.terminal import Terminal
from tests.waiting import eventually_async

TALKS = """import sys, time
def main(args):
    print("it says", args["word"])
    print("it warns", file=sys.stderr)
    time.sleep(args.get("seconds", 0))
    return {}
"""


@pytest.fixture
async def framework() -> AsyncIterator[Running]:
    async with running("--master", "local", "--standalone") as framework:
        await framework.said("subscribed at")
        yield framework


async def launched(framework: Running, command: str, until: str = "ended") -> str:
    """The launch's id, once it is there."""
    ran = await framework.ask("launch", "--mem", "16", "--command", command, "--wait", until, "-o", "tsv")
    return ran.out.splitlines()[1].split("\t")[0]


async def logs(framework: Running, *arguments: str) -> Ran:
    return await owmesos_process("logs", *arguments, "--admin", framework.url)


async def test_of_a_launch_that_has_ended(framework: Running) -> None:
    launch_id = await launched(framework, "echo one; echo two; echo wrong >&2")
    assert await logs(framework, launch_id) == (0, "one\ntwo\n", "")
    assert await logs(framework, f"{launch_id}.1", "--tail", "1") == (0, "two\n", "")
    assert await logs(framework, launch_id, "--stderr") == (0, "wrong\n", "")


async def test_what_comes_is_printed_as_it_comes_until_the_task_ends(framework: Running, tmp_path: Path) -> None:
    go = tmp_path / "go"
    launch_id = await launched(framework, f"echo one; while [ ! -e {go} ]; do sleep 0.05; done; echo two", "running")
    process = await started("logs", "-f", launch_id, "--admin", framework.url)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"one\n"
    go.touch()
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out, err) == (0, b"two\n", b"")


async def test_of_an_activation_that_runs_and_that_has_ended(framework: Running, tmp_path: Path) -> None:
    (tmp_path / "talks.py").write_text(TALKS)
    assert (await framework.ask("action", "create", "talks", str(tmp_path / "talks.py"), "--memory", "128")).code == 0
    earlier = await framework.ask("invoke", "talks", "-p", "word", "earlier", "-b", "-o", "json")
    ran = await framework.ask("invoke", "talks", "-p", "word", "hello", "-p", "seconds", "300", "-o", "json")

    async def runs() -> bool:
        return (await framework.ask("explain", ran.json["activationId"], "-o", "json")).json["state"] == "running"

    await eventually_async(runs)
    process = await started("logs", "-f", ran.json["activationId"][:12], "--admin", framework.url)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"it says hello\n"  # in the same container
    process.terminate()
    await asyncio.wait_for(process.communicate(), 60)
    assert (await logs(framework, ran.json["activationId"], "--stderr")).out == "it warns\n"
    assert (await logs(framework, earlier.json["activationId"], "--tail", "2")).out.count("earlier") == 1
    assert (await framework.ask("invoke", "talks", "-p", "word", "again", "-r")).code == 0
    rows = (await framework.ask("activation", "list", "-o", "json")).json
    ended = next(row["activationId"] for row in rows if row["statusCode"] is not None)
    said, warned = (await logs(framework, ended[:12])).out.splitlines()
    assert said.endswith("stdout: it says again")
    assert (await logs(framework, ended, "--stderr")).out == f"{warned}\n"


async def test_ctrl_c_ends_what_follows_or_waits_with_130_and_one_line(framework: Running, tmp_path: Path) -> None:
    (tmp_path / "talks.py").write_text(TALKS)
    assert (await framework.ask("action", "create", "talks", str(tmp_path / "talks.py"), "--memory", "128")).code == 0
    call = ("invoke", "talks", "-p", "word", "hello", "-p", "seconds", "300", "-r")
    invoking = await started(*call, "--admin", framework.url)

    async def running_activation() -> str | None:
        rows = (await framework.ask("activation", "list", "-o", "json")).json
        return next((row["activationId"] for row in rows if row["state"] == "running"), None)

    activation_id = await eventually_async(running_activation)
    following = await started("logs", "-f", str(activation_id), "--admin", framework.url)
    assert following.stdout is not None
    assert await asyncio.wait_for(following.stdout.readline(), 60)
    for process, command in ((invoking, "invoke"), (following, "logs")):
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 130
        assert err.decode().splitlines()[-1].startswith(f"owmesos {command}: interrupted")


async def test_in_a_terminal_it_gives_no_orders_and_ends_with_ctrl_c(framework: Running) -> None:
    launch_id = await launched(framework, "printf 'a\\tb\\033[31mred\\n'; sleep 300", "running")
    with Terminal("logs", "-f", launch_id, "--admin", framework.url) as terminal:
        await asyncio.to_thread(terminal.shows, "\\x1b[31mred")
        terminal.type("\x03")
        assert await asyncio.to_thread(terminal.ended) == 130
        assert "\x1b[31m" not in terminal.written


async def test_each_failure_is_one_line(framework: Running) -> None:
    assert (await logs(framework, "nonesuch")).line == (
        "owmesos logs: unknown launch, task, container or activation nonesuch"
    )
    launch_id = await launched(framework, "sleep 300", "running")
    following = await started("logs", "-f", launch_id, "--admin", framework.url)
    await framework.said(f"launch {launch_id} is RUNNING")
    assert (await logs(framework, launch_id)).code == 0
    await framework.end()
    out, err = await asyncio.wait_for(following.communicate(), 60)
    assert (following.returncode, out) == (1, b"")
    assert err.startswith(b"owmesos logs: no framework answers at ")
    assert err.count(b"\n") == 1


async def test_a_launch_that_fails_says_its_last_line_or_where_to_look(framework: Running) -> None:
    flags = ("--mem", "16", "--wait", "ended", "--command")
    wrong = await framework.ask("launch", *flags, "echo no such table >&2; exit 3")
    assert wrong.err.endswith("is FAILED: Command exited with status 3: no such table\n")
    silent = await framework.ask("launch", *flags, "exit 3")
    launch_id = silent.out.splitlines()[1].split()[0]
    where = f"Command exited with status 3: see `owmesos logs {launch_id}`, also with --stderr"
    assert silent.err.endswith(f"is FAILED: {where}\n")
    assert f"`owmesos logs {launch_id}`" in (await framework.ask("explain", launch_id)).out


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Command exited with status 1", True),
        ("the launch is not waiting: it is FAILED (Container exited with status 2)", True),
        ("Command terminated with signal Killed", True),
        ("Command terminated with signal Segmentation fault (core dumped)", True),
        ("Command exited with status 1: oops", False),
        ("killed on request", False),
    ],
)
def test_what_says_no_more_than_how_a_command_ended(text: str, bare: bool) -> None:
    assert log_named(text, "L1").endswith("see `owmesos logs L1`, also with --stderr") is bare

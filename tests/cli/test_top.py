"""`owmesos top` as a process in a terminal: keys, a framework that goes away and comes back, and how it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.cli.running import Running, owmesos_process, running
from tests.terminal import Terminal
from tests.waiting import eventually_async

T = TypeVar("T")


async def apart(work: Callable[..., T], *arguments: object) -> T:
    """Not in the event loop's thread, which reads what the framework says."""
    return await asyncio.to_thread(work, *arguments)


@pytest.fixture
async def framework() -> AsyncIterator[Running]:
    async with running("--master", "local", "--standalone") as framework:
        await framework.said("subscribed at")
        yield framework


async def test_it_shows_what_changes_and_its_keys_choose_and_sort(framework: Running) -> None:
    with Terminal("top", "--admin", framework.url) as terminal:
        await apart(terminal.shows, "127.0.0.3")
        await apart(terminal.shows, "by memory")
        flags = ("--mem", "900", "--count", "4", "--command", "sleep 300", "--name", "big")
        assert (await framework.ask("launch", *flags)).code == 0
        await apart(terminal.shows, "2 queue 1")
        terminal.type("2")
        await apart(terminal.shows, "lack memory; nearest")
        terminal.type("\x1b[B\t")
        await apart(terminal.shows, "no containers")
        terminal.type("1c")
        await apart(terminal.shows, "by cpus")
        terminal.resize(60, 12)
        terminal.type("q")
        assert await apart(terminal.ended) == 0
        await eventually_async(lambda: terminal.restored)


@pytest.mark.parametrize(
    ("how", "code"), [("\x03", 130), (signal.SIGTERM, 128 + signal.SIGTERM)], ids=["ctrl-c", "term"]
)
async def test_however_it_ends_the_terminal_is_as_before(
    framework: Running, how: str | signal.Signals, code: int
) -> None:
    with Terminal("top", "--admin", framework.url) as terminal:
        await apart(terminal.shows, "127.0.0.3")
        assert not terminal.restored
        if isinstance(how, str):
            terminal.type(how)
        else:
            terminal.signal(how)
        assert await apart(terminal.ended) == code
        await eventually_async(lambda: terminal.restored)
        assert "Traceback" not in terminal.written
        assert (code == 130) == ("owmesos top: interrupted" in terminal.written)


async def test_a_terminal_that_cannot_be_drawn_on_gets_it_once(framework: Running) -> None:
    with Terminal("top", "--admin", framework.url, variables={"TERM": "dumb"}) as terminal:
        await apart(terminal.shows, "127.0.0.3")
        assert await apart(terminal.ended) == 0
        assert "\x1b" not in terminal.written


async def test_ctrl_z_gives_the_terminal_back_and_fg_goes_on(framework: Running) -> None:
    with Terminal("top", "--admin", framework.url) as terminal:
        await apart(terminal.shows, "127.0.0.3")
        terminal.type("\x1a")
        await eventually_async(lambda: terminal.restored)
        terminal.signal(signal.SIGCONT)
        await eventually_async(lambda: not terminal.restored)
        terminal.type("2")
        await apart(terminal.shows, "nothing waits")
        terminal.type("q")
        assert await apart(terminal.ended) == 0


async def test_a_framework_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    async with running("--master", "local", *state) as framework:
        await framework.said("subscribed at")
        address = framework.url.removeprefix("http://")
        with Terminal("top", "--admin", address) as terminal:
            await apart(terminal.shows, "127.0.0.3")
            await framework.end()
            await apart(terminal.shows, "no answer for")
            await apart(terminal.shows, "retrying: no framework answers at")
            async with running("--master", "local", *state, "--admin", address):
                await apart(terminal.shows_no, "no answer for")
                await apart(terminal.shows, "connected for")
                terminal.type("q")
                assert await apart(terminal.ended) == 0


async def test_a_frozen_framework_leaves_the_keys_alive(framework: Running) -> None:
    with Terminal("top", "--admin", framework.url) as terminal:
        await apart(terminal.shows, "127.0.0.3")
        framework.process.send_signal(signal.SIGSTOP)
        terminal.type("2")
        await apart(terminal.shows, "nothing waits")
        terminal.type("q")
        assert await apart(terminal.ended) == 0
        framework.process.send_signal(signal.SIGCONT)


async def test_in_a_pipe_it_prints_everything_once(framework: Running) -> None:
    ran = await owmesos_process("top", "--admin", framework.url)
    assert (ran.code, ran.err) == (0, "")
    assert "127.0.0.3" in ran.out
    assert "\x1b" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


async def test_without_a_framework_it_says_so_in_one_line() -> None:
    ran = await owmesos_process("top", "--admin", "127.0.0.1:1")
    assert ran.line.startswith("owmesos top: no framework answers at http://127.0.0.1:1")

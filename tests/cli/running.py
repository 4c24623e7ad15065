"""The command line as tests use it: in this process, or as one of its own for what lives on."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from owmesos.cli.main import main
from tests.fakes.cluster import FakeCluster

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "owmesos"]
SLEEP = ("launch", "--command", "sleep 60")


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return self.document

    @property
    def document(self) -> Any:
        """Also of a command whose exit code says that something is wrong."""
        assert self.out, self
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line that tells why it failed or was interrupted; nothing else was printed."""
        assert self.code in (1, 2, 130), self
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.rstrip("\n")


def owmesos(*arguments: str) -> Ran:
    """In this process."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
    return Ran(code, out.getvalue(), err.getvalue())


def environment(**more: str) -> dict[str, str]:
    """Of a process: nothing of the tester's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OWMESOS_")}
    return {**kept, **more}


def options(cluster: FakeCluster, state: Path) -> tuple[str, ...]:
    """Of `owmesos run` on the fake cluster."""
    return ("--master", cluster.master.address, "--state", str(state))


async def started(
    *arguments: str, variables: Mapping[str, str] | None = None, **more: Any
) -> asyncio.subprocess.Process:
    """A process whose output can be read. `more` is of `create_subprocess_exec`."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=pipe, stderr=pipe, env=environment(**(variables or {})), cwd=ROOT, **more
    )


async def owmesos_process(*arguments: str, variables: Mapping[str, str] | None = None, timeout: float = 60) -> Ran:
    """As a process, to its end."""
    process = await started(*arguments, variables=variables)
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout)
    except BaseException:
        process.kill()
        await asyncio.wait_for(process.communicate(), timeout)  # a child of it may hold its output open
        raise
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


class Running:
    """A framework process. `log` is what it wrote on stderr so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""
        self.url = ""
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log += line.decode()
            self._changed.set()
        self._changed.set()

    async def said(self, pattern: str, timeout: float = 60) -> re.Match[str]:
        """Waits until the log holds `pattern`."""

        async def found() -> re.Match[str]:
            while (match := re.search(pattern, self.log)) is None:
                assert not self._reader.done(), f"it ended without {pattern!r}: {self.log}"
                self._changed.clear()
                await self._changed.wait()
            return match

        try:
            return await asyncio.wait_for(found(), timeout)
        except asyncio.TimeoutError:
            raise AssertionError(f"it did not say {pattern!r} within {timeout} s: {self.log}") from None

    async def hang_up(self, expected: str) -> None:
        """Sends SIGHUP, and waits until it has logged a line about that with `expected`."""
        before = self.log.count("SIGHUP")
        self.process.send_signal(signal.SIGHUP)
        await self.said(rf"(?s)(SIGHUP.*){{{before}}}SIGHUP: {expected}")

    async def ask(self, *arguments: str) -> Ran:
        """A command that talks to it."""
        return await asyncio.to_thread(owmesos, *arguments, "--admin", self.url)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> Ran:
        """Sends a signal, if it still runs, and waits for the end."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self, timeout: float = 60) -> Ran:
        """Raises AssertionError with the log if it does not end in time."""

        async def end() -> bytes:
            assert self.process.stdout is not None
            out = await self.process.stdout.read()
            await self.process.wait()
            await self._reader
            return out

        try:
            out = await asyncio.wait_for(end(), timeout)
        except asyncio.TimeoutError:
            raise AssertionError(f"it did not end within {timeout} s: {self.log}") from None
        assert self.process.returncode is not None
        return Ran(self.process.returncode, out.decode(), self.log)


@asynccontextmanager
async def running(*arguments: str, variables: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """`owmesos run` with an admin API at any free port, killed in the end if need be."""
    framework = Running(await started("run", "--admin", "127.0.0.1:0", *arguments, variables=variables))
    try:
        framework.url = (await framework.said(r"the admin API is at (https?://\S+)"))[1]
        yield framework
    finally:
        await framework.end(signal.SIGKILL)

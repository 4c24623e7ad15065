"""`owmesos run` as a process of its own, which is killed and started again."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from chaos.cluster import Cluster

_END_WITHIN = 60.0
_ANSWER_WITHIN = 5.0


class Owmesos:
    """With its state in one folder, or in ZooKeeper. `ends` has the exit codes of those that ended though nobody ended
    them."""

    def __init__(
        self, folder: Path, cluster: Cluster, admin: str, *, standalone: bool, zookeeper: str | None = None
    ) -> None:
        self.admin = admin
        self.ends: list[int] = []
        self._log = folder / "owmesos.log"
        self._cluster = cluster
        state = ["--state", str(folder / "owmesos")]
        if zookeeper is not None:
            state = ["--state", f"zk://{zookeeper}/owmesos-chaos/{time.time_ns()}", "--local-folder", *state[1:]]
        options = [*state, "--admin", admin, "--name", "chaos"]
        self._command = [sys.executable, "-m", "owmesos", "run", *options, *(["--standalone"] if standalone else [])]
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ordered = False

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Without effect while it runs."""
        if self.alive:
            return
        self._ordered = False
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                "--master",
                self._cluster.master,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watch = asyncio.ensure_future(self._watched(self._process))

    async def _watched(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if not self._ordered:
            self.ends.append(code)

    def subscribed(self) -> bool:
        """Whether it answers, and the master has it. Blocks for some seconds at most."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}/healthz", timeout=_ANSWER_WITHIN) as answer:
                return bool(answer.status == 200)
        except (OSError, http.client.HTTPException):
            return False

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self._process.pid, number)

    async def kill(self) -> None:
        """SIGKILL, also to one that is frozen."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """In order, and by SIGKILL if that takes too long. Raises TimeoutError then."""
        try:
            await asyncio.wait_for(self._end(signal.SIGTERM), _END_WITHIN)
        except asyncio.TimeoutError:
            await self._end(signal.SIGKILL)
            raise TimeoutError(f"owmesos had not ended {_END_WITHIN:g} s after SIGTERM") from None

    async def _end(self, number: signal.Signals) -> None:
        self._ordered = True
        self.send(number)
        if self._watch is not None:
            await asyncio.shield(self._watch)

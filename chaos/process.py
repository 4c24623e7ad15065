"""`owmesos run` as a process of its own, which is killed and started again."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import signal
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from chaos.cluster import Cluster

TOKEN = "admin.token"
_END_WITHIN = 60.0
_ANSWER_WITHIN = 5.0
_REPLACED = b"this process has lost the lead"
_LAST_LINES = 10_000  # bytes


class Owmesos:
    """One process, with its state in one folder, or in ZooKeeper. `ends` has the exit codes of those that ended though
    nobody ended them, but for leaders that were replaced: `replaced` counts these."""

    def __init__(
        self,
        folder: Path,
        cluster: Cluster,
        admin: str,
        *,
        standalone: bool,
        zookeeper: str | None = None,
        more: Sequence[str] = (),
        name: str = "owmesos",
    ) -> None:
        """`zookeeper`: the address and path of the state there. `name`: of its folder and log."""
        self.admin = admin
        self.ends: list[int] = []
        self.replaced = 0
        self._log = folder / f"{name}.log"
        self._cluster = cluster
        state = ["--state", str(folder / name)]
        if zookeeper is not None:
            state = ["--state", f"zk://{zookeeper}", "--local-folder", *state[1:]]
        options = [*state, "--admin", admin, "--name", "chaos", *more]
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
            began = log.seek(0, os.SEEK_END)
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                "--master",
                self._cluster.master,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watch = asyncio.ensure_future(self._watched(self._process, began))

    async def _watched(self, process: asyncio.subprocess.Process, began: int) -> None:
        """`began`: where its part of the log begins, in bytes."""
        code = await process.wait()
        if self._ordered:
            return
        with self._log.open("rb") as log:
            log.seek(max(began, log.seek(0, os.SEEK_END) - _LAST_LINES))
            said = log.read()
        if _REPLACED in said:
            self.replaced += 1
            await self.start()  # as a service manager would
        else:
            self.ends.append(code)

    def subscribed(self) -> bool:
        """Whether it answers, and the master has it. Blocks for some seconds at most."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}/healthz", timeout=_ANSWER_WITHIN) as answer:
                return answer.status == 200 and bool(json.load(answer).get("subscribed"))
        except (OSError, ValueError, http.client.HTTPException):
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


class Group:
    """The processes of owmesos: one, or a leader and a standby, which change their roles. By their names as targets."""

    def __init__(self, processes: dict[str, Owmesos]) -> None:
        self.processes = processes

    @property
    def admin(self) -> str:
        """The addresses of their admin APIs, by comma."""
        return ",".join(each.admin for each in self.processes.values())

    @property
    def replaced(self) -> int:
        """How often a leader ended because another one led."""
        return sum(each.replaced for each in self.processes.values())

    async def start(self) -> None:
        for each in self.processes.values():
            await each.start()

    def subscribed(self) -> bool:
        """Whether one of them is. Blocks for some seconds at most."""
        return any(each.subscribed() for each in self.processes.values())

    async def kill(self) -> None:
        await asyncio.gather(*(each.kill() for each in self.processes.values()))

    async def stop(self) -> None:
        """As `Owmesos.stop`. Raises TimeoutError."""
        await asyncio.gather(*(each.stop() for each in self.processes.values()))


def group_of(
    folder: Path, cluster: Cluster, ports: Sequence[int], *, standalone: bool, zookeeper: str | None, standby: bool
) -> Group:
    """`ports`: of the admin APIs, one for each process."""
    state = f"{zookeeper}/owmesos-chaos/{time.time_ns()}" if zookeeper is not None else None
    more: list[str] = []
    if standby:
        token = folder / TOKEN
        token.touch(0o600)
        token.write_text(f"{secrets.token_hex(32)}\n")
        more = ["--ha", "--admin-token-file", str(token)]
    names = ("owmesos", "owmesos2") if standby else ("owmesos",)
    return Group(
        {
            name: Owmesos(
                *(folder, cluster, f"127.0.0.1:{port}"),
                standalone=standalone,
                zookeeper=state,
                more=more,
                name=name,
            )
            for name, port in zip(names, ports, strict=False)
        }
    )

"""What the servers for tests share: a process in a folder of its own, which a later command finds again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import platformdirs

from owmesos.local.proc import started_at
from owmesos.system.file_lock import FileLock
from tests.waiting import eventually

CACHE = platformdirs.user_cache_path("owmesos") / "tests"


class ServerMissing(Exception):
    """Why there can be no such server on this machine."""


class Server:
    """Keeps its data over `stop` and `start`. The pid file names the process by its pid and its start."""

    name = "server"
    starts_within = 60.0  # seconds
    lifeline = ""
    """The variable that tells it to end when its standard input does, and so with this process; empty if it stays."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=2):
            return True

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        try:
            pid, began = map(int, (self.folder / "pid").read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        return pid if started_at(pid) == began else None

    def start(self) -> None:
        """Returns when it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Starts the process."""
        variables = {self.lifeline: "1"} if self.lifeline else {}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.PIPE if self.lifeline else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **variables},
                start_new_session=True,  # a Ctrl-C at whoever started it is not for the server
            )
        (self.folder / "pid").write_text(f"{process.pid} {started_at(process.pid)}\n")
        self._process = process

    def wait(self) -> None:
        """Returns when it answers, after `launch`."""
        eventually(
            lambda: self._ended() or self.answers(),
            self.starts_within,
            interval=0.1,
            what=f"{self.name} answers on port {self.port}, see {self.folder / 'log'}",
            retry_on=(OSError,),
        )

    @property
    def ended_by_itself(self) -> int | None:
        """Its exit status, if this process started it and nobody stopped it."""
        return None if self._process is None else self._process.poll()

    def _ended(self) -> bool:
        status = self.ended_by_itself
        assert status is None, f"{self.name} ended with {status}, see {self.folder / 'log'}"
        return False

    def stop(self, *, force: bool = False) -> None:
        """Returns when it is gone; `force` gives it no time to close."""
        pid = self.pid
        if pid is None and self._process is not None and self._process.poll() is None:
            pid = self._process.pid  # just ending, or its file is gone: it is waited for all the same
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL if force else signal.SIGTERM)
        eventually(self._gone, 30, what=f"{self.name} is gone")
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _gone(self) -> bool:
        return self.pid is None if self._process is None else self._process.poll() is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def need(*programs: str) -> None:
    """Raises ServerMissing."""
    for program in programs:
        if shutil.which(program) is None:
            raise ServerMissing(f"no {program} on this machine")


def fetched(folder: Path, proof: Path, *command: str) -> None:
    """Runs what fetches a server into `folder`, unless `proof` is there. Raises ServerMissing."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    if not lock.acquire(timeout=300):
        raise ServerMissing(f"another process keeps {folder} locked")
    try:
        if proof.exists():
            return
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise ServerMissing(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
        proof.touch()
    finally:
        lock.release()

"""One daemon of an embedded cluster: its process, its pid file and its log in the cluster's state folder.

The pid file names the process by its pid and its start, so that any later command finds it and never takes another
process for it. Daemons are ended by SIGKILL: Mesos is built for that, and after SIGTERM it takes over a second.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from owmesos.errors import OwmesosError, os_reason
from owmesos.local.proc import started_at
from owmesos.simulator.embedded import DaemonStatus
from owmesos.system.private_files import open_private, write_private

READY_TIMEOUT = 60.0  # seconds
_POLL = 0.02  # seconds
_END_TIMEOUT = 10.0  # seconds
_ANSWER_TIMEOUT = 5.0  # seconds


class ClusterError(OwmesosError):
    """The embedded cluster cannot do what was asked."""


def ask(host: str, port: int, call: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """HTTP status and body of a call to a daemon's operator API, such as GET_AGENTS; status is 0 if it cannot be
    reached."""
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_TIMEOUT)
    try:
        fields = {"Content-Type": "application/json", **(headers or {})}
        connection.request("POST", "/api/v1", json.dumps({"type": call}), fields)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""  # not up yet, or just killed: the caller asks again
    finally:
        connection.close()


def is_ready(host: str, port: int) -> bool:
    """Whether the daemon there answers its API and has recovered."""
    status, _ = ask(host, port, "GET_HEALTH")
    return status not in (0, 404, 503)  # first the route is missing, then it recovers; 401 is an answer, too


class Daemon:
    """A master or an agent, running or not."""

    def __init__(self, name: str, host: str, port: int, state: Path) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.log = state / f"{name}.log"
        self._pid_file = state / f"{name}.pid"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port` of its HTTP API."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id; None if it does not run."""
        if self._process is not None:
            self._process.poll()  # reaps it
        try:
            pid, start = map(int, self._pid_file.read_text(encoding="ascii").split())
        except (FileNotFoundError, ValueError):  # never started, or killed while it was written
            return None
        return pid if started_at(pid) == start else None

    def status(self) -> DaemonStatus:
        return DaemonStatus(self.name, self.pid, self.address)

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        lifeline: bool,
        keep: Sequence[int] = (),
    ) -> None:
        """Starts the process. With `lifeline` it ends when this process does, by a pipe at its standard input.

        It inherits the descriptors in `keep`. Raises ClusterError where the port is taken.
        """
        self._require_free_port()
        self._close_lifeline()
        variables = {**environment, "MESOSD_LIFELINE": "1"} if lifeline else dict(environment)
        with os.fdopen(open_private(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if lifeline else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                umask=0o077,
                pass_fds=keep,
                start_new_session=True,  # the terminal's Ctrl-C is for its owner, who ends it in order
            )
        start = started_at(self._process.pid)
        write_private(self._pid_file, f"{self._process.pid} {start or 0}\n")

    def kill(self) -> None:
        """SIGKILL, and waits until the process is gone. Has no effect if it does not run."""
        pid = self.pid
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself meanwhile
            except PermissionError:
                raise ClusterError(f"{self.name} (pid {pid}) belongs to another user") from None
        deadline = time.monotonic() + _END_TIMEOUT
        while self.pid is not None:
            if time.monotonic() >= deadline:
                raise ClusterError(f"{self.name} (pid {pid}) is still there {_END_TIMEOUT:g} s after SIGKILL")
            time.sleep(_POLL)
        self._close_lifeline()

    def wait_ready(self) -> None:
        """Waits until it answers its API and has recovered. Raises ClusterError with the log's reason."""
        deadline = time.monotonic() + READY_TIMEOUT
        while not is_ready(self.host, self.port):
            self.require_alive()
            if time.monotonic() >= deadline:
                raise ClusterError(
                    f"{self.name} does not answer at {self.address} within {READY_TIMEOUT:g} s, see {self.log}"
                )
            time.sleep(_POLL)

    def require_alive(self) -> None:
        """Raises ClusterError with the reason in the log if the process has ended."""
        if self.pid is None:
            raise ClusterError(f"{self.name} has ended: {self._last_words()} ({self.log})")

    def _require_free_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
                probe.listen()
            except OSError as error:
                raise ClusterError(
                    f"{self.name} cannot listen at {self.address} ({os_reason(error)}): choose another port"
                ) from None

    def _close_lifeline(self) -> None:
        if self._process is not None:
            self._process.wait(_END_TIMEOUT)
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _last_words(self) -> str:
        """The line of the log that tells why it ended: Mesos writes a stack trace after it."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 16384))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        telling = [
            line for line in lines if re.search(r"EXIT with status|^[EF]\d{4} |Failed to |mesosd: |stub called", line)
        ]
        return (telling or lines or ["its log is empty"])[-1]

"""Runs one command task for a Mesos agent, in the place of Mesos's own `mesos-executor`.

The package that libmesos comes from lacks that program. This one speaks the HTTP API of executors
(Mesos docs/executor-http-api.md): it subscribes at the agent, starts the command, reports its states until they are
acknowledged, obeys the task's kill policy, and outlives a restart of the agent where the framework checkpoints.

One file and the standard library only: the agent starts it as `python -I -S executor.py [OWNER]`. OWNER is a file
that the process which owns the cluster keeps locked; once that lock is free the agent will not come back.

Known difference: no task groups, health checks, or URIs. Like Mesos's own (by default, without the agent's flag
`http_command_executor`) it is never told of the kill policy of a KILL call: the task's own counts.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

Json = dict[str, Any]

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "secs": 1.0,
    "mins": 60.0,
    "hrs": 3600.0,
    "days": 86400.0,
    "weeks": 604800.0,
}
_RETRY = 0.5  # seconds between two attempts to reach the agent
_ACKNOWLEDGED_WITHIN = 5.0  # seconds that the last update waits while the agent is connected
_SHUTDOWN_WITHIN = 1.0  # the same after SHUTDOWN: there may be nobody left to acknowledge
_LAST_WORDS = 0.2  # seconds for the agent to digest the last update before it sees the executor's end


def duration(text: str | None, default: float) -> float:
    """Seconds of a Mesos duration such as `5secs`; `default` where there is none."""
    match = re.fullmatch(r"(-?[\d.]+)([a-z]+)", text or "")
    return float(match[1]) * _UNITS[match[2]] if match and match[2] in _UNITS else default


def note(*words: object) -> None:
    """A line in the sandbox's stderr, in the form of Mesos's own: readers of logs tell it from the task's by that."""
    seconds = time.time()
    clock = time.strftime("%m%d %H:%M:%S", time.localtime(seconds))
    head = f"I{clock}.{int(seconds % 1 * 1e6):06d} {os.getpid():5d} executor.cpp:1]"
    print(head, *words, file=sys.stderr, flush=True)  # noqa: T201


class AgentRefused(Exception):
    """The agent is up and says that it will never know this executor."""


class AgentConnection:
    """The agent's end of the API, and who this executor is."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._host, port = environment["MESOS_AGENT_ENDPOINT"].rsplit(":", 1)
        self._port = int(port)
        self._path = f"/{environment['MESOS_SLAVE_PID'].split('@')[0]}/api/v1/executor"
        self.executor_id: Json = {"value": environment["MESOS_EXECUTOR_ID"]}
        self._framework_id = {"value": environment["MESOS_FRAMEWORK_ID"]}

    def _post(self, call: Json) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=30)
        body = {"framework_id": self._framework_id, "executor_id": self.executor_id, **call}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        connection.request("POST", self._path, json.dumps(body), headers)
        return connection, connection.getresponse()

    def send(self, call: Json) -> None:
        """One call; it is noted how it went. What is lost is sent again at the next subscription."""
        try:
            connection, response = self._post(call)
            note(call["type"], response.status, response.read().decode(errors="replace"))
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            note(call["type"], "not sent:", error)

    def events(self, subscribe: Json) -> Iterator[Json]:
        """The events of one subscription, which ends with the connection. Raises OSError, AgentRefused."""
        connection, response = self._post({"type": "SUBSCRIBE", "subscribe": subscribe})
        if response.status != 200:
            reason = response.read().decode(errors="replace")
            if response.status == 400 and "cannot be found" in reason:
                raise AgentRefused(reason)
            raise ConnectionError(f"{response.status} {reason}")
        if connection.sock is not None:
            connection.sock.settimeout(None)
        while length := response.readline():
            yield json.loads(response.read(int(length)))


def started(command: Json, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The command's process, leader of a session of its own. Raises OSError."""
    variables = command.get("environment", {}).get("variables", [])
    own = {each["name"]: each.get("value", "") for each in variables}
    shell = command.get("shell", True)
    arguments = ["/bin/sh", "-c", command["value"]] if shell else command.get("arguments") or [command["value"]]
    executable = "/bin/sh" if shell else command["value"]
    return subprocess.Popen(arguments, executable=executable, env={**environment, **own}, start_new_session=True)


class Executor:
    """One command from LAUNCH to its last acknowledged update. One thread reads events, another waits for the task.

    A subclass for another kind of task overrides `launch`, `kill`, `grace_of` and `force`.
    """

    def __init__(self, environment: Mapping[str, str], owner: str | None) -> None:
        self.environment = environment
        self._owner = owner
        self._agent = AgentConnection(environment)
        self.grace = duration(environment.get("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"), 5.0)
        checkpoints = environment.get("MESOS_CHECKPOINT") == "1"
        self._recovery = duration(environment.get("MESOS_RECOVERY_TIMEOUT"), 900.0) if checkpoints else 0.0
        self._lock = threading.RLock()
        self._unacknowledged: dict[str, Json] = {}  # updates by uuid
        self._tasks: dict[str, Json] = {}  # whose first update is not acknowledged
        self.task: Json | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reports_killing = False
        self.killed = False
        self._force: threading.Timer | None = None
        self._force_at = float("inf")
        self._connected = False
        self._patience = _ACKNOWLEDGED_WITHIN

    def run(self) -> NoReturn:
        """Subscribes, and again after each loss, until the task is over or the agent is gone for good."""
        lost_at: float | None = None
        while True:
            try:
                with self._lock:
                    updates = [{"status": status} for status in self._unacknowledged.values()]
                    tasks = list(self._tasks.values())
                for event in self._agent.events({"unacknowledged_updates": updates, "unacknowledged_tasks": tasks}):
                    lost_at, self._connected = None, True
                    self._handle(event)
                note("the agent closed the connection")
            except AgentRefused as refusal:
                self._end("the agent refuses:", refusal)
            except (OSError, http.client.HTTPException, ValueError) as error:
                note("no connection:", error)
            self._connected = False
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at >= self._recovery or self._is_orphan():
                self._end("the agent is lost")
            time.sleep(_RETRY)

    def _is_orphan(self) -> bool:
        if self._owner is None:
            return False
        import fcntl

        try:
            with open(self._owner, "rb") as file:  # noqa: PTH123 - pathlib takes long to import
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            return True
        return True

    def _handle(self, event: Json) -> None:
        kind = event["type"]
        note("event", kind)
        if kind == "SUBSCRIBED":
            capabilities = event["subscribed"]["framework_info"].get("capabilities", [])
            self._reports_killing = any(each.get("type") == "TASK_KILLING_STATE" for each in capabilities)
        elif kind == "LAUNCH":
            self._take(event["launch"]["task"])
        elif kind == "LAUNCH_GROUP":
            self._take(event["launch_group"]["task_group"]["tasks"][0])
        elif kind == "KILL":
            self.kill(self.grace_of(event["kill"]))
        elif kind == "ACKNOWLEDGED":
            with self._lock:
                self._unacknowledged.pop(event["acknowledged"]["uuid"], None)
                self._tasks.pop(event["acknowledged"]["task_id"]["value"], None)
        elif kind == "SHUTDOWN":
            self._patience = _SHUTDOWN_WITHIN
            self.kill(self.grace * 0.8)  # the agent kills the rest after the whole of it
            if self.task is None:
                os._exit(0)

    def grace_of(self, kill: Json) -> float:
        """Seconds between TERM and KILL for a KILL event: those of the task's kill policy, else the agent's."""
        return self.grace_in((self.task or {}).get("kill_policy"))

    def grace_in(self, policy: Json | None) -> float:
        """Seconds of a kill policy; the agent's where it says nothing."""
        nanoseconds = (policy or {}).get("grace_period", {}).get("nanoseconds")
        return self.grace * 0.8 if nanoseconds is None else int(nanoseconds) / 1e9

    def _take(self, task: Json) -> None:
        self.task = task
        self._tasks[task["task_id"]["value"]] = task
        self.update("TASK_STARTING")
        self.launch(task)

    def launch(self, task: Json) -> None:
        """Starts the task, and returns at once."""
        try:
            self._process = started(task["command"], self.environment)
        except OSError as error:
            self.update("TASK_RUNNING")  # as Mesos's own, which forks first and fails in the child
            self.update("TASK_FAILED", f"Command failed to start: {error}")
            threading.Thread(target=self.finish, daemon=True).start()
            return
        self.update("TASK_RUNNING")
        threading.Thread(target=self._reap, args=(self._process,), daemon=True).start()

    def update(self, state: str, message: str | None = None, **fields: Any) -> None:
        """Reports a state of the task; `fields` are more of its TaskStatus."""
        assert self.task is not None
        status: Json = {
            "task_id": self.task["task_id"],
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
            "executor_id": self._agent.executor_id,
            "timestamp": time.time(),
            **fields,
        }
        if message is not None:
            status["message"] = message
        with self._lock:
            self._unacknowledged[status["uuid"]] = status
        self._agent.send({"type": "UPDATE", "update": {"status": status}})

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        self.report_end(process.wait(), "Command")

    def report_end(self, code: int, what: str, **fields: Any) -> NoReturn:
        """`code` is the exit code of `what`, or minus the number of the signal that killed it."""
        how = f"exited with status {code}" if code >= 0 else f"terminated with signal {signal.strsignal(-code)}"
        state = "TASK_KILLED" if self.killed else "TASK_FAILED" if code else "TASK_FINISHED"
        self.update(state, f"{what} {how}", **fields)
        self.finish()

    def finish(self) -> NoReturn:
        """Ends once every update is acknowledged; without an agent, `run` decides how long that is waited for."""
        waited = 0.0
        while self._unacknowledged and waited < self._patience:
            time.sleep(0.1)
            waited += 0.1 if self._connected else 0.0
        time.sleep(_LAST_WORDS)
        os._exit(0)

    def begin_kill(self) -> bool:
        """Whether this is the first KILL of the task, which then is known to be killed."""
        with self._lock:
            first, self.killed = not self.killed, True
        if first and self.task is not None and self._reports_killing:
            self.update("TASK_KILLING")
        return first

    def kill(self, grace: float) -> None:
        """TERM, and KILL after `grace` seconds."""
        first = self.begin_kill()
        if self._process is None:
            return
        if first:
            self._signal(signal.SIGTERM)
        force_at = time.monotonic() + grace
        if force_at < self._force_at:  # SHUTDOWN may shorten the grace of a KILL
            if self._force is not None:
                self._force.cancel()
            self._force_at = force_at
            self._force = threading.Timer(grace, self.force)
            self._force.daemon = True
            self._force.start()

    def force(self) -> None:
        """KILL at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Sends a signal to the task's process group; without effect once it has ended."""
        if self._process is not None and self._process.poll() is None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                note("the task has just ended by itself")

    def _end(self, *reason: object) -> NoReturn:
        note(*reason)
        self.force()
        os._exit(0)


if __name__ == "__main__":
    Executor(dict(os.environ), sys.argv[1] if len(sys.argv) > 1 else None).run()

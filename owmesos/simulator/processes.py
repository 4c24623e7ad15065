"""Command tasks as real processes, each in a sandbox folder of its own with `stdout` and `stderr`.

The folders are laid out as a Mesos agent's are, so that tools find them. Images are not pulled and nothing is isolated:
the command of a task with a container runs on this machine as it is. URIs may be files of this machine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from owmesos.mesos.messages import CommandInfo
from owmesos.simulator.agent.agent import Agent
from owmesos.simulator.agent.runs import Run

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL")


class Processes:
    """`enter` brings what a process did into the world, on the loop's thread; call `open` there first."""

    def __init__(self, state: Path, enter: Callable[[Callable[[], None]], None]) -> None:
        self._state = state
        self._enter = enter
        self._loop: asyncio.AbstractEventLoop | None = None
        self._guard: subprocess.Popen[str] | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}  # by container id
        self._threads: dict[str, threading.Thread] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        guard = Path(__file__).with_name("guard.py")
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(guard)], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def close(self) -> None:
        """Kills every process that is left. To be called off the loop's thread, or after it."""
        for process in list(self._processes.values()):
            _signal(process, signal.SIGKILL)
        for thread in list(self._threads.values()):
            thread.join(5.0)
        for timer in self._timers.values():
            timer.cancel()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait(5.0)
            self._guard = None

    # -- as a runner

    def start(self, agent: Agent, run: Run) -> None:
        command = run.info.command
        if command is None or (command.value is None and not command.arguments):
            agent.failed_to_begin(run, "the simulator runs commands only")
            return
        try:
            sandbox = self._make_sandbox(agent, run)
            run.sandbox = str(sandbox)
            self._fetch(command, sandbox)
            process = self._spawn(agent, run, command, sandbox)
        except OSError as error:
            agent.failed_to_begin(run, str(error))
            return
        self._processes[run.container_id] = process
        self._tell_guard(f"+{process.pid}")
        agent.began(run, process.pid)
        thread = threading.Thread(target=self._reap, args=(agent, run, process), daemon=True)
        self._threads[run.container_id] = thread
        thread.start()

    def kill(self, agent: Agent, run: Run, grace: float) -> None:
        process = self._processes.get(run.container_id)
        if process is None or self._loop is None:
            return
        if run.container_id not in self._timers:
            _signal(process, signal.SIGTERM)
        due = self._loop.time() + grace
        before = self._timers.get(run.container_id)
        if before is None or due < before.when():
            if before is not None:
                before.cancel()
            self._timers[run.container_id] = self._loop.call_at(due, _signal, process, signal.SIGKILL)

    def destroy(self, agent: Agent, run: Run) -> None:
        process = self._processes.get(run.container_id)
        if process is not None:
            _signal(process, signal.SIGKILL)

    # -- one process

    def _spawn(self, agent: Agent, run: Run, command: CommandInfo, sandbox: Path) -> subprocess.Popen[bytes]:
        if command.shell:
            program, arguments = "/bin/sh", ["/bin/sh", "-c", command.value or ""]
        else:
            arguments = command.arguments or [command.value or ""]
            program = command.value or arguments[0]
        with (sandbox / "stdout").open("ab") as stdout, (sandbox / "stderr").open("ab") as stderr:
            return subprocess.Popen(
                arguments,
                executable=program,
                cwd=sandbox,
                env=self._environment(agent, run, command),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    def _environment(self, agent: Agent, run: Run, command: CommandInfo) -> dict[str, str]:
        sandbox = run.sandbox or ""
        variables = command.environment.variables if command.environment is not None else []
        return {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "MESOS_SANDBOX": sandbox,
            "MESOS_DIRECTORY": sandbox,
            "MESOS_TASK_ID": run.task_id,
            "MESOS_EXECUTOR_ID": run.task_id,
            "MESOS_FRAMEWORK_ID": run.framework_id,
            "MESOS_CONTAINER_ID": run.container_id,
            "MESOS_SLAVE_ID": agent.id or "",
            "MESOS_AGENT_ENDPOINT": f"{agent.description.ip}:{agent.description.port}",
            **{each.name: each.value or "" for each in variables},
        }

    def _make_sandbox(self, agent: Agent, run: Run) -> Path:
        """With the link `latest` beside it."""
        runs = self.executor_folder(agent, run.framework_id, run.task_id) / "runs"
        sandbox = runs / run.container_id
        sandbox.mkdir(parents=True)
        latest = runs / "latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(sandbox, target_is_directory=True)
        return sandbox

    def work_folder(self, agent: Agent) -> Path:
        """What Mesos calls the agent's work_dir."""
        return self._state / agent.description.name

    def executor_folder(self, agent: Agent, framework_id: str, executor_id: str) -> Path:
        owner = self.work_folder(agent) / "slaves" / (agent.id or "none") / "frameworks" / framework_id
        return owner / "executors" / executor_id

    @staticmethod
    def _fetch(command: CommandInfo, sandbox: Path) -> None:
        """Raises OSError."""
        for uri in command.uris:
            source = Path(uri.value.removeprefix("file://"))
            if "://" in str(source) or not source.is_absolute():
                raise OSError(f"the simulator fetches files of this machine only, not {uri.value}")
            target = sandbox / (uri.output_file or source.name)
            shutil.copyfile(source, target)
            if uri.executable:
                target.chmod(0o755)

    def _reap(self, agent: Agent, run: Run, process: subprocess.Popen[bytes]) -> None:
        """In a thread of its own."""
        code = process.wait()
        _end_group(process.pid)
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._reaped, agent, run, process.pid, code)
        except RuntimeError:
            return  # the loop is closed: nobody wants to know any more

    def _reaped(self, agent: Agent, run: Run, pid: int, code: int) -> None:
        self._processes.pop(run.container_id, None)
        self._threads.pop(run.container_id, None)
        timer = self._timers.pop(run.container_id, None)
        if timer is not None:
            timer.cancel()
        self._tell_guard(f"-{pid}")
        self._enter(lambda: agent.ended(run, code))

    def _tell_guard(self, line: str) -> None:
        if self._guard is not None and self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.write(f"{line}\n")
            self._guard.stdin.flush()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To its whole group; without effect once it has ended."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def _end_group(pid: int) -> None:
    """What the command left behind ends with it, as in a container."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return

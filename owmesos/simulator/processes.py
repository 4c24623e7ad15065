"""Command tasks as real processes, each in its own sandbox folder with `stdout` and `stderr`.

The folders have the layout of a Mesos agent's, so that tools find them. Images are not pulled and nothing is
isolated: the command of a task with a container runs directly on this machine. URIs may be local files.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from owmesos.mesos.messages import CommandInfo
from owmesos.simulator.agenda import cancel
from owmesos.simulator.agent.agent import SimulatedAgent
from owmesos.simulator.agent.runs import TaskRun
from owmesos.simulator.guard import signal_group
from owmesos.system.private_files import FOLDER_MODE, make_private_folder, open_private

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_ARCHIVES = (*_TARS, ".zip")

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

    def open(self) -> None:
        """Raises InvalidInput if the state folder cannot be private."""
        make_private_folder(self._state, ("agent1",))
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
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait(5.0)
            self._guard = None

    # -- as a runner

    def start(self, agent: SimulatedAgent, run: TaskRun) -> None:
        agent.executor_registered(run)
        command = run.info.command
        if command is None or (command.value is None and not command.arguments):
            agent.failed_to_begin(run, "the simulator runs only commands")
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

    def kill(self, agent: SimulatedAgent, run: TaskRun, grace: float) -> None:
        process = self._processes.get(run.container_id)
        if process is None:
            return
        if run.work is None:
            _signal(process, signal.SIGTERM)
        due = agent.agenda.now + grace
        if run.work is None or due < run.work.when:
            cancel(run.work)
            run.work = agent.agenda.at(due, _signal, process, signal.SIGKILL)

    def freeze(self, run: TaskRun) -> None:
        self._signal_run(run, signal.SIGSTOP)

    def thaw(self, run: TaskRun) -> None:
        self._signal_run(run, signal.SIGCONT)

    def _signal_run(self, run: TaskRun, number: signal.Signals) -> None:
        process = self._processes.get(run.container_id)
        if process is not None:
            _signal(process, number)

    def destroy(self, run: TaskRun) -> None:
        self._signal_run(run, signal.SIGKILL)

    # -- one process

    def _spawn(
        self, agent: SimulatedAgent, run: TaskRun, command: CommandInfo, sandbox: Path
    ) -> subprocess.Popen[bytes]:
        if command.shell:
            program, arguments = "/bin/sh", ["/bin/sh", "-c", command.value or ""]
        else:
            arguments = command.arguments or [command.value or ""]
            program = command.value or arguments[0]
        with _output(sandbox / "stdout") as stdout, _output(sandbox / "stderr") as stderr:
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

    def _environment(self, agent: SimulatedAgent, run: TaskRun, command: CommandInfo) -> dict[str, str]:
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

    def _make_sandbox(self, agent: SimulatedAgent, run: TaskRun) -> Path:
        """With the link `latest` beside it."""
        of_agent = self._state / agent.description.name / "slaves" / (agent.id or "none")
        runs = of_agent / "frameworks" / run.framework_id / "executors" / run.task_id / "runs"
        sandbox = runs / run.container_id
        make_private_folder(sandbox)
        latest = runs / "latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(sandbox, target_is_directory=True)
        return sandbox

    @staticmethod
    def _fetch(command: CommandInfo, sandbox: Path) -> None:
        """Raises OSError."""
        for uri in command.uris:
            source = Path(uri.value.removeprefix("file://"))
            if "://" in str(source) or not source.is_absolute():
                raise OSError(f"the simulator fetches only local files, not {uri.value}")
            target = sandbox / (uri.output_file or source.name)
            with source.open("rb") as original, _output(target) as copy:
                shutil.copyfileobj(original, copy)
            if uri.executable:
                target.chmod(FOLDER_MODE)
            elif uri.extract and target.name.endswith(_ARCHIVES):
                _unpack(target, sandbox)

    def _reap(self, agent: SimulatedAgent, run: TaskRun, process: subprocess.Popen[bytes]) -> None:
        """In a thread of its own."""
        code = process.wait()
        signal_group(process.pid)  # what the command left behind ends with it, as in a container
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._reaped, agent, run, process.pid, code)
        except RuntimeError:
            return  # the loop is closed: nobody wants to know any more

    def _reaped(self, agent: SimulatedAgent, run: TaskRun, pid: int, code: int) -> None:
        self._processes.pop(run.container_id, None)
        self._threads.pop(run.container_id, None)
        cancel(run.work)
        self._tell_guard(f"-{pid}")
        self._enter(lambda: agent.ended(run, code))

    def _tell_guard(self, line: str) -> None:
        guard = self._guard
        if guard is not None and guard.stdin is not None:
            with suppress(ValueError, BrokenPipeError):  # the stop, in another thread, has just closed it
                guard.stdin.write(f"{line}\n")
                guard.stdin.flush()


def _output(file: Path) -> IO[bytes]:
    return os.fdopen(open_private(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To its whole group; without effect once it has ended."""
    if process.returncode is None:
        signal_group(process.pid, number)


def _unpack(archive: Path, folder: Path) -> None:
    """As Mesos's fetcher does, beside the archive. Raises OSError."""
    if archive.name.endswith(_TARS):
        done = subprocess.run(["tar", "-C", str(folder), "-xf", str(archive)], capture_output=True, check=False)
        if done.returncode:
            raise OSError(f"{archive.name} cannot be unpacked: {done.stderr.decode(errors='replace').strip()}")
        return
    try:
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
        raise OSError(f"{archive.name} cannot be unpacked: {error}") from None

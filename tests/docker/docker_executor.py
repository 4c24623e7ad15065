"""Runs one Docker container for a Mesos agent, in the place of Mesos's own `mesos-docker-executor`.

As Mesos's own does (src/docker/executor.cpp, docker.cpp): `docker run` in the foreground, whose streams are the task's;
TASK_RUNNING when `docker inspect`, asked every half second, says that the container has started; `docker stop` with the
grace period of the KILL call, else of the task; `Container exited with status N` at the end, without a reason, whatever
ended it. A container that never started (a port that is taken: status 125) is failed after 5 s, when the inspection is
given up. Health checks by TCP and HTTP are made from here, to the container's address.

Known difference: its container is not recovered when the agent is started anew, as the Docker containerizer recovers
only executors that speak libprocess's own protocol (src/slave/containerizer/docker.cpp): this one speaks the HTTP API.

The agent starts it as `python -I -S docker_executor.py [--owner=FILE] --container=NAME --docker=PATH …`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from owmesos.local.mesos.executor import Executor, Json, note
else:  # without site-packages there is no owmesos, but its file is
    sys.path.insert(0, os.path.abspath(f"{__file__}/../../../owmesos/local/mesos"))  # noqa: PTH100 - pathlib takes long
    from executor import Executor, Json, note

_INSPECT_EVERY = 0.5  # DOCKER_INSPECT_DELAY
_INSPECT_WITHIN = 5.0  # DOCKER_INSPECT_TIMEOUT
_LEAST_MEMORY = 32  # MB
_SHARES_PER_CPU = 1024
_LEAST_SHARES = 2
_PERIOD = 100_000  # µs of CPU_CFS_PERIOD
_NETWORKS = {None: "host", "HOST": "host", "BRIDGE": "bridge", "NONE": "none"}
_NEVER = "0001-01-01"  # how Docker writes that a container has not started


class Flags(NamedTuple):
    """Those that the agent gives it, and its own `owner`."""

    container: str
    docker: str
    docker_socket: str
    sandbox_directory: str
    mapped_directory: str
    task_environment: str = "{}"
    cgroups_enable_cfs: str = "false"
    owner: str = ""

    @classmethod
    def parse(cls, arguments: list[str]) -> Flags:
        """Of `--name=value`; those that it does not know are ignored."""
        given = dict(each.removeprefix("--").split("=", 1) for each in arguments if "=" in each)
        return cls(**{name: value for name, value in given.items() if name in cls._fields})


def run_arguments(task: Json, flags: Flags) -> list[str]:
    """The arguments of `docker run`. Raises KeyError for a task that lacks what Mesos requires."""
    container, command = task["container"], task.get("command", {})
    docker = container["docker"]
    amounts = {each["name"]: each["scalar"]["value"] for each in task.get("resources", []) if "scalar" in each}
    cpus, mem = amounts.get("cpus", 0.0), max(int(amounts.get("mem", 0)), _LEAST_MEMORY)
    arguments = ["--cpu-shares", str(max(int(cpus * _SHARES_PER_CPU), _LEAST_SHARES))]
    if flags.cgroups_enable_cfs == "true":
        arguments += ["--cpu-quota", str(int(cpus * _PERIOD))]
    arguments += ["--memory", str(mem * 1024 * 1024)]
    variables = {each["name"]: each.get("value", "") for each in command.get("environment", {}).get("variables", [])}
    variables |= json.loads(flags.task_environment)
    variables |= {"MESOS_SANDBOX": flags.mapped_directory, "MESOS_CONTAINER_NAME": flags.container}
    for name, value in variables.items():
        arguments += ["-e", f"{name}={value}"]
    arguments += ["-v", f"{flags.sandbox_directory}:{flags.mapped_directory}"]
    network = docker.get("network")
    named = container["network_infos"][0]["name"] if network == "USER" else _NETWORKS[network]
    arguments += ["--net", named]
    arguments += [f"--{each['key']}={each['value']}" for each in docker.get("parameters", [])]
    for each in docker.get("port_mappings", []):
        arguments += ["-p", f"{each['host_port']}:{each['container_port']}/{each.get('protocol', 'tcp')}"]
    shell = command.get("shell", True)
    arguments += [*(["--entrypoint", "/bin/sh"] if shell else []), "--name", flags.container, docker["image"]]
    if shell:
        return [*arguments, "-c", command["value"]]
    return [*arguments, *([command["value"]] if "value" in command else []), *command.get("arguments", [])]


class HealthChecks:
    """Judges one check after the other, as src/checks/health_checker.cpp does. Times in seconds."""

    def __init__(self, check: Json) -> None:
        self.check = check
        self.delay = check.get("delay_seconds", 15.0)
        self.interval = check.get("interval_seconds", 10.0)
        self._grace = check.get("grace_period_seconds", 10.0)
        self._most = check.get("consecutive_failures", 3)
        self._failures = 0
        self._begins = True

    def judged(self, passed: bool, age: float) -> tuple[bool, bool] | None:
        """Whether the task is healthy, and whether to kill it; None if there is nothing to report. `age`: seconds since
        the checks began."""
        if passed:
            news, self._begins, self._failures = self._begins or self._failures > 0, False, 0
            return (True, False) if news else None
        if self._begins and age <= self._grace:
            return None
        self._failures += 1
        return False, self._failures >= self._most

    def passes(self, host: str) -> bool:
        """Whether the container at `host` answers now."""
        import socket  # few tasks have checks
        import urllib.request

        timeout = self.check.get("timeout_seconds", 20.0)
        try:
            if self.check.get("type") == "HTTP":
                http = self.check["http"]
                url = f"http://{host}:{http['port']}{http.get('path', '/')}"
                with urllib.request.urlopen(url, timeout=timeout) as response:
                    return 200 <= int(response.status) < 400
            with socket.create_connection((host, self.check["tcp"]["port"]), timeout):
                return True
        except (OSError, ValueError):
            return False


class DockerExecutor(Executor):
    """One container. Its threads: events, `docker run`, inspection and health checks, and one for each KILL."""

    def __init__(self, environment: Mapping[str, str], flags: Flags) -> None:
        super().__init__(environment, flags.owner or None)
        self._flags = flags
        self._inspected = threading.Event()
        self._over = False
        self._unhealthy = False

    def _docker(self, *arguments: str) -> list[str]:
        return [self._flags.docker, "-H", f"unix://{self._flags.docker_socket}", *arguments]

    def _call(self, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        command = self._docker(*arguments)
        try:
            return subprocess.run(
                command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", "timed out")

    # -- what differs from an executor of commands

    def grace_of(self, kill: Json) -> float:
        """The KILL call's own kill policy comes first, which Mesos's executor of commands never gets."""
        policy = kill.get("kill_policy")
        return self.grace_in(policy) if policy else super().grace_of(kill)

    def launch(self, task: Json) -> None:
        run = subprocess.Popen(self._docker("run", *run_arguments(task, self._flags)), stdin=subprocess.DEVNULL)
        threading.Thread(target=self._watch, args=(task,), daemon=True).start()
        threading.Thread(target=self._wait_for, args=(run,), daemon=True).start()

    def kill(self, grace: float) -> None:
        threading.Thread(target=self._stop, args=(grace,), daemon=True).start()

    def force(self) -> None:
        self._call("kill", self._flags.container, timeout=_INSPECT_WITHIN)

    # -- threads

    def _watch(self, task: Json) -> None:
        """Waits until it runs, then checks its health."""
        found = self._inspect()
        if found is None:
            return
        networks = found["NetworkSettings"]
        address = networks.get("IPAddress") or next(
            (each["IPAddress"] for each in networks["Networks"].values() if each.get("IPAddress")), "127.0.0.1"
        )
        infos = [{"ip_addresses": [{"ip_address": address}]}]
        if not self.killed:
            self.update("TASK_RUNNING", container_status={"network_infos": infos})
        self._inspected.set()
        if "health_check" in task and not self.killed:
            self._check_health(HealthChecks(task["health_check"]), address)

    def _inspect(self) -> Json | None:
        """The container, once it has started; None if it ended first or that takes too long."""
        given_up = None
        while True:
            done = self._call("inspect", "--type=container", self._flags.container, timeout=_INSPECT_WITHIN)
            if done.returncode == 0:
                found: Json = json.loads(done.stdout)[0]
                if not found["State"]["StartedAt"].startswith(_NEVER):
                    return found
            if self._over:
                given_up = time.monotonic() + _INSPECT_WITHIN if given_up is None else given_up
                if time.monotonic() >= given_up:
                    self._inspected.set()
                    return None
            time.sleep(_INSPECT_EVERY)

    def _wait_for(self, run: subprocess.Popen[Any]) -> None:
        """Waits until `docker run` ends, and reports that after TASK_RUNNING."""
        code = run.wait()
        self._over = True
        self._inspected.wait()
        self.report_end(code, "Container", **({"healthy": False} if self._unhealthy else {}))

    def _check_health(self, checks: HealthChecks, address: str) -> None:
        begun = time.monotonic()
        time.sleep(checks.delay)
        while not self.killed and not self._over:
            news = checks.judged(checks.passes(address), time.monotonic() - begun)
            if news is not None and not self._over:
                healthy, kills = news
                self.update("TASK_RUNNING", healthy=healthy, reason="REASON_TASK_HEALTH_CHECK_STATUS_UPDATED")
                if kills:
                    self._unhealthy = True
                    self.kill(super().grace_of({}))
                    return
            time.sleep(checks.interval)

    def _stop(self, grace: float) -> None:
        self._inspected.wait(_INSPECT_WITHIN)  # before, Docker may not know the container yet
        if self._over:
            return
        self.begin_kill()
        done = self._call("stop", "-t", str(int(grace)), self._flags.container)
        if done.returncode:
            note("docker stop failed:", done.stderr)


def main(arguments: list[str]) -> None:
    executor = DockerExecutor(dict(os.environ), Flags.parse(arguments))

    def leave(*_: object) -> None:
        executor.force()
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)  # the cluster is brought down
    executor.run()


if __name__ == "__main__":
    main(sys.argv[1:])

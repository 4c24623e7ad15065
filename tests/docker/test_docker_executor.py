"""The stand-in for Mesos's docker executor: the facts that were measured with Mesos's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from owmesos.local.cluster import MesosCluster
from tests.docker.docker_executor import Flags, HealthChecks, run_arguments
from tests.local.plain_scheduler import Json, PlainScheduler
from tests.servers.docker import DockerEngine
from tests.waiting import eventually

FLAGS = Flags.parse(
    [
        *("--container=mesos-1", "--docker=docker", "--docker_socket=/s", "--sandbox_directory=/box", "--quiet=false"),
        *("--mapped_directory=/mnt/mesos/sandbox", "--task_environment={}", "--cgroups_enable_cfs=false"),
    ]
)

NOSUCH = "localhost:1/nosuch:1"  # nobody listens there, so that no registry is asked


def docker(image: str, network: str = "BRIDGE", ports: tuple[tuple[int, int], ...] = (), **parameters: str) -> Json:
    mappings = [{"host_port": outer, "container_port": inner} for outer, inner in ports]
    given = [{"key": key.replace("_", "-"), "value": value} for key, value in parameters.items()]
    info = {"image": image, "network": network, "port_mappings": mappings, "parameters": given}
    return {"type": "DOCKER", "docker": info}


def test_docker_run_is_told_what_mesos_tells_it() -> None:
    resources = [{"name": "cpus", "scalar": {"value": 0.5}}, {"name": "mem", "scalar": {"value": 64.0}}]
    variables = {"variables": [{"name": "A", "value": "1"}]}
    task = {
        "container": docker("i:1", ports=((31000, 8080),), pids_limit="9"),
        "command": {"shell": False, "environment": variables},
        "resources": resources,
    }
    assert run_arguments(task, FLAGS) == [
        *("--cpu-shares", "512", "--memory", str(64 * 1024 * 1024)),
        *("-e", "A=1", "-e", "MESOS_SANDBOX=/mnt/mesos/sandbox", "-e", "MESOS_CONTAINER_NAME=mesos-1"),
        *("-v", "/box:/mnt/mesos/sandbox", "--net", "bridge", "--pids-limit=9", "-p", "31000:8080/tcp"),
        *("--name", "mesos-1", "i:1"),
    ]
    shell = run_arguments({**task, "command": {"value": "exit 3"}}, FLAGS)
    assert shell[-6:] == ["/bin/sh", "--name", "mesos-1", "i:1", "-c", "exit 3"]


def test_health_checks_are_judged_as_mesos_judges_them() -> None:
    checks = HealthChecks({"grace_period_seconds": 5.0, "consecutive_failures": 2})
    assert checks.judged(False, 1.0) is None
    assert checks.judged(True, 2.0) == (True, False)
    assert checks.judged(True, 3.0) is None
    assert checks.judged(False, 4.0) == (False, False)
    assert checks.judged(False, 5.0) == (False, True)


@pytest.fixture
def scheduler(docker_cluster: MesosCluster) -> Iterator[PlainScheduler]:
    with PlainScheduler(docker_cluster.master) as scheduler:
        yield scheduler
        scheduler.call({"type": "TEARDOWN"})


def updates(scheduler: PlainScheduler, last: str) -> list[Json]:
    found = [scheduler.update()]
    while found[-1]["state"] != last:
        found.append(scheduler.update())
    return found


def shell(command: str) -> Json:
    return {"value": command}


@pytest.mark.docker
@pytest.mark.timeout(600)
class TestOnMesos:
    def test_an_exit_status_is_told_without_a_reason(self, scheduler: PlainScheduler, python_image: str) -> None:
        scheduler.launch("t1", shell("exit 3"), container=docker(python_image))
        found = updates(scheduler, "TASK_FAILED")
        assert [each["state"] for each in found] == ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"]
        assert found[-1]["message"] == "Container exited with status 3"
        assert "reason" not in found[-1]

    def test_a_missing_image_fails_before_anything_starts(self, scheduler: PlainScheduler) -> None:
        scheduler.launch("t1", {"shell": False}, container=docker(NOSUCH))
        (status,) = updates(scheduler, "TASK_FAILED")
        assert status["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
        assert status["message"].startswith("Failed to launch container: Failed to run '")
        assert f"pull {NOSUCH}': exited with status 1; stderr='" in status["message"]

    def test_the_kill_policy_of_the_call_counts(
        self, scheduler: PlainScheduler, docker_engine: DockerEngine, python_image: str
    ) -> None:
        stubborn = shell("trap '' TERM; echo ready; while :; do sleep 0.1; done")
        policy = {"grace_period": {"nanoseconds": 60 * 10**9}}
        scheduler.launch("t1", stubborn, container=docker(python_image), kill_policy=policy)
        began = updates(scheduler, "TASK_RUNNING")[-1]["timestamp"]
        (container,) = docker_engine.call("ps", "--quiet").split()
        eventually(lambda: "ready" in docker_engine.call("logs", container))
        fields: dict[str, Any] = {"task_id": {"value": "t1"}, "kill_policy": {"grace_period": {"nanoseconds": 10**9}}}
        scheduler.call({"type": "KILL", "kill": fields})
        status = updates(scheduler, "TASK_KILLED")[-1]
        assert status["message"] == "Container exited with status 137"
        assert 1.0 <= status["timestamp"] - began < 30.0

    def test_out_of_memory_is_status_137_and_no_reason(self, scheduler: PlainScheduler, python_image: str) -> None:
        eats = {"shell": False, "arguments": ["-c", "x = bytearray(200 * 1024 * 1024)"]}
        container = docker(python_image, memory_swap="33554432", entrypoint="python3")
        scheduler.launch("t1", eats, container=container)
        status = updates(scheduler, "TASK_FAILED")[-1]
        assert status["message"] == "Container exited with status 137"
        assert "reason" not in status

"""Whose grace period counts: the task's own for commands, that of the KILL call for Docker containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from owmesos.simulator import SimulatedCluster
from tests.local.plain_scheduler import Json, PlainScheduler
from tests.waiting import eventually


def _policy(seconds: float) -> Json:
    return {"grace_period": {"nanoseconds": int(seconds * 1e9)}}


def _taken_to_kill(cluster: SimulatedCluster, ready: Path, *, own: float, in_call: float, **task: Any) -> float:
    """Seconds from TASK_RUNNING to TASK_KILLED."""
    with PlainScheduler(cluster.master) as scheduler:
        stubborn = {"value": f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"}
        scheduler.launch("t1", stubborn, kill_policy=_policy(own), **task)
        began = next(each for each in iter(scheduler.update, None) if each["state"] == "TASK_RUNNING")["timestamp"]
        eventually(ready.exists)
        scheduler.call({"type": "KILL", "kill": {"task_id": {"value": "t1"}, "kill_policy": _policy(in_call)}})
        ended = scheduler.update()
        assert ended["state"] == "TASK_KILLED"
        scheduler.call({"type": "TEARDOWN"})
    return float(ended["timestamp"] - began)


def test_a_commands_own_counts(cluster: SimulatedCluster, tmp_path: Path) -> None:
    assert _taken_to_kill(cluster, tmp_path / "ready", own=0.5, in_call=0.0) >= 0.5


def test_a_docker_container_gets_the_grace_period_of_the_kill_call(cluster: SimulatedCluster, tmp_path: Path) -> None:
    container = {"type": "DOCKER", "docker": {"image": "i", "network": "HOST"}}
    assert _taken_to_kill(cluster, tmp_path / "ready", own=60.0, in_call=0.3, container=container) < 30.0

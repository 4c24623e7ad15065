"""Launches of images by a framework: who they run as, and what a health check does."""

from __future__ import annotations

import pytest

from owmesos.local.cluster import MesosCluster
from owmesos.mesos.messages import HealthCheck, TaskInfo, TCPCheckInfo
from owmesos.mesos.scheduler.launch import Launch
from owmesos.service.framework import Framework

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
EXIT_WITH_UID = "import os, sys; sys.exit(os.getuid() % 100)"  # nobody's is 65534


async def test_an_image_runs_as_the_user_that_is_asked_for(docker_cluster: MesosCluster, python_image: str) -> None:
    launch = Launch(image=python_image, command="python3", arguments=["-c", EXIT_WITH_UID], user="nobody")
    async with Framework(master=docker_cluster.master) as framework:
        ended = await (await framework.launch(launch)).ended()
        assert ended["message"] == "Container exited with status 34"


def _checked(info: TaskInfo) -> None:
    """Nobody listens there."""
    info.health_check = HealthCheck(
        type="TCP", tcp=TCPCheckInfo(9), delay_seconds=0.0, interval_seconds=0.1, grace_period_seconds=0.0,
        consecutive_failures=2,
    )  # fmt: skip


async def test_a_task_that_its_health_check_killed_says_so(docker_cluster: MesosCluster, python_image: str) -> None:
    launch = Launch(image=python_image, command="exec sleep 60", network="bridge", task_info=_checked, kill_grace=0)
    async with Framework(master=docker_cluster.master) as framework:
        handle = await framework.launch(launch)
        ended = await handle.ended()
        assert (ended["state"], ended["message"]) == (
            "KILLED",
            "Container exited with status 137: killed because its health check failed",
        )
        told = [line["text"] for line in framework.story(ended["launch_id"])["story"]]
        assert "TASK_RUNNING REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy" in told

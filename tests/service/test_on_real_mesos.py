"""The library on Apache Mesos: what a TaskInfo of ours becomes there, and the examples as a user runs them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

import owmesos
from owmesos.local.proc import with_variable
from owmesos.mesos.messages import ID, CommandInfo, Event, ExecutorInfo, TaskInfo, Update
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.service.launch_requests import LaunchHandle
from tests.fixtures.real_mesos import ClusterFactory
from tests.waiting import eventually_async, in_time

pytestmark = pytest.mark.real_mesos
EXAMPLES = Path(__file__).parents[2] / "examples"


async def end_of(framework: owmesos.Framework, launch: owmesos.Launch) -> dict[str, object]:
    return await (await framework.launch(launch)).ended()


async def test_every_kind_of_container_is_a_task_info_that_mesos_takes(mesos_cluster: ClusterFactory) -> None:
    """The agents have no Docker, so what is taken fails on the agent, never at the master (TASK_ERROR, a 400)."""
    cluster = mesos_cluster(agents=1)
    small = {"cpus": 0.1, "mem": 32.0, "deadline": 30.0}
    async with owmesos.Framework(master=cluster.master, name="kinds") as framework:
        for launch in (
            owmesos.Launch(image="web:1", network="bridge", ports=2, container_ports=[80], force_pull=True, **small),
            owmesos.Launch(image="web:1", network="blue", docker_parameters={"cap-drop": "NET_RAW"}, **small),
            owmesos.Launch(image="web:1", containerizer="mesos", network="cni", ports=1, **small),
        ):
            end = await end_of(framework, launch)
            assert (end["state"], end["reason"]) != ("ERROR", "REFUSED"), end
            assert end["state"] in ("FAILED", "LOST"), end
            assert end["reason"] not in ("REASON_TASK_INVALID", "REASON_INVALID_OFFERS"), end


async def test_a_task_sees_its_environment_and_its_edit(mesos_cluster: ClusterFactory, tmp_path: Path) -> None:
    cluster = mesos_cluster(agents=1)
    told = tmp_path / "told"

    def named(info: TaskInfo) -> None:
        info.name = "edited"

    async with owmesos.Framework(master=cluster.master, name="environment") as framework:
        launch = await framework.launch(
            owmesos.Launch(
                command=f'echo "$HOST $PORT $PORTS $OWMESOS_LAUNCH_ID $A" > {told}',
                ports=2,
                env={"A": "b"},
                task_info=named,
            )
        )
        end = await launch.ended()
    first, second = (port for begin, last in end["ports"] for port in range(begin, last + 1))
    assert told.read_text() == f"{end['hostname']} {first} {first},{second} {launch.id} b\n"


async def test_a_task_info_that_the_master_refuses_ends_only_its_own_launch(mesos_cluster: ClusterFactory) -> None:
    """Both are in one ACCEPT at first: it is answered 400, spends no offers, and then each is tried alone."""
    cluster = mesos_cluster(agents=1)

    def bad(info: TaskInfo) -> None:
        info.command = None
        info.executor = ExecutorInfo(ID("has a / in it"), CommandInfo(value="true"))

    async with owmesos.Framework(master=cluster.master, name="refused") as framework:
        await eventually_async(lambda: framework.nodes() and framework.subscribed)
        handles = await framework.launch_many(
            [owmesos.Launch(command="true"), owmesos.Launch(cpus=0.1, task_info=bad), owmesos.Launch(command="true")]
        )
        ends = [await handle.ended() for handle in handles]
    assert [end["state"] for end in ends] == ["FINISHED", "ERROR", "FINISHED"], ends
    assert "has a / in it" in str(ends[1]["message"])


async def run_example(name: str, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode()


async def test_the_batch_example_runs_every_command_and_says_how_it_ended(
    mesos_cluster: ClusterFactory, tmp_path: Path
) -> None:
    cluster = mesos_cluster(agents=2)
    commands = tmp_path / "commands"
    commands.write_text("true\nsleep 0.5\nfalse\n")
    code, out = await run_example("batch.py", cluster.master, str(commands), "--retries", "1")
    assert code == 1, out
    assert out.count("'false'") == 2
    assert "2 of 3 commands finished" in out


async def test_the_service_example_serves_on_each_rack_and_survives_its_program(
    mesos_cluster: ClusterFactory, tmp_path: Path
) -> None:
    cluster = mesos_cluster(agents=2)
    options = (cluster.master, "--racks", "r1", "r2", "--state", str(tmp_path / "state"))
    code, out = await run_example("service.py", *options, "--seconds", "5")
    assert code == 0, out
    first = {line for line in out.splitlines() if " serves at " in line}
    assert {line.split()[0] for line in first} == {"web-r1", "web-r2"}, out
    code, out = await run_example("service.py", *options, "--seconds", "3")
    assert code == 0, out
    assert {line for line in out.splitlines() if " serves at " in line} == first


def executor_hangs(launch: LaunchHandle) -> None:
    """SIGSTOP to everything in the container of its task."""
    pids = with_variable("MESOS_EXECUTOR_ID", launch.document()["task_id"])
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


async def test_an_executor_that_hangs_is_shut_down_when_its_launch_is_killed(mesos_cluster: ClusterFactory) -> None:
    cluster = mesos_cluster(agents=1, agent_flags={"executor_shutdown_grace_period": "1secs"})
    quick = owmesos.Settings(kill_escalate=1.0, kill_repeat=0.5)
    async with owmesos.Framework(master=cluster.master, name="hung", settings=quick) as framework:
        launch = await framework.launch(owmesos.Launch(command="sleep 600", kill_grace=0.5))
        await launch.running()
        executor_hangs(launch)
        await launch.kill()
        end = await in_time(launch.ended())
        assert (end["state"], end["reason"]) == ("FAILED", "REASON_EXECUTOR_TERMINATED")
        assert any("SHUTDOWN" in line["text"] for line in launch.story()["story"])
        assert framework.reservations() == []


@pytest.mark.parametrize("retry", ["safe", "lost"])
async def test_what_an_executor_had_runs_again_only_where_its_asker_allows_it(
    mesos_cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry: str
) -> None:
    """Its agent dies while the executor hangs, before RUNNING was told: the agent says TASK_GONE when it is back."""
    cluster = mesos_cluster(agents=1, agent_flags={"executor_reregistration_timeout": "1secs"})
    ran = tmp_path / "ran"
    async with owmesos.Framework(master=cluster.master, name="gone") as framework:
        observe = framework.shell.observe

        def early(event: Event) -> None:
            """RUNNING of the first task is not told: STARTING comes twice, and is acknowledged twice."""
            if isinstance(event, Update) and event.status.task_id.value.endswith(".1"):
                state = "TASK_STARTING" if event.status.state == "TASK_RUNNING" else event.status.state
                event = Update(msgspec.structs.replace(event.status, state=state))
            observe(event)

        monkeypatch.setattr(framework.shell, "observe", early)
        launch = await framework.launch(owmesos.Launch(command=f"echo >> {ran}; sleep 600", retry=retry))
        await eventually_async(lambda: launch.state is State.STAGING and ran.exists(), what="a task that has begun")
        executor_hangs(launch)
        cluster.kill("agent1")
        cluster.start("agent1")
        if retry == "safe":
            end = await in_time(launch.ended())
            assert (end["state"], end["attempts"]) == ("LOST", 1)
            assert "an executor had its task, so it is not started again" in end["message"]
            assert ran.read_text() == "\n"
        else:
            await eventually_async(lambda: launch.document()["attempts"] == 2, what="another attempt")
            await in_time(launch.running())


async def test_a_frozen_agent_that_goes_on_carries_out_what_it_was_told(mesos_cluster: ClusterFactory) -> None:
    cluster = mesos_cluster(agents=1, master_flags={"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "2"})
    async with owmesos.Framework(master=cluster.master, name="frozen") as framework:
        launch = await framework.launch(owmesos.Launch(command="sleep 600"))
        await launch.running()
        (agent,) = (daemon.pid for daemon in cluster.status() if daemon.name == "agent1")
        assert agent is not None
        os.kill(agent, signal.SIGSTOP)
        try:
            await launch.kill()
            await eventually_async(lambda: launch.state is State.UNREACHABLE, what="UNREACHABLE")
            assert framework.reservations() == []
        finally:
            os.kill(agent, signal.SIGCONT)
        end = await asyncio.wait_for(launch.ended(), 60)
        assert end["state"] == "KILLED"

"""The stand-in executor under a real agent: states, output, kill policy, and the loss of its agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from owmesos.local.build import Build
from owmesos.local.cluster import MesosCluster
from owmesos.local.mesos.executor import duration
from owmesos.local.proc import with_variable
from tests.fixtures.real_mesos import running_cluster
from tests.local.plain_scheduler import PlainScheduler
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("text", "seconds"), [("5secs", 5.0), ("1.5mins", 90.0), ("100ms", 0.1), ("2hrs", 7200.0), (None, 9.0), ("x", 9.0)]
)
def test_durations_are_as_mesos_writes_them(text: str | None, seconds: float) -> None:
    assert duration(text, 9.0) == pytest.approx(seconds)


@pytest.fixture(scope="module")
def cluster(mesos_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MesosCluster]:
    with running_cluster(tmp_path_factory.mktemp("executor"), agents=1) as cluster:
        yield cluster


@pytest.fixture
def scheduler(cluster: MesosCluster) -> Iterator[PlainScheduler]:
    with PlainScheduler(cluster.master) as scheduler:
        yield scheduler
        scheduler.call({"type": "TEARDOWN"})


def sandbox(cluster: MesosCluster, scheduler: PlainScheduler, task_id: str) -> Path:
    """The task's folder."""
    pattern = f"agents/0/work/slaves/*/frameworks/{scheduler.framework_id}/executors/{task_id}/runs/latest"
    (found,) = cluster.work_folder("agent1").glob(pattern)
    return found


def processes_of(scheduler: PlainScheduler) -> list[int]:
    """Executors and tasks of a framework."""
    return with_variable("MESOS_FRAMEWORK_ID", scheduler.framework_id)


def kill_policy(seconds: float) -> dict[str, object]:
    return {"grace_period": {"nanoseconds": int(seconds * 1e9)}}


@pytest.mark.real_mesos
class TestStates:
    def test_a_task_that_ends_well_is_finished_with_its_output_in_the_sandbox(
        self, cluster: MesosCluster, scheduler: PlainScheduler
    ) -> None:
        variables = [{"name": "GREETING", "value": "hello"}]
        scheduler.launch("t1", {"value": "echo $GREETING; pwd", "environment": {"variables": variables}})
        assert scheduler.states("TASK_FINISHED") == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
        folder = sandbox(cluster, scheduler, "t1")
        assert (folder / "stdout").read_text(encoding="utf-8").splitlines() == ["hello", str(folder.resolve())]

    def test_a_task_that_ends_badly_is_failed_with_its_status(self, scheduler: PlainScheduler) -> None:
        scheduler.launch("t1", {"value": "exit 3"})
        statuses = [scheduler.update() for _ in range(3)]
        assert [each["state"] for each in statuses] == ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"]
        assert statuses[-1]["message"] == "Command exited with status 3"
        assert statuses[-1]["source"] == "SOURCE_EXECUTOR"

    def test_a_program_that_does_not_exist_is_failed(self, scheduler: PlainScheduler) -> None:
        scheduler.launch("t1", {"value": "/no/such/program", "shell": False})
        assert scheduler.states("TASK_FAILED") == ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"]

    def test_arguments_without_a_shell(self, cluster: MesosCluster, scheduler: PlainScheduler) -> None:
        scheduler.launch("t1", {"value": "/bin/echo", "shell": False, "arguments": ["echo", "a b", "$HOME"]})
        scheduler.states("TASK_FINISHED")
        output = sandbox(cluster, scheduler, "t1") / "stdout"
        assert output.read_text(encoding="utf-8") == "a b $HOME\n"


@pytest.mark.real_mesos
class TestKill:
    def test_a_task_that_obeys_is_killed_at_once(self, scheduler: PlainScheduler) -> None:
        scheduler.launch("t1", {"value": "exec sleep 1000"}, kill_policy=kill_policy(600))
        scheduler.states("TASK_RUNNING")
        scheduler.kill("t1")
        status = scheduler.update()
        assert (status["state"], status["message"]) == ("TASK_KILLED", "Command terminated with signal Terminated")

    def test_a_task_that_does_not_is_killed_after_its_grace(
        self, cluster: MesosCluster, scheduler: PlainScheduler
    ) -> None:
        began = self._stubborn(cluster, scheduler)
        scheduler.kill("t1")
        status = scheduler.update()
        assert (status["state"], status["message"]) == ("TASK_KILLED", "Command terminated with signal Killed")
        assert status["timestamp"] - began >= 1.0

    def test_the_kill_policy_of_the_call_does_not_count(self, cluster: MesosCluster, scheduler: PlainScheduler) -> None:
        began = self._stubborn(cluster, scheduler)
        fields = {"task_id": {"value": "t1"}, "kill_policy": kill_policy(0)}
        scheduler.call({"type": "KILL", "kill": fields})
        status = scheduler.update()
        assert status["state"] == "TASK_KILLED"
        assert status["timestamp"] - began >= 1.0

    @staticmethod
    def _stubborn(cluster: MesosCluster, scheduler: PlainScheduler) -> float:
        """A task with a grace of a second, which TERM does not end: when it began to run."""
        ready = cluster.state / f"ready-{uuid4().hex}"
        scheduler.launch(
            "t1", {"value": f"trap '' TERM; touch {ready}; sleep 1000; sleep 1000"}, kill_policy=kill_policy(1)
        )
        began = next(each for each in iter(scheduler.update, None) if each["state"] == "TASK_RUNNING")["timestamp"]
        eventually(ready.exists)
        return float(began)

    def test_a_framework_that_wants_it_hears_of_killing(self, cluster: MesosCluster) -> None:
        with PlainScheduler(cluster.master, killing=True) as scheduler:
            scheduler.launch("t1", {"value": "exec sleep 1000"})
            scheduler.states("TASK_RUNNING")
            scheduler.kill("t1")
            assert scheduler.states("TASK_KILLED") == ["TASK_KILLING", "TASK_KILLED"]
            scheduler.call({"type": "TEARDOWN"})

    def test_teardown_ends_the_task(self, cluster: MesosCluster) -> None:
        with PlainScheduler(cluster.master) as scheduler:
            scheduler.launch("t1", {"value": "exec sleep 1000"})
            scheduler.states("TASK_RUNNING")
            scheduler.call({"type": "TEARDOWN"})
        eventually(lambda: not processes_of(scheduler), 4, what="executor and task have ended, before the agent's KILL")


@pytest.mark.real_mesos
class TestLostAgent:
    def test_a_task_lives_on_while_its_agent_restarts(self, cluster: MesosCluster, scheduler: PlainScheduler) -> None:
        go = cluster.state / "go-on"
        scheduler.launch("t1", {"value": f"until test -e {go}; do sleep 0.05; done"})
        scheduler.states("TASK_RUNNING")
        cluster.kill("agent1")
        cluster.start("agent1")
        cluster.wait_registered()
        go.touch()
        # The acknowledgement of RUNNING may have been lost with the agent.
        assert set(scheduler.states("TASK_FINISHED")) <= {"TASK_RUNNING", "TASK_FINISHED"}

    def test_an_end_without_the_agent_is_reported_when_it_is_back(
        self, cluster: MesosCluster, scheduler: PlainScheduler
    ) -> None:
        go, over = cluster.state / "end", cluster.state / "over"
        scheduler.launch("t1", {"value": f"until test -e {go}; do sleep 0.05; done; touch {over}"})
        scheduler.states("TASK_RUNNING")
        cluster.kill("agent1")
        go.touch()
        eventually(over.exists, what="the task has ended")
        cluster.start("agent1")
        assert set(scheduler.states("TASK_FINISHED")) <= {"TASK_RUNNING", "TASK_FINISHED"}

    def test_an_executor_ends_when_its_agent_is_replaced(self, cluster: MesosCluster) -> None:
        with PlainScheduler(cluster.master) as scheduler:
            scheduler.launch("t1", {"value": "exec sleep 1000"})
            scheduler.states("TASK_RUNNING")
            cluster.kill("agent1")
            folder = cluster.work_folder("agent1")
            folder.rename(folder.with_name("gone"))
            cluster.start("agent1")
            eventually(lambda: not processes_of(scheduler), 20, what="executor and task have ended")
            scheduler.call({"type": "TEARDOWN"})

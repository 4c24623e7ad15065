"""What happens to machines and their agents, step by step, in virtual time."""

from __future__ import annotations

import pytest

from owmesos.mesos.messages import Failure
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.settings import Settings
from owmesos.simulator import MasterSettings, VirtualCluster, VirtualScheduler, notation
from owmesos.simulator.agent.agent import SimulatedAgent
from owmesos.simulator.agent.plays import Plays, from_command
from owmesos.simulator.agent.runs import TaskRun
from owmesos.simulator.protocol import AgentDescription
from owmesos.simulator.world import SimulatorError

PATIENT = MasterSettings(agent_ping_timeout=1000.0)


def driven(settings: MasterSettings | None = PATIENT) -> tuple[VirtualCluster, VirtualScheduler]:
    """One agent, and a scheduler that knows it."""
    cluster = VirtualCluster(1, settings=settings)
    scheduler = VirtualScheduler(cluster, settings=Settings())
    cluster.run(20.0)
    return cluster, scheduler


def state_of(scheduler: VirtualScheduler, launch_id: str) -> tuple[State, int]:
    record = scheduler.scheduler.state.launches[launch_id]
    return record.state, record.attempts


def test_a_frozen_agent_reads_its_launches_when_it_is_thawed() -> None:
    cluster, scheduler = driven()
    cluster.world.freeze("agent1")
    (launch_id,) = scheduler.submit(Launch("sleep 1000"))
    cluster.run(5.0)
    assert state_of(scheduler, launch_id) == (State.SUBMITTED, 1)
    cluster.world.thaw("agent1")
    cluster.run(1.0)
    assert state_of(scheduler, launch_id) == (State.RUNNING, 1)


def test_one_that_is_killed_while_it_is_frozen_never_reads_them() -> None:
    cluster, scheduler = driven()
    cluster.world.freeze("agent1")
    (launch_id,) = scheduler.submit(Launch("sleep 1000"))
    cluster.run(5.0)
    cluster.world.kill("agent1")
    cluster.world.start("agent1")
    cluster.run(2.0)
    assert state_of(scheduler, launch_id) == (State.RUNNING, 2)


def test_after_its_machine_was_off_an_agent_has_its_id_and_none_of_its_tasks() -> None:
    cluster, scheduler = driven()
    (launch_id,) = scheduler.submit(Launch("sleep 1000"))
    cluster.run(1.0)
    agent_id = cluster.world.places["agent1"].agent.id
    cluster.world.power_off("agent1")
    cluster.run(10.0)
    assert cluster.world.tasks() == []
    assert state_of(scheduler, launch_id) == (State.RUNNING, 1)
    cluster.world.start("agent1")
    cluster.run(1.0)
    assert cluster.world.places["agent1"].agent.id == agent_id
    assert state_of(scheduler, launch_id) == (State.LOST, 1)


def test_an_agent_can_be_given_up_before_its_ping_timeouts() -> None:
    cluster, scheduler = driven()
    failures: list[object] = []
    scheduler.observers.append(lambda event: failures.append(event) if isinstance(event, Failure) else None)
    with pytest.raises(SimulatorError, match="agent1 is running"):
        cluster.world.give_up("agent1")
    cluster.world.freeze("agent1")
    cluster.world.give_up("agent1")
    cluster.run(0.0)
    assert len(failures) == 1


def test_one_that_has_not_come_back_since_a_failover_is_given_up_in_silence() -> None:
    cluster, _ = driven()
    world = cluster.world
    world.freeze("agent1")
    world.fail_over()
    assert world.master is not None
    (agent_id,) = world.master.books.recovered
    world.give_up("agent1")
    assert world.master.books.recovered == {}
    assert set(world.master.books.registry.unreachable) == {agent_id}


def test_an_agent_that_is_added_is_offered_once_it_is_started() -> None:
    cluster, scheduler = driven()
    total = notation.resources("cpus:64;mem:65536")
    cluster.world.add(AgentDescription("large", "large.example.org", "10.0.0.99", 5051, total))
    (launch_id,) = scheduler.submit(Launch("sleep 1000", constraints=["@hostname == large.example.org"], deadline=600))
    cluster.run(5.0)
    assert state_of(scheduler, launch_id) == (State.PENDING, 0)
    cluster.world.start("large")
    cluster.run(2.0)
    assert state_of(scheduler, launch_id) == (State.RUNNING, 1)


def test_a_runner_may_say_that_an_executor_does_not_start() -> None:
    class Broken(Plays):
        def start(self, agent: SimulatedAgent, run: TaskRun) -> None:
            agent.never_began(run, "TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")

    cluster, scheduler = driven()
    cluster.world.places["agent1"].agent.runner = Broken(from_command)
    (launch_id,) = scheduler.submit(Launch("sleep 1000"))
    cluster.run(1.0)
    record = scheduler.scheduler.state.launches[launch_id]
    assert (record.state, record.started_at, record.reason) == (State.FAILED, None, "REASON_CONTAINER_LAUNCH_FAILED")

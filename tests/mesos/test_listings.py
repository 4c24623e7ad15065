"""What the documents say of launches that wait, and of a time without a master."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.errors import Ambiguous
from owmesos.mesos.listings import FirstLaunches, connection_trouble, explanation, find, launch, launches, nodes
from owmesos.mesos.messages import ID, Failure, TaskStatus, Update
from owmesos.mesos.scheduler.events import KillLaunches, Submit
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.task_info import template
from owmesos.service.kill import Choice
from tests.model.scene import agent, at_rest, cut_off, running, task_of
from tests.model.world import World


def row_of(world: World, launch_id: str) -> dict[str, object]:
    return dict(launch(world.scheduler.state, world.record(launch_id)))


class TestWhy:
    def test_what_waits_says_what_its_explanation_says(self) -> None:
        world = at_rest(agent(1, mem=512))
        running(world, mem=400)
        waiting, another, small = world.submit(mem=300), world.submit(mem=300), world.submit(mem=200)
        world.wait(1)
        for launch_id in (waiting, another, small):
            explained = world.scheduler.explain(launch_id)
            assert explained is not None
            assert row_of(world, launch_id)["summary"] == explained.summary
        rows = {row["launch_id"]: row for row in launches(world.scheduler.state)}
        assert rows[waiting]["summary"] == "of 1 agent, 1 lacks memory; nearest: agent S1 (h1) is 188 MB short"
        assert rows[small]["summary"] == "of 1 agent, 1 lacks memory; nearest: agent S1 (h1) is 88 MB short"

    def test_of_too_many_shapes_some_say_who_knows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("owmesos.mesos.listings._MOST_LOOKS", 2)
        world = at_rest(agent(1, mem=64))
        ids = [world.submit(mem=100 + number) for number in range(4)]
        first, second, third, fourth = (row["summary"] for row in launches(world.scheduler.state, ids))
        assert {first, second}.isdisjoint({third, fourth})
        assert third == fourth
        assert "`explain` says why" in str(third)

    def test_what_runs_says_nothing(self) -> None:
        world = at_rest()
        assert row_of(world, running(world))["summary"] is None

    def test_an_unreachable_one_says_since_when_and_until_when(self) -> None:
        world = at_rest(unreachable_timeout=60)
        launch_id = running(world)
        cut_off(world)
        world.wait(0.1)
        assert world.record(launch_id).state is State.UNREACHABLE
        summary = str(row_of(world, launch_id)["summary"])
        assert summary.startswith("agent S1 is unreachable since ")
        assert "if it does not come back, the launch is LOST at " in summary


@pytest.mark.parametrize(("agents", "begins"), [(3, "of 3 agents, 3 lack memory"), (1001, "it waits for room")])
def test_of_launches_just_asked_for_a_large_cluster_is_not_searched(agents: int, begins: str) -> None:
    world = at_rest(*(agent(number) for number in range(agents)))
    ids = [world.submit(mem=9999) for _ in range(2)]
    for row in FirstLaunches(world.scheduler.state).of(ids):
        assert row["summary"] is not None
        assert row["summary"].startswith(begins)


def test_a_launch_that_waits_again_is_nowhere() -> None:
    world = at_rest()
    launch_id = world.submit(retry="lost")
    world.deliver()
    task = task_of(world, launch_id)
    assert row_of(world, launch_id)["hostname"] == "h1"
    world.cluster.maintenance("S1", planned=True)
    task.forget()
    world.handle(Update(TaskStatus(ID(task.task_id), "TASK_DROPPED", agent_id=ID("S1"))))
    row = row_of(world, launch_id)
    assert row["state"] in ("PENDING", "RESERVED")
    assert (row["agent_id"], row["hostname"], row["ports"]) == (None, None, [])


def test_a_node_that_is_gone_or_under_maintenance_says_so() -> None:
    world = at_rest(agent(1), agent(2))
    world.handle(Failure(agent_id=ID("S1")))
    world.scheduler.state.ledger.agent("S2").unavailability = (world.now + 60, 3600.0)
    gone, draining = nodes(world.scheduler.state, world.now)
    assert gone["state"] == "gone"
    assert str(gone["reason"]).startswith("it has been gone since 2023-")
    assert str(gone["reason"]).endswith(": removed, or out of the master's reach")
    assert str(draining["reason"]).startswith("its maintenance begins 2023-")


class TestWithoutAMaster:
    def test_nodes_and_waiting_launches_say_since_when(self) -> None:
        world = at_rest()
        world.lose_stream(connect_after=1000)
        world.deliver()
        lost_at = world.scheduler.state.connection.since
        launch_id = world.submit()
        world.wait(5)
        said = connection_trouble(world.scheduler.state)
        assert said is not None
        assert said.startswith("not connected to a master since 20")
        assert said.endswith(": end of stream")
        (node,) = nodes(world.scheduler.state, world.now)
        assert (node["state"], node["reason"]) == ("unknown", said)
        assert row_of(world, launch_id)["summary"] == said
        found = world.scheduler.explain(launch_id)
        assert explanation(world.scheduler.state, world.record(launch_id), found)["summary"] == said
        assert world.scheduler.state.connection.since == lost_at

    def test_that_is_over_with_the_subscription(self) -> None:
        world = at_rest()
        world.lose_stream(connect_after=1)
        world.wait(5)
        assert world.scheduler.state.connected
        assert connection_trouble(world.scheduler.state) is None
        assert nodes(world.scheduler.state, world.now)[0]["reason"] is None


class TestFind:
    """What stands for a launch besides its own id."""

    def world(self) -> World:
        world = at_rest(agent(1, mem=64))
        for number, name in enumerate(("web", "web", "db", "web-admin"), 1):
            launch = Launch(command="true", name=name, mem=128)
            world.handle(Submit(f"{name}-{number}{'f' * 7}", launch, template(launch)))
        return world

    @pytest.mark.parametrize(
        ("name", "found"),
        [("db-3fffffff", "db-3fffffff"), ("db", "db-3fffffff"), ("d", "db-3fffffff"), ("web-2", "web-2fffffff")],
    )
    def test_an_id_a_name_or_the_beginning_of_an_id_of_one_launch(self, name: str, found: str) -> None:
        record = find(self.world().scheduler.state, name)
        assert record is not None
        assert record.id == found

    def test_a_name_comes_before_the_beginning_of_others(self) -> None:
        record = find(self.world().scheduler.state, "web-admin")
        assert record is not None
        assert record.id == "web-admin-4fffffff"
        with pytest.raises(Ambiguous) as raised:
            find(self.world().scheduler.state, "web")
        assert str(raised.value) == (
            "web is ambiguous: web-2fffffff (PENDING), web-1fffffff (PENDING); write more of the ID"
        )

    def test_a_name_stands_for_the_only_one_that_has_not_ended(self) -> None:
        world = self.world()
        world.handle(KillLaunches(("web-2fffffff",)))
        record = find(world.scheduler.state, "web")
        assert record is not None
        assert record.id == "web-1fffffff"
        world.handle(KillLaunches(("web-1fffffff",)))
        with pytest.raises(Ambiguous, match=r"web-2f+ \(KILLED\), web-1f+ \(KILLED\)"):
            find(world.scheduler.state, "web")

    def test_the_beginning_of_an_id_also_means_those_that_have_ended(self) -> None:
        world = self.world()
        for number in (1, 2):
            world.handle(KillLaunches((f"web-{number}fffffff",)))
        with pytest.raises(Ambiguous, match=r"web-admin-4f+ \(PENDING\), web-2f+ \(KILLED\), web-1f+ \(KILLED\)"):
            find(world.scheduler.state, "we")

    def test_several_that_begin_so_are_named_the_latest_first(self) -> None:
        with pytest.raises(Ambiguous, match=r"web-admin-4f+ \(PENDING\), web-2f+ \(PENDING\), web-1"):
            find(self.world().scheduler.state, "we")

    def test_nothing_and_what_nobody_has_is_unknown(self) -> None:
        assert find(self.world().scheduler.state, "") is None
        assert find(self.world().scheduler.state, "x") is None

    def test_many_are_found_by_one_look_at_all_launches(self) -> None:
        class Launches(dict[str, LaunchRecord]):
            looks = 0

            def values(self) -> Any:
                self.looks += 1
                return super().values()

        state = self.world().scheduler.state
        state.launches = launches = Launches(state.launches)
        found = Choice(ids=("x", "db", "y", "web-2", "db-3fffffff", "")).among(state)
        assert [record.id if record is not None else None for _, record in found] == [
            None, "db-3fffffff", None, "web-2fffffff", "db-3fffffff", None,
        ]  # fmt: skip
        assert launches.looks == 1

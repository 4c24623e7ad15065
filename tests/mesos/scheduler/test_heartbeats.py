"""A master that is connected and says nothing is called silent once its heartbeats are overdue."""

from __future__ import annotations

import pytest

from owmesos.mesos.listings import connection_trouble
from owmesos.mesos.messages import ID, Heartbeat, Rescind, Subscribed
from owmesos.mesos.scheduler.effects import Note
from owmesos.mesos.scheduler.heartbeats import OVERDUE
from tests.model.scene import agent, at_rest
from tests.model.world import World

LIMIT = OVERDUE * 15.0


def frozen(world: World) -> World:
    """From now on its master, which sends heartbeats, says nothing by itself."""
    assert world.framework_id is not None
    world.half_open = True
    world.handle(Subscribed(ID(world.framework_id), 15.0))
    return world


def notes(world: World, text: str) -> list[str]:
    return [each.level for each in world.effects if isinstance(each, Note) and text in each.text]


def silent_since(world: World) -> float | None:
    return world.scheduler.state.connection.silent_since


class TestSilence:
    def test_it_is_noticed_when_the_next_heartbeat_is_overdue(self) -> None:
        world = frozen(at_rest())
        world.handle(Heartbeat())
        heard = world.now
        world.wait(LIMIT - 0.1)
        assert silent_since(world) is None
        world.wait(0.2)
        assert silent_since(world) == heard
        assert notes(world, "the master has been silent for 22 s; its heartbeats come every 15 s") == ["warning"]

    def test_heartbeats_that_come_keep_it_away(self) -> None:
        world = frozen(at_rest())
        for _ in range(10):
            world.handle(Heartbeat())
            world.wait(15.0)
            assert silent_since(world) is None
        assert notes(world, "silent") == []

    def test_any_event_of_the_master_is_a_sign_of_life(self) -> None:
        world = frozen(at_rest(agent(1)))
        world.handle(Heartbeat())
        world.wait(LIMIT - 1.0)
        world.handle(Rescind(ID("O1")))
        world.wait(2.0)
        assert silent_since(world) is None

    def test_what_we_are_told_by_others_is_none(self) -> None:
        world = frozen(at_rest(agent(1)))
        world.submit(mem=5000)
        world.handle(Heartbeat())
        heard = world.now
        world.wait(LIMIT - 1.0)
        world.submit(mem=6000)
        world.wait(2.0)
        assert silent_since(world) == heard

    def test_it_ends_with_the_next_event_and_may_begin_again(self) -> None:
        world = frozen(at_rest())
        world.handle(Heartbeat())
        world.wait(40.0)
        world.handle(Heartbeat())
        assert silent_since(world) is None
        assert notes(world, "the master is heard again, after 40 s") == ["info"]
        world.wait(40.0)
        assert silent_since(world) == world.now - 40.0

    def test_nothing_is_expected_of_a_master_that_sends_no_heartbeats(self) -> None:
        world = frozen(at_rest())
        world.wait(1000.0)
        assert silent_since(world) is None

    def test_it_ends_with_the_connection(self) -> None:
        world = frozen(at_rest())
        world.handle(Heartbeat())
        world.wait(40.0)
        world.lose_stream(connect_after=1000.0)
        world.wait(40.0)
        assert silent_since(world) is None
        assert "not connected" in (connection_trouble(world.scheduler.state) or "")

    @pytest.mark.parametrize("said", [0.0, -1.0])
    def test_an_interval_that_cannot_be_counts_as_the_default(self, said: float) -> None:
        world = frozen(at_rest())
        world.handle(Subscribed(ID(world.framework_id or ""), said))
        world.handle(Heartbeat())
        world.wait(40.0)
        assert silent_since(world) is not None


class TestReason:
    def test_why_a_launch_waits_is_the_silence_and_not_its_size(self) -> None:
        world = at_rest(agent(1))
        launch_id = world.submit(mem=5000)
        assert "lacks memory" in world.scheduler.state.explain(world.record(launch_id)).summary
        frozen(world).handle(Heartbeat())
        world.wait(40.0)
        found = world.scheduler.state.explain(world.record(launch_id))
        assert found.summary == "the master is silent: its heartbeats are overdue"

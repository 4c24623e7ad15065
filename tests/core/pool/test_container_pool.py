"""The titles 1 to 27 of today's invoker's pool tests (tests/core/pool/titles.py).

Two rules differ on a cluster: a start waits until NodeStats shows the room that a stop made, and a stop waits for the
victim's grace. And the feed is told of each run that ended, not of each that left the run buffer.
"""

from __future__ import annotations

from owmesos.core.pool.containers import ContainerShape, ContainerState
from owmesos.core.pool.events import (
    Dispatch,
    FeedMore,
    StartContainer,
    StartKind,
    StopContainer,
)
from owmesos.core.pool.prewarm import PrewarmSetting, Reactive
from tests.core.pool.cluster import FakeCluster, one_agent

SHAPE = ContainerShape("python:3", 256)
WARM, BUSY, PREWARMED = ContainerState.WARM, ContainerState.BUSY, ContainerState.PREWARMED
STARTING, STOPPING = ContainerState.STARTING, ContainerState.STOPPING


def prewarm(count: int, shape: ContainerShape = SHAPE, reactive: Reactive | None = None) -> tuple[PrewarmSetting, ...]:
    return (PrewarmSetting(shape, count, reactive),)


def starts(world: FakeCluster) -> list[StartContainer]:
    return [effect for effect in world.take() if isinstance(effect, StartContainer)]


def seen(world: FakeCluster) -> None:
    """NodeStats come, and what starts upon them is up."""
    world.observe()
    world.wait(2.0)


def pass_grace(world: FakeCluster) -> None:
    world.wait(10.0)
    world.take()


class TestWarm:
    def test_reuse_a_warm_container(self) -> None:
        world = one_agent(1024)
        container_id = world.warm("a")
        world.take()
        run_id = world.run("a")
        assert world.take() == [Dispatch(run_id, container_id, StartKind.WARMED, False)]
        assert world.states() == ["busy"]

    def test_reuse_a_warm_container_when_action_is_the_same_even_if_revision_changes(self) -> None:
        """A run tells the action's version and contents: a revision has no way to part two runs."""
        world = one_agent(1024)
        container_id = world.warm("a", version="0.0.1", digest=b"1")
        assert world.given[world.run("a", version="0.0.1", digest=b"1")] == container_id

    def test_not_when_the_action_was_deleted_and_created_anew(self) -> None:
        world = one_agent(1024)
        container_id = world.warm("a", version="0.0.1", digest=b"1")
        run_id = world.run("a", version="0.0.1", digest=b"2")
        world.wait(2.0)
        assert world.given[run_id] != container_id

    def test_create_a_container_if_it_cannot_find_a_matching_container(self) -> None:
        world = one_agent(1024)
        first, second = world.run("a"), world.run("a")
        assert [start.shape for start in starts(world)] == [SHAPE, SHAPE]
        world.wait(2.0)
        assert world.given[first] != world.given[second]
        assert world.states() == ["busy", "busy"]

    def test_cache_a_container_if_there_is_still_space_in_the_pool(self) -> None:
        world = one_agent(512)
        kept = world.warm("a")
        world.warm("b")
        world.take()
        assert world.states() == ["warm", "warm"]
        run_id = world.run("a")
        assert world.take() == [Dispatch(run_id, kept, StartKind.WARMED, False)]

    def test_not_reuse_a_container_which_is_scheduled_for_deletion(self) -> None:
        world = one_agent(1024)
        run_id = world.run("a")
        world.wait(2.0)
        world.take()
        world.done(run_id, reuse=False)
        assert world.take(StopContainer) == [StopContainer(world.given[run_id], "it must not serve again")]
        second = world.run("a")
        assert len(starts(world)) == 1
        world.wait(2.0)
        assert world.given[second] != world.given[run_id]


class TestMakingRoom:
    def test_remove_a_container_to_make_space_if_the_pool_is_full_and_a_different_action_arrives(self) -> None:
        """On a cluster the start does not follow at once, but when NodeStats shows the room."""
        world = one_agent(256)
        old = world.warm("a")
        pass_grace(world)
        run_id = world.run("b")
        effects = world.take(StartContainer, StopContainer)
        assert effects[0] == StopContainer(old, f"its room is for run {run_id}")
        assert len(effects) == 1
        world.wait(world.stop_takes + 0.6)
        assert len(starts(world)) == 0
        world.wait(2.0)
        assert world.given[run_id] not in ("", old)
        assert [(each.state, each.key.name) for each in world.containers() if each.key] == [(BUSY, "b")]
        kinds = [effect.kind for _, effect in world.log if isinstance(effect, Dispatch)]
        assert kinds == [StartKind.COLD, StartKind.RECREATED]

    def test_remove_several_containers_to_make_space_if_full_and_a_different_large_action_arrives(self) -> None:
        """On a cluster all victims are on one agent, and the start waits for NodeStats."""
        world = one_agent(512)
        old = [world.warm("a"), world.warm("b")]
        pass_grace(world)
        run_id = world.run("large", 512)
        assert [stop.container_id for stop in world.take() if isinstance(stop, StopContainer)] == old
        world.wait(4.0)
        assert world.given[run_id] not in old
        assert world.states() == ["busy"]
        assert world.pool.containers.memory == 512

    def test_remove_a_container_to_make_space_if_full_and_another_action_with_different_invocation_namespace_arrives(
        self,
    ) -> None:
        world = one_agent(256)
        old = world.warm("a", namespace="one")
        pass_grace(world)
        run_id = world.run("a", namespace="two")
        assert [stop.container_id for stop in world.take() if isinstance(stop, StopContainer)] == [old]
        world.wait(4.0)
        assert world.given[run_id] != old
        assert [each.key.namespace for each in world.containers() if each.key] == ["two"]

    def test_not_start_a_new_container_if_there_is_not_enough_space_in_the_pool(self) -> None:
        """The only container is not a victim until it ends its run; on a cluster not before it is past its grace."""
        world = one_agent(512)
        small = world.run("a")
        world.wait(3.0)
        world.take()
        large = world.run("large", 512)
        world.wait(4.0)
        assert world.take(StartContainer, StopContainer) == []
        assert world.buffered() == [large]
        world.done(small)
        world.wait(15.0)
        assert [type(effect) for effect in world.take(StartContainer, StopContainer)] == [StopContainer, StartContainer]
        assert world.given[large] != world.given[small]

    def test_process_runbuffer_when_container_is_removed(self) -> None:
        """On a cluster it is the NodeStats after the removal that shows the room."""
        world = one_agent(256)
        first = world.run("a")
        world.wait(2.0)
        second = world.run("b")
        assert world.buffered() == [second]
        world.done(first, reuse=False)
        world.until(lambda: world.buffered() == [], 4.0)
        assert world.given[second] != world.given[first]


class TestOrder:
    def test_first_put_messages_into_the_queue_and_retry_them_then_put_messages_only_into_the_queue(
        self,
    ) -> None:
        """No run is tried again and again: each event looks at what waits, and a run keeps its place."""
        world = one_agent(256)
        first = world.run("a")
        world.wait(2.0)
        world.take()
        waiting = [world.run("b"), world.run("c", 512), world.run("d")]
        assert world.take(StartContainer, Dispatch) == []
        assert world.buffered() == waiting
        world.done(first)
        assert world.buffered()[0] in waiting

    def test_process_activations_in_the_order_they_are_arriving(self) -> None:
        world = one_agent(512)
        running = [world.run("a"), world.run("a")]
        world.wait(2.0)
        later = [world.run("a") for _ in range(4)]
        assert world.buffered() == later
        for run_id in [*running, *later]:
            world.done(run_id)
        order = [effect.run_id for _, effect in world.log if isinstance(effect, Dispatch)]
        assert order == [*running, *later]
        assert len(world.containers()) == 2

    def test_process_runbuffer_instead_of_requesting_new_messages(self) -> None:
        """What waits goes first. The feed is told of each end all the same, and bounds how many runs are held here:

        else a blocked head would keep out runs for which a container is warm.
        """
        world = one_agent(256)
        first = world.run("a")
        world.wait(2.0)
        second = world.run("a")
        world.take()
        world.done(first)
        kinds = (FeedMore, Dispatch, StartContainer)
        assert world.take(*kinds) == [FeedMore(), Dispatch(second, world.given[first], StartKind.WARMED, False)]
        world.done(second)
        assert world.take(*kinds) == [FeedMore()]

    def test_process_runbuffered_items_only_once(self) -> None:
        world = one_agent(256)
        first = world.run("a")
        world.wait(2.0)
        waiting = [world.run("a") for _ in range(3)]
        world.take()
        world.observe()
        world.wait(1.0)
        assert world.take(Dispatch) == []
        world.done(first)
        assert [effect.run_id for effect in world.take() if isinstance(effect, Dispatch)] == waiting[:1]
        assert world.buffered() == waiting[1:]

    def test_reschedule_job_when_container_is_removed_prematurely_without_sending_message_to_feed(self) -> None:
        world = one_agent(1024)
        run_id = world.run("a")
        world.wait(2.0)
        dead = world.given[run_id]
        world.take()
        world.reschedule(run_id)
        effects = world.take()
        assert effects[0] == StopContainer(dead, "it could not be reached")
        assert isinstance(effects[1], StartContainer)
        assert len(effects) == 2
        world.wait(2.0)
        assert world.given[run_id] != dead


class TestConcurrency:
    def test_increase_activation_counts_when_scheduling_to_containers_whose_actions_support_concurrency(
        self,
    ) -> None:
        world = one_agent(1024)
        runs = [world.run("a", concurrency=3) for _ in range(4)]
        assert len(starts(world)) == 2
        world.wait(2.0)
        assert [each.active for each in world.containers()] == [3, 1]
        assert world.states() == ["busy", "warm"]
        assert [world.given[run_id] for run_id in runs[:3]] == [world.given[runs[0]]] * 3

    def test_schedule_concurrent_activations_to_different_containers_for_different_namespaces(self) -> None:
        world = one_agent(1024)
        one, two = (world.run("a", concurrency=3, namespace=name) for name in ("one", "two"))
        world.wait(2.0)
        assert world.given[one] != world.given[two]
        assert [each.active for each in world.containers()] == [1, 1]

    def test_decrease_activation_counts_when_receiving_need_work_for_actions_that_support_concurrency(
        self,
    ) -> None:
        world = one_agent(256)
        runs = [world.run("a", concurrency=2) for _ in range(3)]
        world.wait(2.0)
        assert [each.active for each in world.containers()] == [2]
        world.done(runs[0])
        assert [each.active for each in world.containers()] == [2]  # the third came in
        world.done(runs[1])
        assert [(each.active, each.state) for each in world.containers()] == [(1, WARM)]
        world.done(runs[2])
        assert [each.active for each in world.containers()] == [0]


class TestPrewarmed:
    def test_not_create_prewarm_container_when_used_memory_reaches_the_limit(self) -> None:
        world = one_agent(512, prewarm=prewarm(3))
        seen(world)
        assert len(world.containers(PREWARMED)) == 2
        assert world.pool.containers.memory == 512

    def test_create_prewarmed_containers_on_startup(self) -> None:
        """On a cluster: once the first NodeStats has come."""
        world = one_agent(1024, prewarm=prewarm(2))
        seen(world)
        assert len(world.containers(PREWARMED)) == 2
        assert all(each.prewarm and each.shape == SHAPE for each in world.containers(PREWARMED))

    def test_use_a_prewarmed_container_and_create_a_new_one_to_fill_its_place(self) -> None:
        world = one_agent(1024, prewarm=prewarm(1))
        seen(world)
        (ready,) = world.containers(PREWARMED)
        world.take()
        run_id = world.run("a")
        given, start = world.take()
        assert given == Dispatch(run_id, ready.id, StartKind.PREWARMED, True)
        assert isinstance(start, StartContainer)
        assert start.prewarm
        world.wait(2.0)
        assert [each.id for each in world.containers(PREWARMED)] == [start.container_id]

    def test_use_a_prewarmed_container_and_create_a_new_one_to_fill_its_place_with_ttl(self) -> None:
        world = one_agent(1024, prewarm=prewarm(1, reactive=Reactive(1, 1, 300.0, 1, 1)))
        seen(world)
        (ready,) = world.containers(PREWARMED)
        assert ready.expires_at < world.now + 300.0
        run_id = world.run("a")
        assert world.given[run_id] == ready.id
        assert ready.expires_at == float("inf")
        world.wait(2.0)
        (new,) = world.containers(PREWARMED)
        assert new.expires_at > world.now + 290.0

    def test_not_use_a_prewarmed_container_if_it_doesnt_fit_the_kind(self) -> None:
        world = one_agent(1024, prewarm=prewarm(1))
        seen(world)
        (ready,) = world.containers(PREWARMED)
        run_id = world.run("a", kind="java:8")
        world.wait(2.0)
        assert world.given[run_id] != ready.id
        assert world.containers(PREWARMED) == [ready]

    def test_not_use_a_prewarmed_container_if_it_doesnt_fit_memory_wise(self) -> None:
        world = one_agent(1024, prewarm=prewarm(1))
        seen(world)
        (ready,) = world.containers(PREWARMED)
        run_id = world.run("a", 128)
        world.wait(2.0)
        assert world.given[run_id] != ready.id
        assert world.containers(PREWARMED) == [ready]

    def test_backfill_prewarms_when_prewarm_containers_are_removed(self) -> None:
        world = one_agent(1024, prewarm=prewarm(2))
        seen(world)
        lost = world.containers(PREWARMED)[0]
        world.crash(lost.id)
        world.wait(2.0)
        assert len(world.containers(PREWARMED)) == 2
        assert lost.id not in [each.id for each in world.containers()]

    def test_adjust_prewarm_container_run_well_without_reactive_config(self) -> None:
        world = one_agent(2048, prewarm=prewarm(2))
        seen(world)
        before = world.containers(PREWARMED)
        world.wait(200.0)
        assert world.containers(PREWARMED) == before

    def test_adjust_prewarm_container_run_well_with_reactive_config(self) -> None:
        """Two cold starts of one shape at a threshold of 1 and an increment of 1: two from the next check on."""
        world = one_agent(4096, prewarm=prewarm(0, reactive=Reactive(0, 3, 50.0, 1, 1)))
        world.observe()
        runs = [world.run("a"), world.run("b")]
        world.wait(3.0)
        for run_id in runs:
            world.done(run_id)
        assert world.containers(PREWARMED) == []
        world.until(lambda: len(world.containers(PREWARMED)) == 2, 65.0)
        world.wait(120.0)
        assert world.containers(PREWARMED) == []  # their time is over, and nothing came in cold

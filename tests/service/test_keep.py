"""`Framework.keep`: as many instances as wanted, whatever ends; `launch_changes`; `master="local"`."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import owmesos
from owmesos.documents import LaunchDocument
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.resources import Ask
from owmesos.service.keep import UNREACHABLE_FOR, changes_to
from owmesos.service.launch_requests import SLICE
from owmesos.simulator.cluster import SimulatedCluster
from tests.waiting import eventually, eventually_async, in_time

SLEEP = "exec sleep 1000"
RECORD = LaunchRecord("web-0", Launch("true", name="web"), Ask(100, 32_000), "{}", 0, 0.0)
NOW = 1000.0


def record(
    place: int, state: State, *, ran: bool = True, lost: float | None = None, killed: bool = False
) -> LaunchRecord:
    return msgspec.structs.replace(
        RECORD,
        id=f"web-{place}",
        place=place,
        state=state,
        started_at=1.0 if ran else None,
        unreachable_at=lost,
        kill_requested_at=2.0 if killed else None,
    )


RECORDS = st.lists(
    st.builds(
        lambda state, ran, lost, killed: (state, ran, lost, killed),
        st.sampled_from([State.PENDING, State.STAGING, State.RUNNING, State.UNREACHABLE]),
        st.booleans(),
        st.floats(0, NOW),
        st.booleans(),
    ),
    max_size=8,
).map(
    lambda drawn: [
        record(place, state, ran=ran, lost=lost if state is State.UNREACHABLE else None, killed=killed)
        for place, (state, ran, lost, killed) in enumerate(drawn)
    ]
)


@given(RECORDS, st.integers(0, 6))
def test_after_the_changes_as_many_count_as_wanted(records: list[LaunchRecord], wanted: int) -> None:
    changes = changes_to(records, wanted, NOW)
    counted = [
        each.id
        for each in records
        if each.kill_requested_at is None
        and (each.unreachable_at is None or each.unreachable_at + UNREACHABLE_FOR > NOW)
    ]
    assert set(changes.kill) <= set(counted)
    assert len(counted) - len(changes.kill) + changes.start == wanted
    assert not (changes.kill and changes.start)


def test_those_that_do_not_run_are_killed_first_then_the_newest() -> None:
    records = [record(0, State.STAGING, ran=False), *(record(place, State.RUNNING) for place in (1, 2, 3))]
    assert changes_to(records, 1, NOW).kill == ("web-2", "web-3", "web-0")


def test_one_on_a_lost_agent_is_replaced_after_a_while() -> None:
    records = [record(0, State.UNREACHABLE, lost=NOW)]
    assert changes_to(records, 1, NOW) == (0, (), NOW + UNREACHABLE_FOR)
    assert changes_to(records, 1, NOW + UNREACHABLE_FOR) == (1, (), None)


def test_when_it_comes_back_the_newest_goes() -> None:
    assert changes_to([record(0, State.RUNNING), record(1, State.RUNNING)], 1, NOW).kill == ("web-1",)


@pytest.fixture
async def framework(simulator: SimulatedCluster) -> AsyncIterator[owmesos.Framework]:
    async with owmesos.Framework(master=simulator.master) as framework:
        yield framework


def web(command: str = SLEEP) -> owmesos.Launch:
    return owmesos.Launch(command, name="web", mem=32)


async def test_instances_that_end_are_replaced(framework: owmesos.Framework) -> None:
    async with framework.keep(web(), 3) as kept:
        before = {row["launch_id"] for row in await kept.running()}
        assert len(before) == 3
        gone = min(before)
        await (await framework.kill(gone)).ended()
        await eventually_async(lambda: gone not in {row["launch_id"] for row in kept.instances()})
        after = {row["launch_id"] for row in await kept.running()}
        assert len(after) == 3
        assert before - after == {gone}


async def test_it_scales_up_and_down(framework: owmesos.Framework) -> None:
    async with framework.keep(web(), 1) as kept:
        await kept.running()
        await kept.scale(4)
        assert kept.wanted == len(await kept.running()) == 4
        await kept.scale(1)
        await eventually_async(lambda: len(kept.instances()) == 1)
        await kept.scale(0)
        await eventually_async(lambda: not kept.instances())


async def test_what_ends_at_once_is_not_started_in_a_tight_loop(framework: owmesos.Framework) -> None:
    async with framework.keep(web("exit 3"), 2):
        ends = [each async for each in several(framework, 4)]
    first, second = ends[:2], ends[2:]
    assert {row["attempts"] for row in ends} == {1}
    begun = [_seconds(row["submitted_at"]) for row in second]
    assert min(begun) - max(_seconds(row["ended_at"]) for row in first) > 0.9
    assert len(framework.launches()) == 4


async def several(framework: owmesos.Framework, count: int) -> AsyncIterator[LaunchDocument]:
    """The first that end."""
    ended = set()
    async for row in framework.launch_changes():
        if row["ended_at"] and row["launch_id"] not in ended:
            ended.add(row["launch_id"])
            yield row
        if len(ended) == count:
            return


def _seconds(text: str | None) -> float:
    assert text is not None
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


async def test_a_new_process_takes_up_the_instances(simulator: SimulatedCluster, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        async with (
            owmesos.Framework(master=simulator.master, state=tmp_path) as framework,
            framework.keep(web(), 2) as kept,
        ):
            found.append({row["launch_id"] for row in await kept.running()})
    assert found[0] == found[1]


async def test_who_waits_for_it_hears_that_the_framework_stops(framework: owmesos.Framework) -> None:
    async with framework.keep(owmesos.Launch(SLEEP, name="web", mem=1e6), 1) as kept:
        waiting = asyncio.ensure_future(kept.running())
        await eventually_async(lambda: framework.subscribed)
        await framework.teardown()
        with pytest.raises(owmesos.FrameworkStopped, match="torn down"):
            await waiting


@pytest.mark.parametrize(
    ("launch", "wanted", "message"),
    [
        (owmesos.Launch(SLEEP), 1, "a `name` of its own"),
        (web(), -1, "0 to 10000 instances can be kept, not -1"),
        (web(), 10_001, "not 10001"),
    ],
)
async def test_what_cannot_be_kept(framework: owmesos.Framework, launch: Launch, wanted: int, message: str) -> None:
    with pytest.raises(owmesos.InvalidInput, match=message):
        framework.keep(launch, wanted)


async def test_a_block_is_entered_once(framework: owmesos.Framework) -> None:
    async with framework.keep(web(), 0) as kept:
        with pytest.raises(owmesos.InvalidInput, match="web is kept already"):
            await kept.__aenter__()


async def test_a_block_that_is_never_left_ends_quietly_with_the_framework(framework: owmesos.Framework) -> None:
    """As one that Ctrl-C interrupts while a program without asyncio enters it."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    await framework.keep(web(), 1).__aenter__()
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "keep web"]
    await eventually_async(lambda: framework.subscribed)
    await framework.teardown()
    await asyncio.wait([task], timeout=5)
    assert task.done()
    del task
    gc.collect()
    assert not told


async def test_one_block_for_each_name(framework: owmesos.Framework) -> None:
    async with framework.keep(web(), 0):
        with pytest.raises(owmesos.InvalidInput, match="web is kept already"):
            await framework.keep(web("true"), 1).__aenter__()
        async with framework.keep(owmesos.Launch(SLEEP, name="other"), 0):
            pass
    async with framework.keep(web(), 0):
        pass
    assert not framework.launches()


async def test_a_scale_that_is_cancelled_starts_none_twice(framework: owmesos.Framework) -> None:
    async with framework.keep(web(), 0) as kept:
        scaling = asyncio.ensure_future(kept.scale(20))
        while not framework.launches():  # noqa: ASYNC110  (no later: it is done soon)
            await asyncio.sleep(0)
        assert scaling.cancel()
        await kept.running()
        await framework.kill(kept.instances()[0]["launch_id"])  # and a step after it
        await eventually_async(lambda: len(framework.launches()) == 21)
        await kept.running()
        assert len(framework.launches()) == 21


async def test_one_that_is_killed_while_it_waits_is_no_failure(framework: owmesos.Framework) -> None:
    """Three instances of 800 MB have room on three agents of 1024; the others wait."""
    async with framework.keep(owmesos.Launch(SLEEP, name="web", mem=800), 3) as kept:
        await kept.running()
        for _ in range(3):
            await kept.scale(5)
            await kept.scale(3)
        gone = kept.instances()[0]["launch_id"]
        await (await framework.kill(gone)).ended()
        ended = framework.record(gone).ended_at
        await kept.running()
        latest = framework.record(kept.instances()[-1]["launch_id"])
        assert ended is not None
        assert latest.submitted_at - ended < 1.0


async def test_a_cancellation_at_the_blocks_end_is_not_lost(framework: owmesos.Framework) -> None:
    kept = framework.keep(web(), 0)

    async def program() -> None:
        async with kept:
            inside.set()
        await asyncio.Event().wait()

    inside = asyncio.Event()
    running = asyncio.ensure_future(program())
    await inside.wait()
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=5)
    assert done
    assert running.cancelled()


async def test_after_the_block_it_scales_what_there_is_then(framework: owmesos.Framework) -> None:
    async with framework.keep(web(), 2) as kept:
        first, second = [row["launch_id"] for row in await kept.running()]
    await (await framework.kill(first)).ended()
    assert [row["launch_id"] for row in kept.instances()] == [second]
    await kept.scale(2)
    await kept.running()
    assert len(kept.instances()) == 2


async def test_changes_begin_with_what_there_is_and_end_with_the_framework(framework: owmesos.Framework) -> None:
    first = await framework.launch(web())
    await first.running()
    seen: list[LaunchDocument] = []

    async def follow() -> None:
        async for row in framework.launch_changes():
            seen.append(row)  # noqa: PERF401  (it is looked at meanwhile)

    following = asyncio.ensure_future(follow())
    await eventually_async(lambda: seen)
    assert (seen[0]["launch_id"], seen[0]["state"]) == (first.id, "RUNNING")
    second = await framework.launch(web("true"))
    await second.ended()
    await eventually_async(lambda: (seen[-1]["launch_id"], seen[-1]["state"]) == (second.id, "FINISHED"))
    await framework.teardown()
    await in_time(following)


async def test_one_that_changes_before_it_is_read_is_given_as_it_is_last(framework: owmesos.Framework) -> None:
    with framework.follow() as changes:
        launch = await framework.launch(web("true"))
        await launch.ended()
        assert (await changes.next())["state"] == "FINISHED"
        nothing_more = asyncio.ensure_future(changes.next())
        await asyncio.wait([nothing_more], timeout=0.1)
        assert not nothing_more.done()
        nothing_more.cancel()


@pytest.mark.parametrize("key", [None, "mine"])
async def test_thousands_of_launches_leave_the_event_loop_to_others_in_between(
    framework: owmesos.Framework, key: str | None
) -> None:
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(len(framework.launches()))
            await asyncio.sleep(0)

    other = asyncio.ensure_future(others())
    await asyncio.sleep(0)
    launch = owmesos.Launch("true", name="many", mem=99_999)
    asked = await framework.launch_many([launch] * (2 * SLICE + SLICE // 2), key=key)
    other.cancel()
    assert [row["launch_id"] for row in framework.launches()] == [each.id for each in asked]
    assert {0, SLICE, 2 * SLICE} <= set(turns)


def test_without_asyncio(simulator: SimulatedCluster) -> None:
    with owmesos.BlockingFramework(master=simulator.master) as framework:
        with framework.keep(web(), 2) as kept:
            assert kept.wanted == len(kept.running(timeout=30)) == 2
            kept.scale(0)
            eventually(lambda: not kept.instances())
        assert next(iter(framework.launch_changes()))["name"] == "web"


async def test_a_local_cluster_comes_and_goes_with_the_framework() -> None:
    async with owmesos.Framework(master="local") as framework:
        end = await (await framework.launch(owmesos.Launch("true"))).ended()
        assert end["state"] == "FINISHED"
        assert framework.access.credentials is not None
        assert len(framework.nodes()) == 3


def folders(within: Path) -> list[Path]:
    return list(within.iterdir())


@pytest.mark.parametrize("begun", [False, True])
async def test_a_start_that_is_cancelled_leaves_no_local_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    framework = owmesos.Framework(master="local")
    starting = asyncio.ensure_future(framework.start())
    if begun:
        await eventually_async(lambda: folders(tmp_path))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not folders(tmp_path)
    await framework.start()
    await framework.stop(teardown=False)


def test_a_local_cluster_has_its_own_credentials() -> None:
    with pytest.raises(owmesos.InvalidInput, match="credentials of its own"):
        owmesos.Framework(master="local", principal="x", secret="y")

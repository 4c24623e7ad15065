"""The library's framework when it stops: whoever waits, or asks for more, is told at once, and why."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

import owmesos
from owmesos import BlockingFramework, FrameworkStopped, Launch
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Accept, Call, Subscribe, Teardown
from owmesos.mesos.scheduler.events import Tick
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.wire.address import parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.driver import CallUnknown, Disconnected, NotSubscribed
from owmesos.mesos.wire.http_driver import HttpDriver
from owmesos.service.errors import NotKnown
from owmesos.service.framework import Framework
from owmesos.service.launch_requests import LaunchHandle
from owmesos.service.outbox import Outbox
from owmesos.service.stopped import Stopped
from owmesos.storage import ForgetFramework, MemoryStore, SaveLaunch, StateInUse, StoreFailed
from tests.fakes.cluster import FakeCluster
from tests.fakes.master import FRAMEWORK_ID, FakeMaster, plain, raw, record
from tests.waiting import eventually_async

SLEEP = Launch(command="sleep 60")
TAKEN = {"type": "ERROR", "error": {"message": "Framework failed over"}}
SOON = 5.0  # seconds; the deadlines of the launches are far beyond


async def soon(work: Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.wait_for(work, SOON)


async def collected(framework: Framework) -> list[Any]:
    return [update async for update in framework.node_stats()]


Waits = Callable[[Framework, LaunchHandle], Coroutine[Any, Any, Any]]
WAITS: dict[str, Waits] = {
    "running": lambda framework, handle: handle.running(),
    "ended": lambda framework, handle: handle.ended(),
    "wait": lambda framework, handle: framework.wait([handle.id], "ended"),
    "wait with a timeout": lambda framework, handle: framework.wait([handle.id], "running", 3600),
    "wait_for": lambda framework, handle: framework.wait_for(handle.id, lambda record: False),
    "node_stats": lambda framework, handle: collected(framework),
}
CALLS: dict[str, Waits] = {
    **WAITS,
    "launch": lambda framework, handle: framework.launch(SLEEP),
    "launch_many": lambda framework, handle: framework.launch_many([SLEEP]),
    "kill": lambda framework, handle: framework.kill(handle.id),
    "kill_many": lambda framework, handle: framework.kill_many([handle.id]),
    "the handle's kill": lambda framework, handle: handle.kill(),
    "teardown": lambda framework, handle: framework.teardown(),
}


@pytest.fixture
async def waiting(fake_cluster: FakeCluster, framework: Framework) -> LaunchHandle:
    """A launch that never runs."""
    fake_cluster.hold = True
    handle = await framework.launch(SLEEP)
    await eventually_async(lambda: bool(fake_cluster.tasks))
    return handle


class TestWaitForSeveral:
    async def test_nothing_waits_on_when_one_of_them_is_forgotten(
        self, framework: Framework, waiting: LaunchHandle
    ) -> None:
        late = await framework.launch(SLEEP)
        task = asyncio.ensure_future(framework.wait([late.id, waiting.id], "ended"))
        await eventually_async(lambda: late.id in framework._changes)
        del framework.shell.scheduler.state.launches[late.id]
        framework._changes.changed(late.id)
        with pytest.raises(NotKnown):
            await soon(task)
        assert len(framework._changes) == 0

    async def test_one_that_ended_may_be_forgotten_before_the_others_end(
        self, fake_cluster: FakeCluster, framework: Framework, waiting: LaunchHandle
    ) -> None:
        early = await framework.launch(SLEEP)
        await eventually_async(lambda: len(fake_cluster.tasks) == 2)
        task = asyncio.ensure_future(framework.wait_documents([waiting.id, early.id], "ended"))
        await eventually_async(lambda: early.id in framework._changes)
        await fake_cluster.update(f"{early.id}.1", "TASK_FINISHED")
        await eventually_async(lambda: early.id not in framework._changes)
        del framework.shell.scheduler.state.launches[early.id]
        await fake_cluster.update(f"{waiting.id}.1", "TASK_FAILED")
        reached, documents = await soon(task)
        assert reached
        assert [(each["launch_id"], each["state"]) for each in documents] == [
            (waiting.id, "FAILED"),
            (early.id, "FINISHED"),
        ]


def storing_by(commit: Callable[[Any], None]) -> Outbox:
    """An outbox at work that sends nothing."""
    store = MemoryStore()
    store.commit = commit  # type: ignore[method-assign]
    outbox = Outbox(store, None, lambda event: None)  # type: ignore[arg-type]
    outbox.start(lambda error: None)
    return outbox


class TestWhatCannotBeStored:
    async def test_a_fault_of_ours_ends_it_as_a_full_disk_does(
        self, framework: Framework, waiting: LaunchHandle
    ) -> None:
        def broken(writes: Any) -> None:
            raise OverflowError("too large")

        framework._store.commit = broken  # type: ignore[method-assign]
        task = asyncio.ensure_future(waiting.ended())
        with pytest.raises(StoreFailed, match="what was decided cannot be stored: too large"):
            await soon(framework.launch(SLEEP))
        assert (await soon(framework.finished())).exit_code == 1
        with pytest.raises(FrameworkStopped, match="what was decided cannot be stored"):
            await soon(task)
        framework._store.commit = lambda writes: None  # type: ignore[method-assign]

    async def test_what_fails_while_the_process_ends_is_not_passed_over(self) -> None:
        entered, failing = threading.Event(), threading.Event()
        stored: list[Any] = []

        def commit(writes: Any) -> None:
            if not failing.is_set():
                entered.set()
                failing.wait()
                raise StoreFailed("the disk is full")
            stored.extend(writes)

        outbox = storing_by(commit)
        outbox.store("a", lambda: SaveLaunch("a", b"{}"))
        await asyncio.to_thread(entered.wait)
        asyncio.get_running_loop().call_later(0.05, failing.set)  # once `close` has begun
        await outbox.close()
        assert stored == [SaveLaunch("a", b"{}")]

    async def test_the_end_of_the_framework_waits_for_what_is_being_stored_and_is_the_last(self) -> None:
        entered, going_on = threading.Event(), threading.Event()
        stored: list[Any] = []

        def commit(writes: Any) -> None:
            assert not entered.is_set() or going_on.is_set(), "two at once on one connection"
            entered.set()
            going_on.wait()
            stored.extend(writes)

        outbox = storing_by(commit)
        outbox.store("a", lambda: SaveLaunch("a", b"{}"))
        await asyncio.to_thread(entered.wait)
        outbox.store("b", lambda: SaveLaunch("b", b"{}"))
        forgetting = asyncio.ensure_future(outbox.forget())
        await asyncio.sleep(0)
        outbox.store("c", lambda: SaveLaunch("c", b"{}"))
        going_on.set()
        await forgetting
        await outbox.close()
        assert stored == [SaveLaunch("a", b"{}"), SaveLaunch("b", b"{}"), ForgetFramework()]


class TestKilledAroundAnAccept:
    """The process is killed with an intent on disk. Its state is what another process begins with."""

    @pytest.mark.parametrize(("leaves", "state", "attempts"), [(False, "RUNNING", 2), (True, "LOST", 1)])
    async def test_only_what_certainly_was_not_sent_is_sent_again(
        self, fake_cluster: FakeCluster, tmp_path: Path, leaves: bool, state: str, attempts: int
    ) -> None:
        killed: list[Path] = []

        class KilledAtAccept(HttpDriver):
            async def call(self, call: Call, *, sending: Callable[[], None] | None = None) -> None:
                if not isinstance(call, Accept):
                    await super().call(call, sending=sending)
                    return
                assert sending is not None
                if leaves:
                    sending()  # and the kill comes before the first byte, or the network loses all
                killed.append(Path(shutil.copytree(tmp_path / "state", tmp_path / "after")))
                raise CallUnknown("killed")

        def on_the_same_master(subscription: Subscribe) -> HttpDriver:
            return KilledAtAccept(
                detector_for(parse_master(fake_cluster.master.address, credentials_allowed=True)), subscription
            )

        first = Framework(master=fake_cluster.master.address, state=tmp_path / "state", driver=on_the_same_master)
        await first.start()
        handle = await first.launch(SLEEP)
        await eventually_async(lambda: bool(killed))
        await first.stop(teardown=False)
        second = Framework(master=fake_cluster.master.address, state=killed[0])
        await second.start()
        await eventually_async(lambda: second.record(handle.id).state.value == state)
        assert second.record(handle.id).attempts == attempts
        await second.stop(teardown=False)

    @pytest.mark.parametrize("noting", ["about_to_send", "sending"])
    async def test_an_accept_that_cannot_be_noted_is_not_sent(
        self, fake_cluster: FakeCluster, framework: Framework, noting: str
    ) -> None:
        def full(accepted_at: float) -> None:
            raise StoreFailed("the disk is full")

        setattr(framework._store, noting, full)
        await framework.launch(SLEEP)
        assert (await soon(framework.finished())).reason == "the disk is full"
        assert not fake_cluster.tasks

    async def test_an_accept_is_noted_after_its_launch_is_stored_and_before_it_is_sent(
        self, framework: Framework, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[str] = []
        commit = framework._store.commit

        def committed(writes: Any) -> None:
            commit(writes)
            steps.append("stored" if any(b'"SUBMITTED"' in getattr(each, "record", b"") for each in writes) else "-")

        monkeypatch.setattr(framework._store, "commit", committed)
        monkeypatch.setattr(framework._store, "about_to_send", lambda accepted_at: steps.append("noted"))
        monkeypatch.setattr(framework._store, "sending", lambda accepted_at: steps.append("sent"))
        await soon((await framework.launch(SLEEP)).running())
        first = steps.index("stored")
        assert steps[first : first + 3] == ["stored", "noted", "sent"]


class TestIds:
    async def test_no_two_launches_get_the_same(self, monkeypatch: pytest.MonkeyPatch, framework: Framework) -> None:
        """Even if chance gives the same twice: in one request, and for one that is known already."""
        chance = iter(["aaaaaaaa", "aaaaaaaa", "bbbbbbbb", "aaaaaaaa", "bbbbbbbb", "cccccccc"])
        monkeypatch.setattr("secrets.token_hex", lambda size: next(chance))
        first = await framework.launch_many([Launch("sleep 60", name="one")] * 2)
        second = await framework.launch(Launch("sleep 60", name="one"))
        assert [each.id for each in (*first, second)] == ["one-aaaaaaaa", "one-bbbbbbbb", "one-cccccccc"]


class TestAnotherProcessHasTheState:
    async def test_nothing_more_is_stored_or_sent(
        self, fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = MemoryStore()
        watchers: list[Any] = []
        stored: list[Any] = []
        monkeypatch.setattr(store, "watch", watchers.append)
        framework = Framework(master=fake_cluster.master.address)
        framework._store = store
        await framework.start()
        await eventually_async(lambda: framework.subscribed)
        monkeypatch.setattr(store, "commit", stored.extend)
        (lost,) = watchers
        await asyncio.to_thread(lost, StateInUse("process 7 on host2 took over the state"))
        stopped = await soon(framework.finished())
        assert stopped == ("process 7 on host2 took over the state", 1)
        with pytest.raises(FrameworkStopped):
            await framework.launch(SLEEP)
        framework.shell.outbox.store("a", lambda: SaveLaunch("a", b"{}"))
        framework.shell.outbox.send(Teardown())
        await framework.stop(teardown=False)
        assert stored == []
        assert "TEARDOWN" not in [call["type"] for call in fake_cluster.master.calls]


class TestAnotherProcessHasOurId:
    @pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
    async def test_who_waits_is_told(
        self, fake_cluster: FakeCluster, framework: Framework, waiting: LaunchHandle, wait: Waits
    ) -> None:
        task = asyncio.ensure_future(wait(framework, waiting))
        await asyncio.sleep(0)
        await fake_cluster.master.send(TAKEN)
        with pytest.raises(FrameworkStopped, match="another process has subscribed with our framework id") as caught:
            await asyncio.wait_for(task, SOON)
        assert caught.value.stopped == await framework.finished()

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    async def test_so_is_who_asks_afterwards(
        self, fake_cluster: FakeCluster, framework: Framework, waiting: LaunchHandle, call: Waits
    ) -> None:
        await fake_cluster.master.send(TAKEN)
        await soon(framework.finished())
        with pytest.raises(FrameworkStopped, match="another process"):
            await soon(call(framework, waiting))

    async def test_what_was_reached_before_is_told_all_the_same(
        self, fake_cluster: FakeCluster, framework: Framework
    ) -> None:
        handle = await framework.launch(SLEEP)
        await handle.running()
        await fake_cluster.master.send(TAKEN)
        await soon(framework.finished())
        assert (await soon(handle.running()))["state"] == "RUNNING"
        assert framework.launches([handle.id])
        with pytest.raises(FrameworkStopped):
            await soon(handle.ended())

    async def test_leaving_the_block_neither_tears_it_down_nor_hides_why(self, fake_cluster: FakeCluster) -> None:
        async def program() -> None:
            async with owmesos.Framework(master=fake_cluster.master.address) as framework:
                handle = await framework.launch(SLEEP)
                await eventually_async(lambda: bool(fake_cluster.tasks))
                await fake_cluster.master.send(TAKEN)
                await handle.running()

        fake_cluster.hold = True
        with pytest.raises(FrameworkStopped, match="another process"):
            await soon(program())
        assert "TEARDOWN" not in [call["type"] for call in fake_cluster.master.calls]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (plain(403, "not for you"), "refuses to subscribe us \\(403\\): not for you"),
        (raw(record({"type": "ERROR", "error": {"message": "Role 'x' is invalid"}})), "Role 'x' is invalid"),
    ],
    ids=["403", "a role"],
)
async def test_a_master_that_refuses_us_is_told_at_once_and_not_at_the_deadline(answer: Any, why: str) -> None:
    master = await FakeMaster().start()
    master.on_subscribe = answer
    async with owmesos.Framework(master=master.address) as framework:
        handle = await framework.launch(SLEEP)
        with pytest.raises(FrameworkStopped, match=why):
            await soon(handle.running())
        with pytest.raises(FrameworkStopped, match=why):
            await soon(framework.launch(SLEEP))
    await master.stop()


class TestItsOwnEnd:
    async def test_a_teardown_tells_who_waits(self, framework: Framework, waiting: LaunchHandle) -> None:
        task = asyncio.ensure_future(waiting.ended())
        stats = asyncio.ensure_future(collected(framework))
        await asyncio.sleep(0)
        await framework.teardown()
        with pytest.raises(FrameworkStopped, match="torn down"):
            await asyncio.wait_for(task, SOON)
        assert await asyncio.wait_for(stats, SOON)  # an orderly end is the end of the iteration
        assert await framework.finished() == Stopped("torn down", 0)

    async def test_so_does_a_stop(self, framework: Framework, waiting: LaunchHandle) -> None:
        task = asyncio.ensure_future(waiting.ended())
        await asyncio.sleep(0)
        await framework.stop(teardown=False)
        with pytest.raises(FrameworkStopped, match="this program has stopped it"):
            await asyncio.wait_for(task, SOON)
        with pytest.raises(FrameworkStopped, match="this program has stopped it"):
            await framework.launch(SLEEP)
        assert (await framework.finished()).exit_code == 0

    async def test_a_state_that_cannot_be_written_tells_all(self, fake_cluster: FakeCluster, tmp_path: Path) -> None:
        framework = Framework(master=fake_cluster.master.address, state=tmp_path)
        await framework.start()
        framework._store.close()
        for _ in range(3):
            with pytest.raises(owmesos.OwmesosError, match="is closed"):
                await soon(framework.launch(SLEEP))
        assert "is closed" in (await soon(framework.finished())).reason
        with pytest.raises(owmesos.OwmesosError, match="is closed"):
            await soon(framework.shell.outbox.flushed())
        with contextlib.suppress(owmesos.OwmesosError):
            await framework.stop(teardown=False)

    async def test_a_second_teardown_at_the_blocks_end_is_not_sent(self, fake_cluster: FakeCluster) -> None:
        async with owmesos.Framework(master=fake_cluster.master.address) as framework:
            await eventually_async(lambda: framework.subscribed)
            await framework.teardown()
        assert [call["type"] for call in fake_cluster.master.calls].count("TEARDOWN") == 1

    async def test_a_teardown_without_a_subscription_says_so(self, framework: Framework) -> None:
        await framework.shell.driver.resubscribe("test")
        with pytest.raises(NotSubscribed):
            await framework.teardown()


async def test_waits_that_ran_out_leave_nothing_behind(framework: Framework, waiting: LaunchHandle) -> None:
    for _ in range(3):
        assert not await framework.wait([waiting.id], "ended", 0.01)
    assert not framework._changes


class TestItsLog:
    async def test_each_step_of_a_launch_is_logged_once(
        self, fake_cluster: FakeCluster, framework: Framework, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "owmesos.service"):
            handle = await framework.launch(SLEEP)
            await soon(handle.running())
            framework.shell.scheduler.state.store(framework.shell.scheduler.state.launches[handle.id])
            framework.shell.observe(Tick())
            await handle.kill()
            await soon(handle.ended())
        lines = [line for line in caplog.messages if line.startswith(f"launch {handle.id} is ")]
        assert len(lines) == len(set(lines)) >= 4

    async def test_a_stream_that_ends_by_our_teardown_is_no_warning(
        self, fake_cluster: FakeCluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        framework = Framework(master=fake_cluster.master.address)
        await framework.start()
        await eventually_async(lambda: framework.subscribed)
        driver = framework.shell.driver
        call = driver.call

        async def torn_down_and_closed(*arguments: Any, **options: Any) -> Any:
            answer = await call(*arguments, **options)
            framework.shell.observe(Disconnected("the master closed the stream"))
            return answer

        monkeypatch.setattr(driver, "call", torn_down_and_closed)
        with caplog.at_level(logging.INFO):
            await framework.stop(teardown=True)
        assert "disconnected" not in caplog.text


# -- without asyncio


@pytest.fixture
async def blocking(fake_cluster: FakeCluster) -> AsyncIterator[BlockingFramework]:
    framework = BlockingFramework(master=fake_cluster.master.address)
    await asyncio.to_thread(framework.__enter__)
    yield framework
    await asyncio.to_thread(framework.__exit__, None, None, None)


class TestBlocking:
    async def test_who_waits_is_told(self, fake_cluster: FakeCluster, blocking: BlockingFramework) -> None:
        fake_cluster.hold = True
        handle = await asyncio.to_thread(blocking.launch, SLEEP)
        waits = [
            asyncio.to_thread(wait) for wait in (handle.running, handle.ended, lambda: list(blocking.node_stats()))
        ]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await eventually_async(lambda: bool(fake_cluster.tasks))
        await fake_cluster.master.send(TAKEN)
        for task in tasks:
            with pytest.raises(FrameworkStopped, match="another process"):
                await asyncio.wait_for(task, SOON)
        for call in (lambda: blocking.launch(SLEEP), lambda: blocking.kill(handle.id), handle.kill, handle.running):
            with pytest.raises(FrameworkStopped, match="another process"):
                await soon(asyncio.to_thread(call))
        assert (await soon(asyncio.to_thread(blocking.finished))).exit_code == 1

    async def test_after_the_block_everything_says_so(self, fake_cluster: FakeCluster) -> None:
        def program() -> None:
            with BlockingFramework(master=fake_cluster.master.address) as framework:
                handle = framework.launch(SLEEP)
                handle.running(SOON)
                updates = framework.node_stats()
                next(updates)
            for call in (
                lambda: framework.launch(SLEEP), lambda: next(updates), framework.nodes, framework.launches,
                handle.ended, handle.kill, handle.document, lambda: list(framework.node_stats()),
            ):  # fmt: skip
                with pytest.raises(FrameworkStopped):
                    call()
            assert framework.finished() == Stopped("torn down", 0)

        await soon(asyncio.to_thread(program))

    async def test_a_thread_that_waits_is_let_go_at_the_blocks_end(self, fake_cluster: FakeCluster) -> None:
        framework = BlockingFramework(master=fake_cluster.master.address)
        await asyncio.to_thread(framework.__enter__)
        fake_cluster.hold = True
        handle = await asyncio.to_thread(framework.launch, SLEEP)
        waits = [asyncio.ensure_future(asyncio.to_thread(handle.ended)) for _ in range(5)]
        await eventually_async(lambda: bool(fake_cluster.tasks))
        await asyncio.to_thread(framework.__exit__, None, None, None)
        for wait in waits:
            with pytest.raises(FrameworkStopped):
                await asyncio.wait_for(wait, SOON)

    async def test_before_the_block_it_is_a_mistake(self) -> None:
        framework = BlockingFramework(master="h:1")
        for call in (lambda: framework.launch(SLEEP), framework.nodes, framework.finished):
            with pytest.raises(InvalidInput, match="not started"):
                await soon(asyncio.to_thread(call))

    async def test_a_timeout_is_one(self, fake_cluster: FakeCluster, blocking: BlockingFramework) -> None:
        fake_cluster.hold = True
        handle = await asyncio.to_thread(blocking.launch, SLEEP)
        with pytest.raises(TimeoutError, match="nothing after"):
            await soon(asyncio.to_thread(handle.running, 0.1))


async def test_a_restart_says_what_it_takes_over(
    fake_cluster: FakeCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Framework(master=fake_cluster.master.address, state=tmp_path) as first:
        await eventually_async(lambda: first.subscribed)
        running = await first.launch(SLEEP)
        await soon(running.running())
        await first.launch(Launch("true", mem=1800, constraints=("rack == r1",)))
    with caplog.at_level(logging.INFO, "owmesos.service"):
        async with Framework(master=fake_cluster.master.address, state=tmp_path):
            pass
    said = "launches: 1 with a task, 1 waiting, 0 ended, 0 set aside"
    assert f"taking over framework {FRAMEWORK_ID}; {said}" in caplog.messages


class TestMistakesOfACaller:
    """One line that says what is wrong, and the framework goes on."""

    @pytest.mark.parametrize("name", ["launch", "kill", "ended", "stop"])
    async def test_a_call_from_another_thread_breaks_nothing(
        self, fake_cluster: FakeCluster, framework: Framework, name: str
    ) -> None:
        handle = await framework.launch(SLEEP)
        calls: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "launch": lambda: framework.launch(SLEEP),
            "kill": handle.kill,
            "ended": handle.ended,
            "stop": lambda: framework.stop(teardown=True),
        }
        with pytest.raises(InvalidInput, match="runs in another event loop: call it there"):
            await soon(asyncio.to_thread(asyncio.run, calls[name]()))
        assert (await soon(framework.launch(SLEEP))).state is not None
        assert framework.stopped is None

    async def test_a_fork_cannot_end_it(self, framework: Framework) -> None:
        handle = await framework.launch(SLEEP)
        framework._home = framework._home._replace(process=1)  # type: ignore[union-attr]
        with pytest.raises(InvalidInput, match="belongs to process 1, of which this one is a fork"):
            await framework.stop(teardown=True)
        framework._starts_here()
        await handle.kill()

    @pytest.mark.parametrize("launch", ["true", None, [SLEEP]])
    async def test_what_is_no_launch(self, framework: Framework, launch: Any) -> None:
        with pytest.raises(InvalidInput, match=r"a launch must be an owmesos\.Launch, not "):
            await framework.launch(launch)

    async def test_one_where_several_are_named(self, framework: Framework) -> None:
        """A string is not its letters, each of which may be the beginning of an id."""
        handle = await framework.launch(SLEEP)
        one: Any = handle.id
        for asked in (framework.kill_many(one), framework.wait(one, "running")):
            with pytest.raises(InvalidInput, match="not by one string: write \\['"):
                await asked
        with pytest.raises(InvalidInput, match="not by one string"):
            framework.launches(one)
        with pytest.raises(InvalidInput, match="launch_many takes several launches"):
            await framework.launch_many(cast(Any, SLEEP))
        assert handle.state is not State.KILLED

    async def test_a_handle_in_place_of_its_id(self, framework: Framework) -> None:
        handle: Any = await framework.launch(SLEEP)
        for asked in (framework.kill(handle), framework.kill_many([handle]), framework.wait([handle], "running")):
            with pytest.raises(InvalidInput, match="such as the `id` of its handle, not by <"):
                await asked
        with pytest.raises(InvalidInput, match="such as the `id` of its handle"):
            framework.explain(handle)

    async def test_what_is_no_milestone(self, framework: Framework) -> None:
        handle = await framework.launch(SLEEP)
        with pytest.raises(InvalidInput, match="wait must be running or ended, not 'finished'"):
            await framework.wait([handle.id], cast(Any, "finished"))

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"master": 5}, "the master must be a text, as 127.0.0.1:5050, not 5"),
            ({"master": None}, "the master must be a text, as 127.0.0.1:5050, not None"),
            ({"master": "127.0.0.1:5050", "state": 5}, "the state must be a folder or zk://…, not 5"),
        ],
    )
    def test_wrong_types(self, arguments: Any, said: str) -> None:
        with pytest.raises(InvalidInput, match=said):
            owmesos.Framework(**arguments)

    async def test_a_second_start_after_the_end(self, framework: Framework) -> None:
        await framework.stop(teardown=True)
        with pytest.raises(InvalidInput, match=r"cannot start again: make another owmesos\.Framework"):
            await framework.start()

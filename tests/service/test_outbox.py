"""What is queued is sent in order; what is repeated before it was answered is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from owmesos.mesos.messages import ID, Call, Kill, Reconcile, ReconcileTask, Revive, Shutdown
from owmesos.mesos.scheduler.events import CallNotTaken
from owmesos.mesos.wire.driver import NotSubscribed
from owmesos.service.outbox import Outbox
from owmesos.storage import MemoryStore, SaveFramework, Write
from tests.waiting import eventually_async

KILL = Kill(ID("t1"), ID("S1"))


def asks(*names: str) -> Reconcile:
    return Reconcile([ReconcileTask(ID(name), ID("S1")) for name in names])


class SlowDriver:
    """Answers when it is told."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.open = asyncio.Event()
        self.subscribed = True

    async def call(self, call: Call, *, sending: Callable[[], None] | None = None) -> None:
        self.calls.append(call)
        await self.open.wait()
        if not self.subscribed:
            raise NotSubscribed("the stream ended")


class Commits(MemoryStore):
    """Keeps what each commit held."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[list[Write]] = []

    def commit(self, writes: Sequence[Write]) -> None:
        self.commits.append(list(writes))


@pytest.fixture
def driver() -> SlowDriver:
    return SlowDriver()


@pytest.fixture
async def outbox(driver: SlowDriver) -> AsyncIterator[Outbox]:
    failed: list[CallNotTaken] = []
    outbox = Outbox(MemoryStore(), driver, failed.append)  # type: ignore[arg-type]
    outbox.start(lambda error: None)
    yield outbox
    driver.open.set()
    await outbox.close()


@pytest.mark.parametrize("call", [KILL, Shutdown(ID("e1"), ID("S1"))])
async def test_a_repetition_waits_for_the_answer(outbox: Outbox, driver: SlowDriver, call: Call) -> None:
    """A slow master would have to answer each repetition too, before anything new."""
    for _ in range(5):
        outbox.send(call)
        await outbox.flushed()
    outbox.send(Kill(ID("t2"), ID("S1")))
    await eventually_async(lambda: len(driver.calls) > 1)
    assert driver.calls == [call, Kill(ID("t2"), ID("S1"))]
    assert outbox.sent[call.wire_type] == (2 if call is KILL else 1)


async def test_tasks_are_asked_for_together_once_the_question_before_is_answered(
    outbox: Outbox, driver: SlowDriver
) -> None:
    outbox.send(asks("t1"))
    await eventually_async(lambda: driver.calls == [asks("t1")])
    for names in (("t2", "t3"), ("t3",), ("t1",)):
        outbox.send(asks(*names))
        await outbox.flushed()
    assert driver.calls == [asks("t1")]
    driver.open.set()
    await eventually_async(lambda: driver.calls == [asks("t1"), asks("t2", "t3", "t1")])


@pytest.mark.parametrize("subscribed", [True, False])
async def test_it_is_sent_once_that_is_answered_or_has_failed(
    outbox: Outbox, driver: SlowDriver, subscribed: bool
) -> None:
    outbox.send(KILL)
    driver.subscribed = subscribed
    driver.open.set()
    await eventually_async(lambda: not outbox._sending and driver.calls == [KILL])
    outbox.send(KILL)
    await eventually_async(lambda: driver.calls == [KILL, KILL])


@pytest.mark.parametrize("call", [Reconcile(), Revive()])
async def test_others_are_sent_as_often_as_they_are_asked_for(outbox: Outbox, driver: SlowDriver, call: Call) -> None:
    """Of a new subscription, say: the one before will not answer."""
    outbox.send(call)
    outbox.send(call)
    await eventually_async(lambda: driver.calls == [call, call])


async def test_what_belongs_together_is_stored_in_one_commit(driver: SlowDriver) -> None:
    store = Commits()
    outbox = Outbox(store, driver, lambda failed: None)  # type: ignore[arg-type]
    outbox.start(lambda error: None)
    async with outbox.in_one_commit():
        for name in ("one", "two"):
            outbox.store(name, lambda name=name: SaveFramework(name))  # type: ignore[misc]
            outbox.send(KILL)
            await asyncio.sleep(0.01)
        assert not store.commits
        assert not driver.calls
    await outbox.flushed()
    assert store.commits == [[SaveFramework("one"), SaveFramework("two")]]
    driver.open.set()
    await outbox.close()


async def test_the_loop_has_its_turn_while_thousands_of_writes_are_made_ready(driver: SlowDriver) -> None:
    """And closing meanwhile loses none."""
    store, made, turns = Commits(), list[int](), list[int]()
    outbox = Outbox(store, driver, lambda failed: None)  # type: ignore[arg-type]
    outbox.start(lambda error: None)

    def write(number: int) -> SaveFramework:
        made.append(number)
        return SaveFramework(str(number))

    for number in range(1200):
        outbox.store(number, lambda number=number: write(number))  # type: ignore[misc]
    while len(made) < 1000:
        turns.append(len(made))
        await asyncio.sleep(0)
    assert {0, 500} <= set(turns)
    await outbox.close()
    assert [write.framework_id for commit in store.commits for write in commit] == [str(each) for each in range(1200)]

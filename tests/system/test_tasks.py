"""Time limits and cancellations: neither loses the other, on any Python."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from owmesos.system import tasks
from owmesos.system.tasks import cancel_all, is_set_within, within


async def test_a_result_within_its_time_is_returned() -> None:
    assert await within(asyncio.sleep(0.0, "result"), 10.0) == "result"


async def test_what_takes_longer_is_cancelled() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    with pytest.raises(asyncio.TimeoutError):
        await within(work(), 0.0)
    assert ended == ["work"]


async def test_an_error_is_that_of_the_work() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await within(work(), 10.0)


@pytest.mark.parametrize("error", [None, ValueError("broken")])
async def test_a_cancellation_is_not_lost_where_the_work_ends_at_the_same_time(error: Exception | None) -> None:
    """As asyncio.wait_for loses it on Python 3.10 and 3.11."""
    work: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(within(work, 10.0))
    await asyncio.sleep(0)
    if error is None:
        work.set_result("result")
    else:
        work.set_exception(error)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_who_is_cancelled_has_ended_its_work() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    waiting = asyncio.ensure_future(within(work(), 10.0))
    await begun.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert ended == ["work"]


async def test_whether_an_event_is_set_in_time() -> None:
    event = asyncio.Event()
    assert not await is_set_within(event, 0.0)
    asyncio.get_running_loop().call_soon(event.set)
    assert await is_set_within(event, 10.0)
    assert await is_set_within(event, 10.0)


async def test_a_task_that_lost_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "_AGAIN", 0.01)
    lost: list[str] = []
    begun = asyncio.Event()

    async def repeating() -> None:
        while len(lost) < 2:
            begun.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            lost.append("cancellation")
        await asyncio.Event().wait()

    task = asyncio.ensure_future(repeating())
    await begun.wait()
    await cancel_all([task])
    assert task.cancelled()
    assert lost == ["cancellation"] * 2
    assert caplog.text.count("cancelled again: [<Task ") == 2


async def test_a_task_has_seconds_for_its_end() -> None:
    """It is not cancelled again at once, in the middle of what it does at its end."""
    begun = asyncio.Event()

    async def with_an_end() -> str:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
        raise AssertionError

    task = asyncio.ensure_future(with_an_end())
    await begun.wait()
    asked = time.monotonic()
    await cancel_all([task])
    assert task.cancelled()
    assert time.monotonic() - asked >= 0.1


async def test_errors_of_cancelled_tasks_are_dropped() -> None:
    async def broken() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("broken") from None

    begun = asyncio.Event()
    task = asyncio.ensure_future(broken())
    await begun.wait()
    await cancel_all([task, asyncio.ensure_future(asyncio.sleep(10.0))])
    assert isinstance(task.exception(), ValueError)

"""The code of actions within a budget of bytes: fetched once, in turn, and kept while there is room."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from owmesos.openwhisk.entities import ActionNotFetched
from owmesos.openwhisk.executable import END, StoredCode
from owmesos.openwhisk.store.code_cache import SMALL, CodeCache
from tests.waiting import eventually_async, in_time

SIZE = 1000  # bytes of each code


def code(name: str, **changes: Any) -> StoredCode:
    fields = {"revision": "1-a", "attachment": "a", "binary": False, "head": b"", "length": SIZE - len(END)}
    return StoredCode(document_id=name, **{**fields, **changes})


class Codes:
    """A cache, and what it fetches. The usual budget is for three small codes, which have an eighth of it."""

    def __init__(self, budget: int = 8 * 3 * SIZE) -> None:
        self.fetched: list[str] = []
        self.fails: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.cache = CodeCache(self.fetch, budget)

    async def fetch(self, code: StoredCode) -> bytearray:
        self.fetched.append(code.document_id)
        await self.gate.wait()
        if code.document_id in self.fails:
            raise ActionNotFetched(code.document_id, "away")
        return bytearray(code.encoded_length or SIZE)

    async def use(self, *names: str) -> None:
        for name in names:
            async with self.cache.use(code(name)) as data:
                assert len(data) == SIZE


async def test_many_that_need_it_at_once_share_it() -> None:
    codes = Codes()
    await asyncio.gather(*(codes.use("a") for _ in range(20)))
    assert (codes.fetched, codes.cache.held) == (["a"], SIZE)


async def test_the_last_used_are_kept_within_the_budget() -> None:
    codes = Codes()
    await codes.use("a", "b", "c", "a", "d", "a", "b")
    assert codes.fetched == ["a", "b", "c", "d", "b"]
    assert codes.cache.held == 3 * SIZE


async def test_what_is_in_use_is_not_counted_out_and_others_wait_in_turn() -> None:
    codes = Codes()
    async with AsyncExitStack() as stack:
        for name in "abc":
            await stack.enter_async_context(codes.cache.use(code(name)))
        waiting = [asyncio.create_task(codes.use(name)) for name in "defa"]
        await waiting.pop()  # it is there
        assert not (await asyncio.wait(waiting, timeout=0.01))[0]
        assert codes.fetched == ["a", "b", "c"]
    await asyncio.gather(*waiting)
    assert codes.fetched == ["a", "b", "c", "d", "e", "f"]
    assert codes.cache.held <= 3 * SIZE


async def test_what_is_larger_than_the_budget_is_held_alone() -> None:
    codes = Codes()
    await codes.use("a", "b")
    async with codes.cache.use(code("huge", length=9 * SIZE)):
        assert list(codes.cache._small._entries) == [("huge", "a", "1-a", b"")]
    await codes.use("a")


async def test_small_code_waits_for_no_large_code() -> None:
    """Three containers take long over their `/init`, and a fourth code waits for room."""
    codes = Codes(budget=4 * SMALL)
    async with AsyncExitStack() as stack:
        for name in "abc":
            await stack.enter_async_context(codes.cache.use(code(name, length=SMALL)))
        waiting = asyncio.create_task(stack.enter_async_context(codes.cache.use(code("d", length=SMALL))))
        await asyncio.wait([waiting], timeout=0.01)
        assert codes.fetched == ["a", "b", "c"]
        await in_time(codes.use("small"))
        codes.cache.prefetch(code("soon"))
        await eventually_async(lambda: codes.fetched == ["a", "b", "c", "small", "soon"])
        waiting.cancel()
    await codes.cache.close()


async def test_code_of_a_length_that_nobody_told_is_counted_once_it_is_there() -> None:
    codes = Codes()
    async with codes.cache.use(code("a", length=None)):
        assert codes.cache.held == SIZE


async def test_a_failure_is_told_to_all_and_not_kept() -> None:
    codes = Codes()
    codes.fails.add("a")
    outcomes = await asyncio.gather(codes.use("a"), codes.use("a"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ActionNotFetched] * 2
    assert codes.cache.held == 0
    codes.fails.clear()
    await codes.use("a")
    assert codes.fetched == ["a", "a"]


async def test_who_is_cancelled_takes_it_from_nobody() -> None:
    codes = Codes()
    codes.gate.clear()
    first, second = (asyncio.create_task(codes.use("a")) for _ in range(2))
    await eventually_async(lambda: codes.fetched)
    first.cancel()
    await asyncio.sleep(0)
    codes.gate.set()
    await second
    assert first.cancelled()


async def test_who_waits_for_room_may_be_cancelled() -> None:
    codes = Codes()
    async with AsyncExitStack() as stack:
        for name in "abc":
            await stack.enter_async_context(codes.cache.use(code(name)))
        waiting = asyncio.create_task(codes.use("d"))
        await asyncio.wait([waiting], timeout=0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
    await codes.use("e")


@pytest.mark.parametrize(("held", "fetched"), [(2, True), (3, False)])
async def test_it_is_fetched_in_advance_only_where_there_is_room(held: int, fetched: bool) -> None:
    codes = Codes()
    await codes.use(*"abc"[:held])
    codes.cache.prefetch(code("d"))
    await asyncio.sleep(0)
    await codes.cache.close()
    assert ("d" in codes.fetched) is fetched


async def test_what_was_fetched_in_advance_in_vain_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    codes = Codes()
    codes.fails.add("a")
    codes.cache.prefetch(code("a"))
    await eventually_async(lambda: codes.fetched and not codes.cache._small._entries)
    codes.fails.clear()
    await codes.use("a")
    assert not caplog.records


@pytest.mark.parametrize(
    ("changes", "again"),
    [({}, 0), ({"attachment": "b"}, 1), ({"head": b"x"}, 1), ({"revision": "2-b"}, 1), ({"digest": "md5-x"}, 1)],
)
async def test_what_is_not_the_same_code_is_fetched_anew(changes: dict[str, Any], again: int) -> None:
    codes = Codes()
    await codes.use("a")
    async with codes.cache.use(code("a", **changes)):
        assert len(codes.fetched) == 1 + again


async def test_with_a_digest_the_revision_does_not_matter() -> None:
    codes = Codes()
    for revision in ("1-a", "2-b"):
        async with codes.cache.use(code("a", revision=revision, digest="sha256-x")):
            pass
    assert codes.fetched == ["a"]


async def test_closing_ends_what_is_fetched() -> None:
    codes = Codes()
    codes.gate.clear()
    use = asyncio.create_task(codes.use("a"))
    await eventually_async(lambda: codes.fetched)
    await codes.cache.close()
    with pytest.raises(asyncio.CancelledError):
        await use

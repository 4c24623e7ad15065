"""Bodies in slices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from owmesos.system import sliced_body
from owmesos.system.sliced_body import SLICE, Lent, sliced
from tests.waiting import eventually_async


class Lender:
    """Counts who has the code."""

    def __init__(self, code: bytes) -> None:
        self.code = code
        self.lent = 0

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[memoryview]:
        self.lent += 1
        try:
            yield memoryview(self.code)
        finally:
            self.lent -= 1


async def test_what_is_not_accepted_is_released_until_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliced_body, "STALLED", 0.01)
    lender = Lender(bytes(range(256)) * (3 * SLICE // 256))
    async with Lent(b"head", lender.lend) as body:
        assert body.length == 4 + 3 * SLICE
        slices = body.slices()
        came = await anext_of(slices) + await anext_of(slices)
        await eventually_async(lambda: lender.lent == 0)
        came += await anext_of(slices)
        assert lender.lent == 1
        lender.code = lender.code[: 2 * SLICE]
        await eventually_async(lambda: lender.lent == 0)
        with pytest.raises(EOFError):
            await anext_of(slices)
        assert came == b"head" + lender.code
    assert lender.lent == 0


async def anext_of(slices: AsyncIterator[bytes]) -> bytes:
    return await slices.__anext__()


async def test_others_have_their_turn_after_each_slice() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    running = asyncio.create_task(other())
    await asyncio.sleep(0)
    slices = sliced([b"head", bytes(4 * SLICE)])
    assert not isinstance(slices, bytes)
    seen = [(len(each), turns) async for each in slices]
    running.cancel()
    assert [size for size, _ in seen] == [4, SLICE, SLICE, SLICE, SLICE]
    assert len({turn for _, turn in seen[1:]}) == 4

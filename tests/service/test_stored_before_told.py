"""Launches in the admin API while their state is being written, or is away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from owmesos.service import launch_routes
from owmesos.service.framework import Framework
from owmesos.service.launch_routes import LaunchRoutes
from owmesos.storage import SaveLaunch, StoreFailed, StoreTrouble, Write
from owmesos.system.clock import process_time
from tests.fixtures.admin import SMALL, WAITS, Admin
from tests.waiting import in_time


@pytest.mark.parametrize("before", [False, True], ids=["while-it-waits", "before"])
async def test_a_state_that_is_away_is_said_soon(
    admin: Admin, framework: Framework, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    known = (await admin.launch())[0]["launch_id"]
    store, back = framework._store, threading.Event()
    commit, trouble = store.commit, [StoreTrouble("ZooKeeper at zk:2181 does not answer", process_time() - 60)]

    loop, tried = asyncio.get_running_loop(), asyncio.Event()

    def waiting(writes: Sequence[Write]) -> None:
        if any(isinstance(write, SaveLaunch) and write.launch_id != known for write in writes):
            loop.call_soon_threadsafe(tried.set)
            back.wait()
        commit(writes)

    monkeypatch.setattr(store, "trouble", lambda: trouble[0] if trouble and (before or tried.is_set()) else None)
    monkeypatch.setattr(store, "commit", waiting)
    said = "this request did nothing" if before else "what was asked for is done if the state is back soon"
    wanted = {"launch": {"command": "sleep 60"}}
    try:
        for path, body in (("launches", wanted), ("kill", {"ids": [known]})):
            status, error = await admin.error(
                "POST", f"/api/v1/{path}", json=body, headers={"Idempotency-Key": f'"{path}"'}
            )
            assert status == 503
            assert error.startswith("ZooKeeper at zk:2181 does not answer (since 20")
            if before or path == "launches":
                assert said in error
        away = framework.status()["state_trouble"]
        assert away is not None
        assert away["reason"] == "ZooKeeper at zk:2181 does not answer"
    finally:
        trouble.clear()
        back.set()
    rows = (await admin.ask("POST", "/api/v1/launches", json=wanted, headers={"Idempotency-Key": '"launches"'}))[1]
    assert len(await admin.get("/api/v1/launches")) == 2
    assert rows[0]["launch_id"] != known


class TestWhatIsToldIsStored:
    """A leader that was replaced in its sleep reads what it never stores, as the end of a task."""

    async def test_a_listing_waits_for_the_commit(
        self, admin: Admin, framework: Framework, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waiting, store = await _held_back(admin, framework, monkeypatch)
        listing = asyncio.ensure_future(admin.get("/api/v1/launches"))
        assert await admin.get("/api/v1/reservations") == []
        assert not listing.done()
        store.set()
        asked = (await waiting)[1]
        assert [row["launch_id"] for row in await listing] == [row["launch_id"] for row in asked]

    async def test_a_wait_waits_for_it(
        self, admin: Admin, framework: Framework, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = (await admin.launch(**WAITS))[0]["launch_id"]
        waiting, store = await _held_back(admin, framework, monkeypatch)
        listing = asyncio.ensure_future(admin.get(f"/api/v1/launches?id={known}&wait=ended&timeout=0"))
        assert await admin.get("/api/v1/reservations") == []
        assert not listing.done()
        store.set()
        assert [row["launch_id"] for row in await listing] == [known]
        await waiting

    async def test_what_is_never_stored_is_not_told(
        self, admin: Admin, framework: Framework, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waiting, store = await _held_back(
            admin, framework, monkeypatch, StoreFailed("process 7 on m2 took over the state")
        )
        listing = asyncio.ensure_future(admin.error("GET", "/api/v1/launches"))
        await asyncio.sleep(0)
        store.set()
        assert await listing == (503, "process 7 on m2 took over the state")
        assert (await waiting)[0] == 503

    async def test_while_the_state_is_away_it_is_told_all_the_same(
        self, admin: Admin, framework: Framework, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waiting, store = await _held_back(admin, framework, monkeypatch)
        trouble = StoreTrouble("ZooKeeper at zk:2181 does not answer", process_time() - 60)
        monkeypatch.setattr(framework._store, "trouble", lambda: trouble)
        try:
            assert len(await admin.get("/api/v1/launches")) == 1
        finally:
            store.set()
        await waiting

    async def test_what_waits_is_the_answer_alone(
        self, admin: Admin, framework: Framework, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The documents that it is made of take several times its memory."""
        made, answer = asyncio.Event(), launch_routes.answer

        def noted(*given: Any) -> web.Response:
            made.set()
            return answer(*given)

        waiting, store = await _held_back(admin, framework, monkeypatch)
        monkeypatch.setattr(launch_routes, "answer", noted)
        (known,) = framework.launches()
        try:
            for query in ("", f"?id={known['launch_id']}&wait=ended&timeout=0"):
                made.clear()
                listing = asyncio.ensure_future(admin.get(f"/api/v1/launches{query}"))
                await in_time(made.wait())
                assert not listing.done()
                listing.cancel()
        finally:
            store.set()
        await waiting

    async def test_a_request_that_is_given_up_waits_no_longer(self, framework: Framework) -> None:
        """The process stops: nobody would take the store's error from the wait."""
        begun, over = asyncio.Event(), asyncio.Event()

        async def never() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                over.set()

        framework.shell.outbox.flushed = never  # type: ignore[method-assign]
        waiting = asyncio.create_task(LaunchRoutes(framework)._until_stored())
        await begun.wait()
        waiting.cancel()
        await in_time(over.wait())


async def _held_back(
    admin: Admin, framework: Framework, monkeypatch: pytest.MonkeyPatch, fails: StoreFailed | None = None
) -> tuple[asyncio.Future[tuple[int, Any]], threading.Event]:
    """A launch that is known, and not stored before the event is set, or never."""
    store, commit, loop = threading.Event(), framework._store.commit, asyncio.get_running_loop()
    begun = asyncio.Event()

    def held_back(writes: Sequence[Write]) -> None:
        loop.call_soon_threadsafe(begun.set)
        store.wait()
        if fails is not None:
            raise fails
        commit(writes)

    monkeypatch.setattr(framework._store, "commit", held_back)
    asked = asyncio.ensure_future(admin.ask("POST", "/api/v1/launches", json={"launch": {**SMALL, **WAITS}}))
    await begun.wait()
    return asked, store

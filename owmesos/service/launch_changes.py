"""Wait for a launch to change, or follow all changes. Within one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from owmesos.documents import LaunchDocument


class LaunchChanges:
    """Tasks that wait until a launch changes, in one event loop. A cancelled one leaves nothing behind."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def __contains__(self, launch_id: str) -> bool:
        """Whether a task waits for the launch."""
        return launch_id in self._waiting

    def __len__(self) -> int:
        """How many launches are waited for."""
        return len(self._waiting)

    async def next(self, launch_id: str) -> None:
        """Returns at the launch's next change."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        others = self._waiting.setdefault(launch_id, set())
        others.add(waiting)
        try:
            await waiting
        finally:
            others.discard(waiting)
            if not others and self._waiting.get(launch_id) is others:
                del self._waiting[launch_id]

    def changed(self, launch_id: str) -> None:
        for waiting in self._waiting.pop(launch_id, ()):
            if not waiting.done():
                waiting.set_result(None)

    def all_changed(self) -> None:
        for launch_id in list(self._waiting):
            self.changed(launch_id)


class LaunchFollower:
    """Launches as they are after each change. A launch that changes again before it is read is returned once, in its
    latest state, so at most one document per launch is kept. Close it, or use it in a `with` block.
    """

    def __init__(self, check_active: Callable[[], object], others: list[LaunchFollower]) -> None:
        """`check_active` raises FrameworkStopped. The follower is in `others` until it is closed."""
        self._check_active = check_active
        self._others = others
        others.append(self)
        self._rows: dict[str, LaunchDocument] = {}
        self._there = asyncio.Event()

    def put(self, row: LaunchDocument) -> None:
        self._rows[row["launch_id"]] = row
        self._there.set()

    def look(self) -> None:
        """Wake up to check whether the framework has stopped."""
        self._there.set()

    async def next(self) -> LaunchDocument:
        """The next launch that has changed. Raises FrameworkStopped when the framework stops first."""
        while not await self.wait():
            pass
        return self.take()

    async def wait(self, timeout: float | None = None) -> bool:
        """True when a launch has changed; else False, after `timeout` seconds or sooner. Raises FrameworkStopped."""
        if self._rows:
            return True
        self._check_active()
        self._there.clear()
        # Not asyncio.wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
        timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, self._there.set)
        try:
            await self._there.wait()
        finally:
            if timer is not None:
                timer.cancel()
        return bool(self._rows)

    def take(self) -> LaunchDocument:
        """The launch that changed first. Only after `wait` has returned True."""
        return self._rows.pop(next(iter(self._rows)))

    def take_all(self) -> list[LaunchDocument]:
        """All that have changed, perhaps none."""
        rows, self._rows = list(self._rows.values()), {}
        return rows

    def close(self) -> None:
        if self in self._others:
            self._others.remove(self)

    def __enter__(self) -> LaunchFollower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

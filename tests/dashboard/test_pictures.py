"""The pictures of the dashboard in the documents.

`python -m tests.dashboard.test_pictures` takes them anew. Look at them then.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from owmesos.core.pool.events import StartKind
from owmesos.dashboard.history import INTERVAL, START_WORDS
from owmesos.mesos.scheduler.launch import Launch
from owmesos.service import framework as framework_module
from owmesos.service.admin import AdminServer
from owmesos.service.framework import Framework
from owmesos.system.clock import Clock
from tests.dashboard.opening import opened, seen
from tests.dashboard.scene import RECIPE, Activations
from tests.fakes.cluster import FakeAgent, FakeCluster
from tests.fakes.master import FakeMaster
from tests.fixtures.admin import TOKENS
from tests.waiting import eventually_async

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.browser
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WIDE = {"width": 1440, "height": 1040}
PHONE = {"width": 360, "height": 760}
SPEED = 4.0
BEGINS = 1_772_355_000.0  # 2026-03-01T08:50:00Z
SECONDS = 15.0
ACTIONS = ("checkout", "resize", "search", "thumbnail")


class FastClock(Clock):
    """A minute of the picture is a quarter of one of the test's, from a time that is always the same."""

    def __init__(self) -> None:
        self._from = time.monotonic()

    def now(self) -> float:
        return BEGINS + SPEED * (time.monotonic() - self._from)


def agents() -> list[FakeAgent]:
    sizes = [(8, 8192), (16, 16384), (8, 8192), (6, 8192)]
    made = [
        FakeAgent(f"S{number}", f"node{number:02}", *sizes[number % 4], attributes={"rack": f"r{number % 4 + 1}"})
        for number in range(1, 25)
    ]
    made[6].unavailability = {"start": {"nanoseconds": int((BEGINS + 3600) * 1e9)}}
    return made


@asynccontextmanager
async def busy() -> AsyncIterator[AdminServer]:
    """A framework with launches and a pool, an agent that is lost, one that is to be maintained, and a queue."""
    master = await FakeMaster().start()
    cluster = FakeCluster(master, agents())
    cluster.hold = True
    framework = Framework(master=master.address, name="shop", pool=RECIPE)
    await framework.start()
    await eventually_async(lambda: framework.subscribed and len(framework.nodes()) == len(cluster.agents))
    server = AdminServer("127.0.0.1", 0)
    await server.start(framework, TOKENS)
    _remember_an_hour(server)
    working = [asyncio.ensure_future(each) for each in (_start_tasks(cluster), _invoke(framework))]
    try:
        del cluster.agents["S20"]
        await master.send({"type": "FAILURE", "failure": {"agent_id": {"value": "S20"}}})
        await _launch(framework)
        await framework.launch_many([Launch(command="x", name="nightly", cpus=0.5, mem=900)] * 5)
        yield server
    finally:
        for each in working:
            each.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await server.stop()
        await framework.stop(teardown=False)
        await master.stop()


async def _launch(framework: Framework) -> None:
    await framework.launch_many([Launch(command="db", name="database", cpus=2, mem=5200)] * 5)
    await framework.launch_many([Launch(command="web", name="web", cpus=0.5, mem=1500)] * 62)
    training = Launch(command="train", name="training", cpus=3, mem=7000, constraints=["rack == r3"])
    await framework.launch_many([training] * 9)
    for _ in range(14):
        await framework.launch_many([Launch(command="x", name="report", cpus=0.2, mem=400)] * 2)
        await asyncio.sleep(SECONDS / 14)  # of history


def _remember_an_hour(server: AdminServer) -> None:
    """Starts as they may have been: a rush in the middle."""
    assert server.events is not None
    chance, starts = random.Random(7), server.events.feed._starts
    for back in range(330, 0, -1):
        at = BEGINS - back * INTERVAL
        rush = 3.0 if 120 < back < 170 else 1.0
        row = starts.now(at, int(max(0.0, chance.gauss(9, 4))) if rush > 1 else 0)
        row.warm = int(chance.gauss(26, 5) * rush)
        row.prewarmed = chance.randrange(4)
        row.cold = int(chance.randrange(3) * rush**2)
        row.failed = int(chance.random() < 0.02)
    assert set(START_WORDS) == set(StartKind)


async def _start_tasks(cluster: FakeCluster) -> None:
    """Tasks run after a while, some end, and one fails."""
    chance, begun = random.Random(3), set[str]()

    async def run(task_id: str) -> None:
        if task_id.startswith("nightly"):
            return  # they start for as long as the picture is taken
        await asyncio.sleep(chance.uniform(0.15, 0.9))
        await cluster.update(task_id, "TASK_RUNNING")
        if task_id.startswith("report"):
            await asyncio.sleep(chance.uniform(1.5, 9))
            failed = chance.random() < 0.2
            await cluster.update(task_id, "TASK_FAILED" if failed else "TASK_FINISHED")

    async with asyncio.TaskGroup() if hasattr(asyncio, "TaskGroup") else _Tasks() as tasks:
        while True:
            for task_id in set(cluster.tasks) - begun:
                begun.add(task_id)
                tasks.create_task(run(task_id))
            await asyncio.sleep(0.05)


class _Tasks:
    """As much of a TaskGroup as is needed here, for Python 3.10."""

    async def __aenter__(self) -> _Tasks:
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    def create_task(self, work: Any) -> None:
        self._tasks.add(asyncio.ensure_future(work))

    async def __aexit__(self, *_: object) -> None:
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _invoke(framework: Framework) -> None:
    activations, chance = Activations(framework), random.Random(5)
    while True:
        name = chance.choice(ACTIONS)
        activations.invoke(name, memory=512 if name == "resize" else 256, seconds=chance.uniform(0.1, 1.6))
        await asyncio.sleep(0.4)


async def take(browser: Browser, folder: Path) -> list[Path]:
    async with busy() as server:
        pictures = []

        async def picture(name: str, page: Page) -> None:
            pictures.append(folder / name)
            await page.mouse.move(1, 1)
            await page.screenshot(path=pictures[-1])

        async with opened(browser, server, viewport=WIDE) as page:
            await seen(page, "#waiting", "training-")
            await picture("dashboard.png", page)
            await page.click("#waiting button.row")
            await seen(page, "#details .story", "PENDING")
            await picture("dashboard-explain.png", page)
        async with opened(browser, server, viewport=WIDE, color_scheme="dark") as page:
            await seen(page, "#waiting", "training-")
            await picture("dashboard-dark.png", page)
        async with opened(browser, server, viewport=PHONE, device_scale_factor=2, has_touch=True) as page:
            await seen(page, "#waiting", "training-")
            await picture("dashboard-phone.png", page)
        return pictures


def size(picture: Path) -> tuple[int, int]:
    """Of a PNG, in pixels."""
    data = picture.read_bytes()[:24]
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


async def test_the_pictures_of_the_documents_can_be_taken(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framework_module, "Clock", FastClock)
    for taken in await take(browser, tmp_path):
        assert size(taken) == size(PICTURES / taken.name), "run: python -m tests.dashboard.test_pictures"


async def _main() -> None:
    from tests.fixtures.browser import chromium

    framework_module.Clock = FastClock  # type: ignore[misc]
    PICTURES.mkdir(exist_ok=True)
    async with chromium() as browser:
        for taken in await take(browser, PICTURES):
            print(taken)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_main())

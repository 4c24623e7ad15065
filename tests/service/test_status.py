"""The status of a framework: made when it is asked for, but not more often than it is cheap."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from owmesos.documents import InvokerStatus
from owmesos.mesos.scheduler.launch import Launch
from owmesos.service.admin import AdminServer
from owmesos.service.framework import Framework
from owmesos.service.status import StatusSource
from tests.fakes.cluster import FakeCluster
from tests.fixtures.admin import READING, TOKENS

INVOKER: InvokerStatus = {"invoker": "invoker0", "refuses": None, "kafka": None, "couchdb": None, "records_waiting": 3}


class FakeTime:
    """Between two looks at `cpu_time` the thread takes `step` seconds."""

    def __init__(self, step: float) -> None:
        self.time, self.cpu, self.step = 0.0, 0.0, step

    def now(self) -> float:
        return self.time

    def cpu_time(self) -> float:
        self.cpu += self.step
        return self.cpu


async def test_it_names_the_master_that_has_us(framework: Framework, fake_cluster: FakeCluster) -> None:
    document = framework.status()
    assert document["cluster"]["address"] == f"http://{fake_cluster.master.address}"
    assert document["cluster"]["connected"]
    assert document["framework_id"] == framework.framework_id


@pytest.mark.parametrize(("takes", "seen"), [(0.004, 1), (0.1, 0)])
async def test_one_that_takes_long_is_given_again_for_a_while(framework: Framework, takes: float, seen: int) -> None:
    clock = FakeTime(takes)
    source = StatusSource(framework.status, clock.now, clock.cpu_time)
    assert source.document(None)["queue"]["length"] == 0
    await framework.launch(Launch("true", mem=1800, constraints=["@hostname == nowhere"]))
    assert source.document(INVOKER)["queue"]["length"] == seen
    assert source.document(INVOKER)["invoker"] == INVOKER
    clock.time += 20 * takes
    assert source.document(None)["queue"]["length"] == 1


async def test_an_invoker_in_the_process_says_its_part(framework: Framework) -> None:
    class Extension:
        def status(self) -> InvokerStatus:
            return INVOKER

        def metrics(self) -> tuple[()]:
            return ()

        def add_to(self, router: Any) -> None:
            """It has no routes."""

    server = AdminServer("127.0.0.1", 0)
    await server.start(framework, TOKENS, Extension())  # type: ignore[arg-type]
    async with (
        aiohttp.ClientSession(headers=READING) as session,
        session.get(f"{server.url}/api/v1/status") as response,
    ):
        assert (await response.json())["invoker"] == INVOKER
    await server.stop()

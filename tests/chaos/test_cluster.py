"""The network between Apache Mesos's own daemons breaks, and is mended."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from chaos.cluster import cluster
from chaos.proxy import Mode
from owmesos.local.build import Build
from owmesos.local.credentials import FILE, basic_authentication
from owmesos.local.daemon import ask
from tests.waiting import eventually_async

pytestmark = pytest.mark.real_mesos


@pytest.mark.parametrize("mode", [Mode.CUT, Mode.HALF_OPEN, Mode.ONE_WAY])
async def test_an_agent_that_is_cut_off_is_given_up_and_comes_back(
    mesos_build: Build, tmp_path: Path, mode: Mode
) -> None:
    attacked = cluster("mesos", tmp_path, 2)
    await attacked.up()
    try:

        async def both() -> bool:
            return await registered(attacked.master, tmp_path) == {"127.0.0.1", "127.0.0.2"}

        async def one() -> bool:
            return await registered(attacked.master, tmp_path) == {"127.0.0.1"}

        await eventually_async(both)
        attacked.network("agent2", mode)
        await eventually_async(one)
        attacked.network("agent2", Mode.OPEN)
        await eventually_async(both)
    finally:
        await attacked.down()


async def registered(master: str, state: Path) -> set[str]:
    """Hostnames of active agents. The way there is a proxy in this very loop."""
    host, _, port = master.partition(":")
    headers = basic_authentication(str(state / FILE))
    status, body = await asyncio.to_thread(ask, host, int(port), "GET_AGENTS", headers)
    agents = json.loads(body)["get_agents"].get("agents", []) if status == 200 else []
    return {each["agent_info"]["hostname"] for each in agents if each["active"]}

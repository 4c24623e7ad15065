"""A whole invoker whose containers are images: Apache Mesos, a Docker Engine, OpenWhisk's protocol."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from functools import partial

import pytest

from owmesos.local.cluster import MesosCluster
from owmesos.local.daemon import ask
from owmesos.openwhisk.activation import DEVELOPER_ERROR, SUCCESS
from tests.docker.conftest import Invoking, of
from tests.docker.test_docker_executor import NOSUCH
from tests.invoker.test_foreign_process_at_container_port import Stranger
from tests.openwhisk.container.fake_container import http
from tests.openwhisk.runs import action
from tests.waiting import eventually_async

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
EATS = """
import os
def main(args):
    with open(f"/proc/{os.getppid()}/oom_score_adj", "w") as file:
        file.write("1000")  # the container's first process, by whose end Docker knows
    return {"eaten": len(bytearray(400 * 1024 * 1024))}
"""


async def test_cold_starts_behind_dockers_proxy_all_succeed(docker_invoking: Invoking) -> None:
    """It accepts before the container listens, and resets: half of them failed by that."""
    hello = action("hello", memory=128)
    async with docker_invoking(hello) as scene:
        responses = await asyncio.gather(*(scene.run(of(hello, {"n": n})) for n in range(6)))
        assert [each.status_code for each in responses] == [SUCCESS] * 6
        await scene.accounts_are_right()


async def test_a_run_that_takes_too_much_memory_says_so(docker_invoking: Invoking) -> None:
    """All of the container ends by it, as OpenWhisk's own runtimes do, which are one process."""
    eats = action("eats", EATS, memory=128)
    async with docker_invoking(eats) as scene:
        response = await scene.run(of(eats))
        assert response.status_code == DEVELOPER_ERROR
        assert response.result == {"error": "The action exhausted its memory and was aborted."}


async def takes(stranger: Stranger, port: int) -> bool:
    """Raises OSError while a container that Mesos has given up already is still there."""
    await stranger.start_at("127.0.0.1", port)
    return True


def nothing_runs_on(cluster: MesosCluster) -> bool:
    host, _, port = cluster.master.partition(":")
    status, body = ask(host, int(port), "GET_AGENTS")
    agents = json.loads(body)["get_agents"]["agents"] if status == 200 else [{"allocated_resources": ["unknown"]}]
    return not any(each.get("allocated_resources") for each in agents)


async def test_a_run_whose_port_another_process_has_goes_to_another_agent_and_port(
    docker_cluster: MesosCluster, docker_invoking: Invoking
) -> None:
    """Docker does not start its container, and says why on the task's stderr only. The stranger gets nothing."""
    hello = action("hello", memory=128)
    # The containers of the test before hold the lowest ports until they are gone.
    await eventually_async(lambda: nothing_runs_on(docker_cluster), 90.0, interval=0.2, what="all ports are free")
    async with docker_invoking(hello) as scene:
        await eventually_async(lambda: len(scene.framework.nodes()) == 2, what="both agents are known")
        agents = scene.framework.nodes()
        stranger = Stranger(lambda path, body: http(501, b"not for you"))
        for node in agents:
            begin, _ = node["free"]["ports"][0]
            for port in range(begin, begin + 5):
                await eventually_async(partial(takes, stranger, port), 90.0, interval=0.2, retry_on=(OSError,))
        response = await scene.run(of(hello))
        assert response.status_code == SUCCESS
        assert stranger.asked == []
        failed, served = scene.framework.launches()
        assert failed["message"].startswith("Container exited with status 125: Error response from daemon: ")
        assert failed["message"].endswith("address already in use.")
        assert {failed["hostname"], served["hostname"]} == {node["hostname"] for node in agents}
        assert served["ports"][0][0] >= 5 + min(node["free"]["ports"][0][0] for node in agents)
        await scene.accounts_are_right()
        await stranger.stop()


async def test_an_image_that_does_not_exist_is_its_developers_error_and_keeps_no_agent_from_others(
    docker_invoking: Invoking,
) -> None:
    """Invoked 12 times, beside others."""
    hello = action("hello", memory=128)
    missing = action("missing", kind="blackbox", memory=128, image=NOSUCH, code=None)
    async with docker_invoking(hello, missing) as scene:
        order = [missing, hello, missing] * 6
        asked = [scene.activate(of(each, {"n": n})) for n, each in enumerate(order)]
        ended = await asyncio.gather(*map(scene.end_of, asked))
        of_missing = [each for each, what in zip(ended, order, strict=True) if what is missing]
        answers = Counter((each.status_code, str(each.result)) for each in of_missing)
        assert answers == {(DEVELOPER_ERROR, str({"error": f"Failed to pull container image '{NOSUCH}'."})): 12}
        assert [each.status_code for each in ended[1::3]] == [SUCCESS] * 6
        await scene.accounts_are_right()
        assert [node for node in scene.framework.nodes() if node["state"] == "backoff"] == []

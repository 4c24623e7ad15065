"""`owmesos run --cluster kubernetes` as a user has it: a real Kubernetes, real actions, and its end."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from owmesos.local.proc import with_variable
from tests.cli.running import Running, owmesos_process, running
from tests.servers.kubernetes.cluster import KubernetesCluster
from tests.waiting import eventually_async

pytestmark = pytest.mark.kubernetes
ENDED = ("Succeeded", "Failed")
CODE = """\
import sys, time

def main(args):
    print("hello", args.get("name"))
    print("oops", file=sys.stderr)
    time.sleep(args.get("sleep", 0))
    return {"greeting": f"hi {args.get('name')}"}
"""


@pytest.fixture
def options(kubernetes_cluster: KubernetesCluster, kubernetes_namespace: str, tmp_path: Path) -> tuple[str, ...]:
    where = ("--kubeconfig", str(kubernetes_cluster.kubeconfig), "--namespace", kubernetes_namespace)
    return ("--cluster", "kubernetes", "--standalone", *where, "--state", str(tmp_path / "state"))


@pytest.fixture
def code(tmp_path: Path) -> str:
    file = tmp_path / "hello.py"
    file.write_text(CODE)
    return str(file)


def pods(cluster: KubernetesCluster, namespace: str) -> list[dict[str, Any]]:
    with cluster.api() as api:
        found: list[dict[str, Any]] = api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    return found


async def created(process: Running, name: str, code: str, memory: int = 256) -> None:
    ran = await process.ask("action", "create", name, code, "--kind", "python:default", "--memory", str(memory))
    assert ran.code == 0, ran


async def test_an_action_runs_and_its_log_and_story_are_there(
    kubernetes_cluster: KubernetesCluster, kubernetes_namespace: str, options: tuple[str, ...], code: str
) -> None:
    async with running(*options) as process:
        await created(process, "hello", code)
        assert (await process.ask("invoke", "hello", "-p", "name", "you", "-r")).json == {"greeting": "hi you"}
        (container,) = (await process.ask("containers", "-o", "json")).json
        (pod,) = pods(kubernetes_cluster, kubernetes_namespace)
        assert pod["metadata"]["name"] == container["container_id"]
        activation = (await process.ask("activation", "list", "-o", "json")).json[0]["activationId"]
        logs = (await process.ask("activation", "logs", activation)).out.splitlines()
        assert sorted(line.split("stdout: ")[1] for line in logs) == ["hello you", "oops"]
        story = (await process.ask("story", pod["metadata"]["name"], "-o", "json")).json["story"]
        assert (story[0]["state"], story[-1]["state"]) == ("SUBMITTED", "RUNNING")
        log = await owmesos_process("logs", container["container_id"], "--admin", process.url)
        assert {"hello you", "oops"} <= set(log.out.splitlines())
        ended = await process.end(signal.SIGTERM)
        assert (ended.code, "Traceback" in ended.err) == (0, False)
    assert all(
        pod["status"]["phase"] in ("Succeeded", "Failed") for pod in pods(kubernetes_cluster, kubernetes_namespace)
    )


async def test_one_that_does_not_hear_sigterm_is_killed_after_its_grace(
    kubernetes_cluster: KubernetesCluster, kubernetes_namespace: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "frozen.py"
    file.write_text(
        "import os, signal\n\ndef main(args):\n    print('frozen')\n    os.kill(os.getppid(), signal.SIGSTOP)\n"
    )
    async with running(*options) as process:
        await created(process, "frozen", str(file))
        assert (await process.ask("invoke", "frozen")).code == 0
        await eventually_async(lambda: frozen_in(kubernetes_cluster), 60)
        ended = await process.end(signal.SIGTERM)
        assert (ended.code, "Traceback" in ended.err, "not all containers" in ended.err) == (0, False, False)
    assert all(pod["status"]["phase"] in ENDED for pod in pods(kubernetes_cluster, kubernetes_namespace))


def frozen_in(cluster: KubernetesCluster) -> list[int]:
    """The pids of a container's processes that SIGSTOP has stopped, which no kubelet sees."""
    found = []
    for pid in with_variable("NODE_ROOT", str(cluster.place.folder)):
        with suppress(OSError):  # it ended meanwhile
            found += [pid] if "\nState:\tT" in Path(f"/proc/{pid}/status").read_text() else []
    return found


async def test_one_that_fits_nowhere_says_so(options: tuple[str, ...], code: str) -> None:
    async with running(*options) as process:
        await created(process, "large", code, 8192)  # a node has as much, and a buffer of it
        await process.said("the cluster is known")
        activation = (await process.ask("invoke", "large")).out.split()[-1]
        explained = (await process.ask("explain", activation, "-o", "json")).json
        assert explained["agents"] == 3
        assert explained["failed"] == {"buffer": 3}
        assert (await process.ask("status")).code == 0


async def test_a_lost_node_is_closed_and_the_others_take_what_comes(
    kubernetes_cluster: KubernetesCluster, options: tuple[str, ...], code: str
) -> None:
    async with running(*options) as process:
        await created(process, "hello", code)
        assert (await process.ask("invoke", "hello", "-r")).code == 0
        node = (await process.ask("containers", "-o", "json")).json[0]["agent_id"]
        kubernetes_cluster.kill_node(node)
        try:

            async def gets_nothing() -> bool:
                rows = (await process.ask("nodes", "-o", "json")).json
                places = {each["agent_id"] for each in (await process.ask("containers", "-o", "json")).json}
                return node not in places and (node, "it is not ready") in [(e["hostname"], e["reason"]) for e in rows]

            await eventually_async(gets_nothing, 60)
            assert (await process.ask("invoke", "hello", "-p", "name", "you", "-r")).json == {"greeting": "hi you"}
        finally:
            kubernetes_cluster.start_node(node)


async def test_after_a_kill_9_the_next_start_deletes_what_was_left(
    kubernetes_cluster: KubernetesCluster, kubernetes_namespace: str, options: tuple[str, ...], code: str
) -> None:
    async with running(*options) as process:
        await created(process, "hello", code)
        assert (await process.ask("invoke", "hello", "-r")).code == 0
        (left,) = pods(kubernetes_cluster, kubernetes_namespace)
        await process.end(signal.SIGKILL)
    async with running(*options) as process:
        await eventually_async(
            lambda: (
                left["metadata"]["name"]
                not in [each["metadata"]["name"] for each in pods(kubernetes_cluster, kubernetes_namespace)]
            )
        )
        assert (await process.ask("invoke", "hello", "-r")).code == 0

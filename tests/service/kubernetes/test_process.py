"""The process on Kubernetes: what it does on a cluster, what it says of it, and why it does not begin."""

from __future__ import annotations

import logging
from typing import Any

import aiohttp
import pytest

from owmesos.core.pool.events import Initialized, RunDone
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.service.admin import AdminServer
from owmesos.service.errors import NotKnown
from owmesos.service.kubernetes.process import KubernetesProcess
from tests.fakes.api_server import FakeApiServer, answer, failure
from tests.fixtures.admin import READING, TOKENS
from tests.service.kubernetes.scene import RECIPE, Scene, access_to, fake_node, scene
from tests.waiting import eventually_async, in_time


async def stopped(server: FakeApiServer, **more: Any) -> tuple[str, int]:
    """How a process ends that cannot begin."""
    settings = KubernetesSettings(namespace="actions")
    async with KubernetesProcess(access_to(server), RECIPE, settings, **more) as process:
        return await in_time(process.finished())


# -- its containers


async def test_a_run_gets_a_pod_and_its_story_is_told() -> None:
    async with scene() as found:
        found.run("r1")
        (name,) = await found.posted()
        assert found.process.reservations()[0] | {"since": None, "age_s": 0.0} == {
            "launch_id": name,
            "task_id": None,
            "agent_id": "n1",
            "hostname": "n1",
            "kind": "start",
            "state": "decided",
            "resources": {"cpus": 0.062, "mem": 256.0, "disk": 0.0, "gpus": 0.0, "ports": [], "pods": 1},
            "since": None,
            "age_s": 0.0,
        }
        found.bind(name, "n1")
        await eventually_async(lambda: found.process.reservations()[0]["state"] == "cut")
        found.ready(name)
        await eventually_async(lambda: found.process.containers()[0]["address"] == "10.0.0.1:8080")
        assert found.process.reservations() == []
        assert [line["state"] for line in found.process.story(name)["story"]] == ["SUBMITTED", "STAGING", "RUNNING"]
        assert "it is RUNNING" in found.process.explain(name)["summary"]
        assert found.process.explain("r1")["summary"] == f"the activation is not waiting: it is in container {name}"


async def test_a_node_outside_the_selector_is_in_no_trouble_and_has_nothing_available() -> None:
    nodes = (
        fake_node("n1", labels={"for": "actions"}),
        fake_node("n2"),
        fake_node("n3", labels={"for": "actions"}, unschedulable=True),
    )
    async with scene(*nodes, node_selector={"for": "actions"}) as found:
        status = found.process.status()["nodes"]
        assert status["states"] == {"fresh": 1, "draining": 1, "closed": 1}
        assert [each["hostname"] for each in status["trouble"]] == ["n3"]
        open_node = next(each for each in found.process.nodes() if each["hostname"] == "n1")
        assert status["sums"]["available"]["mem"] == open_node["available"]["mem"]
        assert status["sums"]["total"]["mem"] == 3 * open_node["total"]["mem"]


async def test_a_node_shows_what_our_pods_use_and_why_it_gets_none() -> None:
    async with scene(fake_node("n1"), fake_node("n2", unschedulable=True)) as found:
        name = await found.running()
        rows = {row["hostname"]: row for row in found.process.nodes()}
        assert rows["n1"]["used"] == {"cpus": 0.062, "mem": 256.0, "disk": 0.0, "gpus": 0.0, "ports": [], "pods": 1}
        assert (rows["n1"]["free"]["pods"], rows["n1"]["reason"]) == (109, None)
        assert rows["n2"]["reason"] == "it is cordoned"
        status = found.process.status()
        assert status["cluster"]["connected"]
        assert [(each["hostname"], each["reason"]) for each in status["nodes"]["trouble"]] == [("n2", "it is cordoned")]
        assert status["nodes"]["sums"]["used"]["mem"] == 256
        found.process.host.observe(Initialized(name))
        found.process.host.observe(RunDone(name, "r1"))
        assert status["containers"] == {"warming": 1}


async def test_what_a_pod_takes_with_its_overhead_is_used_and_not_free() -> None:
    async with scene(fake_node("n1")) as found:
        found.run("r1")
        (name,) = await found.posted()
        found.pods[name]["spec"]["overhead"] = {"memory": "128Mi"}
        found.bind(name, "n1")
        found.ready(name)
        await eventually_async(lambda: found.process.nodes()[0]["used"]["mem"] > 0)
        (row,) = found.process.nodes()
        assert row["used"]["mem"] == 384
        assert row["used"]["mem"] + row["free"]["mem"] == row["total"]["mem"]


async def test_a_run_that_no_node_can_hold_says_why() -> None:
    async with scene(fake_node("n1", memory="1Gi"), fake_node("n2", memory="512Mi")) as found:
        found.run("r1", memory=1500)
        explained = found.process.explain("r1")
        assert explained["summary"].startswith("of 2 nodes, 2 lack memory; nearest: node n1 ")
        with pytest.raises(NotKnown, match="unknown container or unfinished activation nonesuch"):
            found.process.explain("nonesuch")


async def test_a_container_that_ended_still_has_its_story() -> None:
    async with scene() as found:
        name = await found.running()
        found.server.remove("pods", name)
        await eventually_async(lambda: not found.process.containers())
        story = found.process.story(name)
        assert (story["state"], story["story"][-1]["text"]) == ("LOST", "it has stopped: its pod was deleted")
        with pytest.raises(NotKnown):
            found.process.story("other")


async def test_an_earlier_process_s_pods_are_deleted_at_the_start() -> None:
    server = await FakeApiServer(None).start()
    server.put("nodes", fake_node("n1"))
    labels = {"app": "owmesos", "owmesos/invoker": "i", "owmesos/incarnation": "0"}
    for name, of in (("orphan", labels), ("other", {**labels, "owmesos/invoker": "another"})):
        metadata = {"name": name, "namespace": "default", "uid": f"u-{name}", "labels": of}
        server.put("pods", {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}})
    settings = KubernetesSettings(invoker="i", incarnation="1")
    async with KubernetesProcess(access_to(server), RECIPE, settings):
        await eventually_async(lambda: list(server.objects["pods"]) == ["default/other"])
    await server.stop()


async def test_at_the_end_its_pods_are_deleted_and_waited_for() -> None:
    async with scene() as found:
        await found.running()
        assert await found.process.host.stop_containers()
        assert found.pods == {}


async def test_pods_that_do_not_end_in_time_are_said_to_live() -> None:
    async with scene() as found:
        await found.running()
        found.server.answers += [("DELETE ", answer(200, "{}"))]
        assert not await found.process.host.stop_containers(0.2)


async def test_a_post_that_is_rejected_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as found:
        found.server.answers.append(
            ("POST /api/v1/namespaces/default/pods", answer(503, failure(503, "Unavailable", "busy")))
        )
        found.run("r1")
        (name,) = await found.posted()
        assert "its pod was not created: busy" in [line["text"] for line in found.process.story(name)["story"]]


async def test_a_pause_that_the_api_server_wants_is_shown_and_no_pod_is_made_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene() as found:
        busy = answer(429, failure(429, "TooManyRequests", "too many requests"), Retry_After="1")
        found.server.answers += [("POST /api/v1/namespaces/default/pods", busy)] * 2
        found.run("r1")
        found.run("r2")
        await eventually_async(lambda: not found.server.answers)
        await eventually_async(lambda: found.process.status()["cluster"]["reason"] is not None)
        cluster = found.process.status()["cluster"]
        assert cluster["connected"]
        assert str(cluster["reason"]).endswith(": too many requests")
        await found.posted(2)
        await eventually_async(lambda: found.process.host.outbox.counts["create", "ok"] == 2)
        assert sum("takes no more requests for now" in record.message for record in caplog.records) == 1


# -- the connection


async def test_a_lost_api_server_is_told_and_found_again(caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as found:
        await found.server.stop()
        await eventually_async(lambda: not found.process.health()["subscribed"], 30)
        status = found.process.status()
        assert not status["cluster"]["connected"]
        assert "cannot connect to http://127.0.0.1" in str(status["cluster"]["reason"])
        found.run("r1", memory=4000)
        assert found.process.explain("r1")["summary"].startswith("not connected to the API server since 20")
        assert found.process.nodes()[0]["reason"].startswith("not connected to the API server since 20")
        await found.server.start()
        await eventually_async(lambda: found.process.health()["subscribed"], 30)
        assert "2 lack memory" in found.process.explain("r1")["summary"]


# -- why it does not begin


async def test_a_missing_rule_of_rbac_is_named() -> None:
    server = await FakeApiServer(None).start()
    server.denied |= {("delete", "pods"), ("watch", "nodes")}
    reason, code = await stopped(server)
    assert reason == (
        "RBAC does not allow owmesos to watch nodes (a ClusterRole), delete pods (a Role in namespace actions):"
        " see deploy/kubernetes/rbac.yaml"
    )
    assert code == 1
    await server.stop()


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (
            404,
            failure(404, "NotFound", 'namespaces "actions" not found', kind="namespaces", name="actions"),
            "the namespace actions does not exist: create it",
        ),
        (401, failure(401, "Unauthorized", "Unauthorized"), "does not accept the test's token (401 Unauthorized)"),
    ],
)
async def test_what_cannot_mend_itself_ends_it(status: int, said: dict[str, Any], reason: str) -> None:
    server = await FakeApiServer(None).start()
    server.answers = [("dryRun=All", answer(status, said))] * 2
    found, code = await stopped(server)
    assert reason in found
    assert code == 1
    await server.stop()


@pytest.mark.parametrize(
    ("metadata", "spec", "said"),
    [
        ({"labels": {}}, {}, "would fail: the API server made its pod with no label owmesos/invoker: an admission"),
        ({}, {"schedulerName": "volcano"}, "made its pod with the schedulerName volcano"),
        ({}, {"schedulingGates": [{"name": "a.example/q"}]}, "gets scheduling gates (a.example/q): it starts once"),
    ],
)
async def test_a_webhook_that_changes_a_pod_like_ours_is_a_warning(
    caplog: pytest.LogCaptureFixture, metadata: dict[str, Any], spec: dict[str, Any], said: str
) -> None:
    server = await FakeApiServer(None).start()
    labels = {"owmesos/invoker": "owmesos-check", "owmesos/incarnation": "owmesos-check"}
    made = {"metadata": {"name": "owmesos-check", "labels": labels, **metadata}, "spec": spec}
    server.answers.append(("dryRun=All", answer(201, made)))
    with caplog.at_level(logging.WARNING, "owmesos.service"):
        async with KubernetesProcess(access_to(server), RECIPE, KubernetesSettings(namespace="actions")):
            await eventually_async(lambda: said in caplog.text)
    await server.stop()


async def test_a_webhook_that_rejects_a_pod_like_ours_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    server = await FakeApiServer(None).start()
    text = 'admission webhook "policy" denied the request: no'
    server.answers.append(("dryRun=All", answer(403, failure(403, "Forbidden", text))))
    settings = KubernetesSettings(namespace="actions")
    with caplog.at_level(logging.WARNING, "owmesos.service"):
        async with KubernetesProcess(access_to(server), RECIPE, settings) as process:
            await eventually_async(lambda: text in caplog.text)
            assert process.stopped is None
    await server.stop()


async def test_the_check_is_made_again_where_the_api_server_is_busy(caplog: pytest.LogCaptureFixture) -> None:
    server = await FakeApiServer(None).start()
    busy = answer(429, "Too many requests, please try again later.\n", Retry_After="1")
    server.answers.append(("dryRun=All", busy))
    settings = KubernetesSettings(namespace="actions")
    async with KubernetesProcess(access_to(server), RECIPE, settings) as process:
        await eventually_async(lambda: server.asked("dryRun=All") == 2)
        assert process.stopped is None
    assert "would be rejected" not in caplog.text
    await server.stop()


async def test_an_api_server_that_is_away_is_waited_for_and_given_up() -> None:
    server = await FakeApiServer(None).start()
    await server.stop()
    reason, code = await stopped(server, connect_timeout=0.1)
    assert reason.startswith(f"cannot connect to {server.url}: ")
    assert reason.endswith("; tried for 0.1 s")
    assert code == 1


# -- the admin API


class Served:
    def __init__(self, found: Scene, url: str, session: aiohttp.ClientSession) -> None:
        self.scene, self.url, self.session = found, url, session

    async def get(self, path: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
        async with self.session.request(method, f"{self.url}{path}", **more) as response:
            text = await response.text()
            return response.status, await response.json() if response.content_type == "application/json" else text


@pytest.fixture
async def served() -> Any:
    async with scene() as found:
        server = AdminServer("127.0.0.1", 0)
        await server.start(found.process, TOKENS)
        async with aiohttp.ClientSession(headers=READING) as session:
            yield Served(found, server.url, session)
        await server.stop()


async def test_the_admin_api_shows_it(served: Served) -> None:
    name = await served.scene.running()
    assert (await served.get("/healthz"))[0] == 200
    assert len((await served.get("/api/v1/nodes"))[1]) == 2
    assert (await served.get("/api/v1/containers"))[1][0]["container_id"] == name
    assert (await served.get("/api/v1/status"))[1]["cluster"]["manager"] == "kubernetes"
    assert (await served.get(f"/api/v1/story/{name}"))[1]["state"] == "RUNNING"
    assert (await served.get("/api/v1/explain/r1"))[1]["state"] == "running"


@pytest.mark.parametrize("path", ["offers", "launches", "unreadable"])
async def test_launches_and_offers_are_not_available(served: Served, path: str) -> None:
    status, document = await served.get(f"/api/v1/{path}")
    assert status == 501
    assert document["error"].startswith(f"/api/v1/{path} is not available on Kubernetes: ")
    assert path not in str((await served.get("/api/v1/openapi.json"))[1]["paths"])


async def test_its_metrics(served: Served) -> None:
    await served.scene.running()
    _, text = await served.get("/metrics")
    assert "owmesos_subscribed 1.0" in text
    assert 'owmesos_kubernetes_requests_total{answer="ok",verb="create"} 1.0' in text
    assert "owmesos_kubernetes_watch_lost_total 0.0" in text
    assert "owmesos_cluster_memory_used_bytes 2.68435456e+08" in text
    pods = [line for line in text.splitlines() if "_pods_" in line and not line.startswith("#")]
    assert [line for line in pods if "node_" not in line] == [
        "owmesos_cluster_pods_used 1.0",
        "owmesos_cluster_pods_free 219.0",
        "owmesos_cluster_pods_reserved 0.0",
        "owmesos_cluster_pods_available 219.0",
    ]
    assert 'owmesos_node_pods_free{agent_id="n1",hostname="n1"} 109.0' in pods
    assert "_ports_" not in text
    assert "owmesos_launches" not in text


async def test_the_dashboard_shows_nodes_and_containers(served: Served) -> None:
    name = await served.scene.running()
    async with served.session.get(f"{served.url}/api/v1/events") as response:
        assert response.status == 200
        text = ""
        while "event: snapshot" not in text or f'"{name}"' not in text:
            text += (await response.content.readany()).decode()
    assert '"hostname":"n2"' in text


async def test_the_log_of_a_container_is_its_pod_s(served: Served) -> None:
    name = await served.scene.running()
    served.scene.server.log = b"2026-01-02T03:04:05.1Z hello\n2026-01-02T03:04:05.2Z you\n"
    assert await served.get(f"/api/v1/logs/{name}") == (200, "hello\nyou\n")
    assert await served.get("/api/v1/logs/r1", params={"tail": "1"}) == (200, "you\n")
    assert await served.get(f"/api/v1/logs/{name}", params={"stream": "stderr"}) == (200, "")
    served.scene.server.remove("pods", name)
    await eventually_async(lambda: not served.scene.process.containers())
    status, document = await served.get(f"/api/v1/logs/{name}")
    assert (status, document["error"]) == (
        404,
        f"the pod of container {name} is gone, and its log with it: it is LOST",
    )

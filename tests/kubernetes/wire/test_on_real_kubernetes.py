"""The wire on a real API server: what its fakes claim, seen on the original."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from aiohttp import ClientTimeout

from owmesos.kubernetes.events import (
    ApiDisconnected,
    ApiFailure,
    KubernetesEvent,
    NodeDeleted,
    NodeSeen,
    NodesListed,
    PodDeleted,
    PodSeen,
    PodsListed,
)
from owmesos.kubernetes.messages import Node, Pod
from owmesos.kubernetes.wire.access import ClusterAccess, Credential, FileCredentials, FixedCredentials
from owmesos.kubernetes.wire.api_client import RIGHTS, ApiClient, Right
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.kubernetes.wire.api_session import ApiSession
from owmesos.kubernetes.wire.cluster_watch import ClusterWatch
from owmesos.kubernetes.wire.decoding import GONE, NODES, PODS, WatchError
from owmesos.kubernetes.wire.kubeconfig import find_access
from owmesos.kubernetes.wire.watcher import WatchTimes
from owmesos.system.retry_pause import RetryPause
from tests.fixtures.kubernetes import KubernetesFactory
from tests.servers.kubernetes.cluster import KubernetesCluster
from tests.waiting import eventually_async

pytestmark = [
    pytest.mark.kubernetes,
    # Python 3.10 takes a TLS transport for unclosed when its peer ends it.
    pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning"),
]
QUICK = WatchTimes(patience=2.0, pause=lambda: RetryPause(0.1, 1.0, 30.0))


def body(name: str, *, command: str = "echo out; echo err >&2; exec sleep 1000", **spec: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "busybox",
        "command": ["sh", "-c", command],
        "resources": {"requests": {"cpu": "50m", "memory": "16Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]} | spec,
    }


class Known:
    """What a consumer that only remembers knows, and the events it knows it by."""

    def __init__(self, access: ClusterAccess) -> None:
        self.events: list[KubernetesEvent] = []
        self.nodes: dict[str, Node] = {}
        self.pods: dict[str, Pod] = {}
        self.watch = ClusterWatch(access, self._deliver, times=QUICK)
        self.watch.start()

    def _deliver(self, events: Sequence[KubernetesEvent]) -> None:
        self.events += events
        for event in events:
            if isinstance(event, NodesListed):
                self.nodes = {each.metadata.name: each for each in event.nodes}
            elif isinstance(event, NodeSeen):
                self.nodes[event.node.metadata.name] = event.node
            elif isinstance(event, NodeDeleted):
                self.nodes.pop(event.name, None)
            elif isinstance(event, PodsListed):
                self.pods = {each.metadata.uid: each for each in event.pods}
            elif isinstance(event, PodSeen):
                self.pods[event.pod.metadata.uid] = event.pod
            elif isinstance(event, PodDeleted):
                self.pods.pop(event.pod.metadata.uid, None)

    def count(self, kind: type[KubernetesEvent]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def phases(self, namespace: str) -> dict[str, str]:
        found = self.pods.values()
        return {each.metadata.name: each.status.phase for each in found if each.metadata.namespace == namespace}

    async def is_true(self, api: ApiClient) -> None:
        """Until it knows exactly what the API server has."""

        async def same() -> bool:
            pods, nodes = await api.list_all(PODS), await api.list_all(NODES)
            return self.pods == {each.metadata.uid: each for each in pods.items} and self.nodes == {
                each.metadata.name: each for each in nodes.items
            }

        await eventually_async(same, 60, interval=0.2, what="what is known is what there is")


@pytest.fixture
def access(kubernetes_cluster: KubernetesCluster) -> ClusterAccess:
    return find_access(kubernetes_cluster.kubeconfig, None, {})


@pytest.fixture
async def api(access: ClusterAccess) -> AsyncIterator[ApiClient]:
    async with ApiClient(access) as client:
        yield client


@pytest.fixture
async def known(access: ClusterAccess) -> AsyncIterator[Known]:
    known = Known(access)
    await eventually_async(lambda: known.count(NodesListed) and known.count(PodsListed), what="the first lists")
    yield known
    await known.watch.close()


async def failed(asked: Any) -> ApiFailure:
    with pytest.raises(ApiRequestFailed) as error:
        await asked
    return error.value.failure


async def running(known: Known, namespace: str, count: int = 1) -> None:
    await eventually_async(
        lambda: list(known.phases(namespace).values()).count("Running") == count, 120, what=f"{count} pods run"
    )


async def test_a_pod_is_seen_from_its_post_to_its_end(api: ApiClient, known: Known, kubernetes_namespace: str) -> None:
    made = await api.post_pod(kubernetes_namespace, body("a"))
    await running(known, kubernetes_namespace)
    await api.delete_pod(kubernetes_namespace, "a", uid=made.metadata.uid, grace=1)
    await eventually_async(lambda: made.metadata.uid not in known.pods, what="the pod is gone")
    seen = [
        (type(event), event.pod.status.phase, event.pod.spec.node_name != "")
        for event in known.events
        if isinstance(event, (PodSeen, PodDeleted)) and event.pod.metadata.uid == made.metadata.uid
    ]
    assert seen[0] == (PodSeen, "Pending", False)
    assert (PodSeen, "Running", True) in seen
    assert seen[-1][0] is PodDeleted
    assert seen[-1][1] in ("Succeeded", "Failed")


async def test_identities_are_as_they_were_measured(api: ApiClient, known: Known, kubernetes_namespace: str) -> None:
    namespace = kubernetes_namespace
    made = await api.post_pod(namespace, body("a"))
    again = await failed(api.post_pod(namespace, body("a")))
    assert (again.status, again.reason, again.certain) == (409, "AlreadyExists", True)
    other = await failed(api.delete_pod(namespace, "a", uid="another", grace=1))
    assert (other.status, other.reason, other.certain) == (409, "Conflict", True)
    await running(known, namespace)
    await api.delete_pod(namespace, "a", uid=made.metadata.uid, grace=1)
    await eventually_async(lambda: made.metadata.uid not in known.pods, what="the pod is gone")
    gone = await failed(api.delete_pod(namespace, "a", uid=made.metadata.uid, grace=1))
    assert (gone.status, gone.reason, gone.certain) == (404, "NotFound", True)


async def test_rejections_say_what_to_do(api: ApiClient, kubernetes_namespace: str) -> None:
    missing = await failed(api.post_pod("no-such-namespace", body("a")))
    assert missing.message.startswith("the namespace no-such-namespace does not exist: create it")
    invalid = await failed(api.post_pod(kubernetes_namespace, body("A_")))
    assert (invalid.status, invalid.reason) == (422, "Invalid")
    assert "metadata.name" in invalid.message
    assert (await api.post_pod(kubernetes_namespace, body("dry"), dry_run=True)).metadata.name == "dry"
    assert (await failed(api.pod(kubernetes_namespace, "dry"))).status == 404


async def test_logs_are_read(api: ApiClient, known: Known, kubernetes_namespace: str) -> None:
    begun = datetime.now(timezone.utc)
    await api.post_pod(kubernetes_namespace, body("a"))
    await running(known, kubernetes_namespace)

    async def both() -> bytes:
        data = await api.logs(kubernetes_namespace, "a", timestamps=True, since=begun - timedelta(seconds=5))
        return data if data.count(b"\n") == 2 else b""

    lines = (await eventually_async(both)).splitlines()
    assert sorted(line.split(b" ", 1)[1] for line in lines) == [b"err", b"out"]
    assert all(line.startswith(str(begun.year).encode()) for line in lines)
    assert await api.logs(kubernetes_namespace, "a", limit=3) in (b"out", b"err")


async def test_rights_of_a_service_account(
    api: ApiClient, access: ClusterAccess, kubernetes_cluster: KubernetesCluster, kubernetes_namespace: str
) -> None:
    namespace = kubernetes_namespace
    assert await api.missing_rights(namespace) == []
    with kubernetes_cluster.api() as admin:
        answer = admin.post(f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token", {"spec": {}})
    token = answer["status"]["token"]
    weak = ClusterAccess(
        access.server, FixedCredentials(Credential(token), "the token"), "a test", authority=access.authority
    )
    async with ApiClient(weak) as client:
        assert await client.missing_rights(namespace) == list(RIGHTS)
        assert not await client.allowed(Right("get", "secrets"), namespace)
        posted, listed = await failed(client.post_pod(namespace, body("a"))), await failed(client.list_all(NODES))
    user = f"system:serviceaccount:{namespace}:default"
    assert posted.message == (
        f"RBAC forbids {user} to create pods in the namespace {namespace}: give it a Role with"
        ' apiGroups: [""], resources: ["pods"], verbs: ["create"]'
    )
    assert listed.message.startswith(f"RBAC forbids {user} to list nodes: give it a ClusterRole with")


async def test_a_token_that_is_not_accepted_is_renewed(access: ClusterAccess) -> None:
    right = access.credentials.current()
    assert right is not None
    tokens = [Credential("wrong"), right]
    credentials = FileCredentials(lambda: tokens.pop(0) if len(tokens) > 1 else tokens[0], "a token")
    async with ApiClient(ClusterAccess(access.server, credentials, "a test", authority=access.authority)) as client:
        assert (await client.list_all(NODES)).items
    wrong = FixedCredentials(Credential("wrong"), "the token")
    async with ApiClient(ClusterAccess(access.server, wrong, "a test", authority=access.authority)) as client:
        assert "does not accept the token (401 Unauthorized)" in (await failed(client.list_all(NODES))).message


async def test_another_authority_is_not_trusted(access: ClusterAccess) -> None:
    async with ApiClient(ClusterAccess(access.server, access.credentials, "a test")) as client:
        said = await failed(client.list_all(NODES))
    assert (said.reason, said.certain) == ("CertificateInvalid", True)


async def first_of_watch(access: ClusterAccess, version: str) -> int:
    """The code of the error that a watch of pods from `version` begins with, or is answered with."""
    parameters = [("watch", "true"), ("resourceVersion", version)]
    async with ApiSession(access) as session:
        try:
            async with session.stream("GET", PODS.path, parameters=parameters, limits=ClientTimeout(30)) as response:
                change = PODS.change(await response.content.readline(), print)
        except ApiRequestFailed as error:
            return error.failure.status
    assert isinstance(change, WatchError), change
    return change.status.code


@pytest.fixture
def own(kubernetes_clusters: KubernetesFactory) -> KubernetesCluster:
    """A control plane that the test may kill, with nodes that are pretended."""
    return kubernetes_clusters(nodes=0, kwok=50)


@pytest.fixture
async def its_known(own: KubernetesCluster) -> AsyncIterator[Known]:
    known = Known(find_access(own.kubeconfig, None, {}))
    yield known
    await known.watch.close()


async def test_nothing_is_missed_while_the_api_server_is_killed(own: KubernetesCluster, its_known: Known) -> None:
    access, known = find_access(own.kubeconfig, None, {}), its_known
    await eventually_async(lambda: len(known.nodes) == 50, 60, what="50 nodes")
    spec = {"nodeSelector": {"type": "kwok"}, "tolerations": [{"operator": "Exists"}]}
    gate = asyncio.Semaphore(8)

    async with ApiClient(access) as api:

        async def post(name: str) -> None:
            """Until it is there: a failure that is not certain may have been a success."""
            async with gate:
                while True:
                    try:
                        await api.post_pod("default", body(name, **spec))
                        return
                    except ApiRequestFailed as error:
                        if error.failure.status == 409:
                            return
                        if error.failure.status not in (0, 403, 429, 500, 503):  # of a server that begins or ends
                            raise
                    await asyncio.sleep(0.5)

        async def kill() -> None:
            await eventually_async(lambda: len(known.pods) > 50, 60)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, own.kill_api_server)
            await loop.run_in_executor(None, own.start_api_server)

        await asyncio.gather(kill(), *(post(f"p{number}") for number in range(150)))
        await eventually_async(
            lambda: list(known.phases("default").values()).count("Running") == 150, 180, what="150 pods run"
        )
        await known.is_true(api)
        assert known.count(ApiDisconnected) <= 1
        assert await first_of_watch(access, "1") == GONE
        for pod in list(known.pods.values()):
            await api.delete_pod("default", pod.metadata.name, uid=pod.metadata.uid, grace=1)
        await eventually_async(lambda: not known.pods, 180, what="no pod is left")
        await known.is_true(api)

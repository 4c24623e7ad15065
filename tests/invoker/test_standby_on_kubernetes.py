"""A standby invoker takes over on a real Kubernetes, by a Lease: what a Controller sees, what ran, which pods are left.

As `test_standby`, with three kubelets and kube-apiserver in place of Mesos and ZooKeeper.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from owmesos.openwhisk.kafka.broker import Broker
from tests.invoker.kafka_scene import scene
from tests.invoker.standby import Pair, nothing_is_lost
from tests.openwhisk.store.couch import Couch
from tests.servers.kubernetes.cluster import KubernetesCluster
from tests.waiting import eventually_async

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka, pytest.mark.couchdb, pytest.mark.timeout(400)]
INCARNATION = "owmesos/incarnation"
ENDED = ("Succeeded", "Failed")


def living(cluster: KubernetesCluster, namespace: str) -> list[dict[str, Any]]:
    with cluster.api() as api:
        pods = api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    return [pod for pod in pods if pod["status"]["phase"] not in ENDED]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
async def test_nothing_is_lost_or_runs_twice_and_the_controller_sees_no_gap(
    kubernetes_cluster: KubernetesCluster,
    kubernetes_namespace: str,
    broker: Broker,
    couch: Couch,
    tmp_path: Path,
    figures: Callable[[str], None],
    number: signal.Signals,
) -> None:
    def it_created_none() -> None:
        """The one that woke up: its pods, which may still be ending, are older than all of the other one's."""
        ages: dict[str, list[str]] = {}
        for pod in living(kubernetes_cluster, kubernetes_namespace):
            ages.setdefault(pod["metadata"]["labels"][INCARNATION], []).append(pod["metadata"]["creationTimestamp"])
        before, after = min(ages.values()), max(ages.values())
        assert len(ages) == 1 or (len(ages) == 2 and max(before) < min(after)), ages

    where = ("--kubeconfig", str(kubernetes_cluster.kubeconfig), "--namespace", kubernetes_namespace)
    async with scene(broker, couch, "") as world:
        pair = Pair(world, tmp_path, "--state", "--cluster", "kubernetes", *where)
        await nothing_is_lost(world, pair, couch, tmp_path, number, figures, it_created_none)
    with kubernetes_cluster.api() as api:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{kubernetes_namespace}/leases/owmesos-invoker0"
        spec = api.get(path)["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("", 1)
    # A kubelet on a busy machine may take longer than a process waits for its containers.
    await eventually_async(lambda: living(kubernetes_cluster, kubernetes_namespace) == [], 60)

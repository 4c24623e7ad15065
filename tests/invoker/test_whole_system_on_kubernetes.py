"""The whole of it on Kubernetes: a Controller, Kafka, a database, `owmesos run` as a process, three kubelets.

A thousand activations of every kind, while one node is lost and another one drained. Then the books of all sides are
compared: the Controller's, the database's, the API server's.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from owmesos.kubernetes.messages import Pod
from owmesos.openwhisk.kafka.broker import Broker
from tests.cli.running import running
from tests.fixtures.kubernetes import KubernetesFactory, namespace_in
from tests.invoker.kafka_scene import scene
from tests.invoker.whole_system import (
    PATIENCE,
    call_all,
    deployed,
    end_of,
    nothing_is_left_open,
    options,
    reached,
    the_books_agree,
)
from tests.kubernetes.conformance.cluster import ApiError, Watch
from tests.kubernetes.conformance.real import RealKubernetes, real_kubernetes
from tests.openwhisk.store.couch import Couch
from tests.openwhisk.supervision import State
from tests.waiting import eventually_async

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka, pytest.mark.couchdb, pytest.mark.timeout(600)]
NAMESPACE = "actions"


async def test_a_thousand_activations_while_a_node_is_lost_and_one_is_drained(
    kubernetes_clusters: KubernetesFactory, broker: Broker, couch: Couch, tmp_path: Path
) -> None:
    cluster = kubernetes_clusters(nodes=3, cpus=4, memory="1536Mi")
    with namespace_in(cluster, NAMESPACE) as namespace:
        on_kubernetes = ("--cluster", "kubernetes", "--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace)
        async with (
            real_kubernetes(cluster, namespace) as kubernetes,
            kubernetes.watch() as watch,
            scene(broker, couch, "") as world,
        ):
            _, lost, drained = kubernetes.nodes
            kinds = await deployed(world)
            statuses = {f"guest/{kind.action.entity.name}": kind.status for kind in kinds}
            async with running(*on_kubernetes, *options(world, tmp_path)) as process:
                await world.becomes(State.HEALTHY, PATIENCE)
                callers = asyncio.create_task(call_all(world, kinds))
                await reached(world, callers, 300)
                await kubernetes.kill_node(lost)
                await reached(world, callers, 600)
                await drain(kubernetes, drained)
                await reached(world, callers, 800)
                await kubernetes.start_node(lost)
                await kubernetes.cordon(drained, False)
                await asyncio.wait_for(callers, PATIENCE)
                outcomes = await world.all_ended(PATIENCE)
                records = await world.recorded(PATIENCE)
                await nothing_is_left_open(process)
                stopped = await end_of(process)
            assert stopped == 0, process.log
            await no_pod_is_left(kubernetes)
            assert used_nodes(watch) == {*kubernetes.nodes}
            assert refused_by_a_kubelet(watch) == []
        await the_books_agree(world, statuses, outcomes, records)


async def drain(kubernetes: RealKubernetes, node: str) -> None:
    """As `kubectl drain` does."""
    await kubernetes.cordon(node)
    for each in (await kubernetes.list()).pods:
        if each.spec.node_name == node:
            try:
                await kubernetes.evict(each.metadata.name)
            except ApiError as error:
                if error.failure.status != 404:  # it has ended meanwhile
                    raise


async def no_pod_is_left(kubernetes: RealKubernetes) -> None:
    """Neither on the node that was away."""

    async def none() -> bool:
        return not (await kubernetes.list()).pods

    await eventually_async(none, PATIENCE, interval=0.2)


def used_nodes(watch: Watch) -> set[str]:
    return {pod.spec.node_name for pod in seen_pods(watch) if pod.status.phase == "Running"}


def refused_by_a_kubelet(watch: Watch) -> list[str]:
    """Pods for which a node had no room when it got them."""
    return [pod.metadata.name for pod in seen_pods(watch) if pod.status.reason.startswith("OutOf")]


def seen_pods(watch: Watch) -> list[Pod]:
    return [each.pod for each in watch.seen if each.pod is not None]

"""What several tests of invokers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from owmesos.simulator.cluster import SimulatedCluster
from tests.fixtures.task_ports import TaskPorts
from tests.invoker.invoking import InvokerCluster, KubernetesPlace


@pytest.fixture
def simulator(request: pytest.FixtureRequest, task_ports: TaskPorts) -> Iterator[SimulatedCluster]:
    """Two agents of the usual size, or as many and as large as the marker `simulator` says; their ports are this run's
    own."""
    marker = request.node.get_closest_marker("simulator")
    settings = {"agents": 2, "resources": "cpus:2;mem:1024;disk:1024", **(marker.kwargs if marker is not None else {})}
    resources = task_ports.resources(settings["agents"], settings["resources"])
    with SimulatedCluster(agents=settings["agents"], resources=resources) as cluster:
        yield cluster


@pytest.fixture(params=["mesos", "memory", pytest.param("kubernetes", marks=pytest.mark.kubernetes)])
def invoker_cluster(request: pytest.FixtureRequest) -> InvokerCluster:
    """A Mesos master of the fixture `simulator`, a cluster in memory, and a real Kubernetes: the invoker owes nothing
    to any of them."""
    if request.param == "mesos":
        return str(request.getfixturevalue("simulator").master)
    if request.param == "kubernetes":
        namespace = request.getfixturevalue("kubernetes_namespace")
        return KubernetesPlace(request.getfixturevalue("kubernetes_cluster").kubeconfig, namespace)
    return Path(request.getfixturevalue("tmp_path"))

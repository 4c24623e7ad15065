"""What several tests of invokers share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.invoker.invoking import InvokerCluster, KubernetesPlace


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

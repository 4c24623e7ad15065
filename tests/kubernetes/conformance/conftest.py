"""Runs every case on the simulated Kubernetes and on a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.kubernetes.conformance.cluster import Cluster
from tests.kubernetes.conformance.real import real_kubernetes
from tests.kubernetes.conformance.simulated import SimulatedKubernetes

ENGINES = ["simulated", pytest.param("real", marks=pytest.mark.kubernetes)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cluster" in metafunc.fixturenames:
        metafunc.parametrize("kubernetes_engine", ENGINES)


@pytest.fixture
async def cluster(kubernetes_engine: str, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    if kubernetes_engine == "simulated":
        yield SimulatedKubernetes()
        return
    namespace = request.getfixturevalue("kubernetes_namespace")
    async with real_kubernetes(request.getfixturevalue("kubernetes_cluster"), namespace) as real:
        yield real

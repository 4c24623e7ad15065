"""The pytest fixture `simulator`: a simulated cluster for one test.

    @pytest.mark.simulator(agents=2, resources="cpus:8;mem:4096")
    def test_my_framework(simulator):
        run_my_framework(master=simulator.master)

Loaded by pytest itself wherever owmesos is installed; nothing of owmesos is imported before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from owmesos.simulator.cluster import SimulatedCluster


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "simulator(**settings): how the fixture `simulator` is made, as SimulatedCluster takes it"
    )


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Iterator[SimulatedCluster]:
    """A cluster that is up: `simulator.master` is its address, `simulator.kill("agent1")` and the like are faults."""
    from owmesos.simulator.cluster import SimulatedCluster

    marker = request.node.get_closest_marker("simulator")
    with SimulatedCluster(**(marker.kwargs if marker is not None else {})) as cluster:
        yield cluster

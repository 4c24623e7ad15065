"""What every test runs under."""

from __future__ import annotations

import pytest
from hypothesis import settings

pytest_plugins = [
    "pytester",
    "tests.fixtures.ci",
    "tests.fixtures.couchdb",
    "tests.fixtures.framework",
    "tests.fixtures.kafka",
    "tests.fixtures.real_mesos",
    "tests.fixtures.task_ports",
]

# The machine is shared by several test processes: how long one example takes says nothing.
settings.register_profile("owmesos", deadline=None)
settings.load_profile("owmesos")


# Before pytest chooses by marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a server of its own: those tests run one after the other, see scripts/test."""
    for item in items:
        if any(item.get_closest_marker(name) for name in ("real_mesos", "zookeeper", "kafka", "couchdb")):
            item.add_marker("cluster")
        if item.get_closest_marker("kafka"):
            # kafka-python leaves a socket that could not be connected to the garbage collector.
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))

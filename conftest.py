"""What every test runs under."""

from __future__ import annotations

import pytest
from hypothesis import settings

pytest_plugins = ["pytester", "tests.fixtures.ci"]

# The machine is shared by several test processes: how long one example takes says nothing.
settings.register_profile("owmesos", deadline=None)
settings.load_profile("owmesos")


# Before pytest chooses by marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a server of its own, and keeps all of that in one process: servers are heavy."""
    for item in items:
        if any(item.get_closest_marker(name) for name in ("cluster", "real_mesos", "zookeeper")):
            item.add_marker("cluster")
            item.add_marker(pytest.mark.xdist_group("cluster"))

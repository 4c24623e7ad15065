"""What every test runs under."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.examples import examples

pytest_plugins = [
    "pytester",
    "tests.fixtures.admin",
    "tests.fixtures.browser",
    "tests.fixtures.ci",
    "tests.fixtures.couchdb",
    "tests.fixtures.figures",
    "tests.fixtures.framework",
    "tests.fixtures.kafka",
    "tests.fixtures.kubernetes",
    "tests.fixtures.real_mesos",
    "tests.fixtures.docker",  # it needs the one before
    "tests.fixtures.task_ports",
    "tests.fixtures.zookeeper",
]

# The machine is shared by several test processes: how long an example takes, or its making, says nothing.
settings.register_profile(
    "owmesos", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("owmesos")

TESTS = Path(__file__).parent / "tests"

# What these say is the same whatever Python says it, with whatever versions of the packages: what the documents, the
# admin API's description and scripts hold, figures in virtual time, what Node runs, and how the tests themselves are
# reported.
ONE_PYTHON = (
    "benchmarks",
    "chaos",
    "deploy",
    "docs",
    "runtimes/test_nodejs.py",
    "service/test_openapi_holds.py",
    "test_ci.py",
    "test_conformance.py",
    "vagrant",
)

# What the oldest Python and the newest do with these, those between do: pure decisions, the simulator that judges
# them, processes that end as the machine ends them, and the wheel. Of commands as processes cli/test_run.py is left.
OLDEST_AND_NEWEST = (
    "cli/test_admin_access.py",
    "cli/test_broken_environment.py",
    "cli/test_doctor.py",
    "cli/test_files_are_private.py",
    "cli/test_ha_on_kubernetes.py",
    "cli/test_kafka.py",
    "cli/test_local.py",
    "cli/test_local_credentials.py",
    "cli/test_logs.py",
    "cli/test_retry.py",
    "cli/test_simulate.py",
    "cli/test_standalone.py",
    "cli/test_status.py",
    "cli/test_top.py",
    "conformance",
    "core",
    "invoker/test_containers.py",
    "invoker/test_foreign_process_at_container_port.py",
    "invoker/test_held_bytes.py",
    "invoker/test_standalone_durability.py",
    "local",
    "mesos/scheduler",
    "openwhisk/store/test_entities.py",
    "openwhisk/test_large_code.py",
    "runtimes/test_access.py",
    "runtimes/test_hostile_requests.py",
    "runtimes/test_protocol.py",
    "service/test_admin_bounds.py",
    "service/test_admin_tokens.py",
    "service/test_examples.py",
    "simulator",
    "sizing",
    "test_package.py",
)

# What scripts/test leaves out on a Python by OWMESOS_WITHOUT is not even read: reading all tests takes ten seconds.
_LEFT_OUT = {"one_python": ONE_PYTHON, "oldest_and_newest": OLDEST_AND_NEWEST}
collect_ignore = [
    str(TESTS / path) for name in os.environ.get("OWMESOS_WITHOUT", "").split() for path in _LEFT_OUT[name]
]


_SERVERS = ("real_mesos", "zookeeper", "kafka", "couchdb", "docker", "browser", "kubernetes")


# Before pytest chooses by marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a server of its own, and what is the same on every Python: see scripts/test."""
    for item in items:
        if item.path.stem.endswith("_mutations"):
            item.add_marker("mutations")
        if item.get_closest_marker("mutations"):
            item.add_marker("one_python")
        if any(item.get_closest_marker(name) for name in _SERVERS):
            item.add_marker("cluster")
        if item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))
        if item.get_closest_marker("kafka") or "kafka" in item.path.parts:
            # kafka-python leaves a socket that could not be connected to the garbage collector.
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


def _group(item: pytest.Item) -> str:
    """Tests of one group run one after the other, in one worker: they share a server, or a cluster."""
    for name in ("docker", "kubernetes"):  # one engine, one cluster, for all that need it
        if item.get_closest_marker(name):
            return name
    if any(item.get_closest_marker(name) for name in ("kafka", "couchdb")):
        return f"kafka-{item.path.parent.name}"
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if "driver_name" in parameters:
        return f"conformance-{parameters['engine'].name}-{parameters['driver_name']}"
    return f"{item.path.parent.name}-{item.path.stem}"


def pytest_make_parametrize_id(val: object) -> str | None:
    """A long value has a short name: pytest hands it to every process that a test starts, as a variable."""
    if isinstance(val, (str, bytes)) and len(val) > 200:
        return f"{val[:40]!r} and so on, {len(val)}"
    return None

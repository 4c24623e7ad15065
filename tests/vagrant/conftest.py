"""One cluster of hosts in network namespaces for all tests, provisioned as Vagrant would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hosts.control import Asked, Control
from tests.hosts.namespaces import Namespaces, lacking


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespaces]:
    """Skips where there can be none; in CI a skip is a failure."""
    reason = lacking()
    if reason is not None:
        pytest.skip(f"no hosts in network namespaces: {reason}")
    hosts = Namespaces(tmp_path_factory.mktemp("hosts") / "state", bound=True)
    try:
        hosts.create()
        yield hosts
    finally:
        hosts.destroy()


@pytest.fixture
def control(hosts: Namespaces) -> Control:
    """The hosts of the usual cluster, which runs, whatever the test before did."""
    control = Control(hosts)
    usual = {"master", *(host.name for host in hosts.plan.agents)}
    states = control.status()
    if {each.name for each in states} != usual or not all(each.pid for each in states):
        control.up(Asked(), fresh=True)
    control.wait_registered(*(host.name for host in hosts.plan.agents))
    return control

"""Clusters that come and go with a command do not share the ports of their tasks."""

from __future__ import annotations

import pytest

from owmesos.local import task_ports as module
from owmesos.local.task_ports import resources_with, task_ports


@pytest.fixture(autouse=True)
def _two_blocks_of_the_tests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCKS", range(9000, 10000, 500))


def test_each_has_a_block_and_gives_it_back() -> None:
    with task_ports() as first, task_ports() as second:
        assert (first, second) == (range(9001, 9500), range(9501, 10000))
    with task_ports() as again:
        assert again == first


def test_none_where_others_have_all() -> None:
    with task_ports(), task_ports(), task_ports() as third:
        assert third is None


def test_each_agent_has_its_share() -> None:
    shares = resources_with(range(10000, 10500), 3, "cpus:2")
    assert shares == ["cpus:2;ports:[10000-10165]", "cpus:2;ports:[10166-10331]", "cpus:2;ports:[10332-10497]"]

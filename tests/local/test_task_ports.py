"""Clusters that come and go with a command do not share the ports of their tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from owmesos.local.task_ports import resources_with, task_ports


@pytest.fixture(autouse=True)
def _a_folder_of_the_tests_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_two_clusters_have_different_ports_and_give_them_back() -> None:
    with task_ports() as first, task_ports() as second:
        assert first is not None
        assert second is not None
        assert not set(first) & set(second)
    with task_ports() as again:
        assert again == first


def test_none_where_others_have_all() -> None:
    with task_ports() as ports:
        if ports is not None:
            _all_are_different(set(ports), 0)


def _all_are_different(taken: set[int], depth: int) -> None:
    """Takes block after block, to the last."""
    assert depth < 100
    with task_ports() as ports:
        if ports is not None:
            assert not taken & set(ports)
            _all_are_different(taken | set(ports), depth + 1)


def test_each_agent_has_its_share() -> None:
    shares = resources_with(range(10000, 10500), 3, "cpus:2")
    assert shares == ["cpus:2;ports:[10000-10165]", "cpus:2;ports:[10166-10331]", "cpus:2;ports:[10332-10497]"]

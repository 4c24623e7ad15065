"""Rows that clients follow: each gets what changed since it was last told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from owmesos.dashboard import tables
from owmesos.dashboard.tables import Table


def row(name: str, value: int = 0, age: float = 0.0) -> dict[str, Any]:
    return {"id": name, "value": value, "age_s": age}


@pytest.fixture
def table() -> Table:
    table = Table(lambda document: str(document["id"]))
    for name in ("a", "b", "c"):
        table.put(row(name), 1)
    return table


def since(table: Table, version: int) -> tuple[list[str], list[str]]:
    rows, gone = table.since(version)
    return [json.loads(each)["id"] for each in rows], gone


def test_who_was_told_nothing_gets_everything_in_order(table: Table) -> None:
    assert since(table, 0) == (["a", "b", "c"], [])


def test_who_was_told_gets_only_what_changed_since(table: Table) -> None:
    table.put(row("b", 1), 2)
    table.remove("a", 3)
    assert since(table, 1) == (["b"], ["a"])
    assert since(table, 2) == ([], ["a"])
    assert since(table, 3) == ([], [])


def test_a_row_that_is_only_older_has_not_changed(table: Table) -> None:
    table.put(row("b", age=9.0), 2)
    assert since(table, 1) == ([], [])


def test_a_row_that_comes_back_is_not_gone(table: Table) -> None:
    table.remove("a", 2)
    table.put(row("a"), 3)
    assert since(table, 1) == (["a"], [])


def test_replace_removes_the_others(table: Table) -> None:
    table.replace([row("c"), row("d")], 2)
    changed, gone = since(table, 1)
    assert (changed, sorted(gone)) == (["d"], ["a", "b"])


def test_a_client_that_is_too_far_behind_is_known(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_GONE", 1)
    table.remove("a", 2)
    assert table.complete_since == 0
    table.remove("b", 3)
    assert table.complete_since == 2
    assert since(table, 2) == ([], ["b"])


def test_a_text_with_half_a_character_is_sent(table: Table) -> None:
    table.put({"id": "d", "name": "\ud800"}, 2)
    assert json.loads(table.since(1)[0][0])["name"] == "\ud800"

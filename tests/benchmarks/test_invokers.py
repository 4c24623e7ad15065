"""Several invokers on one cluster: nothing is lost between them, and the measures say what they claim."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from benchmarks.invokers import PARTS, SETTINGS, Setting, Shared, dealt, draw, jain, measure, table
from benchmarks.row import Row
from benchmarks.surroundings import Size
from owmesos.sizing.workload import Load, functions

SECONDS = 10.0
SMALL = Size(start=2, least=1, most=3, pace=5.0)
FOUR, LIMITED = SETTINGS[3], SETTINGS[4]


@cache
def trial(setting: Setting) -> Shared:
    return measure(setting, 1, SECONDS, SMALL)


@pytest.mark.parametrize("setting", SETTINGS[:5], ids=lambda setting: setting.name)
def test_every_activation_comes_to_an_invoker_and_none_is_over_provisioned(setting: Setting) -> None:
    found = trial(setting)
    assert found.activations == trial(SETTINGS[0]).activations > 20
    assert found.overprovisioned == 0
    assert len(found.p99_of_each) == len(setting.parts)


def test_a_role_for_all_is_as_a_role_each() -> None:
    assert trial(replace(FOUR, role="openwhisk")) == trial(FOUR)


def test_a_limit_keeps_memory_from_an_invoker() -> None:
    assert trial(LIMITED).held < trial(FOUR).held


def test_one_that_is_late_has_the_second_half() -> None:
    assert trial(SETTINGS[5]).activations < trial(SETTINGS[1]).activations


def test_parts_want_as_much() -> None:
    of = functions(Load(SECONDS, 10_000.0, actions=300), 1)
    part_of = dealt(of, PARTS)
    wanted = [sum(each.busy for each, part in zip(of, part_of, strict=True) if part == mine) for mine in range(PARTS)]
    assert max(wanted) < 1.5 * min(wanted)


def test_fairness_is_one_for_equals_and_a_share_for_one_alone() -> None:
    assert jain([3, 3, 3]) == pytest.approx(1)
    assert jain([5, 0, 0, 0]) == pytest.approx(0.25)
    assert jain([0, 0]) == 1


def test_a_column_for_each_setting_and_a_picture() -> None:
    pytest.importorskip("matplotlib")
    rows = [
        Row(name=f"{setting}: {what}", ours=2.0, unit=unit)
        for setting in ("1 invoker", "2 invokers")
        for what, unit in (("cold starts", "%"), ("memory held", "%"), ("waits over a minute", ""))
    ]
    assert table(rows)[0] == "|  | 1 invoker | 2 invokers |"
    assert "| waits over a minute | 2 | 2 |" in table(rows)
    assert draw(rows)["invokers.png"].startswith(b"\x89PNG")

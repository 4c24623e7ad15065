"""The conformance suite's own word on what it proved: its report must not hide a case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFTEST = """
from pathlib import Path

import pytest

from tests.conformance.report import ConformanceReport, Place

report = ConformanceReport(Path("report.json"))


def pytest_configure(config):
    config.pluginmanager.register(report, "conformance")


def pytest_generate_tests(metafunc):
    metafunc.parametrize("where", ["sky"], ids=["sky-kite"])


def pytest_collection_modifyitems(items):
    for item in list(items):
        if "needs" in item.name:
            report.not_collected(item, Place("sky", "kite"), "want of wind")
            items.remove(item)
        else:
            report.collected(item, Place("sky", "kite"))
"""
CASES = """
import pytest


@pytest.fixture
def bad_end():
    yield
    assert False, "left a mess"


@pytest.mark.parametrize("height", [1, 2])
def test_flies(where, height): ...


def test_falls(where):
    assert where == "ground"


def test_is_left_out(where):
    pytest.skip("no")


def test_lands_badly(where, bad_end): ...


def test_needs_wind(where): ...
"""


def test_every_case_is_counted_once_with_what_became_of_it(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_kite=CASES)
    result = pytester.runpytest("-p", "no:asyncio")
    result.stdout.fnmatch_lines(
        [
            "sky, driver kite: 4 ran, 2 passed, 2 failed, 1 skipped, 1 not collected, * s",
            "  not collected, for want of wind: test_kite::test_needs_wind",
        ]
    )


def test_the_report_names_the_cases(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_kite=CASES)
    pytester.runpytest("-p", "no:asyncio")
    (part,) = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))
    assert (part["cluster"], part["driver"]) == ("sky", "kite")
    assert {case: told["outcome"] for case, told in part["cases"].items()} == {
        "test_kite::test_flies[1]": "passed",
        "test_kite::test_flies[2]": "passed",
        "test_kite::test_falls": "failed",
        "test_kite::test_is_left_out": "skipped",
        "test_kite::test_lands_badly": "failed",
    }
    assert part["not_collected"] == {"test_kite::test_needs_wind": "want of wind"}


def test_a_cluster_that_nothing_controls_gets_no_case_that_kills_or_configures_daemons() -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("OWMESOS_TEST_")}
    command = [sys.executable, "-m", "pytest", "tests/conformance", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command += ["--conformance-drivers=http"]
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=variables | {"OWMESOS_TEST_MASTER": "192.0.2.1:5050"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    collected, _, summary = done.stdout.partition("= conformance =")
    assert "test_kill.py::test_a_task_is_killed[external-http]" in collected
    assert "test_agent_loss.py" not in collected
    assert "external, driver http: 0 ran, " in summary
    assert "not collected, for OWMESOS_TEST_CONTROL names no program that could kill and configure daemons: " in summary
    assert "test_agent_loss::test_an_agent_that_dies_for_good" in summary

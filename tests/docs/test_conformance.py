"""The tables of docs/conformance.md come from reports, and say of each case where it passes."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

from tests.conformance.table import DOCUMENT, by_subject, failures, outcomes, with_results

PASSED = {"outcome": "passed", "seconds": 1.0, "reason": ""}
FAILED = {
    "outcome": "failed",
    "seconds": 1.0,
    "reason": "owmesos.mesos.wire.driver.CallFailed: pymesos has no SHUTDOWN",
}


def report(folder: Path, driver: str, cases: dict[str, object]) -> Path:
    file = folder / f"{driver}.json"
    file.write_text(json.dumps([{"cluster": "real-mesos", "driver": driver, "cases": cases}]))
    return file


def test_passes_are_counted_and_failures_are_named(tmp_path: Path) -> None:
    found = outcomes(
        [
            report(tmp_path, "http", {"test_kill::test_it_ends[a]": PASSED, "test_kill::test_it_stays": PASSED}),
            report(tmp_path, "bare", {"test_kill::test_it_ends[a]": FAILED}),
        ]
    )
    assert by_subject(found) == [
        "| cases about | bare, real-mesos | http, real-mesos |",
        "|---|---|---|",
        "| kill | 0 of 2 | 2 |",
        "| **all** | 0 of 2 | 2 |",
    ]
    assert failures(found) == [
        "| case | bare, real-mesos | http, real-mesos | what was seen |",
        "|---|---|---|---|",
        "| it ends | **no** | yes | `CallFailed: pymesos has no SHUTDOWN` |",
    ]


def test_the_document_has_a_place_for_them(tmp_path: Path) -> None:
    found = outcomes([report(tmp_path, "http", {"test_a::test_b": PASSED})])
    text = with_results(DOCUMENT.read_text(), found, datetime(2026, 1, 2, tzinfo=timezone.utc))
    assert "| **all** | 1 |" in text
    assert "Taken on 2026-01-02." in text
    assert with_results(text, found, datetime(2026, 1, 2, tzinfo=timezone.utc)) == text

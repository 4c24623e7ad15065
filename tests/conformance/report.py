"""What a run proves: how many cases ran on which cluster with which driver, and which did not run, and why.

A run in which half of the cases were left out is as green as a whole one; so this is said at its end.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

_PROPERTY = "conformance"


@dataclass(frozen=True)
class Place:
    """Where a case runs."""

    cluster: str
    driver: str

    def __str__(self) -> str:
        return f"{self.cluster}, driver {self.driver}"


@dataclass
class Outcome:
    """`reason`: the first line of why it failed."""

    outcome: str = "passed"
    seconds: float = 0.0
    reason: str = ""


@dataclass
class Results:
    """By case; of those that were not collected the reason."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    not_collected: dict[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        found = Counter(outcome.outcome for outcome in self.outcomes.values())
        ran = found["passed"] + found["failed"]
        return {"ran": ran, **found, "not collected": len(self.not_collected)}

    def lines(self, place: Place) -> list[str]:
        counts = ", ".join(f"{count} {what}" for what, count in self.counts().items() if count or what == "ran")
        seconds = sum(outcome.seconds for outcome in self.outcomes.values())
        lines = [f"{place}: {counts}, {seconds:.0f} s"]
        for reason in sorted(set(self.not_collected.values())):
            cases = sorted(case for case, why in self.not_collected.items() if why == reason)
            lines.append(f"  not collected, for {reason}: {', '.join(cases)}")
        return lines


class ConformanceReport:
    """A plugin of pytest; the JSON goes to `file`."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._results: dict[Place, Results] = defaultdict(Results)

    def collected(self, item: pytest.Function, place: Place) -> None:
        item.user_properties.append((_PROPERTY, [place.cluster, place.driver, _case(item, place)]))

    def not_collected(self, item: pytest.Function, place: Place, reason: str) -> None:
        self._results[place].not_collected[_case(item, place)] = reason

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = dict(report.user_properties).get(_PROPERTY)
        if not isinstance(told, Sequence):
            return
        cluster, driver, case = told
        known = self._results[Place(cluster, driver)].outcomes.setdefault(case, Outcome())
        known.seconds += report.duration
        if report.outcome != "passed" and known.outcome != "failed":
            known.outcome = report.outcome
            known.reason = _reason(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._results:
            terminalreporter.section("conformance")
        for place, results in self._results.items():
            for line in results.lines(place):
                terminalreporter.write_line(line)

    def pytest_sessionfinish(self) -> None:
        if self._file is None:
            return
        document = [
            {
                **asdict(place),
                "counts": results.counts(),
                "cases": {case: asdict(outcome) for case, outcome in results.outcomes.items()},
                "not_collected": results.not_collected,
            }
            for place, results in self._results.items()
        ]
        self._file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _reason(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash is not None else report.longreprtext).splitlines()
    return lines[0] if lines else ""


def _case(item: pytest.Function, place: Place) -> str:
    """`test_kill::test_it[a]`: without what says where it runs."""
    own = item.callspec.id.removeprefix(f"{place.cluster}-{place.driver}").removeprefix("-")
    return f"{item.path.stem}::{item.originalname}{f'[{own}]' if own else ''}"

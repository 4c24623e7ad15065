"""Writes docs/conformance.md from the reports of runs: `python -m tests.conformance.table REPORT...`

A report is what `--conformance-report` wrote. scripts/conformance makes them, and calls this.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"
BEGIN, END = "<!-- begin: results -->\n", "<!-- end: results -->"
_REASON = 110
Outcomes = dict[str, dict[str, dict[str, Any]]]
"""By place, then by case, what the report says of it."""


def outcomes(reports: Iterable[Path]) -> Outcomes:
    found: Outcomes = {}
    for report in reports:
        for part in json.loads(report.read_text(encoding="utf-8")):
            found.setdefault(f"{part['driver']}, {part['cluster']}", {}).update(part["cases"])
    return dict(sorted(found.items()))


def by_subject(found: Outcomes) -> list[str]:
    """The first table: how many cases pass."""
    subjects: dict[str, set[str]] = defaultdict(set)
    for cases in found.values():
        for case in cases:
            subjects[case.partition("::")[0]].add(case)
    lines = [_row("cases about", *found), _rule(1 + len(found))]
    for subject, names in sorted(subjects.items()):
        lines.append(_row(_words(subject), *(_count(cases, names) for cases in found.values())))
    every = {case for cases in found.values() for case in cases}
    lines.append(_row("**all**", *(_count(cases, every) for cases in found.values())))
    return lines


def failures(found: Outcomes) -> list[str]:
    """The second table: each case that does not pass everywhere, and what was seen. Its parameters are one row."""
    lines = [_row("case", *found, "what was seen"), _rule(2 + len(found))]
    cases: dict[str, set[str]] = defaultdict(set)
    for case in {case for each in found.values() for case in each}:
        cases[case.partition("[")[0]].add(case)
    for name, variants in sorted(cases.items()):
        reasons = [
            each[case]["reason"]
            for case in sorted(variants)
            for each in found.values()
            if case in each and each[case]["outcome"] != "passed"
        ]
        if reasons:
            marks = [_mark(each, variants) for each in found.values()]
            lines.append(_row(_words(name.partition("::")[2]), *marks, _short(reasons[0])))
    return lines


def with_results(text: str, found: Outcomes, when: datetime) -> str:
    before, rest = text.split(BEGIN)
    every_one = f"Taken on {when:%Y-%m-%d}."
    lines = [*by_subject(found), "", *failures(found), "", every_one]
    return f"{before}{BEGIN}{chr(10).join(lines)}\n{END}{rest.split(END)[1]}"


def _count(cases: dict[str, dict[str, Any]], names: set[str]) -> str:
    ran = [cases[name] for name in names if name in cases]
    passed = sum(each["outcome"] == "passed" for each in ran)
    return f"{passed}" if passed == len(ran) == len(names) else f"{passed} of {len(names)}"


def _mark(cases: dict[str, dict[str, Any]], names: set[str]) -> str:
    ran = [cases[name]["outcome"] == "passed" for name in names if name in cases]
    if not ran:
        return "-"
    return "yes" if all(ran) else f"{sum(ran)} of {len(ran)}" if any(ran) else "**no**"


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _short(reason: str) -> str:
    """In one line, without the ids and addresses of one run and without the names of Python's modules."""
    line = re.sub(r"^(?:[a-z_]+\.)+(?=[A-Z])", "", " ".join(reason.split()))
    line = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}(?:-[A-Z]?\d+)?", "…", line).replace("|", "\\|").replace("`", "'")
    return f"`{line[:_REASON]}{'…' if len(line) > _REASON else ''}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def main() -> None:
    found = outcomes(map(Path, sys.argv[1:]))
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_results(text, found, datetime.now(timezone.utc)), encoding="utf-8")


if __name__ == "__main__":
    main()

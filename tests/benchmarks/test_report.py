"""The reports of benchmarks: what a row says, and that the docs keep what was not measured again."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from benchmarks.report import Result, cells, markdown, put, sentence
from benchmarks.row import Row, number

DOCS = Path(__file__).parent.parent.parent / "docs"
ROW = Row(name="a | b", ours=2.0, unit="ms", other=30.0, against="json", target="10 times", met=True)


def test_the_ratio_says_how_many_times_ours_goes_into_the_others() -> None:
    assert ROW.ratio == 15.0


def test_a_row_without_an_alternative_has_no_ratio() -> None:
    assert cells(Row(name="memory", ours=180.0, unit="MB")) == ("memory", "180 MB", "", "", "", "", "")


def test_a_missed_target_stands_out() -> None:
    assert cells(Row(name="slow", ours=9.0, unit="ms", target="5 ms", met=False))[-1] == "**no**"


@pytest.mark.parametrize(("value", "text"), [(1.2345, "1.23"), (0.00123, "0.00123"), (123456.7, "123,457")])
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_a_section_escapes_what_would_end_a_cell() -> None:
    section = markdown(Result("one", "Why.", [ROW]), "Taken today.")
    assert "| a \\| b | 2 ms | 30 ms | json | 15 | 10 times | yes |" in section
    assert "Why." in section
    assert "Taken today." in section


def test_a_section_is_added_once_and_then_replaced() -> None:
    one, two = (markdown(Result(name, f"text of {name}", [ROW]), "then") for name in ("one", "two"))
    document = put(put("# Benchmarks\n", one, "one"), two, "two")
    again = put(document, markdown(Result("one", r"new \1 text", [ROW]), "now"), "one")
    assert "text of one" not in again
    assert r"new \1 text" in again
    assert "text of two" in again
    assert again.index("begin one") < again.index("begin two")
    assert put(again, two, "two") == again


def test_the_sentence_names_machine_and_day() -> None:
    where = {
        "python": "CPython 3.12.1",
        "cores": 2,
        "cpu": "a cpu",
        "memory_gb": 8.0,
        "system": "Linux x86_64",
        "load": 1.5,
    }
    assert sentence(where, datetime(2026, 1, 2, tzinfo=timezone.utc)) == (
        "Taken on 2026-01-02 with CPython 3.12.1 on 2 cores of a cpu, 8.0 GB, Linux x86_64; the load before it was 1.5."
    )


def test_a_benchmark_with_a_page_of_its_own_has_its_title_and_table_there() -> None:
    row = Row(name="a launch: 1,000 agents", ours=2.0, unit="µs")
    section = markdown(Result("scale", "Why.", [row]), "Taken today.")
    assert "## How each cost grows" in section
    assert "| a launch (agents), µs | 2 |" in section


@pytest.mark.parametrize("page", ["benchmarks.md", "scale.md"])
def test_what_is_written_by_hand_is_outside_of_the_sections_that_are_replaced(page: str) -> None:
    text = (DOCS / page).read_text()
    sections = re.findall(r"<!-- begin (\w+) -->\n(.*?)\n<!-- end \1 -->", text, re.DOTALL)
    behind_the_table = {name: section.rpartition("|\n\n")[2] for name, section in sections}
    assert len(sections) > 1
    assert [name for name, rest in behind_the_table.items() if not re.fullmatch("Taken on .*", rest)] == []

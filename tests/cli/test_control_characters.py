"""What tasks, agents and servers say reaches the terminal as text, never as an order to it."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.cli import columns
from owmesos.cli.main import main
from owmesos.cli.output import show, show_object
from owmesos.cli.text import json_text, visible

REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
TITLE = "\x1b]0;pwned\x07"
SAID = f"{TITLE}\nnext \x9b31m line\r\x7f"
STORY: list[dict[str, Any]] = [{"at": "2026-11-28T00:00:00Z", "state": "RUNNING", "text": SAID}]


def controls(text: str) -> set[str]:
    return {each for each in text if unicodedata.category(each) in ("Cc", "Zl", "Zp") or each in REORDERING}


@given(st.text() | st.text(REORDERING))
def test_no_control_character_stays(text: str) -> None:
    assert not controls(visible(text))


@given(st.text() | st.text(REORDERING))
def test_json_is_the_same_document(text: str) -> None:
    written = json_text({"text": text})
    assert not controls(written)
    assert json.loads(written) == {"text": text}


@pytest.mark.parametrize("style", ["table", "tsv"])
def test_a_listing_has_a_line_a_row(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(STORY, columns.STORY, style)
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 2
    assert controls(shown) <= {"\n", "\t"}
    assert "\\x1b]0;pwned\\x07\\nnext" in shown


@pytest.mark.parametrize("style", ["json", "yaml"])
def test_documents_for_programs_have_escapes(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_object(STORY, style)
    show_object(STORY[0], style)
    assert controls(capsys.readouterr().out) == {"\n"}


def test_an_error_says_no_order_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["launch", "--admin", "http://127.0.0.1:1", "--command", "true", "--name", TITLE])
    error = capsys.readouterr().err
    assert "pwned" in error
    assert controls(error) == {"\n"}

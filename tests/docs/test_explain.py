"""docs/how-to/explain.md has every reason, in the order and with the words of owmesos."""

from __future__ import annotations

import re
from pathlib import Path

from owmesos.core.explanation import _PHRASES, REASONS

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "explain.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)


def test_it_has_every_reason_in_its_order() -> None:
    assert tuple(reason for reason, *_ in ROWS) == REASONS


def test_it_has_the_words_of_each_reason() -> None:
    assert {reason: words for reason, words, *_ in ROWS} == {reason: _PHRASES[reason][0] for reason in REASONS}

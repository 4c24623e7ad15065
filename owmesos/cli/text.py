"""Text for terminals: without control characters, whoever wrote it."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any

# No name of a signal is longer than 60. Without a bound the time for a long text would grow with its square.
_BARE_END = re.compile(
    r"(Command|Container) (exited with status \d{1,9}|terminated with signal [\w ()]{1,60}?)(?=\)?$)"
)
# Also the line separators, what orders text from right to left (a line could read as another one), and lone surrogates,
# which no terminal can show.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def log_named(text: str, launch_id: str) -> str:
    """`text`, and where to look if it says nothing but how a command ended."""
    return f"{text}: see `owmesos logs {launch_id}`, also with --stderr" if _BARE_END.search(text) else text


def cell(value: Any) -> str:
    """One cell of TSV: nothing is empty, what is not text is JSON."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return visible(text.replace("\\", "\\\\"))


def visible(text: str) -> str:
    """Control characters as escapes (`\\n`, `\\x1b`): what a task or a server says gives a terminal no orders."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def wrapped(text: str, width: int | None) -> list[str]:
    """In lines of `width` characters, broken at blanks: IDs stay whole, so that they can be copied."""
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_on_hyphens=False)


def json_text(document: Any, *, indent: int | None = None) -> str:
    """With DEL and the C1 controls as escapes too: JSON need not escape them, and terminals obey them."""
    separators = None if indent is not None else (", ", ": ")
    text = json.dumps(document, ensure_ascii=False, indent=indent, separators=separators)
    return _CONTROL.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)

"""The lock files: which package at which version, and with which digests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

LOCKS = Path(__file__).parents[2] / "requirements"
_PACKAGE = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)")
_DIGEST = re.compile(r"--hash=sha256:[0-9a-f]{64}(?=\s|$)")


class Locked(NamedTuple):
    """One entry of a lock file."""

    text: str
    name: str  # empty if the entry does not begin with NAME==VERSION
    digests: int


def entries(lock: Path) -> list[Locked]:
    """Each entry, whose lines end in a backslash but the last."""
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [_entry(text) for text in whole.splitlines() if text.strip()]


def _entry(text: str) -> Locked:
    found = _PACKAGE.match(text)
    return Locked(text[:80], found["name"] if found else "", len(_DIGEST.findall(text)))

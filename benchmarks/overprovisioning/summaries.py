"""The summaries of all runs, as they are kept between a benchmark and its pages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from owmesos.sizing.summary import Summary


def of_setting(summaries: Iterable[Summary], setting: str) -> list[Summary]:
    return [each for each in summaries if each.setting == setting]


def save(path: Path, summaries: list[Summary]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.encode(summaries))


def load(path: Path) -> list[Summary]:
    return msgspec.json.decode(path.read_bytes(), type=list[Summary])

"""Sizes as OpenWhisk writes them: a whole number and a unit (common/…/core/entity/size/Size.scala).

Its Controller turns an invoker's memory into slots by a signed 32-bit number of MB, so that is the most an invoker may
claim.
"""

from __future__ import annotations

import re

from owmesos.errors import InvalidInput

MAX_USER_MEMORY = 2**31 - 1  # MB
_UNITS = {"B": 1, "K": 2**10, "KB": 2**10, "M": 2**20, "MB": 2**20, "G": 2**30, "GB": 2**30}
_SIZE = re.compile(r"\s?(\d+)\s?(GB|MB|KB|B|G|M|K)\s?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """In bytes. Raises InvalidInput."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{text!r} is no size: write a whole number and B, KB, MB or GB, such as `256 MB`")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_megabytes(text: str) -> int:
    """In MB, what is over is cut off as OpenWhisk does. Raises InvalidInput."""
    return parse_size(text) // 2**20


def megabytes(amount: int) -> str:
    """`amount` MB as an invoker claims them: at most what a Controller can count."""
    return f"{min(amount, MAX_USER_MEMORY)} MB"

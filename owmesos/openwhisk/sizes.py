"""Sizes in OpenWhisk's format: a whole number and a unit (common/…/core/entity/size/Size.scala).

Its Controller converts an invoker's memory to slots with a signed 32-bit number of MB, so that is the most an
invoker may announce.
"""

from __future__ import annotations

import re
from decimal import Decimal

from owmesos.errors import InvalidInput

MAX_USER_MEMORY = 2**31 - 1  # MB
_UNITS = {"B": 1, "K": 2**10, "KB": 2**10, "M": 2**20, "MB": 2**20, "G": 2**30, "GB": 2**30}
_CONFIG_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z]*)\s*", re.ASCII)
_POWERS = (("k", "kilo", "kibi"), ("m", "mega", "mebi"), ("g", "giga", "gibi"), ("t", "tera", "tebi"))
_CONFIG_UNITS = dict.fromkeys(("", "B", "b", "byte", "bytes"), 1)
for _power, (_letter, _decimal, _binary) in enumerate(_POWERS, 1):
    _large = _letter.upper()
    _tens = ("kB" if _letter == "k" else f"{_large}B", f"{_decimal}byte", f"{_decimal}bytes")
    _twos = (_letter, _large, f"{_large}i", f"{_large}iB", f"{_binary}byte", f"{_binary}bytes")
    _CONFIG_UNITS |= dict.fromkeys(_tens, 1000**_power) | dict.fromkeys(_twos, 1024**_power)
_SIZE = re.compile(r"\s?(\d{1,18})\s?(GB|MB|KB|B|G|M|K)\s?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """In bytes. Raises InvalidInput."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{text[:100]!r} is not a size: write a whole number and B, KB, MB or GB, such as `256 MB`")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_megabytes(text: str) -> int:
    """In MB, rounded down as in OpenWhisk. Raises InvalidInput."""
    return parse_size(text) // 2**20


def parse_config_size(text: str) -> int:
    """In bytes, as OpenWhisk's configuration has it, which is HOCON: `5242880`, `5 MB` (5,000,000), `5 m`, `5 MiB`.
    Raises InvalidInput."""
    match = _CONFIG_SIZE.fullmatch(text)
    unit = _CONFIG_UNITS.get(match[2]) if match is not None else None
    if match is None or unit is None:
        raise InvalidInput(f"{text[:100]!r} is not a size: write bytes, or a number and kB, k, MB, m, GB or g")
    return int(Decimal(match[1]) * unit)


def megabytes(amount: int) -> str:
    """`amount` MB as an invoker announces them: at most what a Controller can count."""
    return f"{min(amount, MAX_USER_MEMORY)} MB"

"""Decodes the results of actions. JSON allows numbers that Python does not: `1e999`, or one of 5,000 digits.

For OpenWhisk such a result is valid, so it is stored and shown; only decoding it must not fail.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import msgspec  # which the commands are quicker without


def decode_result(data: bytes | msgspec.Raw) -> Any:
    """JSON, decoded; a number that Python cannot read becomes its text. Raises ValueError."""
    return json.loads(bytes(data), parse_float=_float, parse_int=_int)


def _float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _int(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # more digits than sys.get_int_max_str_digits()
        return text

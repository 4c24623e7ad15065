"""Makes inputs that are nearly right: a good one with some of its values, or of its bytes, changed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tests.json_faults import paths

LONGEST = 64 * 1024  # bytes of an input
_MOST_PLACES = 10_000  # of a document that is changed once more: each change may make it 100 times as large
_NUMBERS = (
    *(0, 1, -1, 2, 127, 255, 65_535, 65_536, 10**9, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**18, 10**300),
    *(-(2**63), -(10**300), 0.5, -0.0, 1e15, 1e300, -1e300, 5e-324, 1e308),
)
_TEXTS = (
    *(
        "",
        "\0",
        "a\0b",
        "x" * 5000,
        "=",
        ".",
        "/",
        "..",
        "*",
        "\ud800",
        "é",
        "²",
        "٣",
        "\U0001f600",
        "\r\n",
        "-",
        "0",
        "1",
    ),
    *("9" * 5000, "1e999", "nan", "true", "null", "[", "{", "$HOME", "TASK_RUNNING", "0001-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59-23:59", "2001-99-99", "1Ei", "1e30", "-1m", "(a+)+$", "[[:alpha:]]", "http://[::1", "unit"),
)
_PLAIN: tuple[Any, ...] = (None, True, False, [], {}, [[]], [{}], {"": None}, [None], ["a"], {"a": 1})
_SIGNS = ("{", "}", "[", "]", ",", ":", '"', "\\", "\\ud800", "\\u0000", "null", "1e999", "NaN", "-")
_TOKENS = (
    *(each.encode() for each in (*_SIGNS, "\n", "\r\n", " ", "\0", "[" * 3000, '{"a":' * 3000, "9" * 5000)),
    b"\xff",
    b"\xed\xa0\x80",
)


class Mutator:
    """Of the `seeds` of one target. The same `seed` makes the same inputs."""

    def __init__(self, seeds: Sequence[bytes], seed: int) -> None:
        self._chance = random.Random(seed)
        self._seeds = list(seeds) or [b""]
        self._values = [value for each in self._seeds if (value := _json(each)) is not None] or [None]

    def next(self) -> bytes:
        """Of one of the seeds."""
        return self.changed(self._chance.choice(self._seeds))

    def changed(self, data: bytes) -> bytes:
        """`data`, which may be any, with some values or bytes changed."""
        chance = self._chance
        value = _json(data)
        if value is not None and chance.random() < 0.85:
            with suppress(RecursionError, ValueError):  # too deep to copy; a number of too many digits
                data = self._values_changed(value)[:LONGEST]
        if value is None or chance.random() < 0.25:
            for _ in range(chance.choice((1, 1, 2, 4, 8))):
                data = self._bytes_changed(data)[:LONGEST]
        return data

    # -- the values of a document

    def _values_changed(self, document: Any) -> bytes:
        for _ in range(self._chance.choice((1, 1, 1, 2, 3, 5))):
            places = list(paths(document))
            if not places:
                document = self._any()
                break
            if len(places) > _MOST_PLACES:
                break
            self._change(*self._chance.choice(places))
        return json.dumps(document, ensure_ascii=self._chance.random() < 0.5).encode(errors="surrogatepass")

    def _change(self, parent: Any, key: Any) -> None:
        chance = self._chance
        way = chance.randrange(8)
        if way == 0:
            del parent[key]
        elif way == 1 and isinstance(parent, list):
            parent += [copy.deepcopy(parent[key])] * chance.choice((1, 2, 100))
        elif way == 1:
            parent[chance.choice(_TEXTS)] = copy.deepcopy(parent[key])
        elif way == 2:
            parent[key] = self._from_elsewhere()
        elif way == 3 and isinstance(parent[key], (int, float)):
            parent[key] = chance.choice(
                (parent[key] + 1, parent[key] - 1, -parent[key], parent[key] * 1000, str(parent[key]))
            )
        elif way == 3 and isinstance(parent[key], str):
            parent[key] = self._text_changed(parent[key])
        else:
            parent[key] = self._any()

    def _text_changed(self, text: str) -> str:
        at, to = sorted(self._chance.randrange(len(text) + 1) for _ in range(2))
        middle = self._chance.choice(
            ("", text[at:to] * 2, self._chance.choice(_TEXTS), chr(self._chance.randrange(0x250)))
        )
        return text[:at] + middle + text[to:]

    def _from_elsewhere(self) -> Any:
        """A value of any seed of the target."""
        document = self._chance.choice(self._values)
        places = list(paths(document))
        if not places:
            return copy.deepcopy(document)
        parent, key = self._chance.choice(places)
        return copy.deepcopy(parent[key])

    def _any(self) -> Any:
        return copy.deepcopy(self._chance.choice(self._chance.choice((_NUMBERS, _TEXTS, _PLAIN))))

    # -- bytes

    def _bytes_changed(self, data: bytes) -> bytes:
        chance = self._chance
        at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        way = chance.randrange(7)
        if way == 0:
            return data[:at]
        if way == 1:
            return data[:at] + data[to:]
        if way == 2:
            return data[:to] + data[at:to] * chance.choice((1, 2, 50)) + data[to:]
        if way == 3:
            return data[:at] + chance.choice(_TOKENS) + data[at:]
        if way == 4:
            return data[:at] + chance.choice(self._seeds)[to - at :] + data[to:]
        if way == 5:
            return data[:at] + chance.choice(_TEXTS).encode(errors="surrogatepass") + data[at:]
        return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _json(data: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None

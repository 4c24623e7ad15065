"""Large JSON strings in slices: the same as at once, wherever a slice ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.system import large_text
from owmesos.system.large_text import decoded_text, encoded_text

CHARACTERS = st.sampled_from(["a", "u", "\\", '"', "\n", "é", "€", "😀", "\ud83d", "\ude00", "\x01", "d83d"])
TEXTS = st.lists(CHARACTERS, max_size=60).map("".join)


@pytest.fixture(scope="module", autouse=True)
def short_slices() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(large_text, "SLICE", 16)
    yield
    patch.undo()


@given(TEXTS, st.booleans())
def test_any_text_comes_back(text: str, ascii_only: bool) -> None:
    written = json.dumps(text, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    if any("\ud800" <= each <= "\udfff" for each in text):
        written = json.dumps(text).encode()
    assert decoded_text(memoryview(written)[1:-1]) == json.loads(written)
    assert json.loads(encoded_text(text)) == json.loads(json.dumps(text))


@given(st.integers(0, 40))
def test_what_is_not_json_is_rejected(place: int) -> None:
    written = bytearray(b"x" * 60)
    for wrong in (b"\n", b"\\q", b"\xff"):
        damaged = written[:place] + wrong + written[place:]
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            decoded_text(memoryview(damaged))

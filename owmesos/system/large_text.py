"""Large JSON strings, decoded and encoded in slices.

The code of an action may have 48 MB. msgspec takes up to 110 ms for so much (measured), and keeps the interpreter from
all other threads meanwhile, that of the event loop too. Between slices the others have their turn.
"""

from __future__ import annotations

import re

from owmesos.system.lone_surrogates import Decoder, encode

SLICE = 2**20  # characters or bytes that are converted at once
_ESCAPE = 6  # bytes of the longest
_HIGH_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
_text: Decoder[str] = Decoder(str)


def decoded_text(written: memoryview) -> str:
    """The text of a JSON string, between the quotes. Raises what msgspec's decoder raises."""
    pieces, begin = [], 0
    while begin < len(written):
        end = _end_of_slice(written, begin)
        pieces.append(_text.decode(b'"%s"' % written[begin:end]))
        begin = end
    return "".join(pieces)


def encoded_text(text: str) -> bytes:
    """The JSON string, with its quotes and with escapes for halves of surrogate pairs."""
    pieces = (encode(text[begin : begin + SLICE])[1:-1] for begin in range(0, len(text), SLICE))
    return b"".join([b'"', *pieces, b'"'])


def _end_of_slice(written: memoryview, begin: int) -> int:
    """Not within a character, an escape or a pair of escapes."""
    end = begin + SLICE
    if end >= len(written):
        return len(written)
    end -= next((back for back in range(4) if written[end - back] & 0xC0 != 0x80), 0)
    piece = bytes(written[begin : end + 1])  # with what follows, which says how long an escape is
    length = end - begin
    for at in range(length - 1, max(0, length - _ESCAPE), -1):
        if _is_escape(piece, at):
            whole = _ESCAPE if piece[at + 1] == ord("u") else 2
            length = at if at + whole > length else length
            break
    pair = length - _ESCAPE
    if pair > 0 and _HIGH_HALF.match(piece, pair) and _is_escape(piece, pair):  # the low one may follow
        length = pair
    return begin + length


def _is_escape(piece: bytes, at: int) -> bool:
    """Whether an escape begins there: after an even number of backslashes."""
    before = piece[:at]
    return piece[at] == ord("\\") and (len(before) - len(before.rstrip(b"\\"))) % 2 == 0

r"""JSON with lone surrogates: halves of pairs such as `"\ud800"`, which JavaScript and Java write for text that was
cut inside a character.

RFC 8259 (section 8.2) allows it and OpenWhisk's own parser accepts it, but msgspec rejects the whole document. These
functions accept it: text contains the halves as Python's own characters, and a msgspec.Raw the original bytes. A
document without them costs nothing more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
_FIRST, _COUNT = 0xD800, 0x800
_HALF = re.compile("[\ud800-\udfff]")
# An escape begins with the last of an odd number of backslashes. A whole pair is passed over. A pattern that begins
# with a literal, as this does, is looked for ten times as fast.
_BEGIN = rb"\\(?<!\\\\)((?:\\\\)*)u"
_ESCAPED = re.compile(
    _BEGIN + rb"(?:[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|([dD][89a-fA-F][0-9a-fA-F]{2}))"
)


class _Region:
    """Code points for private use that stand for the halves while msgspec decodes, one for each."""

    def __init__(self, first: int, escaped: bytes, encoded: bytes) -> None:
        """`escaped` matches the hexadecimal digits of one of them, `encoded` one in UTF-8."""
        self._shift = first - _FIRST
        self._encoded = re.compile(encoded)
        self._escape = re.compile(_BEGIN + rb"(" + escaped + rb")")
        self._character = re.compile(f"[{chr(first)}-{chr(first + _COUNT - 1)}]")

    def is_free_in(self, data: bytes) -> bool:
        return self._encoded.search(data) is None and self._escape.search(data) is None

    def put_in(self, data: bytes) -> bytes:
        def replaced(match: re.Match[bytes]) -> bytes:
            return match[0] if match[2] is None else match[1] + b"\\u%04x" % (int(match[2], 16) + self._shift)

        return _ESCAPED.sub(replaced, data)

    def taken_out(self, value: Any) -> Any:
        """The same with the halves."""
        if isinstance(value, str):
            return self._character.sub(lambda match: chr(ord(match[0]) - self._shift), value)
        if isinstance(value, msgspec.Raw):
            return msgspec.Raw(
                self._escape.sub(lambda match: match[1] + b"\\u%04x" % (int(match[2], 16) - self._shift), bytes(value))
            )
        return _mapped(value, self.taken_out)


_HEX = rb"[0-9a-fA-F]{2}"
_REGIONS = (
    _Region(0xE000, rb"[eE][0-7]" + _HEX, rb"\xee[\x80-\x9f]"),
    _Region(0xE800, rb"[eE][89a-fA-F]" + _HEX, rb"\xee[\xa0-\xbf]"),
    _Region(0xF000, rb"[fF][0-7]" + _HEX, rb"\xef[\x80-\x9f]"),
)


class Decoder(Generic[T]):
    """Replaces msgspec's decoder."""

    def __init__(self, kind: type[T]) -> None:
        self._strict = msgspec.json.Decoder(kind)

    def decode(self, data: bytes | memoryview | msgspec.Raw) -> T:
        """Raises what msgspec's raises."""
        try:
            return self._strict.decode(data)
        except msgspec.DecodeError as error:
            found: T = _retried(bytes(data), self._strict.decode, error)
            return found


def compact(data: bytes) -> bytes:
    """JSON without blanks. Raises what msgspec.json.format raises."""
    try:
        return msgspec.json.format(data, indent=-1)
    except msgspec.DecodeError as error:
        return bytes(_retried(data, lambda masked: msgspec.Raw(msgspec.json.format(masked, indent=-1)), error))


def _retried(data: bytes, read: Callable[[bytes], Any], error: msgspec.DecodeError) -> Any:
    """What `read` makes of it without its halves, with the halves again. Raises `error` if it has none."""
    if not _may_have_escapes(data):  # the search takes some milliseconds for each MB
        raise error
    region = next((each for each in _REGIONS if each.is_free_in(data)), None)
    masked = region.put_in(data) if region is not None else data
    if region is None or masked == data:
        raise error
    return region.taken_out(read(masked))


def replaced(data: bytes) -> bytes:
    """JSON with U+FFFD for each half, for a server that rejects them."""
    if not _may_have_escapes(data):
        return data
    return _ESCAPED.sub(lambda match: match[0] if match[2] is None else match[1] + b"\\ufffd", data)


def _may_have_escapes(data: bytes) -> bool:
    return b"\\ud" in data or b"\\uD" in data


def encode(value: Any) -> bytes:
    """JSON, with escapes for halves. Raises what msgspec.json.encode raises."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_escaped(value))


def _escaped(value: Any) -> Any:
    """The same with raw JSON where there are halves."""
    if isinstance(value, str):
        return msgspec.Raw(json.dumps(value).encode()) if _HALF.search(value) else value
    if isinstance(value, dict) and any(isinstance(key, str) and _HALF.search(key) for key in value):
        members = (json.dumps(str(key)).encode() + b":" + encode(each) for key, each in value.items())
        return msgspec.Raw(b"{" + b",".join(members) + b"}")
    return _mapped(value, _escaped)


def _mapped(value: Any, change: Any) -> Any:
    """The same with `change` made in all that it holds."""
    if isinstance(value, dict):
        return {change(key) if isinstance(key, str) else key: change(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(change(each) for each in value)
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(
            value, **{name: change(getattr(value, name)) for name in value.__struct_fields__}
        )
    return value

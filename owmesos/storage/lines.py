"""What is stored as lines of JSON: for `owmesos state export`, and for commits that are too large for one transaction.

A record that is JSON is in its line as it is, so that `jq` can read it; any other is base64.
"""

from __future__ import annotations

from typing import Any

import msgspec

from owmesos.errors import NOT_READABLE, InvalidInput
from owmesos.storage.store import Answer, ForgetAnswer, ForgetFramework, ForgetLaunch, SaveFramework, SaveLaunch, Write

FORMAT = 1
"""The format of the lines."""


class _Line(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """One line."""


class Head(_Line, frozen=True, tag="state"):
    """The first of an export. ACCEPTs of a later time than `sent_until` were not sent; None if that is unknown."""

    format: int
    source: str
    sent_until: float | None


class _Framework(_Line, frozen=True, tag="framework"):
    framework_id: str


class _Launch(_Line, frozen=True, tag="launch"):
    launch_id: str
    record: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    base64: bytes | msgspec.UnsetType = msgspec.UNSET


class _Answer(_Line, frozen=True, tag="answer"):
    key: str
    request: bytes
    taken_at: float
    body: bytes


class _ForgetFramework(_Line, frozen=True, tag="forget-framework"):
    pass


class _ForgetLaunch(_Line, frozen=True, tag="forget-launch"):
    launch_id: str


class _ForgetAnswer(_Line, frozen=True, tag="forget-answer"):
    key: str


class _End(_Line, frozen=True, tag="end"):
    """The last line of an export, which a cut-off file lacks: how many are between it and the first."""

    lines: int


_LINES: dict[type[Write], type[_Line]] = {
    SaveFramework: _Framework,
    Answer: _Answer,
    ForgetFramework: _ForgetFramework,
    ForgetLaunch: _ForgetLaunch,
    ForgetAnswer: _ForgetAnswer,
}
"""Those with the fields of their writes; of a launch's record there are two forms."""
_WRITES = {kind: write for write, kind in _LINES.items()}
_AnyLine = Head | _Framework | _Launch | _Answer | _ForgetFramework | _ForgetLaunch | _ForgetAnswer | _End
_decode = msgspec.json.Decoder(_AnyLine).decode
_encode = msgspec.json.encode


def line(write: Write) -> bytes:
    """Without a line feed."""
    return _launch(write) if isinstance(write, SaveLaunch) else _encode(_LINES[type(write)](*write))


def head(source: str, sent_until: float | None) -> bytes:
    return _encode(Head(FORMAT, source, sent_until))


def end(lines: int) -> bytes:
    return _encode(_End(lines))


def write_of(data: bytes) -> Write:
    """Raises InvalidInput."""
    return _write(_read(data))


def export_of(data: bytes) -> tuple[Head, list[Write]]:
    """A whole export. Raises InvalidInput, which names the line."""
    found: list[Any] = []
    for number, each in enumerate(data.splitlines(), 1):
        try:
            found.append(_read(each))
        except InvalidInput as error:  # noqa: PERF203
            raise InvalidInput(f"line {number} is not that of an export: {error}") from None
    if not found or not isinstance(found[0], Head):
        raise InvalidInput('it is not an export: the first line must be {"type":"state",…}')
    first = found[0]
    if first.format > FORMAT:
        raise InvalidInput(f"it was written by a later owmesos (format {first.format}, not {FORMAT}): use that version")
    if not isinstance(found[-1], _End) or found[-1].lines != len(found) - 2:
        raise InvalidInput("it is cut off: the last line must count those before it")
    writes = []
    for number, each in enumerate(found[1:-1], 2):
        if not isinstance(each, (_Framework, _Launch, _Answer)):
            raise InvalidInput(f"line {number} is not that of an export: unexpected {each.__struct_config__.tag}")
        writes.append(_write(each))
    return first, writes


def _launch(write: SaveLaunch) -> bytes:
    try:
        msgspec.json.decode(write.record)
        whole = b"\n" not in write.record
    except NOT_READABLE:
        whole = False
    if whole:
        return _encode(_Launch(write.launch_id, record=msgspec.Raw(write.record)))
    return _encode(_Launch(write.launch_id, base64=write.record))


def _read(data: bytes) -> Any:
    try:
        return _decode(data)
    except NOT_READABLE as error:
        raise InvalidInput(" ".join(str(error).split())[:300]) from None


def _write(found: Any) -> Write:
    """Raises InvalidInput."""
    if isinstance(found, _Launch):
        given = [each for each in (found.record, found.base64) if each is not msgspec.UNSET]
        if len(given) != 1:
            raise InvalidInput(f"launch {found.launch_id[:100]} needs either record or base64")
        return SaveLaunch(found.launch_id, bytes(given[0]))
    if type(found) not in _WRITES:
        raise InvalidInput(f"{type(found).__name__} changes nothing")
    return _WRITES[type(found)](*msgspec.structs.astuple(found))

"""Scheduler calls from the wire, with Mesos's own words for what is wrong with them, and events for it.

A good call is decoded in one step. A bad one is gone through again, field by field, as protobuf's JSON would be.
"""

from __future__ import annotations

import base64
import binascii
import re
import typing
from functools import cache
from typing import Any

import msgspec

from owmesos.errors import NOT_READABLE
from owmesos.mesos import messages
from owmesos.mesos.messages import CALLS, ID, Call, Event
from owmesos.mesos.messages.lenient import is_struct, without_none
from owmesos.simulator.protocol import NotValid

_OPTIONAL_BODY = frozenset({"REVIVE", "SUPPRESS"})
_PROTOBUF = "Failed to convert JSON into Call protobuf: "
_INVALID = "Failed to validate scheduler::Call: "


_CallEnvelope = msgspec.defstruct(
    "_CallEnvelope",
    [
        ("type", str),
        ("framework_id", ID | None, None),
        *((each.body, msgspec.Raw, msgspec.Raw()) for each in CALLS.values() if each.body is not None),
    ],
    gc=False,
)
_envelopes: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_CallEnvelope)
_bodies: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(each) for kind, each in CALLS.items()}
_encoder = msgspec.json.Encoder()


def decode_call(data: bytes) -> tuple[str | None, Call]:
    """The framework id and the call. Raises NotValid."""
    try:
        envelope = _envelopes.decode(data)
        kind = CALLS.get(envelope.type)
        raw = getattr(envelope, kind.body) if kind is not None and kind.body is not None else msgspec.Raw()
        if kind is None or (kind.body is not None and not bytes(raw) and envelope.type not in _OPTIONAL_BODY):
            return _second_look(data)
        call: Call = _bodies[envelope.type].decode(bytes(raw) or b"{}")
    except NOT_READABLE:
        return _second_look(data)
    framework_id = envelope.framework_id.value if envelope.framework_id is not None else None
    _validate(call, framework_id)
    return framework_id, call


def _validate(call: Call, framework_id: str | None) -> None:
    """What Mesos asks beyond the form (src/master/validation.cpp)."""
    if framework_id is None and not isinstance(call, messages.Subscribe):
        raise NotValid(f"{_INVALID}Expecting 'framework_id' to be present")
    if isinstance(call, (messages.Subscribe, messages.UpdateFramework)):
        inner = call.framework_info.id.value if call.framework_info.id is not None else None
        if (inner or None) != (framework_id or None):
            raise NotValid(f"{_INVALID}'framework_id' differs from '{call.body}.framework_info.id'")
    elif isinstance(call, messages.Acknowledge):
        _validate_uuid(call.uuid)


def _validate_uuid(text: str) -> None:
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        bad = re.search(r"[^A-Za-z0-9+/=]", text)
        why = f"Invalid character '{bad[0]}'" if bad else "Invalid length"
        raise NotValid(f"{_PROTOBUF}Failed to base64 decode bytes field 'uuid': {why}") from None
    if len(value) != 16 or not any(value):
        raise NotValid(f"{_INVALID}Not a valid UUID")


# -- the second, slow look


def _second_look(data: bytes) -> tuple[str | None, Call]:
    """A list that is absent is an empty one, for protobuf. Raises NotValid for all else."""
    try:
        document = msgspec.json.decode(data)
    except NOT_READABLE:
        near = data.lstrip()[:20].decode(errors="replace") if data.strip()[:1] not in (b"{", b"[") else ""
        raise NotValid(f"Failed to parse body into JSON: syntax error at line 1 near: {near}") from None
    if not isinstance(document, dict):
        raise NotValid(f"{_PROTOBUF}Expecting a JSON object")
    name = document.get("type")
    if "type" in document and not isinstance(name, str):
        raise NotValid(f"{_PROTOBUF}{_unexpected(name, 'type')}")
    if name == "UNKNOWN" and "framework_id" in document:
        raise NotValid(f"{_INVALID}Unknown call type")  # a real master aborts here
    kind = CALLS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise NotValid(f"{_INVALID}Expecting 'type' to be present")
    wrong: list[str] = []
    missing: list[str] = []
    _completed(ID, document.get("framework_id"), "framework_id", wrong, [])
    body = _completed(kind, document.get(kind.body), str(kind.body), wrong, missing)
    if wrong:
        raise NotValid(f"{_PROTOBUF}{wrong[0]}")
    if kind.body not in document:
        raise NotValid(f"{_INVALID}Expecting '{kind.body}' to be present")
    if missing:
        raise NotValid(f"{_PROTOBUF}Missing required fields: {', '.join(missing)}")
    framework_id = (document.get("framework_id") or {}).get("value")
    try:
        call = msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise NotValid(f"{_PROTOBUF}{error}") from None
    _validate(call, framework_id)
    return framework_id, call


def _completed(kind: Any, value: Any, path: str, wrong: list[str], missing: list[str]) -> Any:
    """`value`, with missing lists as empty ones.

    Adds to `wrong` what is of another JSON type than its field has, and to `missing` the paths of required fields that
    are absent.
    """
    kind = without_none(kind)
    if value is None:
        return None
    if not _fits(kind, value):
        wrong.append(_unexpected(value, path.rpartition(".")[2].partition("[")[0]))
    elif typing.get_origin(kind) is list:
        (inner,) = typing.get_args(kind)
        return [_completed(inner, each, f"{path}[{place}]", wrong, missing) for place, each in enumerate(value)]
    elif is_struct(kind):
        full = dict(value)
        for field in _fields(kind):
            name, is_list = field.encode_name, typing.get_origin(field.type) is list
            if value.get(name) is not None:
                full[name] = _completed(field.type, value[name], f"{path}.{name}", wrong, missing)
            elif field.required and is_list:
                full[name] = []
            elif field.required:
                missing.append(f"{path}.{name}")
        return full
    return value


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(struct)


def _fits(kind: Any, value: Any) -> bool:
    origin = typing.get_origin(kind)
    if origin is dict or is_struct(kind):
        return isinstance(value, dict)
    if origin is list:
        return isinstance(value, list)
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in (str, bytes) or origin is typing.Literal:
        return isinstance(value, str)
    return True


def _unexpected(value: Any, name: str) -> str:
    kinds = {str: "string", bool: "boolean", list: "array", dict: "object", type(None): "null"}
    return f"Not expecting a JSON {kinds.get(type(value), 'number')} for field '{name}'"


# -- events


def encode_event(event: Event) -> bytes:
    if event.body is None:
        return b'{"type":"HEARTBEAT"}'
    body: Any = event
    if isinstance(event, messages.Failure):
        body = {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}
    return _encoder.encode({"type": event.body.upper(), event.body: body})


def record(data: bytes) -> bytes:
    """In RecordIO's frame."""
    return b"%d\n%s" % (len(data), data)

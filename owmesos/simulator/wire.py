"""Scheduler calls from the wire, with Mesos's own words for what is wrong with them, and events for it.

A good call is decoded in one step. A bad one is gone through again, field by field, as protobuf's JSON would be.
"""

from __future__ import annotations

import base64
import binascii
import re
import types
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from owmesos.mesos import messages
from owmesos.mesos.messages import ID, Call, Event

_CALLS: dict[str, type[Call]] = {
    each.wire_type: each
    for each in (
        messages.Subscribe,
        messages.Teardown,
        messages.Accept,
        messages.Decline,
        messages.AcceptInverseOffers,
        messages.DeclineInverseOffers,
        messages.Revive,
        messages.Suppress,
        messages.Kill,
        messages.Shutdown,
        messages.Acknowledge,
        messages.AcknowledgeOperationStatus,
        messages.Reconcile,
        messages.ReconcileOperations,
        messages.Message,
        messages.Request,
        messages.UpdateFramework,
    )
}
_OPTIONAL_BODY = frozenset({"REVIVE", "SUPPRESS"})
_EVENTS: dict[type[Event], str] = {
    messages.Subscribed: "SUBSCRIBED",
    messages.Offers: "OFFERS",
    messages.InverseOffers: "INVERSE_OFFERS",
    messages.Rescind: "RESCIND",
    messages.RescindInverseOffer: "RESCIND_INVERSE_OFFER",
    messages.Update: "UPDATE",
    messages.UpdateOperationStatus: "UPDATE_OPERATION_STATUS",
    messages.MessageEvent: "MESSAGE",
    messages.Failure: "FAILURE",
    messages.Error: "ERROR",
    messages.Heartbeat: "HEARTBEAT",
}
_PROTOBUF = "Failed to convert JSON into Call protobuf: "
_INVALID = "Failed to validate scheduler::Call: "


class BadCall(Exception):
    """With Mesos's text."""


class _Envelope(msgspec.Struct, gc=False):
    type: str
    framework_id: ID | None = None
    subscribe: msgspec.Raw = msgspec.Raw()
    accept: msgspec.Raw = msgspec.Raw()
    decline: msgspec.Raw = msgspec.Raw()
    accept_inverse_offers: msgspec.Raw = msgspec.Raw()
    decline_inverse_offers: msgspec.Raw = msgspec.Raw()
    revive: msgspec.Raw = msgspec.Raw()
    suppress: msgspec.Raw = msgspec.Raw()
    kill: msgspec.Raw = msgspec.Raw()
    shutdown: msgspec.Raw = msgspec.Raw()
    acknowledge: msgspec.Raw = msgspec.Raw()
    acknowledge_operation_status: msgspec.Raw = msgspec.Raw()
    reconcile: msgspec.Raw = msgspec.Raw()
    reconcile_operations: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    request: msgspec.Raw = msgspec.Raw()
    update_framework: msgspec.Raw = msgspec.Raw()


_envelopes = msgspec.json.Decoder(_Envelope)
_bodies: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(each) for kind, each in _CALLS.items()}
_encoder = msgspec.json.Encoder()


def decode_call(data: bytes) -> tuple[str | None, Call]:
    """The framework id and the call. Raises BadCall."""
    try:
        envelope = _envelopes.decode(data)
        kind = _CALLS.get(envelope.type)
        raw = getattr(envelope, kind.body) if kind is not None and kind.body is not None else msgspec.Raw()
        if kind is None or (kind.body is not None and not bytes(raw) and envelope.type not in _OPTIONAL_BODY):
            raise BadCall(_what_is_wrong(data))
        call: Call = _bodies[envelope.type].decode(bytes(raw) or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _second_look(data)
    framework_id = envelope.framework_id.value if envelope.framework_id is not None else None
    _validate(call, framework_id)
    return framework_id, call


def _validate(call: Call, framework_id: str | None) -> None:
    """What Mesos asks beyond the form (src/master/validation.cpp)."""
    if isinstance(call, messages.Subscribe):
        inner = call.framework_info.id.value if call.framework_info.id is not None else None
        if (inner or None) != (framework_id or None):
            raise BadCall(f"{_INVALID}'framework_id' differs from 'subscribe.framework_info.id'")
        return
    if framework_id is None:
        raise BadCall(f"{_INVALID}Expecting 'framework_id' to be present")
    if isinstance(call, messages.UpdateFramework):
        inner = call.framework_info.id.value if call.framework_info.id is not None else None
        if inner != framework_id:
            raise BadCall(f"{_INVALID}'framework_id' differs from 'update_framework.framework_info.id'")
    elif isinstance(call, messages.Acknowledge):
        _validate_uuid(call.uuid)


def _validate_uuid(text: str) -> None:
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        bad = re.search(r"[^A-Za-z0-9+/=]", text)
        why = f"Invalid character '{bad[0]}'" if bad else "Invalid length"
        raise BadCall(f"{_PROTOBUF}Failed to base64 decode bytes field 'uuid': {why}") from None
    if len(value) != 16 or not any(value):
        raise BadCall(f"{_INVALID}Not a valid UUID")


# -- the second, slow look


def _second_look(data: bytes) -> tuple[str | None, Call]:
    """A list that is absent is an empty one, for protobuf. Raises BadCall for all else."""
    wrong = _what_is_wrong(data)
    if wrong:
        raise BadCall(wrong)
    document = msgspec.json.decode(data)
    kind = _CALLS[document["type"]]
    body = _with_lists(kind, document[kind.body]) if kind.body is not None else {}
    framework_id = (document.get("framework_id") or {}).get("value")
    try:
        call = msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise BadCall(f"{_PROTOBUF}{error}") from None
    _validate(call, framework_id)
    return framework_id, call


def _with_lists(kind: Any, value: Any) -> Any:
    """`value` with an empty list for each that lacks."""
    kind = _without_none(kind)
    struct = _struct_of(kind)
    if struct is not None and isinstance(value, dict):
        full = dict(value)
        for field in _fields(struct):
            if full.get(field.encode_name) is not None:
                full[field.encode_name] = _with_lists(field.type, full[field.encode_name])
            elif field.required and typing.get_origin(field.type) is list:
                full[field.encode_name] = []
        return full
    if typing.get_origin(kind) is list and isinstance(value, list):
        return [_with_lists(typing.get_args(kind)[0], each) for each in value]
    return value


def _what_is_wrong(data: bytes) -> str:
    """Empty if it is nothing that Mesos has words for."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        near = data.lstrip()[:20].decode(errors="replace") if data.strip()[:1] not in (b"{", b"[") else ""
        return f"Failed to parse body into JSON: syntax error at line 1 near: {near}"
    if not isinstance(document, dict):
        return f"{_PROTOBUF}Expecting a JSON object"
    name = document.get("type")
    if "type" in document and not isinstance(name, str):
        return f"{_PROTOBUF}{_unexpected(name, 'type')}"
    if name == "UNKNOWN" and "framework_id" in document:
        return f"{_INVALID}Unknown call type"  # a real master aborts here
    kind = _CALLS.get(name) if isinstance(name, str) else None
    if kind is None:
        return f"{_INVALID}Expecting 'type' to be present"
    wrong = next(_wrong_types(ID, document.get("framework_id"), "framework_id"), None)
    if wrong is not None:
        return f"{_PROTOBUF}{wrong}"
    if kind.body is not None and kind.body in document:
        wrong = next(_wrong_types(kind, document[kind.body], kind.body), None)
        if wrong is not None:
            return f"{_PROTOBUF}{wrong}"
        missing = list(_missing(kind, document[kind.body], kind.body))
        if missing:
            return f"{_PROTOBUF}Missing required fields: {', '.join(missing)}"
        return ""
    return f"{_INVALID}Expecting '{kind.body}' to be present"


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(struct)


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(each for each in typing.get_args(kind) if each is not type(None))
    return kind


def _wrong_types(kind: Any, value: Any, name: str) -> Iterator[str]:
    """Values of another JSON type than the field has."""
    kind = _without_none(kind)
    if value is None:
        return
    struct, origin = _struct_of(kind), typing.get_origin(kind)
    if struct is not None:
        if not isinstance(value, dict):
            yield _unexpected(value, name)
            return
        for field in _fields(struct):
            yield from _wrong_types(field.type, value.get(field.encode_name), field.encode_name)
    elif origin is list:
        if not isinstance(value, list):
            yield _unexpected(value, name)
            return
        for each in value:
            yield from _wrong_types(typing.get_args(kind)[0], each, name)
    elif origin is dict:
        if not isinstance(value, dict):
            yield _unexpected(value, name)
    elif not _fits(kind, origin, value):
        yield _unexpected(value, name)


def _fits(kind: Any, origin: Any, value: Any) -> bool:
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


def _missing(kind: Any, value: Any, path: str) -> Iterator[str]:
    """Paths of required fields that are absent."""
    kind = _without_none(kind)
    struct = _struct_of(kind)
    if struct is not None and isinstance(value, dict):
        for field in _fields(struct):
            inner = f"{path}.{field.encode_name}"
            if value.get(field.encode_name) is not None:
                yield from _missing(field.type, value[field.encode_name], inner)
            elif field.required and typing.get_origin(field.type) is not list:
                yield inner
    elif typing.get_origin(kind) is list and isinstance(value, list):
        for place, each in enumerate(value):
            yield from _missing(typing.get_args(kind)[0], each, f"{path}[{place}]")


# -- events


def encode_event(event: Event) -> bytes:
    """One event as its JSON."""
    document: dict[str, Any] = {"type": _EVENTS[type(event)]}
    if event.body is not None:
        if isinstance(event, messages.Failure):
            body: Any = {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}
        else:
            body = event
        document[event.body] = body
    return _encoder.encode(document)


def record(data: bytes) -> bytes:
    """In RecordIO's frame."""
    return b"%d\n%s" % (len(data), data)

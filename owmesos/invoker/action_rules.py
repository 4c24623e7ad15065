"""The rules for deployed actions: what the Controller checks when an action is created or updated.

The body is that of OpenWhisk's API (`PUT …/actions/NAME`), and so are the rules: names (EntityName.scala), limits
(MemoryLimit.scala and others), the size of code (Exec.scala), and that an update keeps every field that it omits.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from owmesos.errors import InvalidInput
from owmesos.openwhisk.activation import DEFAULT_VERSION, Annotation
from owmesos.openwhisk.entities import ActionDocument, Exec
from owmesos.openwhisk.executable import ActionLimits
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import ABSENT
from owmesos.openwhisk.sizes import MAX_USER_MEMORY
from owmesos.system.large_text import SLICE, decoded_text
from owmesos.system.lone_surrogates import Decoder

MAX_CODE = 48 * 2**20  # bytes, with base64 counted as it comes
MAX_NAME = 256
_NAME = re.compile(r"\w|\w[\w@ .-]*[\w@.-]", re.ASCII)
_EXEC, _API_KEY = "exec", "provide-api-key"


class WantedCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`kind` may be `python:default`. `code` is text, or with `binary` the base64 of a zip file."""

    kind: str
    code: str
    binary: bool = False
    main: str | None = None


class WantedLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`timeout` in ms, `memory` and `logs` in MB. None keeps the current value, or selects the default."""

    timeout: int | None = None
    memory: int | None = None
    logs: int | None = None
    concurrency: int | None = None


class WantedParameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A default for an argument. With `init` it becomes a variable of the container's environment, at `/init`."""

    key: str
    value: Any = None
    init: bool = False


class WantedAction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new action, or the changes to one. Parameters and annotations are replaced as a whole."""

    exec: WantedCode | None = None
    limits: WantedLimits = WantedLimits()
    parameters: list[WantedParameter] | None = None
    annotations: list[Annotation] | None = None


class _WrittenCode(WantedCode, frozen=True, forbid_unknown_fields=True):
    """With the code as it was written."""

    code: str = msgspec.field(name="", default="")
    written: msgspec.Raw = msgspec.field(name="code", default=ABSENT)


class _WrittenAction(WantedAction, frozen=True, forbid_unknown_fields=True):
    exec: _WrittenCode | None = None


_wanted = Decoder(WantedAction).decode
_written = Decoder(_WrittenAction).decode


def decode_wanted(data: bytes | memoryview) -> WantedAction:
    """For a thread: large code is decoded in slices. Raises NOT_READABLE."""
    if len(data) <= SLICE:
        return _wanted(data)
    found = _written(data)
    try:
        if found.exec is None:
            return _wanted(data)
        with memoryview(found.exec.written) as quoted, quoted[1:-1] as written:
            if len(written) <= SLICE or quoted[0] != ord('"'):
                return _wanted(data)
            code = WantedCode(found.exec.kind, decoded_text(written), found.exec.binary, found.exec.main)
        return WantedAction(code, found.limits, found.parameters, found.annotations)
    finally:
        del found  # an exception would keep it, and it keeps `data`


class ActionRules(msgspec.Struct, frozen=True, kw_only=True):
    """The limits that an action may have: MB, ms, and concurrent runs in one container."""

    memory: tuple[int, int] = (128, MAX_USER_MEMORY)
    timeout: tuple[int, int] = (100, 600_000)
    logs: tuple[int, int] = (0, 10)
    concurrency: tuple[int, int] = (1, 500)

    def check(self, limits: ActionLimits) -> None:
        """Raises InvalidInput."""
        for name, unit in (("memory", " MB"), ("timeout", " ms"), ("logs", " MB"), ("concurrency", "")):
            low, high = getattr(self, name)
            value = getattr(limits, name)
            if not low <= value <= high:
                raise InvalidInput(f"{name} must be {low} to {high}{unit}, not {value}")


def action_document(
    namespace: str,
    name: str,
    wanted: WantedAction,
    before: ActionDocument | None,
    manifest: Manifest,
    rules: ActionRules,
) -> ActionDocument:
    """The action to be stored; `before` is the one that it replaces. Raises InvalidInput."""
    if len(name) > MAX_NAME or _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name[:100]!r} is not a valid name of an action: write at most {MAX_NAME} letters, digits, _ @ . - and"
            " spaces within"
        )
    limits = _limits(wanted.limits, before.limits if before is not None else ActionLimits())
    rules.check(limits)
    if wanted.exec is not None:
        exec_ = _exec(wanted.exec, manifest)
    elif before is not None:
        exec_ = before.exec
    else:
        raise InvalidInput(f"unknown action {name}: a new action needs code")
    parameters, annotations = (before.parameters, before.annotations) if before is not None else ([], [])
    if wanted.parameters is not None:
        parameters = msgspec.to_builtins(wanted.parameters)
    if wanted.annotations is not None:
        annotations = wanted.annotations
    return ActionDocument(
        namespace=namespace,
        name=name,
        version=_next_version(before.version) if before is not None else DEFAULT_VERSION,
        exec=exec_,
        limits=limits,
        annotations=_annotated(annotations, exec_.kind),
        parameters=parameters,
    )


def _limits(wanted: WantedLimits, before: ActionLimits) -> ActionLimits:
    given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
    return msgspec.structs.replace(before, **given)


def _exec(wanted: WantedCode, manifest: Manifest) -> Exec:
    runtime = manifest.runnable(wanted.kind)
    if not wanted.code or wanted.code.isspace():
        raise InvalidInput("the code is empty")
    size = sum(
        len(each) if each.isascii() else len(each.encode(errors="surrogatepass")) for each in _slices(wanted.code)
    )
    if size > MAX_CODE:
        raise InvalidInput(f"the code is {size / 2**20:.1f} MB; at most {MAX_CODE // 2**20} MB are allowed")
    if wanted.binary:
        _check_base64(wanted.code)
    if runtime.require_main and not wanted.main:
        raise InvalidInput(f"kind {runtime.kind} needs the name of its entry point: give `main`")
    return Exec(kind=runtime.kind, code=wanted.code, binary=wanted.binary, main=wanted.main or None)


def _slices(code: str) -> Iterator[str]:
    """Between them other threads have their turn: 48 MB take up to 300 ms."""
    return (code[begin : begin + SLICE] for begin in range(0, len(code), SLICE))


def _check_base64(code: str) -> None:
    """Raises InvalidInput."""
    left = len(code)
    try:
        for each in _slices(code):
            left -= len(each)
            base64.b64decode(each, validate=True)
            if left and "=" in each:
                raise ValueError("it goes on after its end")
    except ValueError:
        raise InvalidInput("binary code is not valid base64") from None


def _annotated(annotations: list[Annotation], kind: str) -> list[Annotation]:
    """With those that OpenWhisk adds itself."""
    kept = [each for each in annotations if each.key != _EXEC]
    if all(each.key != _API_KEY for each in kept):
        kept.append(Annotation(_API_KEY, False))
    return [*kept, Annotation(_EXEC, kind)]


def _next_version(version: str) -> str:
    """`0.0.2` after `0.0.1`."""
    front, _, last = version.rpartition(".")
    return f"{front}.{int(last) + 1}"

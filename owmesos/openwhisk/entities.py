"""Actions and activations as OpenWhisk's database stores them, in CouchDB or in our own file.

If an action cannot be read, ActionUnavailable is raised, with the response that OpenWhisk gives in that case
(InvokerReactive.scala).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Protocol, TypeVar

import msgspec

from owmesos.core.texts import MAX_NAME, check_text
from owmesos.errors import NOT_READABLE, InvalidInput, OwmesosError
from owmesos.openwhisk.activation import Activation, Annotation, Response, application_error, whisk_error
from owmesos.openwhisk.executable import ActionLimits, Executable, StoredCode, digest_of, initializer_of
from owmesos.openwhisk.manifest import BLACKBOX, SEQUENCE, Manifest, usual_kind
from owmesos.openwhisk.messages import ABSENT, EntityName
from owmesos.system.large_text import SLICE, decoded_text, encoded_text
from owmesos.system.lone_surrogates import Decoder

D = TypeVar("D", bound="ActionDocument")
ACTION = "action"
ACTION_REMOVED = "Action could not be found or may have been deleted."
ACTION_MISMATCH = "Action version is not compatible and cannot be invoked."
ACTION_NOT_FETCHED = "Action could not be fetched."
_JVM_BLANKS = "".join(map(chr, range(33)))  # what Java's String.trim takes away
_BLANKS = re.compile(rb"(?: |\\[nrtbf]|\\u00[01][0-9a-fA-F])*")  # the same in JSON
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_REST = re.compile(rb"(={0,2})" + _BLANKS.pattern)
_PROVIDE_API_KEY = "provide-api-key"


class ActionUnavailable(OwmesosError):
    """The action cannot be run. `response` is what its activation ends with."""

    def __init__(self, reason: str, response: Response) -> None:
        super().__init__(reason)
        self.response = response


class ActionMissing(ActionUnavailable):
    """The action was deleted by its user."""

    def __init__(self, document_id: str) -> None:
        super().__init__(f"unknown action {document_id}", application_error(ACTION_REMOVED))


class ActionUnreadable(ActionUnavailable):
    """The document is not an action, or this cluster cannot run it."""

    def __init__(self, document_id: str, why: str) -> None:
        super().__init__(f"action {document_id} cannot be read: {why}", whisk_error(ACTION_MISMATCH))


class ActionNotFetched(ActionUnavailable):
    """The database did not return it."""

    def __init__(self, document_id: str, why: str) -> None:
        super().__init__(f"action {document_id} cannot be fetched: {why}", whisk_error(ACTION_NOT_FETCHED))


class Attachment(msgspec.Struct, frozen=True, rename="camel"):
    """Code that is stored beside its document. The name is `couch:<name>`, `mem:<base64>`, or only a name (1.0)."""

    attachment_name: str
    attachment_type: str | None = None
    length: Annotated[int, msgspec.Meta(ge=0, le=2**40)] | None = None  # bytes
    digest: str | None = None


class Exec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What runs."""

    kind: str
    code: str | Attachment | None = None  # text, or base64
    jar: str | Attachment | None = None  # the code of some kinds in older documents
    binary: bool = False  # for attachments only; text is judged by `is_base64`
    main: str | None = None  # the entry point
    image: str | None = None  # for blackboxes only
    components: list[Any] | None = None  # for sequences only


class ActionDocument(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An action of the database `whisks`. The Controller has put the parameters into the message."""

    id: str = msgspec.field(name="_id", default="")
    rev: str | None = msgspec.field(name="_rev", default=None)
    namespace: str
    name: str
    version: str
    exec: Exec
    limits: ActionLimits = msgspec.field(default_factory=ActionLimits)
    annotations: list[Annotation] = msgspec.field(default_factory=list)
    parameters: list[Any] = msgspec.field(default_factory=list)
    publish: bool = False
    updated: int | None = None
    entity_type: str = ACTION

    def annotation(self, key: str) -> Any:
        return next((each.value for each in self.annotations if each.key == key), None)


class ActionStore(Protocol):
    """The source of actions."""

    async def action(self, entity: EntityName, revision: str | None) -> Executable:
        """The given revision, or with None the latest; also the latest if that revision does not exist any more.

        Raises ActionUnavailable.
        """


class CodeStore(Protocol):
    """The source of code that is not in the actions' documents."""

    def use(self, code: StoredCode) -> AbstractAsyncContextManager[memoryview]:
        """The initializer, for as long as it is needed. Raises ActionUnavailable."""


class ActivationStore(Protocol):
    """The destination of activation records."""

    def store(self, activation: Activation) -> None:
        """Returns at once; the record is stored soon after."""

    async def close(self) -> None:
        """Returns when everything that can be stored is stored."""


class Blacklist(Protocol):
    """Namespaces whose actions are not run."""

    def blocks(self, namespace: str) -> bool: ...


class _WrittenExec(Exec, frozen=True, omit_defaults=True):
    """With the code as it was written: decoding 48 MB would stop all threads for 150 ms."""

    code: str | Attachment | None = msgspec.field(name="", default=None)
    written: msgspec.Raw = msgspec.field(name="code", default=ABSENT)


class _WrittenDocument(ActionDocument, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    exec: _WrittenExec


_decode = Decoder(ActionDocument).decode
_decode_written = Decoder(_WrittenDocument).decode


def decode_action(document_id: str, data: bytes) -> ActionDocument:
    """Raises ActionUnreadable."""
    return _checked(document_id, data, _decode)


def decode_large_action(document_id: str, data: bytes) -> tuple[ActionDocument, memoryview | None]:
    """Without its code, and that as JSON between the quotes, if it is text of more than a slice; else with its code,
    and None. Raises ActionUnreadable."""
    if len(data) > SLICE:
        found = _checked(document_id, data, _decode_written)
        written = memoryview(found.exec.written)
        if len(written) > SLICE and written[0] == ord('"'):
            return found, written[1:-1]
    return decode_action(document_id, data), None


def decode_action_in_slices(document_id: str, data: bytes) -> ActionDocument:
    """As `decode_action`, for a thread: the others have their turn. Raises ActionUnreadable."""
    document, written = decode_large_action(document_id, data)
    if written is None:
        return document
    try:
        code = decoded_text(written)
    except NOT_READABLE as error:
        raise ActionUnreadable(document_id, str(error)) from None
    return _with_code(document, code)


def decode_action_without_code(document_id: str, data: bytes) -> ActionDocument:
    """Raises ActionUnreadable."""
    return _with_code(decode_large_action(document_id, data)[0], None)


def _with_code(document: ActionDocument, code: str | None) -> ActionDocument:
    """Nothing of it is as it was written any more."""
    own = {name: getattr(document.exec, name) for name in Exec.__struct_fields__}
    fields = {name: getattr(document, name) for name in ActionDocument.__struct_fields__}
    return ActionDocument(**(fields | {"exec": Exec(**(own | {"code": code}))}))


def with_written_code(document: ActionDocument) -> ActionDocument:
    """Only to be encoded, and quickly: large code is JSON already. For a thread."""
    code = document.exec.code
    if not isinstance(code, str) or len(code) <= SLICE:
        return document
    written: Any = msgspec.Raw(encoded_text(code))
    return msgspec.structs.replace(document, exec=msgspec.structs.replace(document.exec, code=written))


def _checked(document_id: str, data: bytes, decode: Callable[[bytes], D]) -> D:
    """Raises ActionUnreadable."""
    try:
        document = decode(data)
    except NOT_READABLE as error:
        raise ActionUnreadable(document_id, str(error)) from None
    if document.entity_type != ACTION:
        raise ActionUnreadable(document_id, f"it is of type {document.entity_type!r}")
    return document


def code_of(document: ActionDocument, manifest: Manifest) -> str | Attachment | None:
    """None if there is no code, or the kind is unknown (Exec.scala, `read`)."""
    exec_ = document.exec
    kind = usual_kind(exec_.kind)
    if kind == BLACKBOX:
        return None if isinstance(exec_.code, str) and not exec_.code.strip(_JVM_BLANKS) else exec_.code
    if exec_.code is not None or kind == SEQUENCE:
        return exec_.code
    try:
        return exec_.jar if manifest.runtime(kind).attached else None
    except InvalidInput:
        return None


def is_base64(code: bytes | memoryview) -> bool:
    """Whether text that stands for code is the base64 of an archive, by OpenWhisk's rule (Exec.scala, isBinaryCode).
    `code` is JSON, between the quotes."""
    blanks = _BLANKS.match(code)
    begin = blanks.end() if blanks is not None else 0
    found = (_NOT_BASE64.search(code, first, first + SLICE) for first in range(begin, len(code), SLICE))
    end = next((other.start() for other in found if other is not None), len(code))
    rest = _REST.fullmatch(code, end)
    return rest is not None and begin < end and (end + len(rest[1]) - begin) % 4 == 0


def to_executable(
    entity: EntityName, document: ActionDocument, code: str | memoryview | StoredCode | None, manifest: Manifest
) -> Executable:
    """`code` is the result of `code_of` or of `decode_large_action`, or instead of an attachment its content or its
    place. Raises ActionUnavailable."""
    exec_, name = document.exec, entity.document_id
    kind = usual_kind(exec_.kind)
    if kind == SEQUENCE:
        raise ActionNotFetched(name, "it is a sequence, which only the Controller runs")
    image = None
    if kind == BLACKBOX:
        image = exec_.image
        if not image:
            raise ActionUnreadable(name, "it is a blackbox without an image")
        try:
            check_text("its image", image, MAX_NAME)
        except InvalidInput as error:
            raise ActionUnreadable(name, str(error)) from None
        sentinelled = manifest.is_blackbox_known(image)
    else:
        if code is None:
            raise ActionUnreadable(name, "it has no code")
        try:
            runtime = manifest.runtime(kind)
        except InvalidInput as error:
            raise ActionUnreadable(name, str(error)) from None
        kind, sentinelled = runtime.kind, runtime.sentinelled_logs
    binary = exec_.binary
    if isinstance(code, memoryview):
        binary = is_base64(code)
    elif isinstance(code, str) and isinstance(code_of(document, manifest), str):
        binary = is_base64(memoryview(encoded_text(code))[1:-1])
    initializer = initializer_of(entity.name, code, main=exec_.main, binary=binary)
    provides_api_key = _is_true(document.annotation(_PROVIDE_API_KEY))
    set_with = (kind, image, document.limits, provides_api_key, document.parameters, document.annotations)
    return Executable(
        entity=EntityName(entity.path, entity.name, document.version, entity.binding),
        version=document.version,
        revision=document.rev,
        kind=kind,
        limits=document.limits,
        initializer=initializer,
        digest=digest_of(initializer, set_with),
        image=image,
        sentinelled_logs=sentinelled,
        provides_api_key=provides_api_key,
    )


def _is_true(annotation: Any) -> bool:
    """As OpenWhisk takes an annotation that may be missing (Parameters.scala, isTruthy)."""
    return annotation is None or bool(annotation)

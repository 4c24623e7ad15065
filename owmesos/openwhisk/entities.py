"""Actions and activations as OpenWhisk's database holds them, whoever keeps them: CouchDB, or our own file.

An action that cannot be had is an ActionUnavailable, which carries the response that OpenWhisk gives in that case
(InvokerReactive.scala).
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.openwhisk.activation import (
    ACTION_MISMATCH,
    ACTION_NOT_FETCHED,
    ACTION_REMOVED,
    Activation,
    Response,
    application_error,
    whisk_error,
)
from owmesos.openwhisk.executable import Executable, Limits, executable
from owmesos.openwhisk.manifest import BLACKBOX, Manifest
from owmesos.openwhisk.messages import EntityName

ACTION = "action"
SEQUENCE = "sequence"
_PROVIDE_API_KEY = "provide-api-key"


class ActionUnavailable(OwmesosError):
    """The action cannot be run. `response` is what its activation ends with."""

    def __init__(self, reason: str, response: Response) -> None:
        super().__init__(reason)
        self.response = response


class ActionMissing(ActionUnavailable):
    """It was deleted since: the user's own doing."""

    def __init__(self, document_id: str) -> None:
        super().__init__(f"there is no action {document_id}", application_error(ACTION_REMOVED))


class ActionUnreadable(ActionUnavailable):
    """What stands there is no action, or none that this cluster can run."""

    def __init__(self, document_id: str, why: str) -> None:
        super().__init__(f"the action {document_id} cannot be read: {why}", whisk_error(ACTION_MISMATCH))


class ActionNotFetched(ActionUnavailable):
    """The database does not answer as it should."""

    def __init__(self, document_id: str, why: str) -> None:
        super().__init__(f"the action {document_id} cannot be fetched: {why}", whisk_error(ACTION_NOT_FETCHED))


class KeyValue(msgspec.Struct, frozen=True):
    """An annotation or a parameter."""

    key: str
    value: Any = None


class Attachment(msgspec.Struct, frozen=True, rename="camel"):
    """Code that stands beside its document. The name is `couch:<name>`, `mem:<base64>`, or a name alone (1.0)."""

    attachment_name: str
    attachment_type: str | None = None


class Exec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What runs. `code` is text, with `binary` base64; `image` for blackboxes only, `components` for sequences."""

    kind: str
    code: str | Attachment | None = None
    binary: bool = False
    main: str | None = None
    image: str | None = None
    components: list[Any] | None = None


class ActionDocument(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An action of the database `whisks`. The Controller has put the parameters into the message."""

    id: str = msgspec.field(name="_id", default="")
    rev: str | None = msgspec.field(name="_rev", default=None)
    namespace: str
    name: str
    version: str
    exec: Exec
    limits: Limits = msgspec.field(default_factory=Limits)
    annotations: list[KeyValue] = msgspec.field(default_factory=list)
    parameters: list[Any] = msgspec.field(default_factory=list)
    publish: bool = False
    updated: int | None = None
    entity_type: str = ACTION

    def annotation(self, key: str) -> Any:
        """None where there is none."""
        return next((each.value for each in self.annotations if each.key == key), None)


class ActionStore(Protocol):
    """Where actions come from."""

    async def action(self, entity: EntityName, revision: str | None) -> Executable:
        """The revision, or with None the latest; the latest too where that revision is no more.

        Raises ActionUnavailable.
        """
        ...


class ActivationStore(Protocol):
    """Where the records of activations go."""

    def store(self, activation: Activation) -> None:
        """Returns at once; it is kept soon after."""
        ...

    async def close(self) -> None:
        """When all is kept that can be."""
        ...


class Blacklist(Protocol):
    """Namespaces whose actions are not run."""

    def blocks(self, namespace: str) -> bool: ...


_decode = msgspec.json.Decoder(ActionDocument).decode


def decode_action(document_id: str, data: bytes) -> ActionDocument:
    """Raises ActionUnreadable."""
    try:
        document = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ActionUnreadable(document_id, str(error)) from None
    if document.entity_type != ACTION:
        raise ActionUnreadable(document_id, f"it is of type {document.entity_type!r}")
    return document


def to_executable(entity: EntityName, document: ActionDocument, code: str | None, manifest: Manifest) -> Executable:
    """`code` in the place of an attachment. Raises ActionUnavailable."""
    exec_, name = document.exec, entity.document_id
    if exec_.kind == SEQUENCE:
        raise ActionNotFetched(name, "it is a sequence, which is the Controller's to run")
    sentinelled = True
    if exec_.kind == BLACKBOX:
        if not exec_.image:
            raise ActionUnreadable(name, "it is a blackbox and names no image")
    else:
        if code is None:
            raise ActionUnreadable(name, "it has no code")
        try:
            sentinelled = manifest.runtime(exec_.kind).sentinelled_logs
        except InvalidInput as error:
            raise ActionUnreadable(name, str(error)) from None
    return executable(
        EntityName(entity.path, entity.name, document.version, entity.binding),
        version=document.version,
        kind=exec_.kind,
        code=code,
        main=exec_.main,
        binary=exec_.binary,
        revision=document.rev,
        limits=document.limits,
        image=exec_.image,
        sentinelled_logs=sentinelled,
        provides_api_key=_is_true(document.annotation(_PROVIDE_API_KEY)),
        set_with=(document.parameters, document.annotations),
    )


def _is_true(annotation: Any) -> bool:
    """As OpenWhisk takes an annotation that may be missing (Parameters.scala, isTruthy)."""
    return annotation is None or bool(annotation)

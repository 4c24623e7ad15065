"""An action as a container needs it, with the large part of its `/init` already encoded.

An action may have hundreds of containers. So the part of `/init` with the code is encoded once for each revision, and
every container gets the same bytes; only the environment before them belongs to one activation. Code in an attachment
is fetched when a container needs it, and encoded while it arrives.

Code may have 48 MB, so there is one copy of it, and it is encoded in slices: each keeps the interpreter from its other
threads for some ms only.
"""

from __future__ import annotations

import binascii
import codecs
import hashlib
from typing import Annotated, Any

import msgspec

from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.openwhisk.messages import EntityName
from owmesos.system.large_text import encoded_text
from owmesos.system.lone_surrogates import encode

END = b'"}}'
_MB = 2**20
_STORED = 4096  # bytes that an executable without its code counts as


_LARGEST = 2**31 - 1  # the Controller's own maximum; larger values would overflow later calculations
_Positive = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]


class ActionLimits(msgspec.Struct, frozen=True):
    """An action's: `timeout` in ms, `memory` and `logs` in MB, `concurrency` of runs in one container."""

    timeout: _Positive = 60_000
    memory: _Positive = 256
    logs: Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)] = 10
    concurrency: _Positive = 1

    @property
    def seconds(self) -> float:
        return self.timeout / 1000

    @property
    def log_bytes(self) -> int:
        return self.logs * _MB


class StoredCode(msgspec.Struct, frozen=True, kw_only=True):
    """Code in an attachment of a document. `binary` and `head` are known with the action that it is the code of."""

    document_id: str  # the action's document
    revision: str | None  # of the document
    attachment: str  # the attachment's name
    length: int | None = None  # bytes, if the document says so
    digest: str | None = None  # as in the document
    binary: bool = False  # an archive, sent in base64
    head: bytes = b""  # of `/init`, from the environment to the opening quote of the code

    @property
    def encoded_length(self) -> int:
        """About as many bytes as the initializer will have; 0 if that is not known."""
        if self.length is None:
            return 0
        return len(self.head) + ((self.length + 2) // 3 * 4 if self.binary else self.length) + len(END)


class Encoding:
    """Makes the initializer of the code while it comes."""

    def __init__(self, code: StoredCode) -> None:
        self._binary = code.binary
        self._rest = b""
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._made = bytearray(code.head)

    def extend(self, chunk: bytes) -> None:
        """Raises UnicodeDecodeError for code that is text and not UTF-8."""
        if self._binary:
            chunk = self._rest + chunk
            whole = len(chunk) // 3 * 3
            self._made += binascii.b2a_base64(memoryview(chunk)[:whole], newline=False)
            self._rest = chunk[whole:]
        else:
            self._made += memoryview(msgspec.json.encode(self._text.decode(chunk)))[1:-1]

    def finish(self) -> bytearray:
        """The initializer. Raises UnicodeDecodeError."""
        if self._binary:
            self._made += binascii.b2a_base64(self._rest, newline=False)
        else:
            self._text.decode(b"", final=True)
        self._made += END
        return self._made


class Executable(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of an action."""

    entity: EntityName
    version: str
    revision: str | None  # of the action's document
    kind: str
    limits: ActionLimits
    initializer: bytes | StoredCode  # from `initializer_of`
    digest: bytes  # of everything but the revision: containers with the same one may be reused
    image: str | None = None  # for blackboxes only
    sentinelled_logs: bool = True  # its containers mark the end of each log
    provides_api_key: bool = True  # its annotation `provide-api-key`

    @property
    def path(self) -> str:
        """`namespace[/package]/name`, as activations name it."""
        return self.entity.document_id

    @property
    def shape(self) -> ContainerShape:
        return ContainerShape(self.kind, self.limits.memory, self.image)

    @property
    def weight(self) -> int:
        """Bytes that are held for it, more or less."""
        return len(self.initializer) if isinstance(self.initializer, bytes) else _STORED

    def for_pool(self) -> PoolAction:
        """The fields that the pool uses."""
        limits = self.limits
        return PoolAction(self.path, self.version, self.shape, limits.concurrency, limits.seconds, self.digest)


def initializer_of(
    name: str, code: str | memoryview | StoredCode | None, *, main: str | None, binary: bool
) -> bytes | StoredCode:
    """Everything of `/init` that follows the environment, or the place of the code.

    `code` is text, or with `binary` base64; a memoryview of the same as JSON, between the quotes; or the place where
    it is. A blackbox may have none.
    """
    start = encode({"name": name, "main": main or "main", "binary": binary})[1:-1]
    head = start + b',"code":"'
    if code is None:
        return start + b"}}"
    if isinstance(code, StoredCode):
        return msgspec.structs.replace(code, binary=binary, head=head)
    written = code if isinstance(code, memoryview) else memoryview(encoded_text(code))[1:-1]
    return b"".join([head, written, END])


def digest_of(initializer: bytes | StoredCode, set_with: Any) -> bytes:
    """`set_with`: what else the action was set with: parameters may stand in the environment of its containers."""
    digest = hashlib.blake2b(encode(set_with), digest_size=16)
    digest.update(initializer if isinstance(initializer, bytes) else encode(initializer))
    return digest.digest()

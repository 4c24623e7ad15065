"""An action as a container needs it, with the large part of its `/init` already written.

Code may be many MB, and there may be hundreds of containers of one action. So what `/init` says of the code is encoded
once for each revision, when the action is read, and every container gets these same bytes; only the environment in
front of them is an activation's own.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from owmesos.core.containers import Action, Shape
from owmesos.openwhisk.manifest import BLACKBOX
from owmesos.openwhisk.messages import EntityName

_encode = msgspec.json.Encoder().encode
_MB = 2**20


class Limits(msgspec.Struct, frozen=True):
    """An action's: `timeout` in ms, `memory` and `logs` in MB, `concurrency` of runs in one container."""

    timeout: int = 60_000
    memory: int = 256
    logs: int = 10
    concurrency: int = 1

    @property
    def seconds(self) -> float:
        return self.timeout / 1000

    @property
    def log_bytes(self) -> int:
        return self.logs * _MB


class Executable(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of an action. `initializer` is from `initializer_of`; `image` only for blackbox actions.

    `sentinelled_logs`: its container marks the end of each activation in its streams, which blackboxes may not.
    `provides_api_key` is its annotation `provide-api-key`; where that is missing it is true.
    `digest` is of all of it but its revision: as long as that is the same, its containers may serve again.
    """

    entity: EntityName
    version: str
    revision: str | None
    kind: str
    limits: Limits
    initializer: bytes
    digest: bytes
    image: str | None = None
    sentinelled_logs: bool = True
    provides_api_key: bool = True

    @property
    def path(self) -> str:
        """`namespace[/package]/name`, as activations name it."""
        return self.entity.document_id

    @property
    def shape(self) -> Shape:
        return Shape(self.kind, self.limits.memory, self.image)

    @property
    def weight(self) -> int:
        """Bytes that are held for it."""
        return len(self.initializer)

    def for_pool(self) -> Action:
        """What the pool decides by."""
        limits = self.limits
        return Action(self.path, self.version, self.shape, limits.concurrency, limits.seconds, self.digest)


def executable(
    entity: EntityName,
    *,
    version: str,
    kind: str,
    code: str | None,
    main: str | None = None,
    binary: bool = False,
    revision: str | None = None,
    limits: Limits | None = None,
    image: str | None = None,
    sentinelled_logs: bool = True,
    provides_api_key: bool = True,
    set_with: Any = None,
) -> Executable:
    """The action, with its code encoded. `code` is text, or with `binary` base64; a blackbox may have none.

    `set_with`: what else it was set with, of which only matters that it stays the same: parameters may stand in the
    environment of its containers.
    """
    limits = limits or Limits()
    initializer = initializer_of(entity.name, code, main=main, binary=binary)
    digest = hashlib.blake2b(_encode((kind, image, limits, provides_api_key, set_with)), digest_size=16)
    digest.update(initializer)
    return Executable(
        entity=entity,
        version=version,
        revision=revision,
        kind=kind,
        limits=limits,
        initializer=initializer,
        digest=digest.digest(),
        image=image,
        sentinelled_logs=sentinelled_logs and kind != BLACKBOX,
        provides_api_key=provides_api_key,
    )


def initializer_of(name: str, code: str | None, *, main: str | None = None, binary: bool = False) -> bytes:
    """Everything of `/init` that follows the environment."""
    value = {"name": name, "main": main or "main", "binary": binary}
    if code is not None:
        value["code"] = code
    return _encode(value)[1:] + b"}"

"""Nodes and pods as the API server sends them, in lists and in watches. What cannot be read costs only itself.

https://kubernetes.io/docs/reference/using-api/api-concepts/. A whole page, or a line of a watch, is decoded in one go;
only where that fails is it taken apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from owmesos.errors import NOT_READABLE, OwmesosError
from owmesos.kubernetes.events import (
    KubernetesEvent,
    NodeDeleted,
    NodeSeen,
    NodesListed,
    PodDeleted,
    PodSeen,
    PodsListed,
)
from owmesos.kubernetes.messages import ApiObject, Node, ObjectMeta, Pod

T = TypeVar("T", Node, Pod)
Report = Callable[[str], None]
_CHANGES = ("ADDED", "MODIFIED", "DELETED")
GONE = 410  # the status of what is no longer remembered: a resourceVersion, a continue token


class NotReadable(OwmesosError):
    """The answer as a whole is not what it should be."""


class StatusDetails(ApiObject, frozen=True):
    name: str = ""
    kind: str = ""
    retry_after_seconds: int = 0


class Status(ApiObject, frozen=True):
    """What the API server says of a request that it did not do, or of a watch that it ends."""

    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None


class ListMeta(ApiObject, frozen=True):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, Generic[T]):
    """A part of a list; `metadata.continue_` leads to the next, if there is one."""

    metadata: ListMeta = ListMeta()
    items: list[T] | None = None


class _RawPage(msgspec.Struct):
    metadata: ListMeta = ListMeta()
    items: list[msgspec.Raw] | None = None


class WatchChange(msgspec.Struct, Generic[T]):
    """An object was ADDED, MODIFIED or DELETED."""

    type: str
    object: T


class Bookmark(msgspec.Struct):
    """Nothing happened up to this version."""

    resource_version: str


class WatchError(msgspec.Struct):
    """A line that ends a watch."""

    status: Status


class _RawChange(msgspec.Struct):
    type: str
    object: msgspec.Raw = msgspec.Raw(b"null")


class _Meta(msgspec.Struct):
    metadata: ObjectMeta = ObjectMeta()


@dataclass(frozen=True)
class ResourceKind(Generic[T]):
    """A resource of the API, and the events that it becomes."""

    name: str
    listed: Callable[[tuple[T, ...]], KubernetesEvent]
    seen: Callable[[T], KubernetesEvent]
    deleted: Callable[[T], KubernetesEvent]
    pages: msgspec.json.Decoder[Page[T]]
    changes: msgspec.json.Decoder[WatchChange[T]]
    objects: msgspec.json.Decoder[T]

    @property
    def path(self) -> str:
        """Where the API server lists it for all namespaces."""
        return f"/api/v1/{self.name}"

    def page(self, data: bytes, report: Report) -> Page[T]:
        """`report` gets a line for each object that is left out. Raises NotReadable."""
        try:
            return self.pages.decode(data)
        except NOT_READABLE:
            pass
        try:
            raw = msgspec.json.decode(data, type=_RawPage)
        except NOT_READABLE as error:
            raise NotReadable(f"the list of {self.name} cannot be read: {error}") from None
        found = [each for part in raw.items or () if (each := self._object(part, report)) is not None]
        return Page(raw.metadata, found)

    def change(
        self, line: bytes | bytearray | memoryview, report: Report
    ) -> WatchChange[T] | Bookmark | WatchError | None:
        """None, after a line to `report`, for an object that cannot be read. Raises NotReadable."""
        try:
            change = self.changes.decode(line)
            if change.type in _CHANGES:
                return change
        except NOT_READABLE:
            pass
        try:
            raw = msgspec.json.decode(line, type=_RawChange)
            if raw.type == "ERROR":
                return WatchError(msgspec.json.decode(raw.object, type=Status))
            if raw.type == "BOOKMARK":  # its object lacks what every other has, and has null in its place
                return Bookmark(msgspec.json.decode(raw.object, type=_Meta).metadata.resource_version)
        except NOT_READABLE as error:
            raise NotReadable(f"a line of the watch of {self.name} cannot be read: {error}") from None
        if raw.type not in _CHANGES:
            report(f"lines of an unknown type in the watch of {self.name} are skipped: {raw.type:.50}")
            return None
        found = self._object(raw.object, report)
        return None if found is None else WatchChange(raw.type, found)

    def _object(self, raw: msgspec.Raw, report: Report) -> T | None:
        try:
            return self.objects.decode(raw)
        except NOT_READABLE as error:
            report(f"{self._named(raw)} cannot be read and is left out: {error}")
            return None

    def _named(self, raw: msgspec.Raw) -> str:
        try:
            meta = msgspec.json.decode(raw, type=_Meta).metadata
        except NOT_READABLE:
            return f"an object among the {self.name}"
        return f"{self.name} {meta.namespace}/{meta.name}" if meta.namespace else f"{self.name} {meta.name}"


def status_in(body: bytes) -> Status | None:
    """The Status that an answer's body is, if it is one."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except NOT_READABLE:
        return None
    return status if status.kind == "Status" else None


def _node_deleted(node: Node) -> KubernetesEvent:
    return NodeDeleted(node.metadata.name)


def _decoders(kind: Any) -> tuple[msgspec.json.Decoder[Any], ...]:
    return tuple(map(msgspec.json.Decoder, (Page[kind], WatchChange[kind], kind)))


NODES: ResourceKind[Node] = ResourceKind("nodes", NodesListed, NodeSeen, _node_deleted, *_decoders(Node))
PODS: ResourceKind[Pod] = ResourceKind("pods", PodsListed, PodSeen, PodDeleted, *_decoders(Pod))

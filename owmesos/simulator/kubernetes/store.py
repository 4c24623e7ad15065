"""The API server's objects with their versions, and the watches that follow their changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from owmesos.simulator.agenda import Agenda, AgendaEntry, cancel
from owmesos.simulator.kubernetes.admission import failure
from owmesos.simulator.kubernetes.objects import Document, PodKey, key_of, with_metadata
from owmesos.simulator.kubernetes.settings import ControlPlaneSettings

Kind = Literal["Pod", "Node", "Lease"]
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class ObjectChange(NamedTuple):
    """`type`: ADDED, MODIFIED, DELETED (`object` is the last state), BOOKMARK or ERROR (`object` is a Status)."""

    type: str
    kind: Kind
    object: Document
    version: int


Sink = Callable[[ObjectChange | None], None]
"""Told of a watch's events in order; None is its end, of which the server says nothing more."""


class ObjectStore:
    """Objects by kind and key. `listeners` are told of each change at once: the cluster's own parts are."""

    def __init__(self, agenda: Agenda, settings: ControlPlaneSettings) -> None:
        self.agenda = agenda
        self.settings = settings
        self.version = 1_000
        self.objects: dict[Kind, dict[PodKey, Document]] = {"Pod": {}, "Node": {}, "Lease": {}}
        self.listeners: list[Callable[[ObjectChange], None]] = []
        self.watches: list[Watch] = []
        self._history: deque[ObjectChange] = deque(maxlen=settings.history)
        self._oldest = self.version  # of what a watch can be resumed from

    def follow(self, hear: Callable[[ObjectChange], None]) -> None:
        """Tell it of each change of a node or a pod, as late as a watch would."""

        def later(change: ObjectChange) -> None:
            if change.kind in ("Node", "Pod"):
                self.agenda.after(self.settings.watch_takes, hear, change)

        self.listeners.append(later)

    def put(self, kind: Kind, document: Document) -> Document:
        """A new object, or a new state of one; with its version."""
        self.version += 1
        document = with_metadata(document, resourceVersion=str(self.version))
        known = self.objects[kind]
        key = key_of(document)
        change = ObjectChange("MODIFIED" if key in known else "ADDED", kind, document, self.version)
        known[key] = document
        self._tell(change)
        return document

    def remove(self, kind: Kind, key: PodKey) -> None:
        self.version += 1
        last = with_metadata(self.objects[kind].pop(key), resourceVersion=str(self.version))
        self._tell(ObjectChange("DELETED", kind, last, self.version))

    def _tell(self, change: ObjectChange) -> None:
        if len(self._history) == self._history.maxlen:
            self._oldest = self._history[0].version
        self._history.append(change)
        for watch in list(self.watches):
            watch.add(change)
        for listener in self.listeners:
            listener(change)

    def compact(self) -> None:
        """Old versions are forgotten: a watch can be resumed from what comes now only."""
        self.version += 1
        self._history.clear()
        self._oldest = self.version

    def since(self, version: int) -> list[ObjectChange] | None:
        """All changes after that version; None where it is too old."""
        return None if version < self._oldest else [each for each in self._history if each.version > version]


class Watch:
    """One client's watch of one kind. The server may end it without a word, or with an ERROR of code 410."""

    def __init__(
        self, store: ObjectStore, kind: Kind, sink: Sink, namespace: str | None = None, *, bookmarks: bool = True
    ) -> None:
        self.kind = kind
        self.open = True
        self._store = store
        self._sink = sink
        self._namespace = namespace
        self._waiting: deque[ObjectChange | None] = deque()
        self._blocked_until = 0.0
        self._delivery: AgendaEntry | None = None
        self._bookmark: AgendaEntry | None = None
        if bookmarks:
            self._bookmark = store.agenda.after(store.settings.bookmark_every, self._add_bookmark)
        store.watches.append(self)

    def add(self, change: ObjectChange) -> None:
        if change.kind != self.kind or not self.open:
            return
        if self._namespace is not None and key_of(change.object)[0] != self._namespace:
            return
        if len(self._waiting) >= self._store.settings.watch_buffer:
            self.cut()
            return
        self._queue(change)

    def bookmark(self, *, initial: bool = False) -> None:
        """`initial`: all that there was when the watch began has come."""
        metadata: Document = {"resourceVersion": str(self._store.version)}
        if initial:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        self._queue(ObjectChange("BOOKMARK", self.kind, {"metadata": metadata}, self._store.version))

    def cut(self) -> None:
        """It ends without a word; what was on its way is lost."""
        if self.open:
            self._end()
            self._queue(None)

    def expire(self) -> None:
        """It ends with an ERROR: its version is too old."""
        if self.open:
            self._end()
            gone = failure(410, "Expired", "too old resource version: list again").body
            self._queue(ObjectChange("ERROR", self.kind, gone, self._store.version))
            self._queue(None)

    def close(self) -> None:
        """By the client: nothing more comes."""
        self._end()
        cancel(self._delivery)

    def stall(self, seconds: float) -> None:
        """Nothing comes for so long; then all that waited does, unless it was too much."""
        self._blocked_until = max(self._blocked_until, self._store.agenda.now + seconds)

    def _end(self) -> None:
        self.open = False
        self._waiting.clear()
        cancel(self._bookmark)
        if self in self._store.watches:
            self._store.watches.remove(self)

    def _add_bookmark(self) -> None:
        self.bookmark()
        self._bookmark = self._store.agenda.after(self._store.settings.bookmark_every, self._add_bookmark)

    def _queue(self, change: ObjectChange | None) -> None:
        self._waiting.append(change)
        if len(self._waiting) == 1:
            self._plan()

    def _plan(self) -> None:
        cancel(self._delivery)
        agenda = self._store.agenda
        when = max(agenda.now + self._store.settings.watch_takes, self._blocked_until)
        self._delivery = agenda.at(when, self._deliver)

    def _deliver(self) -> None:
        """All that waits, unless the reader stalls. What the sink causes comes after it; it may close the watch."""
        for _ in range(len(self._waiting)):
            if not self._waiting or self._store.agenda.now < self._blocked_until:
                break
            self._sink(self._waiting.popleft())
        if self._waiting:
            self._plan()

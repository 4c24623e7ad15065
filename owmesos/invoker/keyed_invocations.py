"""Invocations that clients named by a key, so that they can be repeated and still run once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from owmesos.openwhisk.store.activation_journal import ActivationJournal
from owmesos.openwhisk.store.journal_batch import TakenKey
from owmesos.service.idempotency import KeyBook, check_key, digest
from owmesos.system.lone_surrogates import encode


class KeyedRequest(NamedTuple):
    """An invocation by its client's name for it."""

    key: str
    digested: bytes  # of what is invoked, and how


class KeyedInvocations:
    """The invocations in the journal. `now` gives seconds since the epoch."""

    def __init__(self, journal: ActivationJournal, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now
        self._book: KeyBook[TakenKey] = KeyBook()
        journal.forget_keys(self._book.add(*journal.keys, now=now()))

    @staticmethod
    def request(key: str, name: str, parameters: Mapping[str, Any], *, blocking: bool) -> KeyedRequest:
        """Raises InvalidInput."""
        parts = (name.encode(), encode(parameters), b"blocking" if blocking else b"")
        return KeyedRequest(check_key(key), digest(parts))

    def find(self, request: KeyedRequest) -> str | None:
        """The activation that the request was answered with. Raises KeyReused."""
        found = self._book.find(*request, self._now())
        return found.activation_id if found is not None else None

    def add(self, request: KeyedRequest | None, activation_id: str) -> TakenKey | None:
        """The entry that the journal must write with the activation."""
        if request is None:
            return None
        taken = TakenKey(*request, activation_id, self._now())
        self._journal.forget_keys(self._book.add(taken, now=taken.taken_at))
        return taken

    def discard(self, request: KeyedRequest | None) -> None:
        """It could not be written: a repetition is a new invocation."""
        if request is not None:
            self._book.discard(request.key)

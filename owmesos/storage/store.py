"""The interface of a state store, so that the framework process does not depend on one kind of store.

It keeps launches as the JSON of their records (`LaunchRecord.stored_form`) and reads them only in `load`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from owmesos.errors import OwmesosError
from owmesos.mesos.scheduler.launches import LaunchRecord, Unreadable


class StoreFailed(OwmesosError):
    """The write failed, or its result is unknown: nothing that relies on it may be sent."""


class StateInUse(StoreFailed):
    """Another process owns the state. Two processes with one framework id would disconnect each other at the
    master."""


class StateDamaged(StoreFailed):
    """What is stored cannot be read."""


class StateTooNew(StoreFailed):
    """A later version of owmesos wrote the state, in a format that this one does not know."""


class StoreTrouble(NamedTuple):
    """What keeps commits waiting, and since when, in seconds since the epoch by `process_time`."""

    reason: str
    since: float


class SaveFramework(NamedTuple):
    """The framework id that a master assigned."""

    framework_id: str


class ForgetFramework(NamedTuple):
    """Removes the framework id, all launches (their tasks belonged to it) and all answers."""


class SaveLaunch(NamedTuple):
    """`record` is the JSON of a LaunchRecord; it replaces a stored one."""

    launch_id: str
    record: bytes


class ForgetLaunch(NamedTuple):
    """Has no effect if the launch is not stored."""

    launch_id: str


class Answer(NamedTuple):
    """The answer to the request that a client named by `key`: `request` is its digest, `body` the answer. It
    replaces a stored answer with the same key."""

    key: str
    request: bytes
    taken_at: float
    body: bytes

    @property
    def weight(self) -> int:
        return len(self.body)


class ForgetAnswer(NamedTuple):
    """Has no effect if no answer is stored."""

    key: str


Write: TypeAlias = SaveFramework | ForgetFramework | SaveLaunch | ForgetLaunch | Answer | ForgetAnswer


class Saved(NamedTuple):
    """All that is stored. `records` in the order in which their launches were asked for; `unreadable` are the others,
    which stay stored as they are. ACCEPTs of a later time than `sent_until` certainly were not sent."""

    framework_id: str | None
    records: list[LaunchRecord]
    unreadable: list[Unreadable]
    sent_until: float = math.inf


class Store(Protocol):
    """Blocking; to be used by one thread at a time. Every method raises StoreFailed."""

    def load(self) -> Saved: ...

    def answers(self) -> list[Answer]:
        """In the order in which they were taken."""

    def commit(self, writes: Sequence[Write]) -> None:
        """All of `writes`, in their order, or none. Durable when it returns."""

    def trouble(self) -> StoreTrouble | None:
        """What keeps commits waiting now. From any thread, and at once."""

    def about_to_send(self, accepted_at: float) -> None:
        """ACCEPTs up to that time will be sent, once all before is committed: for a store that needs longer than
        `sending` may take."""

    def sending(self, accepted_at: float) -> None:
        """ACCEPTs up to that time may be sent from now on. Survives a kill of the process, but not a stop of the
        machine; takes microseconds. May be called from another thread than the other methods. Raises
        StoreFailed."""

    def watch(self, lost: Callable[[StoreFailed], None]) -> None:
        """`lost` is called, in any thread, when another process has the state: nothing may be sent from then on."""

    def close(self) -> None:
        """Release the ownership. Has no effect if it is already closed."""

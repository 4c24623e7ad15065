"""What every keeper of state fulfils, so that the framework process does not know which one it has.

It keeps launches as the JSON of their records (`LaunchRecord.stored_form`) and looks into none of it but on `load`:
what is in a record is the business of `owmesos.core`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

from owmesos.core.launches import LaunchRecord
from owmesos.errors import OwmesosError


class StoreFailed(OwmesosError):
    """What was to be stored is not, or nobody knows: nothing may be sent that relies on it."""


class StateInUse(StoreFailed):
    """Another process owns the state. Two with one framework id would throw each other out of the master."""


class StateDamaged(StoreFailed):
    """What is stored cannot be read."""


class StateTooNew(StoreFailed):
    """It was written by a later owmesos, in a form that this one does not know."""


class SaveFramework(NamedTuple):
    """The id that a master has given us."""

    framework_id: str


class ForgetFramework(NamedTuple):
    """The framework id is gone, and the launches with it: their tasks were its tasks."""


class SaveLaunch(NamedTuple):
    """`record` is the JSON of a LaunchRecord; it replaces the one that is there."""

    launch_id: str
    record: bytes


class ForgetLaunch(NamedTuple):
    """Without effect when the launch is not there."""

    launch_id: str


Write: TypeAlias = SaveFramework | ForgetFramework | SaveLaunch | ForgetLaunch


class Saved(NamedTuple):
    """All that is stored. `records` in the order in which their launches were asked for."""

    framework_id: str | None
    records: list[LaunchRecord]


class Store(Protocol):
    """Blocking; to be used by one thread at a time. Every method raises StoreFailed."""

    def load(self) -> Saved: ...

    def commit(self, writes: Sequence[Write]) -> None:
        """All of `writes`, in their order, or none. Durable when it returns."""
        ...

    def close(self) -> None:
        """Gives up the ownership. Without effect when it is closed already."""
        ...

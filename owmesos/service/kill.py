"""Which launches a kill request selects, and its outcome for each of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from owmesos.documents import KillDocument, LaunchDocument, UnknownKillDocument
from owmesos.errors import InvalidInput
from owmesos.mesos import listings
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.state import SchedulerState

Outcome: TypeAlias = Literal["killing", "killed", "ended", "unknown"]


def checked_names(names: Iterable[str]) -> tuple[str, ...]:
    """`names` as a tuple. Raises InvalidInput for a single string, whose letters would be taken for names, and for
    anything that is not a string."""
    if isinstance(names, str):
        raise InvalidInput(f"several launches are named by a list of ids, not by one string: write [{names[:100]!r}]")
    given = tuple(names) if isinstance(names, Iterable) else (names,)
    for each in given:
        if not isinstance(each, str):
            raise InvalidInput(f"a launch is named by a string, such as the `id` of its handle, not by {each!r:.100}")
    return given


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either `ids` (of launches or tasks), or launches that have not ended: of one `name`, in one `state`, or all.

    Containers of a pool are meant only by their ids. With `name` and `state` a launch must have both.
    """

    ids: tuple[str, ...] | None = None
    name: str | None = None
    state: State | None = None
    everything: bool = msgspec.field(default=False, name="all")

    def check(self) -> None:
        """Raises InvalidInput."""
        by_field = self.name is not None or self.state is not None
        if (self.ids is not None) + by_field + self.everything != 1:
            raise InvalidInput("give either ids, or a name or a state or both, or all")
        if self.state is not None and self.state.ended:
            raise InvalidInput(f"launches that are {self.state.value} have ended")

    def among(self, state: SchedulerState) -> list[tuple[str, LaunchRecord | None]]:
        """What was requested, and its launch or None if it is unknown; in the order of `ids`, or of the launches."""
        if self.ids is not None:
            finder = listings.Finder(state)
            return [(name, finder.find(name)) for name in self.ids]
        records = sorted(state.launches.values(), key=lambda record: record.place)
        return [(record.id, record) for record in records if self._means(record)]

    def _means(self, record: LaunchRecord) -> bool:
        if record.managed or record.state.ended:
            return False
        return self.name in (None, record.launch.name) and self.state in (None, record.state)


class Killed(msgspec.Struct, frozen=True):
    """The outcome of a kill for one launch. `name` is the requested id.

    `outcome`: `killing`, KILL is repeated until the task's end is seen; `killed`, the launch was waiting and has
    ended now; `ended`, it had ended before; `unknown`, no launch or task has this id, and `document` is None.
    Otherwise `document` is what `owmesos launches` shows.
    """

    name: str
    outcome: Outcome
    document: LaunchDocument | None

    @property
    def row(self) -> KillDocument | UnknownKillDocument:
        """As the admin API answers it."""
        if self.document is None or self.outcome == "unknown":
            message = f"unknown launch or task {self.name}"
            return {"launch_id": self.name, "message": message, "outcome": "unknown"}
        return {**self.document, "outcome": self.outcome}


def outcome(state: SchedulerState, name: str, record: LaunchRecord | None, before: State | None) -> Killed:
    """After the kill; `before` is the state that the launch had then."""
    if record is None or before is None:
        return Killed(name, "unknown", None)
    said: Outcome = "ended" if before.ended else "killed" if record.state.ended else "killing"
    return Killed(name, said, listings.launch(state, record))

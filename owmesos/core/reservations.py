"""Starts and stops that NodeStats does not show yet: the Reservations of OpenWhisk's proposal *Clustered Resources*.

Theirs were sizes without an owner, matched to hosts anew at each question and released in a race with the numbers
that should have replaced them. Here each belongs to one live launch or one pending stop, and to one slot.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec

from owmesos.core.placement import Slot
from owmesos.errors import InvariantBroken
from owmesos.resources import Ask, Resources


class ReservationState(str, Enum):
    RESERVED = "decided"  # subtracted; listings have always called it decided
    CUT = "cut"  # handed to the cluster, not yet running: listed
    STOPPING = "stopping"  # a stop whose room was not seen yet: listed, never credited
    OVERDUE = "overdue"  # nothing confirmed it in time: being reconciled


class Reservation(msgspec.Struct, gc=False):
    """One start, or one stop. Times in seconds."""

    launch_id: str
    slot: Slot
    ask: Ask
    since: float
    state: ReservationState = ReservationState.RESERVED
    task_id: str | None = None  # the attempt, once it is cut
    resources: Resources | None = None  # what was cut, ports included; before that `ask` is what is reserved
    ended_at: float | None = None  # what a stop is about has ended

    @property
    def kind(self) -> Literal["start", "stop"]:
        return "stop" if self.state is ReservationState.STOPPING else "start"


class Reservations:
    """By launch, and the sum of reserved starts by slot. `reserved`: the starts that are not cut yet, oldest first."""

    def __init__(self) -> None:
        self.by_launch: dict[str, Reservation] = {}
        self.reserved: dict[str, Reservation] = {}
        self._sums: dict[Slot, Ask] = {}
        self._stops: dict[str, set[str]] = {}  # node id → launch ids

    def reserved_on(self, slot: Slot, but: str | None = None) -> Ask | None:
        """The sum of the reserved starts on `slot`, that of launch `but` left out."""
        asks = self._sums.get(slot)
        if asks is None or but is None:
            return asks
        own = self.by_launch.get(but)
        if own is None or own.slot != slot or own.state is not ReservationState.RESERVED:
            return asks
        return asks.minus(own.ask)

    def reserve(self, launch_id: str, slot: Slot, ask: Ask, now: float) -> None:
        if launch_id in self.by_launch:
            raise InvariantBroken(f"launch {launch_id} is reserved twice")
        self.by_launch[launch_id] = self.reserved[launch_id] = Reservation(launch_id, slot, ask, now)
        asks = self._sums.get(slot)
        self._sums[slot] = ask if asks is None else asks.plus(ask)

    def cut(self, launch_id: str, resources: Resources, task_id: str) -> Slot:
        reservation = self.by_launch[launch_id]
        if reservation.state is not ReservationState.RESERVED:
            raise InvariantBroken(f"launch {launch_id} is cut twice")
        self._unsum(reservation)
        reservation.state = ReservationState.CUT
        reservation.resources, reservation.task_id = resources, task_id
        return reservation.slot

    def restored(self, launch_id: str, slot: Slot, ask: Ask, resources: Resources, task_id: str, now: float) -> None:
        """Take up a start that an earlier process cut and that is not confirmed yet."""
        self.by_launch[launch_id] = Reservation(launch_id, slot, ask, now, ReservationState.CUT, task_id, resources)

    def overdue(self, launch_id: str) -> None:
        """Mark a start that nothing confirmed in time."""
        reservation = self.by_launch.get(launch_id)
        if reservation is not None and reservation.state is ReservationState.CUT:
            reservation.state = ReservationState.OVERDUE

    def stopping(self, launch_id: str, slot: Slot, ask: Ask, resources: Resources, task_id: str, now: float) -> None:
        """List a stop that was asked for; the start, if there is one, becomes it."""
        self.release(launch_id)
        self.by_launch[launch_id] = Reservation(
            launch_id, slot, ask, now, ReservationState.STOPPING, task_id, resources
        )
        self._stops.setdefault(slot.agent_id, set()).add(launch_id)

    @property
    def any_stops(self) -> bool:
        return bool(self._stops)

    def stops_on(self, agent_id: str) -> list[Reservation]:
        return [self.by_launch[launch_id] for launch_id in sorted(self._stops.get(agent_id, ()))]

    def stops(self) -> list[Reservation]:
        return [self.by_launch[launch_id] for ids in self._stops.values() for launch_id in sorted(ids)]

    def release(self, launch_id: str) -> Slot | None:
        """Remove a start or a stop. Returns the slot whose sum changed."""
        reservation = self.by_launch.pop(launch_id, None)
        if reservation is None:
            return None
        if reservation.state is ReservationState.RESERVED:
            self._unsum(reservation)
        elif reservation.state is ReservationState.STOPPING:
            ids = self._stops[reservation.slot.agent_id]
            ids.discard(launch_id)
            if not ids:
                del self._stops[reservation.slot.agent_id]
        return reservation.slot

    def _unsum(self, reservation: Reservation) -> None:
        del self.reserved[reservation.launch_id]
        left = self._sums.pop(reservation.slot).minus(reservation.ask)
        if left != Ask():
            self._sums[reservation.slot] = left

    def validate(self) -> None:
        """Raises InvariantBroken when a sum is not the sum."""
        reserved = {each.launch_id: each for each in self.by_launch.values() if each.state is ReservationState.RESERVED}
        if self.reserved != reserved:
            raise InvariantBroken(f"{sorted(reserved)} are reserved and not cut, the book says {sorted(self.reserved)}")
        sums: dict[Slot, Ask] = {}
        for reservation in reserved.values():
            sums[reservation.slot] = sums.get(reservation.slot, Ask()).plus(reservation.ask)
        if self._sums != sums:
            raise InvariantBroken(f"reserved starts sum to {sums}, the book says {self._sums}")
        stops = {r.launch_id for r in self.by_launch.values() if r.state is ReservationState.STOPPING}
        if stops != {launch_id for ids in self._stops.values() for launch_id in ids}:
            raise InvariantBroken("the index of stops is wrong")

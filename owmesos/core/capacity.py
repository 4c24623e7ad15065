"""Whether a container can start, and where: the pool's question to whoever knows the room.

Two answers exist. On a cluster it is the ledger: room on one agent, reserved when it is decided. Today's invoker has
`user-memory` instead, a number that nobody checks: it is here so that both can be compared by the same pool.
"""

from __future__ import annotations

from collections.abc import Container as Having
from collections.abc import Iterable
from typing import Protocol

from owmesos.core.constraints import Constraint
from owmesos.core.explanation import Explanation, SlotFacts, explain
from owmesos.core.placement import Slot
from owmesos.resources import MILLI, NOTHING, Ask, Ports, Resources


class Capacity(Protocol):
    """`known` is False until NodeStats came and were given time to come: unknown is not full."""

    credits_stops: bool
    """Whether room counts as free as soon as a stop is asked for (fixed user-memory only)."""

    @property
    def known(self) -> bool: ...

    def find(self, ask: Ask, constraints: tuple[Constraint, ...], avoid: Having[str] = ()) -> Slot | None:
        """The slot where `ask` is launchable now, or None. `avoid`: agent ids."""
        ...

    def available(self, slot: Slot) -> Resources:
        """What is free there for a start now."""
        ...

    def allows(self, agent_id: str, constraints: tuple[Constraint, ...]) -> bool:
        """Whether starts may go there at all: not draining, not in back-off, constraints met."""
        ...

    def changed(self) -> Iterable[Slot]:
        """The slots whose `available` changed since this was last asked; all of them the first time."""
        ...

    def reserve(self, container_id: str, slot: Slot, ask: Ask, now: float) -> None: ...

    def release(self, container_id: str) -> None:
        """The start is over, one way or another; on fixed memory also the container. Unknown ids are ignored."""
        ...

    def explain(self, ask: Ask, constraints: tuple[Constraint, ...], set_aside: str | None) -> Explanation: ...


HERE = Slot("invoker", "*")


class FixedCapacity:
    """Today's invoker: `user_memory` MB, and every container counts until it is asked to stop."""

    credits_stops = True
    known = True

    def __init__(self, user_memory: int) -> None:
        self.user_memory = user_memory
        self._held: dict[str, int] = {}  # container id → thousandths of MB
        self._told = False

    def _free(self) -> int:
        return self.user_memory * MILLI - sum(self._held.values())

    def find(self, ask: Ask, constraints: tuple[Constraint, ...], avoid: Having[str] = ()) -> Slot | None:
        return HERE if ask.milli_mem <= self._free() else None

    def available(self, slot: Slot) -> Resources:
        plenty = 2**40
        return Resources(plenty, self._free(), plenty, plenty, Ports(((0, 65535),)))

    def allows(self, agent_id: str, constraints: tuple[Constraint, ...]) -> bool:
        return True

    def changed(self) -> Iterable[Slot]:
        return (HERE,)

    def reserve(self, container_id: str, slot: Slot, ask: Ask, now: float) -> None:
        self._held[container_id] = ask.milli_mem

    def release(self, container_id: str) -> None:
        self._held.pop(container_id, None)

    def explain(self, ask: Ask, constraints: tuple[Constraint, ...], set_aside: str | None) -> Explanation:
        facts = SlotFacts(HERE.agent_id, "user-memory", HERE.role, self.available(HERE), NOTHING, NOTHING, True)
        return explain(ask, [facts])

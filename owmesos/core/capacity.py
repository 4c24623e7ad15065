"""Whether a container can start, and where, from the ledger: what a pool and a scheduler ask.

It only reads the ledger and reserves in it; whoever feeds the ledger (Mesos's offers, a test) is its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Container as Having
from dataclasses import dataclass

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.core.explanation import Exclusion, Explanation, SlotFacts, explain
from owmesos.core.ledger import Ledger, LedgerNode
from owmesos.core.placement import Placement, Slot, Strategy
from owmesos.core.reservations import ReservationState
from owmesos.resources import NOTHING, Ask, Resources


class Capacity:
    """`closed` nodes get no starts. `known` is the owner's to set: NodeStats came, and had the time to come, so that
    from now on silence means that nothing is free; unknown is not full.

    `ration` says which quota of the cluster keeps pods away, while one does; `progress_of`, how far the start of a
    container has come. Both are the owner's, and for people.

    `queues_starts`: the cluster takes a start for which there is no room yet, and carries it out when there is.
    `noun` is what texts call a node of this cluster.
    """

    def __init__(
        self, ledger: Ledger, strategy: Strategy = Strategy.PACK, *, queues_starts: bool = False, noun: str = "node"
    ) -> None:
        self.ledger = ledger
        self.queues_starts = queues_starts
        self.noun = noun
        self.known = False
        self.ration: str | None = None
        self.progress_of: Callable[[str], str | None] = lambda container_id: None
        self.closed: dict[str, Exclusion] = {}
        self.kept: str | None = None  # the node that is set aside for a launch; the scheduler itself looks by `index`
        self._room = Placement(strategy)
        self._behind = ledger.watch()
        self._unseen: set[Slot] | None = None  # since `changed` was last asked, if it ever was

    def find(self, ask: Ask, constraints: tuple[Constraint, ...], avoid: Having[str] = ()) -> Slot | None:
        """The slot where `ask` is launchable now, or None. `avoid`: node ids."""
        closed = self.closed if self.kept is None else Either(self.closed, (self.kept,))
        return self.index().find(ask, constraints, avoid=Either(closed, avoid))

    def index(self) -> Placement:
        """The index of what is available now."""
        for slot in self._behind:
            agent = self.ledger.agents[slot.agent_id]
            self._room.describe(agent.agent_id, agent.hostname, agent.attributes)
            self._room.set(slot, self.ledger.available(slot))
        self._behind.clear()
        return self._room

    def describe(self, agent: LedgerNode) -> None:
        """Note that a node's hostname or attributes changed: constraints judge the new ones from now on."""
        for account in agent.accounts:
            self.ledger.mark(account.slot)

    def close(self, agent_id: str, reason: Exclusion | None) -> bool:
        """Close the node to starts, or open it again (None). Returns whether that changed anything."""
        if self.closed.get(agent_id) == reason:
            return False
        if reason is None:
            del self.closed[agent_id]
        else:
            self.closed[agent_id] = reason
        return True

    def forget(self, agent_id: str) -> None:
        """Forget a node that is no longer in the ledger."""
        if self._unseen is not None:
            self._unseen.update(self._room.slots_of(agent_id))
        self._room.forget(agent_id)
        self.closed.pop(agent_id, None)

    def available(self, slot: Slot) -> Resources:
        """What is free there for a start now."""
        return self.ledger.available(slot) if slot.agent_id in self.ledger.agents else NOTHING

    def allows(self, agent_id: str, constraints: tuple[Constraint, ...]) -> bool:
        """Whether starts may go there at all: not draining, not in back-off, not kept, constraints met."""
        agent = self.ledger.agents.get(agent_id)
        if agent is None or agent.gone_at is not None or agent_id in self.closed or agent_id == self.kept:
            return False
        return not constraints or all(each.matches(agent.hostname, agent.attributes) for each in constraints)

    def changed(self) -> Iterable[Slot]:
        """The slots whose `available` changed since this was last asked; all of them the first time."""
        if self._unseen is None:
            self._unseen = self.ledger.watch()
            return list(self.ledger.accounts)
        changed = list(self._unseen)
        self._unseen.clear()
        return changed

    def reserve(self, container_id: str, slot: Slot, ask: Ask, now: float) -> None:
        self.ledger.reserve(container_id, slot, ask, now)

    def release(self, container_id: str) -> None:
        """Release a start that is not cut yet: the rest is the ledger's owner's. Unknown ids are ignored."""
        reservation = self.ledger.reservations.by_launch.get(container_id)
        if reservation is not None and reservation.state is ReservationState.RESERVED:
            self.ledger.release(container_id)

    def is_reserved(self, container_id: str) -> bool:
        """Whether the start's room is subtracted, because it is not cut yet."""
        reservation = self.ledger.reservations.by_launch.get(container_id)
        return reservation is not None and reservation.state is ReservationState.RESERVED

    def owed_ports(self, slot: Slot) -> int:
        """By how many ports the reserved ones exceed the free ones there, which `available` cannot say."""
        reserved = self.ledger.reservations.reserved_on(slot)
        return max(0, reserved.ports - len(self.ledger.free(slot).ports)) if reserved is not None else 0

    def explain(
        self,
        ask: Ask,
        constraints: tuple[Constraint, ...],
        set_aside: str | None,
        *,
        role: str | None = None,
        but: str | None = None,
    ) -> Explanation:
        """`role` narrows it to one allocation role; the reservation of launch `but` is left out."""
        found = explain(ask, self._facts(constraints, set_aside, role, but), self.noun)
        if self.ration is None or "quota" not in found.failed:
            return found
        return msgspec.structs.replace(found, summary=f"{found.summary}; {self.ration}")

    def _facts(
        self, constraints: tuple[Constraint, ...], set_aside: str | None, role: str | None, but: str | None
    ) -> Iterator[SlotFacts]:
        for agent in self.ledger.agents.values():
            if agent.gone_at is not None:
                continue
            cpus, mem = self.ledger.buffer_on(agent)
            unmet = tuple([each for each in constraints if not each.matches(agent.hostname, agent.attributes)])
            excluded = self.closed.get(agent.agent_id, "set_aside" if agent.agent_id == set_aside else None)
            for account in agent.accounts:
                if role in (None, account.slot.role):
                    yield SlotFacts(
                        agent.agent_id,
                        agent.hostname,
                        account.slot.role,
                        account.free(),
                        self.ledger.reservations.reserved_on(account.slot, but) or Ask(),
                        Ask(cpus, mem),
                        unmet,
                        "unknown" if excluded is None and account.observed_at is None else excluded,
                        self.ration is not None,
                    )


@dataclass(slots=True)
class Either:
    """The union of two containers, without a copy."""

    first: Having[str]
    second: Having[str]

    def __contains__(self, item: object) -> bool:
        return item in self.second or item in self.first

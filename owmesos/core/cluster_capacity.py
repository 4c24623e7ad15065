"""The cluster's capacity, from the ledger: what the pool of a cluster-managed invoker asks.

It only reads the ledger and reserves in it; whoever feeds the ledger (Mesos's offers, a test) is its owner.
"""

from __future__ import annotations

from collections.abc import Container as Having
from collections.abc import Iterable, Iterator

from owmesos.core.constraints import Constraint
from owmesos.core.explanation import Exclusion, Explanation, SlotFacts, explain
from owmesos.core.ledger import Agent, Ledger
from owmesos.core.placement import Placement, Slot, Strategy
from owmesos.core.reservations import ReservationState
from owmesos.resources import NOTHING, Ask, Resources


class ClusterCapacity:
    """`settled` is the owner's to set: NodeStats came, and had the time to come. `closed` agents get no starts."""

    credits_stops = False

    def __init__(self, ledger: Ledger, strategy: Strategy = Strategy.PACK) -> None:
        self.ledger = ledger
        self.settled = False
        self.closed: dict[str, Exclusion] = {}
        self._room = Placement(strategy)
        self._behind = ledger.watch()
        self._unseen: set[Slot] | None = None  # since `changed` was last asked, if it ever was

    @property
    def known(self) -> bool:
        return self.settled

    def find(self, ask: Ask, constraints: tuple[Constraint, ...], avoid: Having[str] = ()) -> Slot | None:
        return self.index().find(ask, constraints, avoid=Either(self.closed, avoid))

    def index(self) -> Placement:
        """What is available, as of now."""
        for slot in self._behind:
            self._room.set(slot, self.ledger.available(slot))
        self._behind.clear()
        return self._room

    def describe(self, agent: Agent) -> None:
        """The agent's hostname or attributes are new: constraints judge them from now on."""
        self._room.describe(agent.agent_id, agent.hostname, agent.attributes)

    def close(self, agent_id: str, reason: Exclusion | None) -> bool:
        """The agent gets no starts from now on, or (None) gets some again. Whether that is a change."""
        if self.closed.get(agent_id) == reason:
            return False
        if reason is None:
            del self.closed[agent_id]
        else:
            self.closed[agent_id] = reason
        return True

    def forget(self, agent_id: str) -> None:
        """The agent is in the ledger no more."""
        if self._unseen is not None:
            self._unseen.update(self._room.slots_of(agent_id))
        self._room.forget(agent_id)
        self.closed.pop(agent_id, None)

    def available(self, slot: Slot) -> Resources:
        return self.ledger.available(slot) if slot.agent_id in self.ledger.agents else NOTHING

    def allows(self, agent_id: str, constraints: tuple[Constraint, ...]) -> bool:
        agent = self.ledger.agents.get(agent_id)
        if agent is None or agent.gone_at is not None or agent_id in self.closed:
            return False
        return not constraints or all(each.matches(agent.hostname, agent.attributes) for each in constraints)

    def changed(self) -> Iterable[Slot]:
        if self._unseen is None:
            self._unseen = self.ledger.watch()
            return list(self.ledger.accounts)
        changed = list(self._unseen)
        self._unseen.clear()
        return changed

    def reserve(self, container_id: str, slot: Slot, ask: Ask, now: float) -> None:
        self.ledger.reserve(container_id, slot, ask, now)

    def release(self, container_id: str) -> None:
        """Only what is not cut from an offer yet: the rest is the ledger's owner's."""
        reservation = self.ledger.reservations.get(container_id)
        if reservation is not None and reservation.state is ReservationState.DECIDED:
            self.ledger.release(container_id)

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
        return explain(ask, self._facts(constraints, set_aside, role, but))

    def _facts(
        self, constraints: tuple[Constraint, ...], set_aside: str | None, role: str | None, but: str | None
    ) -> Iterator[SlotFacts]:
        for agent in self.ledger.agents.values():
            if agent.gone_at is not None:
                continue
            cpus, mem = self.ledger.buffer_on(agent)
            matches = all(each.matches(agent.hostname, agent.attributes) for each in constraints)
            excluded = self.closed.get(agent.agent_id, "set_aside" if agent.agent_id == set_aside else None)
            for account in agent.accounts:
                if role is not None and account.slot.role != role:
                    continue
                uncut = self.ledger.reservations.uncut(account.slot, but) or Ask()
                unseen = excluded is None and account.observed_at is None
                yield SlotFacts(
                    agent.agent_id,
                    agent.hostname,
                    account.slot.role,
                    account.free(),
                    Resources(uncut.milli_cpus, uncut.milli_mem, uncut.milli_disk, uncut.milli_gpus),
                    Resources(cpus, mem),
                    matches,
                    "unknown" if unseen else excluded,
                )


class Either:
    """The union of two containers, without a copy."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Having[str], second: Having[str]) -> None:
        self._first = first
        self._second = second

    def __contains__(self, item: object) -> bool:
        return item in self._second or item in self._first

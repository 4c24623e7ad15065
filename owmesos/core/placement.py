"""Which node gets a launch: an index over the room that is available now.

The ledger's writer tells it every change; `find` answers from an index of the slots that meet a launch's
constraints, kept per distinct set of constraints, so that neither scans the nodes. Such an index, a view, is
brought up to date when it is next asked: a burst of offers costs a view one sort, and nothing if nobody asks.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from owmesos.core.constraints import HOSTNAME, NO_ATTRIBUTES, Attributes, Constraint
from owmesos.core.room_index import Entry, RoomIndex, Slot
from owmesos.resources import Ask, Resources

__all__ = ["Placement", "Slot", "Strategy"]

_VIEWS = 32  # each costs some ten bytes a node that is in it
_FEW_CHANGES = 256  # up to these, and an eighth of a view, are put in one by one; more are sorted in


class Strategy(str, Enum):
    """Which of the fitting slots a launch gets."""

    PACK = "pack"
    """The one with the least memory, then the fewest cpus; then by node id and role."""
    SPREAD = "spread"
    """The one with the most memory, then the most cpus; then by node id and role."""


class _PlacementNode:
    """What constraints judge of a node (nothing until it is described), its roles and its views."""

    __slots__ = ("attributes", "hostname", "roles", "views")

    def __init__(self) -> None:
        self.hostname: str | None = None
        self.attributes = NO_ATTRIBUTES
        self.roles: tuple[str, ...] = ()
        self.views = 0  # one bit a view

    def meets(self, constraints: tuple[Constraint, ...]) -> bool:
        if not constraints:
            return True
        hostname, attributes = self.hostname, self.attributes
        return hostname is not None and all(each.matches(hostname, attributes) for each in constraints)


@dataclass(slots=True)
class _ConstraintView:
    """The slots of the nodes that meet some constraints, per allocation role."""

    constraints: tuple[Constraint, ...]
    bit: int
    rows: dict[str, RoomIndex] = field(default_factory=dict)
    size: int = 0
    stale: bool = True  # to be built anew: `rows` and `changes` are empty
    changes: dict[Slot, Entry | None] = field(default_factory=dict)  # what `rows` hold of each slot changed since

    def note(self, slot: Slot, held: Entry | None) -> None:
        """`slot` changes, whose entry here was `held`."""
        if self.stale:
            return
        self.changes.setdefault(slot, held)
        if len(self.changes) > _FEW_CHANGES + self.size // 8:
            self.stale = True
            self.rows, self.changes = {}, {}

    def update(self, entries: dict[Slot, Entry], *, largest_first: bool) -> None:
        """Brings `rows` up to date: `entries` holds what each changed slot has now, if it belongs here."""
        for slot, held in self.changes.items():
            entry = entries.get(slot)
            if held is not None:
                self.rows[slot.role].remove(held)
                self.size -= 1
            if entry is not None:
                if slot.role not in self.rows:
                    self.rows[slot.role] = RoomIndex(largest_first=largest_first)
                self.rows[slot.role].add(entry)
                self.size += 1
        self.changes = {}


class Placement:
    """The room that is available now on every slot, and the search for the slot that a launch goes to."""

    def __init__(self, strategy: Strategy = Strategy.PACK) -> None:
        self.strategy = strategy
        self._sign = -1 if strategy is Strategy.SPREAD else 1
        self._agents: dict[str, _PlacementNode] = {}
        self._entries: dict[Slot, Entry] = {}
        self._hosts: dict[str, tuple[str, ...]] = {}  # the nodes of a host name: mostly one
        self._views: OrderedDict[tuple[Constraint, ...], _ConstraintView] = OrderedDict()  # the last one was used last

    def describe(self, agent_id: str, hostname: str, attributes: Attributes) -> None:
        """Set what constraints judge of a node. Until then it gets only asks without any."""
        agent = self._agent(agent_id)
        if agent.hostname == hostname and (agent.attributes is attributes or agent.attributes == attributes):
            return
        if agent.hostname != hostname:
            self._leave_host(agent_id, agent)
            self._hosts[hostname] = (*self._hosts.get(hostname, ()), agent_id)
        agent.hostname, agent.attributes = hostname, attributes
        for view in self._views.values():
            was, now = bool(agent.views & view.bit), agent.meets(view.constraints)
            if was == now:
                continue
            for role in agent.roles:
                slot = Slot(agent_id, role)
                view.note(slot, self._entries[slot] if was else None)
            agent.views ^= view.bit

    def forget(self, agent_id: str) -> None:
        """Drops the node with all its slots; unknown ones are ignored."""
        agent = self._agents.get(agent_id)
        if agent is not None:
            for slot in self.slots_of(agent_id):
                self.remove(slot)
            self._leave_host(agent_id, agent)
            self._agents.pop(agent_id, None)

    def slots_of(self, agent_id: str) -> list[Slot]:
        """The node's slots; empty if it is unknown."""
        agent = self._agents.get(agent_id)
        return [Slot(agent_id, role) for role in agent.roles] if agent is not None else []

    def set(self, slot: Slot, room: Resources) -> None:
        """Set what `slot` has available now, which may be a debt."""
        held = self._entries.get(slot)
        if held is not None:
            slot = held[2]  # one object for all
        sign, cpus = self._sign, room.milli_cpus
        rank = (sign * room.milli_mem, sign * cpus)
        entry = (*rank, slot, cpus, len(room.ports), room.milli_disk, room.milli_gpus, room.pods)
        if held == entry:
            return
        agent = self._agent(slot.agent_id)
        if held is None:
            agent.roles += (slot.role,)
        self._change(slot, agent, held)
        self._entries[slot] = entry

    def remove(self, slot: Slot) -> None:
        """Drops a slot; an unknown one is ignored."""
        held = self._entries.get(slot)
        if held is None:
            return
        agent = self._agents[slot.agent_id]
        self._change(slot, agent, held)
        del self._entries[slot]
        agent.roles = tuple(role for role in agent.roles if role != slot.role)
        if not agent.roles and agent.hostname is None:
            del self._agents[slot.agent_id]

    def find(
        self,
        ask: Ask,
        constraints: tuple[Constraint, ...] = (),
        *,
        avoid: Container[str] = (),
        roles: Container[str] | None = None,
    ) -> Slot | None:
        """The slot for `ask`: the first in the strategy's order that fits.

        `avoid` holds the ids of nodes that get nothing; `roles`, if given, the allocation roles to use.
        Slots without room are passed 64 at a time, avoided ones one by one.
        """
        return next(self.candidates(ask, constraints, avoid=avoid, roles=roles), None)

    def candidates(
        self,
        ask: Ask,
        constraints: tuple[Constraint, ...] = (),
        *,
        avoid: Container[str] = (),
        roles: Container[str] | None = None,
    ) -> Iterator[Slot]:
        """All slots that fit `ask`, in the strategy's order. Nothing may change meanwhile."""
        for entry in self._fitting(ask, constraints, roles):
            if entry[2].agent_id not in avoid:
                yield entry[2]

    def _agent(self, agent_id: str) -> _PlacementNode:
        agent = self._agents.get(agent_id)
        if agent is None:
            agent = self._agents[agent_id] = _PlacementNode()
            for view in self._views.values():
                if agent.meets(view.constraints):
                    agent.views |= view.bit
        return agent

    def _leave_host(self, agent_id: str, agent: _PlacementNode) -> None:
        if agent.hostname is not None:
            others = tuple(other for other in self._hosts.pop(agent.hostname) if other != agent_id)
            if others:
                self._hosts[agent.hostname] = others

    def _belongs(self, slot: Slot, view: _ConstraintView) -> bool:
        return bool(self._agents[slot.agent_id].views & view.bit)

    def _change(self, slot: Slot, agent: _PlacementNode, held: Entry | None) -> None:
        """Called before a slot of `agent` changes its entry from `held`."""
        for view in self._views.values():
            if agent.views & view.bit:
                view.note(slot, held)

    def _view(self, constraints: tuple[Constraint, ...]) -> _ConstraintView:
        view = self._views.get(constraints)
        if view is None:
            view = self._new_view(constraints)
        self._views.move_to_end(constraints)
        if view.stale:
            self._build(view)
        elif view.changes:
            known = [slot for slot in view.changes if slot in self._entries and self._belongs(slot, view)]
            view.update({slot: self._entries[slot] for slot in known}, largest_first=self._sign < 0)
        return view

    def _new_view(self, constraints: tuple[Constraint, ...]) -> _ConstraintView:
        """Make a view; the one that was used longest ago goes."""
        full = len(self._views) == _VIEWS
        bit = self._views.popitem(last=False)[1].bit if full else 1 << len(self._views)
        view = self._views[constraints] = _ConstraintView(constraints, bit)
        by_host = any(each.attribute == HOSTNAME for each in constraints)
        judged: dict[int, bool] = {}  # by the attributes' identity: nodes share them
        for agent in self._agents.values():
            key = id(agent.attributes)
            if by_host or agent.hostname is None:
                meets = agent.meets(constraints)
            elif key in judged:
                meets = judged[key]
            else:
                meets = judged[key] = agent.meets(constraints)
            agent.views = agent.views | bit if meets else agent.views & ~bit
        return view

    def _build(self, view: _ConstraintView) -> None:
        rows: dict[str, list[Entry]] = {}
        for slot, entry in self._entries.items():
            if self._belongs(slot, view):
                rows.setdefault(slot.role, []).append(entry)
        view.size = sum(map(len, rows.values()))
        view.rows = {role: self._index(row) for role, row in rows.items()}
        view.stale = False

    def _fitting(self, ask: Ask, constraints: tuple[Constraint, ...], roles: Container[str] | None) -> Iterator[Entry]:
        for each in constraints:
            # One launch a host is a common wish: a view for each of these would be built to be used once.
            if each.attribute == HOSTNAME and each.operator == "==":
                return self._fitting_on_host(each.value, ask, constraints, roles)
        rows = self._view(constraints).rows
        found = [row.fitting(ask) for role, row in rows.items() if roles is None or role in roles]
        return found[0] if len(found) == 1 else heapq.merge(*found)

    def _fitting_on_host(
        self, hostname: str, ask: Ask, constraints: tuple[Constraint, ...], roles: Container[str] | None
    ) -> Iterator[Entry]:
        agents = [(agent_id, self._agents[agent_id]) for agent_id in self._hosts.get(hostname, ())]
        slots = [Slot(agent_id, role) for agent_id, agent in agents if agent.meets(constraints) for role in agent.roles]
        entries = [self._entries[slot] for slot in slots if roles is None or slot.role in roles]
        return self._index(entries).fitting(ask)

    def _index(self, entries: Iterable[Entry] = ()) -> RoomIndex:
        return RoomIndex(largest_first=self._sign < 0, entries=entries)

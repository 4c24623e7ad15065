"""A cluster of one node, whose owner is the test: every start is taken, and every end is seen at once."""

from __future__ import annotations

from owmesos.core.capacity import Capacity
from owmesos.core.ledger import Buffer, Ledger
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.placement import Slot
from owmesos.core.pool.events import StartContainer
from owmesos.resources import Ask, Resources


class OneNode:
    """`memory` MB, and plenty of everything else. `started` and `ended` give the NodeStats that show it."""

    def __init__(self, memory: int) -> None:
        self.slot = Slot("node", "*")
        self.ledger = Ledger(Buffer(share=0.0))
        self.capacity = Capacity(self.ledger)
        self.capacity.known = True
        self._room = Resources.of(cpus=1_000, mem=memory, ports=[(31_000, 31_999)])
        self._held: dict[str, Ask] = {}
        self.capacity.describe(self.ledger.agent(self.slot.agent_id))
        self.seen()

    def started(self, start: StartContainer) -> NodeStatsUpdate:
        self.ledger.release(start.container_id)
        self._held[start.container_id] = start.ask
        return self.seen()

    def ended(self, container_id: str) -> NodeStatsUpdate:
        self.ledger.release(container_id)
        self._held.pop(container_id, None)
        return self.seen()

    def seen(self) -> NodeStatsUpdate:
        """All that is free is offered."""
        room = self._room
        for ask in self._held.values():
            room = room.minus(ask.cut(room))
        self.ledger.offer(self.slot, room, 0.0)
        return NodeStatsUpdate((self.ledger.stats(self.ledger.account(self.slot)),))

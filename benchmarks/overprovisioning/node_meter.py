"""A meter for clusters on which a start may be pinned to a node, and on which machines die unseen.

*On a dead machine* is a start whose machine did not run any more when it was chosen: by the pool with the start, where
starts are pinned, by the cluster otherwise. Such a start does not wait for room, it is lost with its machine, and is
not over-provisioned. One whose machine dies later, while it waits for room there, is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from owmesos.core.pool import events as pool_events
from owmesos.sizing.meter import ClusterBooks, Meter, Outcome, fits


class NodeMeter(Meter):
    """`pinned`: a start has its node's room or none. `dead`: nodes whose machines do not run, at any time."""

    def __init__(
        self,
        books: ClusterBooks,
        waits_for_room: Callable[[str], bool],
        *,
        pinned: bool,
        dead: Collection[str],
        outcome: Outcome | None = None,
    ) -> None:
        super().__init__(books, waits_for_room, outcome=outcome)
        self._pinned = pinned
        self._dead = dead
        self._on_dead: set[str] = set()

    def placed(self, container_id: str, node: str) -> None:
        """The cluster has chosen a node for a start, or has confirmed the pool's choice."""
        if node in self._dead and container_id not in self._on_dead:
            self._on_dead.add(container_id)
            self.outcome.on_dead += 1

    def _start(self, start: pool_events.StartContainer) -> None:
        if self._pinned:
            self.placed(start.container_id, start.slot.agent_id)
        if start.container_id in self._on_dead:
            self.outcome.starts += 1
        else:
            super()._start(start)

    def _is_placeable(self, start: pool_events.StartContainer) -> bool:
        if not self._pinned:
            return super()._is_placeable(start)
        free, node = self._books.free(start.after), start.slot.agent_id
        there = [each.ask for each in self._starting.values() if each.slot == start.slot]
        return node in free and fits([*there, start.ask], [free[node]])

"""The small cluster, as Kubernetes does it: a start for which there is no room yet is held until there is.

What changes on a node is seen at once. A queued start is placed the moment its node has the room, unless neighbours
were quicker; it is never placed elsewhere, and nobody takes it back unless its node goes.
"""

from __future__ import annotations

from owmesos.core.pool.events import ContainerStopped, PoolEffect, StartContainer, StartRefused, StopContainer
from tests.core.pool.cluster import ACCEPT_TAKES, FakeCluster

PLACED_AFTER = 0.015
SEEN_AFTER = 0.01
WITHDRAWN_AFTER = 0.05


class QueueingCluster(FakeCluster):
    """`held`: the starts that wait for room, in order."""

    queues_starts = True

    def __init__(self, *args: object, **named: object) -> None:
        self.held: dict[str, StartContainer] = {}
        super().__init__(*args, **named)  # type: ignore[arg-type]

    def _carry_out(self, effect: PoolEffect) -> None:
        if isinstance(effect, StartContainer) and effect.after:
            fate = self.fates.pop(0) if self.fates else "starts"
            self.later(ACCEPT_TAKES, lambda: self._hold(effect, fate))
        elif isinstance(effect, StopContainer) and not self.pool.containers.by_id[effect.container_id].address:
            self.later(WITHDRAWN_AFTER, lambda: self._withdraw(effect.container_id))
        else:
            super()._carry_out(effect)

    def _hold(self, start: StartContainer, fate: str) -> None:
        if start.container_id not in self.pool.containers.by_id:
            return
        if fate == "refused" or start.slot.agent_id not in self.agents:
            self.send(StartRefused(start.container_id, "the node does not want it"))
            return
        self.held[start.container_id] = start
        if fate != "starts":
            self.fates.insert(0, fate)
        self._place(start.slot.agent_id)

    def _place(self, agent_id: str) -> None:
        """What is held for the node and fits there by now. The room of what still stops is not free."""
        for start in list(self.held.values()):
            where = self.agents.get(agent_id)
            if where is not None and start.slot.agent_id == agent_id and start.ask.fits(where.offered()):
                del self.held[start.container_id]
                room = where.free().minus(start.ask)
                assert min(room.milli_mem, room.milli_cpus, room.ports) >= 0, "more than the node has"
                self._accept(start, self.fates.pop(0) if self.fates else "starts")

    def _withdraw(self, container_id: str) -> None:
        """It is deleted before it was placed; or it was placed a moment ago, and ends as any other."""
        if container_id not in self.pool.containers.by_id:
            return
        if self._lives(container_id):
            self.later(self.stop_takes, lambda: self._stopped(container_id))
            return
        self.held.pop(container_id, None)
        gone = StartRefused if len(self.log) % 2 else ContainerStopped  # a factory may report it in either way
        self.send(gone(container_id, "it was withdrawn"))

    def _free(self, container_id: str) -> None:
        where = [each.agent_id for each in self.agents.values() if container_id in each.tasks]
        super()._free(container_id)
        for agent_id in where:
            self._changed(agent_id)

    def _changed(self, agent_id: str) -> None:
        self.later(PLACED_AFTER, lambda: self._place(agent_id))
        self.later(SEEN_AFTER, lambda: self._look_at(agent_id))

    def _look_at(self, agent_id: str) -> None:
        if agent_id in self.agents and self.settled:
            self.observe(agent_id)

    def neighbours(self, agent_id: str, mem: int, *, cpus: float = 0.0) -> None:
        super().neighbours(agent_id, mem, cpus=cpus)
        self._changed(agent_id)

    def leave(self, agent_id: str) -> None:
        gone = [start.container_id for start in self.held.values() if start.slot.agent_id == agent_id]
        for container_id in gone:
            del self.held[container_id]
        super().leave(agent_id)
        for container_id in gone:
            if container_id in self.pool.containers.by_id:
                self.send(StartRefused(container_id, "the node is gone"))

    def crash(self, container_id: str) -> None:
        where = [each.agent_id for each in self.agents.values() if container_id in each.tasks]
        super().crash(container_id)
        for agent_id in where:
            self._changed(agent_id)

"""What is truly free on the agents of the fake cluster, whatever the ledger believes."""

from __future__ import annotations

from dataclasses import dataclass, field

from owmesos.core.placement import Slot
from owmesos.resources import Ask, Ports, Resources

FIRST_PORT = 31000
NOBODYS = Ask()


@dataclass
class FakeAgent:
    """`total` is all that there is; `neighbours` is what other frameworks hold of it."""

    agent_id: str
    total: Ask
    neighbours: Ask = NOBODYS
    tasks: dict[str, Ask] = field(default_factory=dict)

    @property
    def slot(self) -> Slot:
        return Slot(self.agent_id, "*")

    def free(self) -> Ask:
        left = self.total.minus(self.neighbours)
        for ask in self.tasks.values():
            left = left.minus(ask)
        return left

    def offered(self) -> Resources:
        """What an offer shows: nothing of what is owed."""
        left = self.free()
        count = max(0, left.ports)
        ports = Ports.of([(FIRST_PORT, FIRST_PORT + count - 1)] if count else ())
        return Resources(max(0, left.milli_cpus), max(0, left.milli_mem), 0, 0, ports)


def agent(agent_id: str, mem: int, *, cpus: float = 64, ports: int = 100) -> FakeAgent:
    return FakeAgent(agent_id, Ask.of(cpus=cpus, mem=mem, ports=ports))

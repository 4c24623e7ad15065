"""A machine of the cluster, with the agent that runs there."""

from __future__ import annotations

from dataclasses import dataclass, field

from owmesos.simulator.agent.agent import SimulatedAgent
from owmesos.simulator.protocol import WireMessage


@dataclass(slots=True, eq=False)
class Place:
    """Whatever id its agent has. A frozen agent neither hears nor is heard; what is sent to it meanwhile it reads when
    it is thawed."""

    agent: SimulatedAgent
    frozen: bool = False
    unread: list[WireMessage] = field(default_factory=list)

    def receive(self, message: WireMessage) -> None:
        """Lost unless the agent runs."""
        if not self.agent.up:
            return
        if self.frozen:
            self.unread.append(message)
        else:
            self.agent.receive(message)

    def thaw(self) -> None:
        self.frozen = False
        unread, self.unread = self.unread, []
        for message in unread:
            self.receive(message)

    def crash(self) -> None:
        """Its agent's process ends; the tasks live on."""
        self.unread.clear()
        self.agent.crash()

    def power_off(self) -> None:
        """The agent's process ends, and so do all tasks; the disk stays."""
        self.frozen = False
        self.unread.clear()
        self.agent.power_off()

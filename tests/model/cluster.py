"""The simulator's master and agents, by the words of the tests: agents have the ids that a test gives them.

An agent's machine has the name that its first id was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from owmesos.mesos.messages import ID, DurationInfo, TimeInfo, Unavailability
from owmesos.mesos.messages.operator import MachineID, MaintenanceSchedule, MaintenanceWindow
from owmesos.mesos.scheduler.events import AgentSeen
from owmesos.resources import NOTHING, Resources
from owmesos.simulator.agenda import AgendaEntry, cancel
from owmesos.simulator.agent.settings import AgentSettings
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.records import AgentRecord, FrameworkRecord, MasterOffer
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.pieces import PieceReservation, Pieces, to_resources
from owmesos.simulator.protocol import AgentDescription
from owmesos.simulator.world import World as SimulatedWorld
from tests.model.tasks import Runner

START = 1_700_000_000.0
BOOT = 11.0  # no machine is back sooner
_NEVER = 1e9
_NEIGHBOURS = (PieceReservation("neighbours"),)


class Cluster:
    """`world` is the simulator's. Its agents are silent for as long as a test wants before they are given up."""

    def __init__(self, agents: Iterable[AgentDescription]) -> None:
        self.runner = Runner()
        self.world = SimulatedWorld(
            (),
            runner=self.runner,
            now=START,
            settings=MasterSettings(heartbeat=_NEVER, agent_ping_timeout=_NEVER),
            agent_settings=AgentSettings(boot=0.0, recovery=0.0, launch_delay=0.0),
        )
        self.tasks = self.runner.all
        self.broken = self.runner.broken
        self._planned: set[str] = set()
        self._booting: dict[str, AgendaEntry] = {}
        for each in agents:
            self.add(each)

    # -- what the master has

    @property
    def books(self) -> MasterBooks:
        assert self.world.master is not None
        return self.world.master.books

    @property
    def offers(self) -> dict[str, MasterOffer]:
        return self.books.offers

    @property
    def framework(self) -> FrameworkRecord:
        """The newest: of a process that died before it stored its id there is one more."""
        return next(reversed(self.books.frameworks.values()))

    @property
    def suppressed(self) -> bool:
        return self.framework.suppressed >= set(self.framework.roles)

    @property
    def inverse_offers(self) -> list[str]:
        return [each for agent in self.books.agents.values() for each in agent.inverse_offers]

    def agents_seen(self) -> tuple[AgentSeen, ...]:
        """As GET_AGENTS would say."""
        known = self.books.agents.values()
        return tuple(AgentSeen(each.id, each.description.hostname, each.description.total.total()) for each in known)

    def free(self, agent: AgentRecord, role: str) -> Resources:
        return agent.available.for_role(role).total()

    # -- its machines

    @property
    def names(self) -> list[str]:
        return list(self.world.places)

    def name_of(self, agent_id: str) -> str | None:
        """Of the machine whose agent has the id now."""
        return next((name for name, each in self.world.places.items() if each.agent.id == agent_id), None)

    def id_of(self, name: str) -> str:
        agent_id = self.world.places[name].agent.id
        assert agent_id is not None
        return agent_id

    def is_up(self, name: str) -> bool:
        """The master knows it, and it answers."""
        place = self.world.places[name]
        return place.agent.up and not place.frozen and place.agent.id in self.books.agents

    def add(self, description: AgentDescription) -> None:
        """It registers at once."""
        self.world.add(description)
        self._start(description.name, description.name)

    def _start(self, name: str, agent_id: str) -> None:
        self.world.start(name, fresh=True)
        self.world.places[name].agent.id = agent_id
        self.world.advance(self.world.agenda.now)

    def freeze(self, name: str) -> None:
        self.world.freeze(name)

    def kill_frozen(self, name: str) -> None:
        """With what it has not read."""
        if self.world.places[name].frozen:
            self.world.kill(name)

    def cut_off(self, name: str) -> None:
        """The master gives it up."""
        self.world.freeze(name)
        self.world.give_up(name)

    def back(self, name: str) -> None:
        """Unless its machine is still booting."""
        self.world.thaw(name)
        if name not in self._booting:
            self._boot(name)

    def restart(self, name: str) -> None:
        """Within its ping timeout."""
        if self.is_up(name):
            self.world.kill(name)
            self.world.start(name)
            self.world.advance(self.world.agenda.now)

    def reboot(self, name: str, *, noticed: bool) -> None:
        """Its machine begins anew: the agent keeps its id and knows none of its tasks. `noticed`: the master gives it
        up meanwhile."""
        self.world.power_off(name)
        cancel(self._booting.get(name))
        if noticed:
            self.world.give_up(name)
        self._booting[name] = self.world.agenda.after(BOOT, self._boot, name)

    def _boot(self, name: str) -> None:
        self._booting.pop(name, None)
        if not self.world.is_up(name):
            self.world.start(name)

    def replace(self, name: str, agent_id: str, *, gone: bool = False, total: Pieces | None = None) -> None:
        """The agent begins anew at its address, with nothing of what it had and another id. `gone`: an operator has
        said before that the old one is."""
        place = self.world.places[name]
        if gone:
            self.operate("MARK_AGENT_GONE", agent_id=ID(self.id_of(name)))
        self.world.kill(name)
        cancel(self._booting.pop(name, None))
        if total is not None:
            place.agent.description = msgspec.structs.replace(place.agent.description, total=total)
        self._start(name, agent_id)

    def fail_over(self, back_after: dict[str, float]) -> None:
        """Another master leads: agents register again after so many seconds, or stay away."""
        known = [name for name in self.names if self.id_of(name) in self.books.agents]
        for name in known:
            self.world.freeze(name)
        self.world.fail_over()
        for name in known:
            if name in back_after:
                self.world.agenda.after(back_after[name], self.back, name)

    def forget(self, name: str) -> None:
        """Its machine is gone, and the next master has an empty registry, which the others fill."""
        self.world.power_off(name)
        self.world.kill("master")
        self.world.start("master", fresh=True)

    # -- what operators and others do

    def operate(self, kind: str, **fields: Any) -> None:
        answer = self.world.operate(kind, {kind.lower(): msgspec.to_builtins(fields)})
        assert answer.status in (200, 202), answer.text

    def neighbours(self, name: str, share: float) -> None:
        """Other frameworks have `share` of what they can get of its unreserved resources."""
        agent = self.books.agents.get(self.id_of(name))
        if agent is None:
            return
        has = agent.total.parts.get(_NEIGHBOURS, NOTHING)
        self._reserve("UNRESERVE_RESOURCES", agent, has)
        free = agent.available.unreserved
        self._reserve("RESERVE_RESOURCES", agent, Resources(int(free.milli_cpus * share), int(free.milli_mem * share)))

    def _reserve(self, kind: str, agent: AgentRecord, resources: Resources) -> None:
        if resources:
            reserved = to_resources(Pieces.of(resources, _NEIGHBOURS), None, refinement=True)
            self.operate(kind, agent_id=ID(agent.id), resources=reserved)

    def rescind(self, offer: MasterOffer, *, filtered: bool = False) -> None:
        """The offer is taken back. `filtered`: by an operator's reservation of what it holds, which leaves a filter of
        5 s."""
        agent, wanted = offer.agent, offer.pieces.unreserved
        if filtered and wanted:
            everything = agent.available.unreserved.plus(wanted)
            self._reserve("RESERVE_RESOURCES", agent, everything)
            self._reserve("UNRESERVE_RESOURCES", agent, everything)
        if offer.id in self.offers:
            self.books.drop_offer(offer)
            self.world.collect()

    def rescind_all(self) -> None:
        self.world.rescind()
        self.world.collect()

    def void_offers(self) -> None:
        """Without a word to the framework."""
        self.books.drop_offers(self.offers.values(), rescind=False)

    def maintenance(self, name: str, *, planned: bool) -> None:
        """The schedule changes: all offers are rescinded and come again at once, and inverse offers are made."""
        (self._planned.add if planned else self._planned.discard)(name)
        window = Unavailability(TimeInfo(int(self.world.agenda.now * 1e9)), DurationInfo(10**15))
        machines = [self.world.places[each].agent.description.machine for each in sorted(self._planned)]
        windows = [MaintenanceWindow([MachineID(*machine)], window) for machine in machines]
        self.operate("UPDATE_MAINTENANCE_SCHEDULE", schedule=MaintenanceSchedule(windows))

    def heal(self) -> None:
        """No faults any more: agents are back, neighbours are gone, no machine is under maintenance."""
        self.broken.clear()
        for name in sorted(self._planned):
            self.maintenance(name, planned=False)
        for name in self.names:
            self.back(name)
            self.neighbours(name, 0.0)
        for task in self.runner.living():
            task.wake()

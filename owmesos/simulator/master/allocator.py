"""Who is offered what: dominant resource fairness over roles, then over the frameworks of a role.

Agents come in random order; the whole rest of an agent goes to one framework, the one with the smallest share whose
filters, constraints and wishes let it. What is used and what is offered both count as a share. Allocations run every
`allocation_interval`, and at once on a subscription, a REVIVE, a new agent and a change of the maintenance schedule.
Known difference: shares of roles within roles are those of the full names, not of a tree.
Sources: docs/allocation-module.md, Ghodsi et al., NSDI 2011; what was measured outranks both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from owmesos.mesos import messages
from owmesos.mesos.messages import ID, AllocationInfo, Offer
from owmesos.resources import NO_PORTS, SCALARS, Resources
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.maintenance import Maintenance
from owmesos.simulator.master.quotas import Quotas, add_to
from owmesos.simulator.master.records import AgentRecord, Allocated, Filter, FrameworkRecord, MasterOffer
from owmesos.simulator.pieces import Pieces, to_resources

_NOBODY = Allocated()
_Given = dict[str, tuple[FrameworkRecord, list[MasterOffer]]]


class Allocator:
    def __init__(self, books: MasterBooks, quotas: Quotas, maintenance: Maintenance) -> None:
        self._books = books
        self._quotas = quotas
        self._maintenance = maintenance
        self.runs = 0
        self._resources: dict[tuple[Pieces, str | None, bool], list[messages.Resource]] = {}

    def start(self) -> None:
        """The periodic allocation, until the master's end."""
        self._books.agenda.after(self._books.settings.allocation_interval, self._tick)

    def _tick(self) -> None:
        if self._books.alive:
            self._books.agenda.after(self._books.settings.allocation_interval, self._tick)
            self.run()

    def run(self, agents: Iterable[AgentRecord] | None = None) -> None:
        """One allocation of what is free, on all agents or on some; its offers are sent."""
        self.runs += 1
        books = self._books
        wishes = self._wishes()
        if wishes:
            having = agents if agents is not None else [books.agents[each] for each in books.freed]
            order = [agent for agent in having if agent.active and agent.available]
            books.chance.shuffle(order)
            given: _Given = {}
            if self._quotas.guaranteed:
                self._satisfy_guarantees(order, wishes, given)
            headroom = self._quotas.headroom() if self._quotas.guaranteed else None
            for agent in order:
                self._offer_rest(agent, wishes, headroom, given)
            self._send(given)
        self._maintenance.invert(self._books.agents.values() if agents is None else agents)

    def _wishes(self) -> dict[str, list[FrameworkRecord]]:
        """Frameworks that want offers, by role."""
        found: dict[str, list[FrameworkRecord]] = {}
        for framework in self._books.frameworks.values():
            if framework.connected:
                for role in framework.roles:
                    if role not in framework.suppressed:
                        found.setdefault(role, []).append(framework)
        return found

    # -- the two rounds

    def _satisfy_guarantees(
        self, order: list[AgentRecord], wishes: dict[str, list[FrameworkRecord]], given: _Given
    ) -> None:
        """Roles with a guarantee get what is missing of it, and of nothing else."""
        for role in [role for role in wishes if role in self._quotas.guaranteed]:
            for agent in order:
                for framework in self._fairly(role, wishes[role]):
                    missing = self._quotas.missing(role)
                    if not any(missing.values()):
                        break
                    room = agent.available.for_role(role, refinement=framework.can("RESERVATION_REFINEMENT"))
                    wanted = room.with_unreserved(_at_most(room.unreserved, missing, others=False))
                    if wanted.unreserved and self._acceptable(framework, role, agent, wanted):
                        self._give(framework, role, agent, wanted, given)

    def _offer_rest(
        self,
        agent: AgentRecord,
        wishes: dict[str, list[FrameworkRecord]],
        headroom: dict[str, int] | None,
        given: _Given,
    ) -> None:
        for role, framework in self._in_turn(wishes):
            if not agent.available:
                return
            room = agent.available.for_role(role, refinement=framework.can("RESERVATION_REFINEMENT"))
            limits = self._quotas.left(role)
            if limits is not None:
                room = room.with_unreserved(_at_most(room.unreserved, limits, others=True))
            if headroom is not None:
                room = room.with_unreserved(_at_most(room.unreserved, headroom, others=True))
            if room and self._acceptable(framework, role, agent, room):
                self._give(framework, role, agent, room, given)
                if headroom is not None:
                    add_to(headroom, room.unreserved, -1)

    def _in_turn(self, wishes: dict[str, list[FrameworkRecord]]) -> Iterator[tuple[str, FrameworkRecord]]:
        """By share, as it is when asked."""
        whole, by_role = self._books.whole, self._books.by_role
        roles = (
            wishes
            if len(wishes) == 1
            else sorted(wishes, key=lambda role: (by_role.get(role, _NOBODY).share_of(whole), role))
        )
        for role in roles:
            for framework in self._fairly(role, wishes[role]):
                yield role, framework

    def _fairly(self, role: str, frameworks: list[FrameworkRecord]) -> list[FrameworkRecord]:
        if len(frameworks) == 1:
            return frameworks
        whole = self._books.whole
        return sorted(frameworks, key=lambda each: (each.allocated.get(role, _NOBODY).share_of(whole), each.id))

    # -- one agent for one framework

    def _acceptable(self, framework: FrameworkRecord, role: str, agent: AgentRecord, room: Pieces) -> bool:
        total = room.total()
        settings = self._books.settings
        least = framework.minimum_of(role)
        if least:
            if not any(_has(total, each) for each in least):
                return False
        elif total.milli_cpus < settings.min_cpus and total.milli_mem < settings.min_mem:
            return False
        constraint = framework.constraints.get(role)
        if constraint is not None and not constraint(agent.description):
            return False
        if agent.total.total().milli_gpus and not framework.can("GPU_RESOURCES"):
            return False
        return not self._filtered(framework, role, agent, room)

    def _filtered(self, framework: FrameworkRecord, role: str, agent: AgentRecord, room: Pieces) -> bool:
        """A filter refuses what is contained in what was declined."""
        filters = framework.filters.get((role, agent.id))
        if filters is None:
            return False
        now = self._books.now
        live = [each for each in filters if each.until > now]
        if not live:
            del framework.filters[role, agent.id]
            return False
        framework.filters[role, agent.id] = live
        return any(each.pieces.covers(room) for each in live)

    def _give(self, framework: FrameworkRecord, role: str, agent: AgentRecord, room: Pieces, given: _Given) -> None:
        books = self._books
        books.allocate(framework, role, agent, room)
        record = MasterOffer(books.next_id("O"), framework, agent, role, room)
        books.offers[record.id] = framework.offers[record.id] = agent.offers[record.id] = record
        if books.settings.offer_timeout is not None:
            record.timeout = books.agenda.after(books.settings.offer_timeout, books.drop_offer, record)
        given.setdefault(framework.id, (framework, []))[1].append(record)

    # -- as messages

    def _send(self, given: _Given) -> None:
        for framework, records in given.values():
            self._books.to_framework(framework, messages.Offers([self.offer_of(record) for record in records]))
        if len(self._resources) > 10_000:
            self._resources.clear()

    def offer_of(self, record: MasterOffer) -> Offer:
        framework, agent = record.framework, record.agent
        description = agent.description
        role = record.role if framework.can("MULTI_ROLE") else None
        refinement = framework.can("RESERVATION_REFINEMENT")
        resources = self._resources.get((record.pieces, role, refinement))
        if resources is None:
            resources = to_resources(record.pieces, role, refinement=refinement)
            self._resources[record.pieces, role, refinement] = resources
        infos = (task.info for task in agent.tasks.values() if task.framework_id == framework.id)
        executors = {each.executor.executor_id.value for each in infos if each.executor}
        return Offer(
            ID(record.id),
            ID(framework.id),
            ID(agent.id),
            description.hostname,
            url=description.url,
            domain=description.domain,
            resources=resources,
            attributes=list(description.attributes),
            executor_ids=[ID(each) for each in sorted(executors)],
            unavailability=self._books.registry.machines.get(description.machine),
            allocation_info=AllocationInfo(role) if role is not None else None,
        )

    # -- filters

    def refuse(self, framework: FrameworkRecord, role: str, agent: AgentRecord, pieces: Pieces, seconds: float) -> None:
        """Filters the resources for the framework for a while, at least for an allocation interval. 0 sets no
        filter."""
        if seconds <= 0 or not pieces:
            return
        until = self._books.now + max(seconds, self._books.settings.allocation_interval)
        framework.filters.setdefault((role, agent.id), []).append(Filter(until, pieces))


def refuse_seconds(filters: messages.Filters | None) -> float:
    """Seconds of a call's filter: 5 if absent or negative, at most 365 days (mesos.proto, Filters)."""
    seconds = filters.refuse_seconds if filters is not None else None
    if seconds is None or seconds < 0:
        return 5.0
    return min(seconds, 365 * 86400.0)


def _has(total: Resources, least: dict[str, int]) -> bool:
    return all(getattr(total, f"milli_{name}", 0) >= amount for name, amount in least.items())


def _at_most(room: Resources, limits: dict[str, int], *, others: bool) -> Resources:
    """`room` with no more of each kind than `limits` says; kinds that it does not name stay, if `others`."""
    have = {name: getattr(room, f"milli_{name}") if others or name in limits else 0 for name in SCALARS}
    cpus, mem, disk, gpus = (min(amount, max(0, limits.get(name, amount))) for name, amount in have.items())
    return Resources(cpus, mem, disk, gpus, ports=room.ports if others else NO_PORTS)

"""The one book of what is free and what is promised, per agent and allocation role.

Theory of operation. Room comes in pieces: *outstanding* ones are offers in hand, *remembered* ones are what offers
held when we let them go (estimates, never accepted). A start is *reserved* when it is decided and subtracted until
it is *cut* from an offer; from then on it is listed, not subtracted, since what is remembered is already without it.
A stop is listed, never subtracted and never credited: another framework may be offered the room first.

    available = outstanding + remembered - uncut starts - buffer

One writer: the container factory's decisions. The pool reads it and reserves in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from owmesos.core.buffer import Buffer
from owmesos.core.constraints import NO_ATTRIBUTES, Attributes
from owmesos.core.node_stats import NodeState, NodeStats
from owmesos.core.placement import Slot
from owmesos.core.reservations import Reservations
from owmesos.errors import InvariantBroken
from owmesos.resources import NO_PORTS, NOTHING, Ask, Resources, total


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """A piece that was let go at `since` (seconds); `source` names the offer or ACCEPT that it was left from."""

    resources: Resources
    since: float
    source: str


class Account:
    """One slot's pieces. `observed_at` is when its latest offer came."""

    __slots__ = ("observed_at", "outstanding", "remembered", "slot")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.outstanding: dict[str, Resources] | None = None
        self.remembered: tuple[Remembered, ...] = ()
        self.observed_at: float | None = None

    def held(self) -> Resources:
        return total(self.outstanding.values()) if self.outstanding else NOTHING

    def free(self) -> Resources:
        remembered = self.remembered
        if not self.outstanding and len(remembered) == 1:
            return remembered[0].resources
        return self.held().plus(total([piece.resources for piece in remembered]))


class Agent:
    """What is known of one agent, keyed by its id and never by its hostname."""

    __slots__ = (
        "accounts",
        "address",
        "agent_id",
        "attributes",
        "gone_at",
        "hostname",
        "most_mem",
        "total",
        "unavailability",
    )

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self.hostname = agent_id
        self.address = ""  # host:port
        self.attributes: Attributes = NO_ATTRIBUTES
        self.accounts: tuple[Account, ...] = ()
        self.total: Resources | None = None
        self.most_mem = 0  # the most memory ever seen free or ours, thousandths of MB
        self.unavailability: tuple[float, float | None] | None = None  # start, duration in seconds
        self.gone_at: float | None = None


class Ledger:
    """Pieces by slot, and the reservations on them. Every slot that changes is marked for all who watch."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.agents: dict[str, Agent] = {}
        self.accounts: dict[Slot, Account] = {}
        self.reservations = Reservations()
        self._watchers: list[set[Slot]] = []
        self._offers: dict[str, Account] = {}
        self._addresses: dict[str, str] = {}

    # -- who follows

    def watch(self) -> set[Slot]:
        """A set of one's own, to which every slot is added that changes from now on; take them out as you like."""
        watcher: set[Slot] = set()
        self._watchers.append(watcher)
        return watcher

    def mark(self, slot: Slot) -> None:
        """What is free or promised on `slot`, or what is known of its agent, has changed."""
        for watcher in self._watchers:
            watcher.add(slot)

    # -- agents

    def agent(self, agent_id: str) -> Agent:
        """The agent, made known when it is not."""
        agent = self.agents.get(agent_id)
        if agent is None:
            agent = self.agents[agent_id] = Agent(agent_id)
        return agent

    def moved_in(self, agent: Agent, address: str) -> str | None:
        """Note that `agent` lives at `address`; the id of the agent that lived there before and is thereby gone."""
        former = self._addresses.get(address)
        self._addresses[address] = agent.agent_id
        agent.address = address
        return former if former is not None and former != agent.agent_id else None

    def account(self, slot: Slot) -> Account:
        account = self.accounts.get(slot)
        if account is None:
            account = self.accounts[slot] = Account(slot)
            agent = self.agent(slot.agent_id)
            agent.accounts = (*agent.accounts, account)
        return account

    # -- pieces

    def offer(self, slot: Slot, offer_id: str, resources: Resources, now: float) -> None:
        """An offer came: the agent's remembered pieces go, in every role, and it becomes an outstanding piece."""
        if offer_id in self._offers:
            raise InvariantBroken(f"offer {offer_id} came twice")
        account = self.account(slot)
        agent = self.agents[slot.agent_id]
        for other in agent.accounts:
            if other.remembered:
                other.remembered = ()
                self.mark(other.slot)
        if account.outstanding is None:
            account.outstanding = {offer_id: resources}
        else:
            account.outstanding[offer_id] = resources
        account.observed_at = now
        self._offers[offer_id] = account
        mem = account.free().milli_mem if len(account.outstanding) > 1 else resources.milli_mem
        if mem > agent.most_mem:
            agent.most_mem = mem
        agent.gone_at = None
        self.mark(slot)

    def rescind(self, offer_id: str) -> None:
        """The piece is gone; nothing is remembered of it."""
        self._take(offer_id)

    def let_go(self, offer_id: str, now: float) -> None:
        """DECLINE sent: the piece is remembered."""
        account, resources = self._take(offer_id)
        self._remember(account, resources, now, offer_id)

    def accept(self, offer_ids: Iterable[str], taken: Resources, now: float, source: str) -> None:
        """ACCEPT sent: the offers leave, and what they held beyond `taken` becomes one remembered piece."""
        account, held = None, NOTHING
        for offer_id in offer_ids:
            account, resources = self._take(offer_id)
            held = held.plus(resources)
        if account is None or not held.covers(taken):
            raise InvariantBroken(f"ACCEPT {source} takes more than its offers hold")
        self._remember(account, held.minus(taken), now, source)

    def restore(self, slot: Slot, offer_id: str, resources: Resources, source: str) -> None:
        """The ACCEPT or DECLINE named `source` was refused as a message: its offers are still ours."""
        self.forget_leftover(slot, source)
        account = self.account(slot)
        account.outstanding = {**(account.outstanding or {}), offer_id: resources}
        self._offers[offer_id] = account
        self.mark(slot)

    def forget_leftover(self, slot: Slot, source: str) -> None:
        """What the ACCEPT named `source` left is not to be counted on any more."""
        account = self.accounts.get(slot)
        if account is not None and any(piece.source == source for piece in account.remembered):
            account.remembered = tuple(piece for piece in account.remembered if piece.source != source)
            self.mark(slot)

    def silent_since(self, revived_at: float, agent_ids: Iterable[str] | None = None) -> list[str]:
        """A REVIVE at `revived_at` brought nothing: drop what was let go before it, on the agents it could reach.

        `agent_ids` None means all. The ids of the agents that lost a piece.
        """
        agents = self.agents.values() if agent_ids is None else map(self.agent, agent_ids)
        dropped = []
        for agent in agents:
            for account in agent.accounts:
                kept = tuple(piece for piece in account.remembered if piece.since >= revived_at)
                if len(kept) != len(account.remembered):
                    account.remembered = kept
                    self.mark(account.slot)
                    dropped.append(agent.agent_id)
        return dropped

    def lose_agent(self, agent_id: str, now: float) -> None:
        """The agent is gone, unreachable or replaced: all its pieces are dropped."""
        agent = self.agents.get(agent_id)
        if agent is None:
            return
        for account in agent.accounts:
            for offer_id in list(account.outstanding or ()):
                self._take(offer_id)
            account.remembered = ()
            self.mark(account.slot)
        agent.gone_at = now
        if self._addresses.get(agent.address) == agent_id:
            del self._addresses[agent.address]

    def disconnect(self) -> None:
        """All pieces are dropped, and the cluster is unknown, which is not full."""
        for account in self.accounts.values():
            account.outstanding = None
            account.remembered = ()
            account.observed_at = None
            self.mark(account.slot)
        self._offers.clear()

    def forget_agent(self, agent_id: str) -> None:
        """Drop a gone agent from the book. It must hold no piece and no reservation."""
        agent = self.agents.pop(agent_id)
        for account in agent.accounts:
            del self.accounts[account.slot]
            for watcher in self._watchers:
                watcher.discard(account.slot)

    # -- what is free

    def buffer_on(self, agent: Agent) -> tuple[int, int]:
        """(cpus, mem) in thousandths: the share counts from the total where known, else from the most seen free."""
        return self.buffer.on(agent.total.milli_mem if agent.total is not None else agent.most_mem)

    def free(self, slot: Slot) -> Resources:
        """Outstanding and remembered, before reservations and buffer."""
        account = self.accounts.get(slot)
        return account.free() if account is not None else NOTHING

    def available(self, slot: Slot) -> Resources:
        return self._less(slot, self.free(slot))

    def held(self, slot: Slot, but: str | None = None) -> Resources:
        """What an ACCEPT may take now: outstanding less the buffer and less uncut starts, that of `but` left out."""
        account = self.accounts.get(slot)
        if account is None or not account.outstanding:
            return NOTHING
        return self._less(slot, account.held(), but)

    def offers_of(self, slot: Slot) -> dict[str, Resources]:
        """The slot's outstanding offers by id. Not to be changed."""
        account = self.accounts.get(slot)
        return account.outstanding or {} if account is not None else {}

    def slot_of(self, offer_id: str) -> Slot | None:
        account = self._offers.get(offer_id)
        return account.slot if account is not None else None

    def outstanding(self) -> Iterator[str]:
        """The ids of all offers in hand."""
        return iter(self._offers)

    def stats(self, account: Account, state: NodeState | None = None) -> NodeStats:
        agent = self.agents[account.slot.agent_id]
        free = account.free()
        if state is None:
            state = self._state(agent, account)
        return NodeStats(
            account.slot.agent_id,
            account.slot.role,
            agent.hostname,
            free,
            self._less(account.slot, free),
            account.observed_at,
            state,
        )

    # -- reservations

    def reserve(self, launch_id: str, slot: Slot, ask: Ask, now: float) -> None:
        self.reservations.reserve(launch_id, slot, ask, now)
        self.mark(slot)

    def release(self, launch_id: str) -> None:
        """The start is off, refused, running or over."""
        slot = self.reservations.release(launch_id)
        if slot is not None:
            self.mark(slot)

    def cut(self, launch_id: str, resources: Resources, task_id: str) -> None:
        """The start was cut from an offer: it is listed, not subtracted."""
        self.mark(self.reservations.cut(launch_id, resources, task_id))

    # -- within

    def _less(self, slot: Slot, room: Resources, but: str | None = None) -> Resources:
        cpus, mem = self.buffer_on(self.agents[slot.agent_id])
        uncut = self.reservations.uncut(slot, but)
        ports = room.ports
        if uncut is not None:
            cpus, mem = cpus + uncut.milli_cpus, mem + uncut.milli_mem
            if uncut.ports:
                count = len(ports)
                ports = ports.minus(ports.take(uncut.ports)) if uncut.ports < count else NO_PORTS
            return Resources(
                room.milli_cpus - cpus,
                room.milli_mem - mem,
                room.milli_disk - uncut.milli_disk,
                room.milli_gpus - uncut.milli_gpus,
                ports,
            )
        return Resources(room.milli_cpus - cpus, room.milli_mem - mem, room.milli_disk, room.milli_gpus, ports)

    def _state(self, agent: Agent, account: Account) -> NodeState:
        if agent.gone_at is not None:
            return NodeState.GONE
        if agent.unavailability is not None:
            return NodeState.DRAINING
        if account.outstanding:
            return NodeState.FRESH
        return NodeState.STALE if account.observed_at is not None else NodeState.UNKNOWN

    def _take(self, offer_id: str) -> tuple[Account, Resources]:
        account = self._offers.pop(offer_id)
        assert account.outstanding is not None
        resources = account.outstanding.pop(offer_id)
        if not account.outstanding:
            account.outstanding = None
        self.mark(account.slot)
        return account, resources

    def _remember(self, account: Account, resources: Resources, now: float, source: str) -> None:
        if resources:
            account.remembered = (*account.remembered, Remembered(resources, now, source))
        self.mark(account.slot)

    def validate(self) -> None:
        """Check the book against itself. Raises InvariantBroken."""
        seen: set[str] = set()
        for slot, account in self.accounts.items():
            if account not in self.agents[slot.agent_id].accounts:
                raise InvariantBroken(f"{slot} is not among its agent's accounts")
            for offer_id in account.outstanding or ():
                if offer_id in seen or self._offers.get(offer_id) is not account:
                    raise InvariantBroken(f"offer {offer_id} stands in two places")
                seen.add(offer_id)
            for piece in account.remembered:
                if min(piece.resources.milli_mem, piece.resources.milli_cpus) < 0:
                    raise InvariantBroken(f"{slot} remembers a debt: {piece}")
        if len(seen) != len(self._offers):
            raise InvariantBroken("an offer has no account")
        self.reservations.validate()

"""The one book of what is free and what is reserved, per node and allocation role.

Theory of operation. Room comes in pieces: *outstanding* ones are at hand (on Mesos: offers), *remembered* ones are what
was at hand when it was let go (estimates, of which nothing is taken). A start is *reserved* when it is decided and
subtracted until it is *cut* from what is at hand; from then on it is listed, not subtracted, since what is remembered
is already without it. A stop is listed, never subtracted and never credited: somebody else may get the room first.

    available = outstanding + remembered - reserved starts - buffer

The container factory's decisions write it; the pool reads it, and reserves its starts and stops in it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from owmesos.core.constraints import NO_ATTRIBUTES, Attributes
from owmesos.core.node_stats import NodeState, NodeStats
from owmesos.core.placement import Slot
from owmesos.core.reservations import Reservations
from owmesos.core.texts import shared
from owmesos.errors import InvalidInput, InvariantBroken
from owmesos.resources import NO_PORTS, NOTHING, Ask, Resources, milli, total

SHARE = 0.05  # of a node's memory


class Buffer(msgspec.Struct, frozen=True, gc=False):
    """What stays free on every node: it is subtracted from what is at hand, as what is reserved is.

    The authors of OpenWhisk's proposal *Clustered Resources* saw launches fail because a cluster manager's numbers are
    always a little old; none of their code ever kept a margin when launching.
    """

    milli_mem: int = 0
    milli_cpus: int = 0
    share: float = SHARE  # of the node's memory, 0 to 1, which comes on top

    @classmethod
    def of(cls, *, mem: float = 0, cpus: float = 0, share: float = SHARE) -> Buffer:
        """From MB, cpus and a share. Raises InvalidInput."""
        if not 0 <= share < 1:
            raise InvalidInput(f"the buffer's share must be at least 0 and below 1, not {share!r}")
        return cls(milli("buffer-mem", mem), milli("buffer-cpus", cpus), share)

    def on(self, milli_mem: int) -> tuple[int, int]:
        """(cpus, mem) to keep free, in thousandths, on a node with `milli_mem` of memory: the sum of both kinds."""
        return self.milli_cpus, self.milli_mem + int(milli_mem * self.share)


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """A piece that was let go at `since` (seconds). `source` names what it is the rest of: on Mesos an offer's id."""

    resources: Resources
    since: float
    source: str


class Account(msgspec.Struct, eq=False):
    """One slot's pieces."""

    slot: Slot
    held: Resources | None = None  # what is at hand there, all together; None without any
    remembered: tuple[Remembered, ...] = ()
    observed_at: float | None = None  # when room was last given, in seconds

    def free(self) -> Resources:
        remembered = self.remembered
        if self.held is None:
            return remembered[0].resources if len(remembered) == 1 else total([each.resources for each in remembered])
        return self.held.plus(total([each.resources for each in remembered])) if remembered else self.held


class LedgerNode(msgspec.Struct, eq=False):
    """What is known of one node, keyed by its id and never by its hostname. Times in seconds."""

    agent_id: str
    hostname: str
    address: str = ""  # host:port
    attributes: Attributes = NO_ATTRIBUTES
    accounts: tuple[Account, ...] = ()
    total: Resources | None = None
    most_mem: int = 0  # the most memory ever seen free or ours, in thousandths of MB
    unavailability: tuple[float, float | None] | None = None  # start, duration
    gone_at: float | None = None

    @property
    def seen(self) -> bool:
        """Whether room was given there since the cluster was last reached."""
        return any(account.observed_at is not None for account in self.accounts)

    @property
    def name(self) -> str:
        """For people: `S3 (node3)`."""
        return f"{self.agent_id} ({self.hostname})" if self.hostname != self.agent_id else self.agent_id


class Ledger:
    """Pieces by slot, and the reservations on them. Every slot that changes is marked for all who watch."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.agents: dict[str, LedgerNode] = {}
        self.accounts: dict[Slot, Account] = {}
        self.reservations = Reservations()
        self._watchers: list[set[Slot]] = []
        self._addresses: dict[str, str] = {}

    # -- who follows

    def watch(self) -> set[Slot]:
        """A set of one's own, to which every slot is added that changes from now on; take them out as you like."""
        watcher: set[Slot] = set()
        self._watchers.append(watcher)
        return watcher

    def mark(self, slot: Slot) -> None:
        """Mark `slot` as changed: what is free or reserved there, or what is known of its node."""
        for watcher in self._watchers:
            watcher.add(slot)

    # -- nodes

    def agent(self, agent_id: str) -> LedgerNode:
        """Return the node, which is made known if it is not."""
        agent = self.agents.get(agent_id)
        if agent is None:
            agent = self.agents[agent_id] = LedgerNode(agent_id, agent_id)
        return agent

    def moved_in(self, agent: LedgerNode, address: str) -> str | None:
        """Note that `agent` lives at `address`; the id of the node that lived there before and is thereby gone."""
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

    def account_of(self, agent: LedgerNode, role: str) -> Account:
        """The account of the node's slot for `role`, which is made known if it is not."""
        for account in agent.accounts:
            if account.slot.role == role:
                return account
        return self.account(Slot(agent.agent_id, shared(role)))

    # -- pieces

    def offer(self, slot: Slot, held: Resources, now: float) -> None:
        """Take up room that was given: `held` is all at hand there; what is remembered of the node is forgotten."""
        account = self.account(slot)
        agent = self.agents[slot.agent_id]
        for other in agent.accounts:
            if other.remembered:
                other.remembered = ()
                self.mark(other.slot)
        account.held = held
        account.observed_at = now
        if held.milli_mem > agent.most_mem:
            agent.most_mem = held.milli_mem
        agent.gone_at = None
        self.mark(slot)

    def remember_offer(self, agent: LedgerNode, account: Account, piece: Remembered, *, more: bool) -> None:
        """Take up room that was given and let go at once, as `offer`, `hold` and `remember` do in turn. Nothing may be
        at hand on the node. `more`: beside the room that was taken up of it in the same step.
        """
        if not more:
            for other in agent.accounts:
                if other.remembered:
                    other.remembered = ()
                    if other is not account:
                        self.mark(other.slot)
        if piece.resources:
            account.remembered = (*account.remembered, piece) if account.remembered else (piece,)
        account.observed_at = piece.since
        most_mem = account.free().milli_mem
        if most_mem > agent.most_mem:
            agent.most_mem = most_mem
        agent.gone_at = None
        self.mark(account.slot)

    def hold(self, slot: Slot, held: Resources | None) -> None:
        """Set all that is at hand on `slot`; None for nothing."""
        self.account(slot).held = held
        self.mark(slot)

    def remember(self, slot: Slot, resources: Resources, now: float, source: str) -> None:
        """Remember a piece that was let go, or that was left when a start was cut."""
        account = self.account(slot)
        if resources:
            account.remembered = (*account.remembered, Remembered(resources, now, source))
        self.mark(slot)

    def forget_leftover(self, slot: Slot, source: str) -> None:
        """Forget what was left from `source`."""
        account = self.accounts.get(slot)
        if account is not None and any(piece.source == source for piece in account.remembered):
            account.remembered = tuple(piece for piece in account.remembered if piece.source != source)
            self.mark(slot)

    def silent_since(self, revived_at: float, agent_ids: Iterable[str] | None = None) -> None:
        """Room was asked for at `revived_at`, in vain: drop what was let go before, on the nodes that were asked.

        `agent_ids` None means all.
        """
        for agent in self.agents.values() if agent_ids is None else map(self.agent, agent_ids):
            for account in agent.accounts:
                kept = tuple(piece for piece in account.remembered if piece.since >= revived_at)
                if len(kept) != len(account.remembered):
                    account.remembered = kept
                    self.mark(account.slot)

    def lose_agent(self, agent_id: str, now: float) -> None:
        """Drop all pieces of a node that is gone, unreachable or replaced."""
        agent = self.agents.get(agent_id)
        if agent is None:
            return
        for account in agent.accounts:
            account.held = None
            account.remembered = ()
            self.mark(account.slot)
        agent.gone_at = now
        if self._addresses.get(agent.address) == agent_id:
            del self._addresses[agent.address]

    def disconnect(self) -> None:
        """Drop all pieces: the cluster is unknown, which is not full."""
        for account in self.accounts.values():
            account.held = None
            account.remembered = ()
            account.observed_at = None
            self.mark(account.slot)

    def forget_agent(self, agent_id: str) -> None:
        """Drop a gone node from the book. It must hold no piece and no reservation."""
        agent = self.agents.pop(agent_id)
        for account in agent.accounts:
            del self.accounts[account.slot]
            for watcher in self._watchers:
                watcher.discard(account.slot)

    # -- what is free

    def buffer_on(self, agent: LedgerNode) -> tuple[int, int]:
        """(cpus, mem) in thousandths: the share counts from the total where known, else from the most seen free."""
        return self.buffer.on(agent.total.milli_mem if agent.total is not None else agent.most_mem)

    def free(self, slot: Slot) -> Resources:
        """Outstanding and remembered, before reservations and buffer."""
        account = self.accounts.get(slot)
        return account.free() if account is not None else NOTHING

    def available(self, slot: Slot) -> Resources:
        return self._less_reserved(slot, self.free(slot))

    def held(self, slot: Slot, but: str | None = None) -> Resources:
        """What a start may take now: outstanding less the buffer and less reserved starts, that of `but` left out."""
        account = self.accounts.get(slot)
        if account is None or account.held is None:
            return NOTHING
        return self._less_reserved(slot, account.held, but)

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
            self._less_reserved(account.slot, free) if account.observed_at is not None else free,
            account.observed_at,
            state,
        )

    # -- reservations

    def reserve(self, launch_id: str, slot: Slot, ask: Ask, now: float) -> None:
        self.reservations.reserve(launch_id, slot, ask, now)
        self.mark(slot)

    def release(self, launch_id: str) -> None:
        """Release a start that is off, refused, running or over."""
        slot = self.reservations.release(launch_id)
        if slot is not None:
            self.mark(slot)

    def cut(self, launch_id: str, resources: Resources, task_id: str) -> None:
        """List a start as cut from what is at hand: it is no longer subtracted."""
        self.mark(self.reservations.cut(launch_id, resources, task_id))

    # -- within

    def _less_reserved(self, slot: Slot, room: Resources, but: str | None = None) -> Resources:
        cpus, mem = self.buffer_on(self.agents[slot.agent_id])
        reserved = self.reservations.reserved_on(slot, but)
        ports = room.ports
        if reserved is None:
            left = (room.milli_cpus - cpus, room.milli_mem - mem, room.milli_disk, room.milli_gpus)
            return Resources(*left, ports, room.pods)
        if reserved.ports:
            ports = ports.minus(ports.take(reserved.ports)) if reserved.ports < len(ports) else NO_PORTS
        return Resources(
            room.milli_cpus - cpus - reserved.milli_cpus,
            room.milli_mem - mem - reserved.milli_mem,
            room.milli_disk - reserved.milli_disk,
            room.milli_gpus - reserved.milli_gpus,
            ports,
            room.pods - reserved.pods,
        )

    def _state(self, agent: LedgerNode, account: Account) -> NodeState:
        if agent.gone_at is not None:
            return NodeState.GONE
        if agent.unavailability is not None:
            return NodeState.DRAINING
        if account.held is not None:
            return NodeState.FRESH
        return NodeState.STALE if account.observed_at is not None else NodeState.UNKNOWN

    def validate(self) -> None:
        """Check the book against itself. Raises InvariantBroken."""
        for slot, account in self.accounts.items():
            if account not in self.agents[slot.agent_id].accounts:
                raise InvariantBroken(f"{slot} is not among its agent's accounts")
            for piece in account.remembered:
                if min(piece.resources.milli_mem, piece.resources.milli_cpus) < 0:
                    raise InvariantBroken(f"{slot} remembers a debt: {piece}")
        self.reservations.validate()

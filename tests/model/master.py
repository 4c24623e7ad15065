"""A Mesos master as its scheduler sees it, in virtual time and without I/O: calls go in, events come out.

What it does was measured on Mesos 1.11: allocation at once on REVIVE, SUBSCRIBE and a new agent, else by ticks of a
second; filters that refuse only what they contain; one unacknowledged update of a task at a time; ACCEPTs that are all
or nothing by their offers and one by one by their tasks. What no scheduler may ever send is an AssertionError here.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count

from owmesos.mesos.messages import (
    ID,
    Accept,
    AcceptInverseOffers,
    Call,
    Decline,
    DeclineInverseOffers,
    Event,
    FrameworkInfo,
    InverseOffer,
    InverseOffers,
    OfferConstraints,
    Offers,
    Rescind,
    Revive,
    Subscribed,
    Suppress,
    TaskInfo,
    TimeInfo,
    Unavailability,
    UpdateFramework,
)
from owmesos.resources import NOTHING, Resources, total
from tests.model.agents import FRAMEWORK, Link, ModelAgent, ModelOffer, Room, room_minus, room_of
from tests.model.tasks import TaskBook

TICK = 1.0
RESCIND_FILTER = 5.0
DEFAULT_FILTER = 5.0


class Filter:
    """Refuses to `role` every offer of the agent that `room` contains."""

    def __init__(self, room: Resources, until: float) -> None:
        self.room = room
        self.until = until


class Master:
    """`emit` gets the events of the present stream; `refused` names of tasks whose ACCEPT is answered 400."""

    def __init__(self, roles: tuple[str, ...], emit: Callable[[Event], None]) -> None:
        self.roles = roles
        self.now = 0.0
        self.subscribed = False
        self.agents: dict[str, ModelAgent] = {}
        self.offers: dict[str, ModelOffer] = {}
        self.spent: set[str] = set()  # ids that stood in an ACCEPT or DECLINE
        self.inverse: set[str] = set()
        self.suppressed = False
        self.constraints: OfferConstraints | None = None
        self.constraints_work = True
        self.refused = frozenset({"bad"})
        self.filters: dict[tuple[str, str], list[Filter]] = {}  # by agent id and role
        self._emit = emit
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._numbers = count()
        self._allocate_at: float | None = None
        self._turn = 0
        self.tasks = TaskBook(self)

    # -- time

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._order), action))

    def next_time(self) -> float:
        """When something happens by itself, or infinity."""
        first = self._heap[0][0] if self._heap else math.inf
        return first if self._allocate_at is None else min(first, self._allocate_at)

    def advance(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            when, _, action = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            action()
        self.now = now
        if self._allocate_at is not None and self._allocate_at <= now:
            self._allocate_at = None
            self._allocate()

    def touch(self) -> None:
        """Something may be free: it is offered at the next tick."""
        if self._allocate_at is None:
            self._allocate_at = (math.floor(self.now / TICK) + 1) * TICK

    def emit(self, event: Event) -> None:
        if self.subscribed:
            self._emit(event)

    # -- allocation

    def add_agent(self, agent: ModelAgent) -> None:
        """It registers: offered at once, whatever was filtered before."""
        self.agents[agent.agent_id] = agent
        for role in self.roles:
            self.filters.pop((agent.agent_id, role), None)
        self._allocate([agent])

    def free(self, agent: ModelAgent, role: str | None = None) -> Room:
        """What nobody has, by label; of reserved room only what `role` may see."""
        out = [offer.room for offer in self.offers.values() if offer.agent is agent]
        room: Room = {}
        for label, part in agent.total.items():
            if role is not None and label is not None and label.role != role:
                continue
            left = part.minus(agent.used(label)).minus(total(each.get(label, NOTHING) for each in out))
            if label is None:
                left = left.minus(agent.neighbours)
            assert min(left.milli_cpus, left.milli_mem, left.milli_disk) >= 0, f"{agent.agent_id} is over-provisioned"
            if left:
                room[label] = left
        return room

    def _allocate(self, agents: list[ModelAgent] | None = None) -> None:
        """One event with an offer of each agent that has something for a role that may get it."""
        if not self.subscribed or self.suppressed:
            return
        found = []
        for agent in self.agents.values() if agents is None else agents:
            if agent.link not in (Link.UP, Link.FROZEN):
                continue
            self._turn += 1
            for index in range(len(self.roles)):
                role = self.roles[(self._turn + index) % len(self.roles)]
                room = self.free(agent, role)
                whole = total(room.values())
                if whole.milli_cpus < 10 and whole.milli_mem < 32_000:
                    continue
                if self._passes(agent, role, whole):
                    offer = ModelOffer(f"O{next(self._numbers)}", agent, role, room)
                    self.offers[offer.offer_id] = offer
                    found.append(offer.message(self.now))
                    break
        if found:
            self.emit(Offers(found))

    def _passes(self, agent: ModelAgent, role: str, whole: Resources) -> bool:
        if self.constraints is not None:
            groups = self.constraints.role_constraints[role].groups
            hosts = [group.attribute_constraints[0].predicate.text_equals for group in groups]
            if agent.host not in [host.value for host in hosts if host is not None]:
                return False
        kept = [each for each in self.filters.get((agent.agent_id, role), ()) if each.until > self.now]
        self.filters[agent.agent_id, role] = kept
        return not any(each.room.covers(whole) for each in kept)

    def _filter(self, agent: ModelAgent, role: str, room: Resources, seconds: float) -> None:
        until = self.now + seconds
        self.filters.setdefault((agent.agent_id, role), []).append(Filter(room, until))
        if seconds < 7200:
            self.at(until, self.touch)

    # -- the stream

    def subscribe(self, info: FrameworkInfo) -> None:
        """SUBSCRIBE is taken: what was forgotten at the loss of the stream is offered at once."""
        assert not self.subscribed
        assert info.id is None or info.id == FRAMEWORK
        self.subscribed = True
        self.emit(Subscribed(FRAMEWORK))
        self._allocate()
        self.tasks.resend()

    def lose_stream(self) -> None:
        """Offers are void without a word; filters, suppression and constraints are forgotten."""
        self.subscribed = False
        self.offers.clear()
        self.filters.clear()
        self.inverse.clear()
        self.suppressed, self.constraints = False, None

    def restart(self, back_after: dict[str, float]) -> None:
        """Another master leads: agents register again after `back_after` seconds, or stay absent."""
        self.lose_stream()
        for agent in self.agents.values():
            if agent.link in (Link.UP, Link.FROZEN):
                agent.link = Link.ABSENT
                if agent.agent_id in back_after:
                    self.at(self.now + back_after[agent.agent_id], lambda agent=agent: self.tasks.register(agent))

    # -- calls

    def receive(self, call: Call) -> tuple[int, str] | None:
        """None when it is taken, else the status and the text of the refusal."""
        assert self.subscribed, f"{call.wire_type} without a subscription"
        if isinstance(call, Accept):
            return self._accept(call)
        if isinstance(call, Decline):
            self._decline(call)
        elif isinstance(call, Revive):
            self.filters.clear()
            self.suppressed = False
            self._allocate()
        elif isinstance(call, Suppress):
            self.suppressed = True
        elif isinstance(call, UpdateFramework):
            return self._update_framework(call)
        elif isinstance(call, (AcceptInverseOffers, DeclineInverseOffers)):
            assert call.filters is not None
            self.inverse.difference_update(each.value for each in call.inverse_offer_ids)
        else:
            self.tasks.receive(call)
        return None

    def _update_framework(self, call: UpdateFramework) -> tuple[int, str] | None:
        assert call.framework_info.id == FRAMEWORK
        if call.offer_constraints is not None and not self.constraints_work:
            return 400, "'UpdateFramework.offer_constraints' are not valid: this master takes none"
        if self.suppressed and not call.suppressed_roles:
            self.suppressed = False
            self.filters.clear()
        self.constraints = call.offer_constraints
        self.touch()
        return None

    def _spend(self, offer_ids: list[ID]) -> tuple[list[ModelOffer], list[str]]:
        """The valid ones, which are taken out, and the ids that are not valid."""
        valid, invalid = [], []
        for offer_id in (each.value for each in offer_ids):
            assert offer_id not in self.spent, f"offer {offer_id} stands in two calls"
            self.spent.add(offer_id)
            offer = self.offers.pop(offer_id, None)
            if offer is None:
                invalid.append(offer_id)
            else:
                valid.append(offer)
        self.touch()
        return valid, invalid

    def _decline(self, call: Decline) -> None:
        assert call.filters is not None, "a DECLINE without a filter"
        assert call.filters.refuse_seconds is not None, "a DECLINE without a filter"
        for offer in self._spend(call.offer_ids)[0]:
            self._filter(offer.agent, offer.role, offer.whole(), call.filters.refuse_seconds)

    def _accept(self, call: Accept) -> tuple[int, str] | None:
        infos = [info for each in call.operations if each.launch is not None for info in each.launch.task_infos]
        assert call.offer_ids, "an ACCEPT without offers"
        assert infos, "an ACCEPT without tasks"
        assert call.filters is not None, "an ACCEPT without a filter"
        assert call.filters.refuse_seconds is not None, "an ACCEPT without a filter"
        if any(info.name in self.refused for info in infos):
            return 400, "Failed to convert JSON into Call protobuf: Missing required fields: task_infos[0].name"
        offers, invalid = self._spend(call.offer_ids)
        if invalid:
            for info in infos:
                self.tasks.never_launched(info, f"Offer {invalid[0]} is no longer valid")
            return None
        agent, role = offers[0].agent, offers[0].role
        assert all(offer.agent is agent and offer.role == role for offer in offers), "offers that do not go together"
        labels = {label for offer in offers for label in offer.room}
        left: Room = {label: total(offer.room.get(label, NOTHING) for offer in offers) for label in labels}
        for info in infos:
            left = self._launch(info, agent, left)
        rest = total(left.values())
        if rest:
            self._filter(agent, role, rest, call.filters.refuse_seconds)
        return None

    def _launch(self, info: TaskInfo, agent: ModelAgent, left: Room) -> Room:
        named = list(info.resources) + (list(info.executor.resources) if info.executor is not None else [])
        room = room_of(named)
        assert info.agent_id.value == agent.agent_id, f"{info.task_id} names agent {info.agent_id}"
        assert all(left.get(label, NOTHING).covers(part) for label, part in room.items()), (
            f"task {info.task_id.value} takes {room}, its offers hold {left}"
        )
        self.tasks.launch(info, agent, room)
        return room_minus(left, room)

    # -- what happens to offers

    def rescind(self, offer: ModelOffer, *, filtered: bool = False) -> None:
        """The offer is taken back; the rescission may leave a filter of 5 s (measured)."""
        del self.offers[offer.offer_id]
        self.emit(Rescind(ID(offer.offer_id)))
        if filtered:
            self._filter(offer.agent, offer.role, offer.whole(), RESCIND_FILTER)
        self.touch()

    def rescind_all(self, agent: ModelAgent | None = None) -> None:
        for offer in list(self.offers.values()):
            if agent is None or offer.agent is agent:
                self.rescind(offer)

    def maintenance(self, agent: ModelAgent, *, planned: bool) -> None:
        """The schedule changes: all offers are rescinded and come again at once, and an inverse offer is made."""
        agent.unavailable = planned
        self.rescind_all()
        self._allocate()
        if planned and self.subscribed and any(not task.freed for task in agent.tasks.values()):
            inverse_id = f"I{next(self._numbers)}"
            window = Unavailability(TimeInfo(int(self.now * 1e9)))
            self.inverse.add(inverse_id)
            self.emit(InverseOffers([InverseOffer(ID(inverse_id), FRAMEWORK, window, agent_id=ID(agent.agent_id))]))

    def neighbours(self, agent: ModelAgent, share: float) -> None:
        """Other frameworks use `share` of what they can get of the agent."""
        agent.neighbours = NOTHING
        free = self.free(agent).get(None, NOTHING)
        agent.neighbours = Resources(int(free.milli_cpus * share), int(free.milli_mem * share))
        self.touch()

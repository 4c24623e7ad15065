"""Offers that nobody waits for are declined without being in hand, and leave what they would leave if they had been."""

from __future__ import annotations

from collections import Counter
from itertools import count

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from owmesos.core.ledger import Buffer
from owmesos.core.listings import reservations
from owmesos.mesos import listings
from owmesos.mesos.messages import (
    ID,
    URL,
    Address,
    AllocationInfo,
    Decline,
    Event,
    Failure,
    InverseOffer,
    InverseOffers,
    Offer,
    Offers,
    Rescind,
    Resource,
    Scalar,
    Subscribed,
    TaskStatus,
    TimeInfo,
    Unavailability,
    Update,
)
from owmesos.mesos.scheduler.effects import Effect, SendCall, StatsChanged
from owmesos.mesos.scheduler.events import AgentSeen, AgentsSeen, KillLaunches, Submit, Tick
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings, framework_info
from owmesos.mesos.scheduler.task_info import template
from owmesos.resources import Resources
from tests.examples import examples

AGENTS = st.sampled_from(["S0", "S1", "S2"])
MOMENT = Unavailability(TimeInfo(5 * 10**9))
LAUNCH = Launch("true", cpus=1.0, mem=100.0)


def offer(
    agent_id: str, host: str, address: str | None, role: str, cpus: float, mem: float, unavailability: bool
) -> Offer:
    """Its id is given when it comes."""
    return Offer(
        ID(""),
        ID("F"),
        ID(agent_id),
        host,
        url=URL("http", Address(5051, ip=address)) if address is not None else None,
        resources=[Resource(name, "SCALAR", Scalar(amount)) for name, amount in (("cpus", cpus), ("mem", mem))],
        allocation_info=AllocationInfo(role),
        unavailability=MOMENT if unavailability else None,
    )


OFFERS = st.lists(
    st.builds(
        offer,
        AGENTS,
        st.sampled_from(["h0", "h1"]),
        st.sampled_from([None, "10.0.0.1", "10.0.0.2"]),
        st.sampled_from(["web", "other"]),
        st.sampled_from([0.0, 1.0, 2.0, -1.0]),
        st.sampled_from([0.0, 100.0, 1000.0]),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=6,
)
TASKS = st.sampled_from(["L1.1", "L2.1", "L1.2"])
OTHERS = st.one_of(
    st.integers(0, 20).map(lambda number: Rescind(ID(f"O{number}"))),
    AGENTS.map(lambda agent_id: Failure(ID(agent_id))),
    AGENTS.map(lambda agent_id: InverseOffers([InverseOffer(ID("I"), ID("F"), MOMENT, agent_id=ID(agent_id))])),
    st.just(Tick()),
    st.just(AgentsSeen((AgentSeen("S0", "h0", Resources.of(cpus=4, mem=2000)),))),
    st.just(Submit("L", LAUNCH, template(LAUNCH))),
    st.just(KillLaunches(("L1",))),
    st.builds(
        lambda task_id, state, agent_id: Update(TaskStatus(ID(task_id), state, agent_id=ID(agent_id))),
        TASKS,
        st.sampled_from(["TASK_RUNNING", "TASK_FINISHED", "TASK_FAILED"]),
        AGENTS,
    ),
)
STEPS = st.lists(st.tuples(OFFERS | OTHERS, st.sampled_from([0.0, 1.0, 8.0, 700.0])), min_size=1, max_size=10)


def shown(scheduler: Scheduler, now: float) -> dict[str, object]:
    state = scheduler.state
    state.validate()
    agents = state.ledger.agents.values()
    there = {agent.agent_id for agent in agents if agent.gone_at is None}
    return {
        "nodes": listings.nodes(state, now),
        "reservations": reservations(state.ledger, now),
        "launches": listings.launches(state),
        "last offers": {row["agent_id"]: row for row in listings.offers(state, now) if row["agent_id"] in there},
        "rooms": [(each.slot, each.held, each.remembered, each.observed_at) for each in state.ledger.accounts.values()],
        "most memory": [(agent.agent_id, agent.most_mem, agent.address) for agent in agents],
        "closed": state.capacity.closed,
        "wake": scheduler.next_wake(),
    }


def told(effects: list[Effect]) -> Counter[str]:
    """Without the DECLINEs: of agents that went meanwhile they may have the offers or not, in one call or in two."""
    stats = [set(each.update.changed) | set(each.update.gone) for each in effects if isinstance(each, StatsChanged)]
    rest = [each for each in effects if not isinstance(each, StatsChanged)]
    declined = [each for each in rest if isinstance(each, SendCall) and isinstance(each.call, Decline)]
    return Counter(
        [str(sorted(map(repr, each))) for each in stats] + [repr(each) for each in rest if each not in declined]
    )


class TwoSchedulers:
    """Of one, offers are always put in hand first."""

    def __init__(self, buffer: Buffer) -> None:
        info = framework_info(name="n", user="u", roles=("web", "other"))
        self.passing, self.holding = (Scheduler(Settings(buffer=buffer), info) for _ in range(2))
        self.holding.state.offers_are_unwanted = lambda now: False  # type: ignore[method-assign]

    def handle(self, event: Event, now: float) -> None:
        first, second = (told(each.handle(event, now)) for each in (self.passing, self.holding))
        assert first == second
        assert shown(self.passing, now) == shown(self.holding, now)


@given(STEPS, st.sampled_from([Buffer(share=0.0), Buffer()]))
@settings(max_examples=examples(300), deadline=None)
def test_they_leave_the_same_as_those_that_were_in_hand(
    steps: list[tuple[list[Offer] | Event, float]], buffer: Buffer
) -> None:
    both, now, numbers, launches = TwoSchedulers(buffer), 20.0, count(), count(1)
    both.handle(Subscribed(ID("F")), 0.0)
    both.handle(Tick(), now)
    for step, later in steps:
        now += later
        if isinstance(step, list):
            step = Offers([msgspec.structs.replace(each, id=ID(f"O{next(numbers)}")) for each in step])
        elif isinstance(step, Submit):
            step = msgspec.structs.replace(step, launch_id=f"L{next(launches)}")
        elif isinstance(step, KillLaunches) and "L1" not in both.passing.state.launches:
            continue
        both.handle(step, now)

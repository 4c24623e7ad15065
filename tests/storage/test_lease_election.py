"""Which process leads by a Lease: on the simulated API server in virtual time, where processes freeze, are cut off, and
do not get their answers."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from owmesos.kubernetes import leases
from owmesos.simulator.agenda import Agenda
from owmesos.simulator.kubernetes.admission import ApiAnswer
from owmesos.simulator.kubernetes.api_server import ApiServer
from owmesos.simulator.kubernetes.settings import ControlPlaneSettings
from owmesos.storage.election import GIVE_UP, LEASE, Depose, Follow, Lead, Leader, Renew, TimePassed
from owmesos.storage.lease_election import (
    ANNOUNCE_EVERY,
    DURATION,
    LOOK_EVERY,
    RENEW_EVERY,
    AnnounceWait,
    KeepLease,
    LeaseChanged,
    LeaseEffect,
    LeaseElection,
    LeaseEvent,
    LeaseSeen,
    LeaseTaken,
    ReadLease,
    SeenLease,
    TakeLease,
)
from owmesos.system.lease import Lease

STEP = 0.1
NAME = leases.lease_name("i")
HELD = SeenLease("7", "b", DURATION, "t1", "http://b:1", "c at t0")


class Servers:
    """The API server, and the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.api = ApiServer(Agenda(0.0), ControlPlaneSettings())
        self.names = 0

    @property
    def lease(self) -> dict[str, Any] | None:
        answer = self.api.get_lease("default", NAME)
        return answer.body if answer.done else None

    def pass_time(self) -> None:
        self.now = round(self.now + STEP, 6)


class Process:
    """One that takes part. While it is `frozen` it does nothing; `cut`: its requests do not arrive; `deaf`: it gets no
    answers. A request that it sends is `late` by so many steps."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.frozen = self.cut = self.deaf = self.dead = False
        self.late = 0
        self.lease = Lease(DURATION, lambda: servers.now)
        servers.names += 1
        self.name = f"p{servers.names}"
        self.election = LeaseElection(self.name)
        self.stored: Any = None
        self.led = False
        self.under_way: tuple[int, LeaseEffect, float] | None = None  # steps that are left, what, when it began
        self.events: deque[LeaseEvent] = deque()

    @property
    def acts(self) -> bool:
        """Whether it may send now, if it runs."""
        return self.led and not self.dead and self.lease.holds

    def turn(self) -> None:
        if self.frozen or self.dead:
            return
        if self.under_way is not None:
            left, effect, began = self.under_way
            if left > 0:
                self.under_way = (left - 1, effect, began)
                return
            self.under_way = None
            self.send(effect, began)
        elif self.election.next_wake() <= self.servers.now:
            self.events.append(TimePassed())
        while self.events and self.under_way is None and not self.dead:
            for effect in self.election.handle(self.events.popleft(), self.servers.now):
                self.carry_out(effect)

    def carry_out(self, effect: LeaseEffect) -> None:
        if isinstance(effect, Renew):
            self.lease.renew(effect.until)
        elif isinstance(effect, Lead):
            self.led = True
        elif isinstance(effect, Depose):
            self.dead = True
            self.lease.end()
        elif isinstance(effect, Follow):
            return
        elif self.late:
            self.under_way = (self.late, effect, self.servers.now)
        else:
            self.send(effect, self.servers.now)

    def send(self, effect: LeaseEffect, began: float) -> None:
        if self.cut:
            return
        answer = self.asked(effect)
        if self.deaf:
            return
        if answer.status == 409:
            self.events.append(LeaseChanged())
            return
        self.stored = answer.body if answer.done else None
        if isinstance(effect, (TakeLease, KeepLease)):
            lease = seen(self.stored)
            assert lease is not None
            self.events.append(LeaseTaken(lease, began))
        else:
            self.events.append(LeaseSeen(seen(self.stored)))

    def asked(self, effect: LeaseEffect) -> ApiAnswer:
        api, now = self.servers.api, f"{self.name} {self.servers.now}"
        if isinstance(effect, ReadLease):
            return api.get_lease("default", NAME)
        if isinstance(effect, TakeLease) and effect.version is None:
            made = leases.taken(leases.new_lease("default", "i"), self.name, "http://h:1", DURATION, now)
            return api.post_lease("default", made)
        if isinstance(effect, TakeLease):
            changed = leases.taken(self.stored, self.name, "http://h:1", DURATION, now)
        elif isinstance(effect, AnnounceWait):
            changed = leases.announced(self.stored, now)
        else:
            changed = leases.kept(self.stored, now)
        return api.put_lease("default", NAME, changed)

    def leave(self) -> None:
        self.dead = True
        self.lease.end()
        stored = self.servers.lease
        if stored is not None and stored["spec"]["holderIdentity"] == self.name and self.election.leading:
            self.servers.api.put_lease("default", NAME, leases.released(stored, str(self.servers.now)))


def seen(stored: Any) -> SeenLease | None:
    if stored is None:
        return None
    spec = stored["spec"]
    version = stored["metadata"]["resourceVersion"]
    holder, duration = spec["holderIdentity"], spec["leaseDurationSeconds"]
    return SeenLease(version, holder, duration, spec["renewTime"], "http://h:1", leases.waiting_of(stored))


class Group:
    """Three processes; whoever ended is started again, as by its supervisor."""

    def __init__(self) -> None:
        self.servers = Servers()
        self.processes = [Process(self.servers) for _ in range(3)]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            for place, each in enumerate(self.processes):
                if each.dead:
                    self.processes[place] = Process(self.servers)
                self.processes[place].turn()
            self.servers.pass_time()
            assert len(self.acting) <= 1

    @property
    def acting(self) -> list[Process]:
        return [each for each in self.processes if each.acts]

    def leader(self) -> Process:
        (found,) = self.acting
        return found

    def until_another_leads(self, than: Process) -> float:
        began = self.servers.now
        while not [each for each in self.acting if each is not than]:
            self.run(STEP)
            assert self.servers.now < began + 60
        return self.servers.now - began


Harm = st.tuples(
    st.integers(0, 2), st.sampled_from(["freeze", "cut", "deaf", "late", "delete", "end", "none"]), st.integers(1, 120)
)


@given(st.lists(Harm, max_size=12))
@example([(0, "freeze", 18), (0, "delete", 1), (0, "freeze", 41), (0, "delete", 1)])  # as soon as it was made anew
def test_never_two_act_and_always_one_will(harms: list[tuple[int, str, int]]) -> None:
    group = Group()
    group.run(5)
    for which, harm, steps in harms:
        process = group.processes[which]
        process.frozen, process.cut, process.deaf = harm == "freeze", harm == "cut", harm == "deaf"
        process.late = 5 if harm == "late" else 0
        if harm == "delete":
            group.servers.api.delete_lease("default", NAME)
        elif harm == "end":
            process.leave()
        group.run(steps * STEP)
        process.frozen = process.cut = process.deaf = False
        process.late = 0
    group.run(2 * DURATION + 2)
    assert len(group.acting) == 1


@pytest.mark.parametrize(("harm", "most"), [("leave", 2 * LOOK_EVERY), ("kill", DURATION + 2 * LOOK_EVERY)])
def test_how_soon_another_one_leads(harm: str, most: float) -> None:
    group = Group()
    group.run(20)
    leader = group.leader()
    if harm == "leave":
        leader.leave()
    else:
        leader.frozen = True
    assert group.until_another_leads(leader) <= most
    lease = group.servers.lease
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 1


def test_a_leader_knows_that_others_wait_and_that_none_does_any_more() -> None:
    group = Group()
    group.run(10)
    leader, now = group.leader(), group.servers.now
    assert leader.election.others(now) == 1
    for each in group.processes:
        each.frozen = each is not leader
    group.run(4 * ANNOUNCE_EVERY)
    assert leader.acts
    assert leader.election.others(group.servers.now) == 0


def test_a_leader_makes_a_deleted_lease_anew() -> None:
    group = Group()
    group.run(10)
    leader = group.leader()
    group.servers.api.delete_lease("default", NAME)
    group.run(3 * DURATION)
    assert group.leader() is leader
    assert not leader.dead


# -- step by step


def first_look(lease: SeenLease | None, now: float = 0.0) -> tuple[LeaseElection, list[LeaseEffect]]:
    decides = LeaseElection("a")
    assert decides.handle(TimePassed(), now) == [ReadLease()]
    return decides, decides.handle(LeaseSeen(lease), now)


def leading() -> LeaseElection:
    free = HELD._replace(holder="", waiting="")
    decides, wanted = first_look(free)
    assert wanted == [TakeLease("7")]
    mine = free._replace(version="8", holder="a")
    assert decides.handle(LeaseTaken(mine, 0.0), 0.1) == [Renew(LEASE * DURATION), Lead()]
    return decides


def test_another_s_lease_is_taken_when_it_was_not_changed_for_its_duration() -> None:
    decides, wanted = first_look(HELD)
    assert wanted == [Follow(Leader("b", "http://b:1"))]
    assert decides.next_wake() == LOOK_EVERY
    # Whoever waits writes into it as well: that is no sign of its holder.
    assert decides.handle(LeaseSeen(HELD._replace(version="8", waiting="d")), 3.0) == [Follow(Leader("b", HELD.admin))]
    assert decides.handle(TimePassed(), DURATION) == [TakeLease("8")]
    assert decides.handle(LeaseChanged(), DURATION) == [ReadLease()]
    assert decides.handle(LeaseSeen(HELD._replace(version="9", renewed="t2", waiting="d")), DURATION)[0] == Follow(
        Leader("b", "http://b:1")
    )
    assert decides.handle(TimePassed(), 2 * DURATION - 0.1) == [ReadLease()]
    assert decides.handle(TimePassed(), 2 * DURATION) == [TakeLease("9")]


def test_it_lasts_as_long_as_it_says() -> None:
    decides, _ = first_look(HELD._replace(duration=15))
    assert decides.handle(TimePassed(), 14.9) == [ReadLease()]
    assert decides.handle(TimePassed(), 15.0) == [TakeLease("7")]


def test_where_there_is_none_it_may_have_been_deleted_just_now() -> None:
    """By a process that was not told yet: so whoever makes one leads only once it has been there for so long."""
    decides, wanted = first_look(None)
    assert wanted == []
    assert decides.handle(TimePassed(), 2 * RENEW_EVERY - 0.1) == [ReadLease()]
    assert decides.handle(TimePassed(), 2.0) == [TakeLease(None)]
    mine = HELD._replace(version="1", holder="a", waiting="")
    assert decides.handle(LeaseTaken(mine, 2.0), 2.1) == []
    assert decides.handle(LeaseSeen(mine), 2.0 + DURATION) == []
    assert decides.handle(TimePassed(), 2.1 + DURATION) == [TakeLease("1")]
    assert decides.handle(LeaseTaken(mine._replace(version="2", renewed="t2"), 6.1), 6.2)[1] == Lead()


def test_one_that_was_made_without_an_answer_is_waited_for_too() -> None:
    decides, _ = first_look(None)
    assert decides.handle(TimePassed(), 2.0) == [TakeLease(None)]
    mine = HELD._replace(version="1", holder="a", waiting="")
    assert decides.handle(LeaseSeen(mine), 3.0) == []
    assert decides.handle(TimePassed(), 3.0 + DURATION) == [TakeLease("1")]


def test_whoever_waits_says_so_at_once_and_then_now_and_again() -> None:
    decides, wanted = first_look(HELD._replace(waiting=""))
    assert wanted[1:] == [AnnounceWait()]
    mine = HELD._replace(version="8", waiting="a at t1")
    assert decides.handle(LeaseSeen(mine), 0.1)[1:] == []
    renewed = mine._replace(renewed="t2")
    assert decides.handle(LeaseSeen(renewed), ANNOUNCE_EVERY)[1:] == []
    assert decides.handle(LeaseSeen(renewed), 0.1 + ANNOUNCE_EVERY)[1:] == [AnnounceWait()]


def test_a_lease_that_was_taken_without_an_answer_is_kept() -> None:
    decides, _ = first_look(HELD)
    assert decides.handle(TimePassed(), DURATION) == [TakeLease("7")]
    mine = HELD._replace(version="8", holder="a")
    assert decides.handle(LeaseSeen(mine), DURATION + 1) == [KeepLease()]
    assert decides.handle(LeaseTaken(mine, DURATION + 1), DURATION + 1)[1] == Lead()


def test_an_answer_that_came_too_late_does_not_make_a_leader() -> None:
    decides, _ = first_look(HELD._replace(holder=""))
    assert decides.handle(LeaseTaken(HELD._replace(holder="a"), 0.0), LEASE * DURATION) == [KeepLease()]
    assert not decides.leading


def test_a_leader_renews_and_tries_again_after_a_conflict() -> None:
    decides = leading()
    assert decides.next_wake() == RENEW_EVERY
    assert decides.handle(TimePassed(), RENEW_EVERY) == [KeepLease()]
    assert decides.handle(LeaseChanged(), RENEW_EVERY) == [ReadLease()]
    mine = HELD._replace(version="9", holder="a")
    assert decides.handle(LeaseSeen(mine), RENEW_EVERY) == [KeepLease()]
    assert decides.handle(LeaseTaken(mine, RENEW_EVERY), 1.1) == [Renew(RENEW_EVERY + LEASE * DURATION)]
    assert decides.others(1.1) == 1


def test_a_leader_that_is_not_told_whether_it_made_a_deleted_lease_anew_looks_again() -> None:
    decides = leading()
    assert decides.handle(LeaseSeen(None), 1.0) == [TakeLease(None)]
    assert decides.handle(TimePassed(), 1.0 + LOOK_EVERY) == [ReadLease()]
    assert decides.handle(LeaseSeen(None), 1.6) == [TakeLease(None)]
    mine = HELD._replace(version="9", holder="a")
    assert decides.handle(LeaseTaken(mine, 1.6), 1.7) == [Renew(1.6 + LEASE * DURATION)]
    assert decides.handle(TimePassed(), 1.6 + RENEW_EVERY) == [KeepLease()]


@pytest.mark.parametrize(
    ("event", "now", "reason"),
    [
        (LeaseSeen(HELD), 1.0, "another process leads"),
        (LeaseSeen(HELD._replace(holder="")), 1.0, "somebody took it away by hand"),
        (LeaseSeen(None), LEASE * DURATION, "it was deleted, and another process may lead"),
        (TimePassed(), GIVE_UP + 1, "the API server has not answered for 60 s, and another process may lead"),
    ],
)
def test_what_ends_a_leader(event: LeaseEvent, now: float, reason: str) -> None:
    decides = leading()
    assert decides.handle(event, now) == [Depose(reason)]
    assert not decides.leading
    assert decides.handle(TimePassed(), now + 9) == []


def test_another_program_s_lease_is_left_alone() -> None:
    _, wanted = first_look(HELD._replace(holder="postgres-0", admin=None))
    assert wanted == [Depose("it belongs to another program: its holder is 'postgres-0'")]
    _, wanted = first_look(HELD._replace(holder="", admin=None))
    assert wanted == [TakeLease("7")]

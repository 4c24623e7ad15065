"""Which process leads: on a model of ZooKeeper in virtual time, where processes freeze and lose their connections."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.storage import election
from owmesos.storage.election import (
    GIVE_UP,
    LEASE,
    PROVE_EVERY,
    Changed,
    Connected,
    Depose,
    Election,
    ElectionEvent,
    Follow,
    Gone,
    Lead,
    Leader,
    Look,
    MakeNode,
    NodeMade,
    NodesSeen,
    Prove,
    Proven,
    Renew,
    TimePassed,
)
from owmesos.system.lease import Lease

TIMEOUT = 4.0
STEP = 0.1


class Servers:
    """ZooKeeper's: sessions end when nobody was heard of for TIMEOUT."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sessions: dict[int, float] = {}  # when each was heard of last
        self.nodes: dict[str, int] = {}  # sessions by node
        self._numbers = 0

    def open(self) -> int:
        self._numbers += 1
        self.sessions[self._numbers] = self.now
        return self._numbers

    def touch(self, session: int) -> bool:
        if session in self.sessions:
            self.sessions[session] = self.now
        return session in self.sessions

    def make(self, session: int) -> str:
        self._numbers += 1
        node = f"t-{self._numbers:010d}"
        self.nodes[node] = session
        return node

    def pass_time(self) -> None:
        self.now = round(self.now + STEP, 6)
        for session in [each for each, heard in self.sessions.items() if self.now - heard > TIMEOUT]:
            self.end(session)

    def end(self, session: int) -> None:
        self.sessions.pop(session, None)
        self.nodes = {node: of for node, of in self.nodes.items() if of != session}


class Process:
    """One that takes part. While it is `frozen` it does nothing; while it is `cut` it reaches no server."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.frozen = self.cut = self.dead = False
        self.lease = Lease(TIMEOUT, lambda: servers.now)
        self.election = Election()
        self.session: int | None = None
        self.node = ""
        self.connected = False
        self.led = False
        self.events: deque[ElectionEvent] = deque()

    @property
    def acts(self) -> bool:
        """Whether it may send now, if it runs."""
        return self.led and not self.dead and self.lease.holds

    def turn(self) -> None:
        if self.frozen or self.dead:
            return
        if self.cut:
            self.connected = False
        elif not self.connected or self.session is None or not self.servers.touch(self.session):
            if self.session is None or not self.servers.touch(self.session):
                self.session = self.servers.open()
            self.connected = True
            self.events.append(Connected(self.session))
        else:
            self.events.append(Changed())
        self.events.append(TimePassed())
        while self.events and not self.dead:
            for effect in self.election.handle(self.events.popleft(), self.servers.now):
                self.carry_out(effect)

    def carry_out(self, effect: election.ElectionEffect) -> None:
        if isinstance(effect, Renew):
            self.lease.renew(effect.until)
        elif isinstance(effect, Lead):
            self.led = True
        elif isinstance(effect, Depose):
            self.dead = True
            self.lease.end()
            if self.session is not None:
                self.servers.end(self.session)
        elif isinstance(effect, Follow) or self.cut or self.session is None:
            return
        elif isinstance(effect, MakeNode):
            self.node = self.servers.make(self.session)
            self.events.append(NodeMade(self.node, self.session))
        elif isinstance(effect, Look):
            self.events.append(NodesSeen(frozenset(self.servers.nodes)))
        elif self.node not in self.servers.nodes:
            self.events.append(Gone())
        else:
            self.events.append(Proven(self.servers.now, TIMEOUT))


Harm = st.tuples(st.integers(0, 2), st.sampled_from(["freeze", "cut", "expire", "remove"]), st.integers(1, 100))


@given(st.lists(Harm, max_size=12))
def test_never_two_lead_and_always_one_will(harms: list[tuple[int, str, int]]) -> None:
    """Each harm befalls one process for some steps; whoever ended is started again, as by its supervisor."""
    servers = Servers()
    group = [Process(servers) for _ in range(3)]

    def run(steps: int) -> None:
        for _ in range(steps):
            for place, each in enumerate(group):
                if each.dead:
                    group[place] = Process(servers)
                group[place].turn()
            servers.pass_time()
            assert sum(each.acts for each in group) <= 1

    run(3)
    for which, harm, steps in harms:
        process = group[which]
        process.frozen, process.cut = harm == "freeze", harm == "cut"
        if harm == "expire" and process.session is not None:
            # As ZooKeeper does it: not before it has been silent for its timeout.
            process.cut = True
            steps += int(TIMEOUT / STEP) + 1
        elif harm == "remove" and not process.led:
            servers.nodes.pop(process.node, None)
        run(steps)
        process.frozen = process.cut = False
    run(int((2 * TIMEOUT) / STEP))
    assert sum(each.acts for each in group) == 1


def started(node: str = "a-1", session: int = 7) -> Election:
    decides = Election()
    assert decides.handle(Connected(session), 0.0) == [MakeNode()]
    assert decides.handle(NodeMade(node, session), 0.0) == [Look()]
    return decides


def leading() -> Election:
    decides = started()
    assert decides.handle(NodesSeen(frozenset({"a-1", "b-2"})), 0.0) == [Prove()]
    assert decides.handle(Proven(0.0, TIMEOUT), 0.1) == [Renew(LEASE * TIMEOUT), Lead()]
    return decides


def test_the_lowest_number_leads_once_it_is_proven() -> None:
    decides = leading()
    assert decides.others == 1
    assert decides.next_wake() == PROVE_EVERY
    assert decides.handle(TimePassed(), PROVE_EVERY / 2) == []
    assert decides.handle(TimePassed(), PROVE_EVERY) == [Prove()]
    assert decides.handle(Proven(1.0, 2.0), 1.1) == [Renew(1.0 + LEASE * 2.0)]


def test_numbers_are_in_order_and_not_the_names() -> None:
    decides = started("a-10")
    leader = Leader("process 1 on h", "http://h:1")
    assert decides.handle(NodesSeen(frozenset({"a-10", "z-9", "0-other"}), leader), 0.0) == [Follow(leader)]
    assert decides.next_wake() is None
    assert decides.handle(TimePassed(), 99.0) == []
    assert decides.handle(Changed(), 99.0) == [Look()]
    assert decides.handle(NodesSeen(frozenset({"a-10", "0-other"})), 99.0) == [Prove()]


def test_a_proof_that_came_too_late_does_not_make_a_leader() -> None:
    decides = started()
    decides.handle(NodesSeen(frozenset({"a-1"})), 0.0)
    assert decides.handle(Proven(0.0, TIMEOUT), LEASE * TIMEOUT) == []
    assert not decides.leading


def test_a_leader_keeps_the_lead_when_its_session_is_resumed() -> None:
    decides = leading()
    assert decides.handle(Connected(7), 1.0) == [Look()]
    assert decides.handle(NodesSeen(frozenset({"a-1", "b-2"})), 1.0) == []
    assert decides.leading


@pytest.mark.parametrize(
    ("event", "now", "reason"),
    [
        (Connected(8), 1.0, "its session at ZooKeeper has ended, and another process may lead"),
        (NodesSeen(frozenset({"b-2"})), 1.0, "its node in the election was removed"),
        (Gone(), 1.0, "its node in the election was removed"),
        (NodesSeen(frozenset({"a-1", "b-0"})), 1.0, "another process leads"),
        (TimePassed(), GIVE_UP + 1, "ZooKeeper has not answered for 60 s, and another process may lead"),
    ],
)
def test_what_ends_a_leader(event: ElectionEvent, now: float, reason: str) -> None:
    decides = leading()
    assert decides.handle(event, now) == [Depose(reason)]
    assert not decides.leading
    assert decides.handle(Connected(9), now) == []
    assert decides.next_wake() is None


def test_a_standby_registers_again_in_a_new_session() -> None:
    decides = started("b-2")
    decides.handle(NodesSeen(frozenset({"a-1", "b-2"})), 0.0)
    assert decides.handle(Connected(8), 1.0) == [MakeNode()]
    assert decides.handle(NodeMade("b-2", 7), 1.0) == []  # of the session before
    assert decides.handle(NodeMade("b-3", 8), 1.0) == [Look()]
    assert decides.handle(Gone(), 1.0) == [MakeNode()]
    assert decides.handle(Changed(), 1.0) == []
